"""In the guest: lets each scenario happen when it is asked for on the console, and says what it did as `@@ {json}`.

A line of its own (GPIO 27) turns over at the very moment of a fault and at the end of each scenario, so that whoever
watches the pins from outside has those moments in the pins' own record.
"""

from __future__ import annotations

import json
import mmap
import os
import select
import signal
import struct
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

from guest import Mark, say
from playing import play

from edge.config import DeterrentConfig

_STRIKE_AFTER_S = 0.5
_PACE_S = 0.05


class Witness:
    """A process beside all others: by how long it came late at most is how long this machine stood still."""

    def __init__(self) -> None:
        self._late = mmap.mmap(-1, 8)  # shared with the child
        self.forget()
        if not os.fork():
            while True:
                before = time.monotonic()
                time.sleep(_PACE_S)
                late = time.monotonic() - before - _PACE_S
                if late > self.late_s():
                    struct.pack_into("d", self._late, 0, late)

    def forget(self) -> None:
        struct.pack_into("d", self._late, 0, 0.0)

    def late_s(self) -> float:
        """Since `forget`."""
        late: float = struct.unpack_from("d", self._late)[0]
        return late


class Host:
    """A process that plays `watch`."""

    def __init__(self, deterrent: DeterrentConfig, fires: bool) -> None:
        self._told, told = os.pipe()
        self._rest = b""
        self.guards: list[int] = []
        self.pid = os.fork()
        if not self.pid:
            os.close(self._told)
            code = 1
            try:
                play(deterrent, fires, told)
                code = 0
            finally:
                os._exit(code)
        os.close(told)

    def wait(self, event: str, timeout_s: float) -> dict[str, Any]:
        """What it tells of `event`; an empty dict when it does not."""
        until = time.monotonic() + timeout_s
        while (left := until - time.monotonic()) > 0:
            line, found, self._rest = self._rest.partition(b"\n")
            if found:
                told = json.loads(line)
                if told["guard"] not in self.guards:
                    self.guards.append(told["guard"])
                say("host", told=told)
                if told["event"] == event:
                    return told
                continue
            self._rest = line
            if select.select([self._told], [], [], left)[0]:
                data = os.read(self._told, 4096)
                if not data:
                    return {}
                self._rest += data
        return {}

    def end(self) -> None:
        """Nothing of it is left, in whatever state it is."""
        os.close(self._told)
        for pid in (self.pid, *self.guards):
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        with suppress(ChildProcessError):
            os.waitpid(self.pid, 0)


def fault(mark: Mark, witness: Witness, wish: dict[str, Any]) -> None:
    """One scenario: a host, its order, and what befalls whom."""
    deterrent = DeterrentConfig(**wish["deterrent"])
    host = Host(deterrent, wish["fires"])
    ready = host.wait("ready", 60.0)
    witness.forget()
    fired = host.wait("fired", 30.0) if wish["fires"] else {}
    say("fired", **fired)
    if wish["fires"] and fired.get("result") != "on":  # not answered in time: once more
        host.wait("done", 30.0)
        host.end()
        say("missed")
        return
    command = _command(ready.get("guard", 0))
    if wish["strikes"]:
        time.sleep(_STRIKE_AFTER_S)
        at = mark.turn()
        _strike(wish["strikes"], host)
        say("struck", at=at)
    if wish.get("then"):
        host.wait(wish["then"], 30.0)
    time.sleep(wish["watched_s"])
    if wish.get("rescue"):
        at = mark.turn()
        rescued = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False)
        say("rescued", at=at, status=rescued.returncode, ended=time.monotonic_ns(), said=rescued.stderr)
    say("ended", at=mark.turn(), ready=ready, fired=fired, guards=host.guards, late_s=witness.late_s())
    host.end()


def _strike(strikes: list[list[str]], host: Host) -> None:
    for whom, what in strikes:
        if whom == "machine":
            Path("/proc/sysrq-trigger").write_text(what) if len(what) == 1 else subprocess.run([what, "-f"], check=True)
        else:
            pid = host.pid if whom == "host" else host.guards[-1]
            os.kill(pid, signal.Signals[what])


def _command(pid: int) -> list[str]:
    """How the guard was started."""
    if not pid:
        return ["false"]
    return [word.decode() for word in Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")[:-1]]


def bare(mark: Mark, witness: Witness, wish: dict[str, Any]) -> None:
    """An output opened as gpiozero itself does it."""
    script = "import sys, gpiozero; pin = gpiozero.DigitalOutputDevice(int(sys.argv[1]), active_high=False)"
    pin = str(wish["deterrent"]["pin"])
    done = subprocess.run([sys.executable, "-c", script, pin], capture_output=True, text=True, check=False)
    time.sleep(wish["watched_s"])
    say("ended", at=mark.turn(), status=done.returncode, said=done.stderr)


def calibrate(mark: Mark, witness: Witness, wish: dict[str, Any]) -> None:
    """Turn the mark over a few times: the guest's clock beside the clock of who watches."""
    moments = []
    for _ in range(wish["times"]):
        moments.append(mark.turn())
        time.sleep(wish["apart_s"])
    say("ended", moments=moments)


def main() -> None:
    mark, witness = Mark(), Witness()
    parameter = Path("/sys/module/pinctrl_bcm2835/parameters/persist_gpio_outputs")
    board = Path("/proc/device-tree/model").read_text().rstrip("\0")
    say("up", persist=parameter.read_text().strip(), board=board, kernel=os.uname().release)
    for line in sys.stdin:
        with suppress(ValueError):
            wish = json.loads(line)
            {"calibrate": calibrate, "bare": bare, "fault": fault}[wish["name"]](mark, witness, wish)


if __name__ == "__main__":
    main()
