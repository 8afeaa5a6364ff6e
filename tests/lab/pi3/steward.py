"""In the guest beside the real daemon: carries out what is asked for on the console, and says what came of it."""

from __future__ import annotations

import json
import os
import signal
import sqlite3
import subprocess
import sys
from contextlib import closing, suppress
from pathlib import Path
from typing import Any

from guest import Mark, say

from edge.control import ask
from edge.errors import GanderError

_STATE = Path("/var/lib/gander")
_PROCESSES = Path("/sys/fs/cgroup/system.slice/gander-watch.service/cgroup.procs")


def unit(mark: Mark) -> dict[str, Any]:
    """How systemd has the daemon."""
    wanted = "ActiveState,SubState,MainPID,NRestarts,Result,StatusText"
    done = subprocess.run(["systemctl", "show", "gander-watch", "-p", wanted], capture_output=True, text=True)
    return dict(line.split("=", 1) for line in done.stdout.splitlines() if "=" in line)


def asked(mark: Mark, verb: str, **arguments: Any) -> dict[str, Any]:
    """What the daemon answers on its control socket."""
    try:
        return {"answer": ask(_STATE, verb, **arguments)}
    except GanderError as error:
        return {"refused": str(error)}


def events(mark: Mark) -> dict[str, Any]:
    """What the journal has of decisions: type and reason of each event, oldest first."""
    with closing(sqlite3.connect(f"file:{_STATE / 'events.db'}?mode=ro", uri=True)) as journal:
        rows = [json.loads(text) for (text,) in journal.execute("SELECT json FROM event ORDER BY id")]
    return {"events": [[row["type"], row.get("reason")] for row in rows if row["type"] in ("suppressed", "action")]}


def killed(mark: Mark, daemon: int) -> dict[str, Any]:
    """SIGKILL to the daemon and all of its: its guard, which would switch off, first."""
    there = {int(pid): Path(f"/proc/{pid}/cmdline").read_bytes() for pid in _PROCESSES.read_text().split()}
    guards = [pid for pid, command in there.items() if b"edge.pin_guard" in command]
    at = mark.turn()
    for pid in [*guards, daemon, *there]:
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    return {"at": at, "guards": guards, "daemon": daemon}


def felled(mark: Mark, daemon: int) -> dict[str, Any]:
    """A test fire, and all killed in the middle of it, at once: words on a console take longer than a pulse."""
    fired = asked(mark, "test_fire")
    return fired | killed(mark, daemon) if "answer" in fired else fired


def main() -> None:
    mark = Mark()
    parameter = Path("/sys/module/pinctrl_bcm2835/parameters/persist_gpio_outputs")
    board = Path("/proc/device-tree/model").read_text().rstrip("\0")
    first = Path("/proc/1/comm").read_text().strip()
    say("up", persist=parameter.read_text().strip(), board=board, kernel=os.uname().release, first=first)
    for line in sys.stdin:
        with suppress(ValueError):
            wish = json.loads(line)
            does = {"unit": unit, "ask": asked, "events": events, "felled": felled}[wish.pop("name")]
            try:
                say("done", **does(mark, **wish))
            except (OSError, sqlite3.Error) as error:
                say("done", failed=str(error))


if __name__ == "__main__":
    main()
