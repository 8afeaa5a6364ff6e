"""Controllers on a desk: the pin guard on recording pins, and the firmware on a pseudo-terminal."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from edge.actuators.controller import Controller
from edge.actuators.guard import Guard, Wire
from edge.actuators.serial import find
from edge.bench_faults import PINS, Bed, Changes, lit_s, read_changes
from edge.bench_faults import GuardBed as RecordingPins
from edge.bench_host import BAUD, Tap
from edge.config import ControllerConfig, DeterrentConfig
from edge.values import Action, Order
from tests.conftest import ROOT

KINDS = ("guard", "serial")
_OUTPUTS = "outputs.jsonl"


def children(pid: int) -> list[int]:
    found: list[int] = []
    for task in Path(f"/proc/{pid}/task").iterdir():
        with contextlib.suppress(OSError):  # a thread that ended meanwhile
            found += [int(child) for child in (task / "children").read_text().split()]
    return found


def history(kind: str, folder: Path, channel: int = 0) -> Changes:
    """What a channel's output did on the bed of that folder. Its pin on a guard: 17 and up."""
    if kind == "guard":
        return read_changes(folder / PINS, "pin", 17 + channel)
    return read_changes(folder / _OUTPUTS, "channel", channel)


class GuardBed(RecordingPins):
    """The pin guard. Every `open` starts one."""

    def __init__(self, folder: Path, deterrents: Sequence[DeterrentConfig]) -> None:
        super().__init__(folder, deterrents)
        self._folder, self.pid = folder, 0

    def open(self) -> Wire:
        guard = Guard(self._deterrents, self.environment)
        self.pid = guard.pid
        return guard

    def changes(self, channel: int = 0) -> Changes:
        return history(self.kind, self._folder, channel)

    def close(self) -> None:
        """A guard ends with its host."""


class PicoBed:
    """The firmware's own loop on a pseudo-terminal, as a Pico that is plugged in."""

    kind = "serial"

    def __init__(self, folder: Path, deterrents: Sequence[DeterrentConfig] = (DeterrentConfig(rest_ms=100),)) -> None:
        """All its channels have the limits of the first deterrent."""
        self._folder, self.port = folder, folder / "ttyACM0"
        self.switch = folder / "arm-switch-open"
        self.environment: dict[str, str] = {}
        first = deterrents[0]
        limits = {"max-on-ms": first.max_on_ms, "hour-ms": round(first.hour_s * 1000), "rest-ms": first.rest_ms}
        self._options = [f"--{name}={value}" for name, value in limits.items()]
        self.plug()

    def plug(self) -> None:
        """Power on, or on again."""
        self.port.unlink(missing_ok=True)
        with (self._folder / _OUTPUTS).open("a") as history:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "tests.firmware.desk", self.port, f"--switch={self.switch}", *self._options],
                cwd=ROOT,
                stdin=subprocess.DEVNULL,
                stdout=history,
            )
        until = time.monotonic() + 20
        while not self.port.exists():
            assert time.monotonic() < until
            assert self._process.poll() is None, "the desk has ended"
            time.sleep(0.005)

    def unplug(self) -> None:
        """Power off; the port goes."""
        self._process.kill()
        self._process.wait()
        self.port.unlink(missing_ok=True)

    def open(self) -> Wire:
        return find(str(self.port), BAUD)

    def changes(self, channel: int = 0) -> Changes:
        return history(self.kind, self._folder, channel)

    @property
    def pid(self) -> int:
        return self._process.pid

    def strike(self, number: signal.Signals, guard: int = 0) -> None:
        self._process.send_signal(number)
        if number == signal.SIGKILL:  # a reset: it starts again by itself
            self._process.wait()
            self.plug()

    def close(self) -> None:
        self._process.send_signal(signal.SIGCONT)
        self.unplug()


@contextlib.contextmanager
def pico_bed(folder: Path, deterrents: Sequence[DeterrentConfig]) -> Iterator[Bed]:
    """For `bench_faults`."""
    bed = PicoBed(folder, deterrents)
    try:
        yield bed
    finally:
        bed.close()


class Rig:
    """A bed, and a `Controller` that has it."""

    def __init__(self, kind: str, folder: Path, deterrents: Sequence[DeterrentConfig], patience_ms: int = 1000) -> None:
        self.bed = PicoBed(folder, deterrents) if kind == "serial" else GuardBed(folder, deterrents)
        self.taps: list[Tap] = []
        config = ControllerConfig.model_validate({"kind": kind, "patience_ms": patience_ms})
        self.controller = Controller(deterrents, config, self._open)

    def _open(self) -> Wire:
        self.taps.append(Tap(self.bed.open()))
        return self.taps[-1]

    def ready(self) -> None:
        """Wait until it would obey: a controller rests when it has started."""
        assert self.controller.wait_ready(20), self.controller.trouble
        assert self.controller.greeting
        rests = [limits.rest_ms for limits in self.controller.greeting.limits.values()]
        until = time.monotonic() + max(rests, default=0) / 1000
        self.eventually(lambda: time.monotonic() > until)

    def fire(self, order: Order) -> Action:
        """Where this machine stood still meanwhile the order is too old, and moves nothing: once more."""
        while (done := self.controller.fire(order)).result == "refused: old":
            self.eventually(self.controller.ready)
        return done

    def session(self) -> str:
        """Another one after each start of the controller."""
        assert self.controller.greeting
        return self.controller.greeting.session

    def levels(self, channel: int = 0) -> list[int]:
        return [level for _, level in self.bed.changes(channel)]

    def lit_s(self, channel: int = 0) -> list[float]:
        return lit_s(self.bed.changes(channel))

    def eventually(self, true: Callable[[], object], beating: bool = True) -> None:
        """Wait until it is true, with the loop's heart beating or not."""
        until = time.monotonic() + 15.0
        while not true():
            if beating:
                self.controller.beat()
            assert time.monotonic() < until, (true, self.levels(), self.controller.facts())
            time.sleep(0.01)

    def close(self) -> None:
        if self.bed.pid:
            with contextlib.suppress(ProcessLookupError):
                os.kill(self.bed.pid, signal.SIGCONT)
        self.controller.close()
        self.bed.close()
