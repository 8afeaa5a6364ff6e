"""Run a command on a machine that stands still now and then: `python -m tests.stalls 1 20 pytest tests/edge`.

Every 20 s or so it, and all that it has started, is stopped for 1 s. What fails then and not otherwise hung on a pause
that was too short, or on an order that nobody promises; CI's machine, too, has other work. (`sudo` and `runuser` stop
with their child and do not always go on with it: not for `test_install`.)
"""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path


def below(pid: int) -> Iterator[int]:
    """A process and all that it has started, but for what a test has stopped itself."""
    with suppress(OSError):
        if (Path(f"/proc/{pid}/stat")).read_text().rpartition(")")[2].split()[0] != "T":
            yield pid
        for task in Path(f"/proc/{pid}/task").iterdir():
            for child in (task / "children").read_text().split():
                yield from below(int(child))


def send(what: signal.Signals, pids: list[int]) -> None:
    for pid in pids:
        with suppress(OSError):  # it has ended
            os.kill(pid, what)


def main(stall: str, apart: str, *command: str) -> int:
    """Exit status of the command."""
    process, stalls = subprocess.Popen(command), 0
    while process.poll() is None:
        time.sleep(random.uniform(0.3, 1.7) * float(apart))
        stopped = list(below(process.pid))
        send(signal.SIGSTOP, stopped)
        time.sleep(float(stall))
        send(signal.SIGCONT, stopped)
        stalls += 1
    sys.stderr.write(f"stood still {stalls} times for {stall} s\n")
    return process.returncode


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
