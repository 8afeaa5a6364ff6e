"""A daemon under test, seen from outside: its pins, its journal, its status."""

from __future__ import annotations

import contextlib
import json
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from edge.control import ask
from edge.errors import GanderError
from edge.journal import EVENTS, events_after, reader

PIN = 17
SLACK_MS = 400  # what a busy test machine may add to any time; the figures themselves are in the README

_WITNESS = """
import time
last, longest = time.monotonic(), 0.0
while True:
    time.sleep(0.005)
    now = time.monotonic()
    if now - last > longest:
        longest = now - last
        print(longest * 1e3, flush=True)
    last = now
"""


@pytest.fixture
def stall_ms(tmp_path: Path) -> Iterator[Callable[[], float]]:
    """The longest that this machine kept a process beside from running: so much may be missing from any time, too."""
    told = tmp_path / "witness"
    with told.open("w") as file, subprocess.Popen([sys.executable, "-c", _WITNESS], stdout=file) as process:
        yield lambda: max(map(float, told.read_text().split()), default=0.0)
        process.kill()


@dataclass
class Daemon:
    """A running `gander watch` and the files it leaves."""

    process: subprocess.Popen[bytes]
    state: Path
    history: Path

    def levels(self, pin: int = PIN) -> list[tuple[float, int]]:
        """A pin's life: (milliseconds, level), changes only."""
        if not self.history.exists():
            return []
        lines = [json.loads(line) for line in self.history.read_text().splitlines() if line.endswith("}")]
        found: list[tuple[float, int]] = []
        for line in lines:
            if line["pin"] != pin:
                continue
            if not found or found[-1][1] != line["level"]:
                found.append((line["ns"] / 1e6, line["level"]))
        return found

    def pulses(self) -> list[float]:
        """How long the pin was on each time, in milliseconds; one that never ended counts until now."""
        levels = [*self.levels(), (time.monotonic() * 1e3, -1)]
        return [after[0] - now[0] for now, after in pairwise(levels) if now[1] == 1]

    def events(self, type_: str) -> list[dict[str, Any]]:
        with contextlib.suppress(GanderError), reader(self.state / EVENTS) as connection:
            return [body for _, body in events_after(connection, 0) if body["type"] == type_]
        return []

    def events_all(self) -> list[dict[str, Any]]:
        with reader(self.state / EVENTS) as connection:
            return [body for _, body in events_after(connection, 0)]

    def predictions(self) -> list[dict[str, Any]]:
        """Every row about what a model said."""
        with reader(self.state / EVENTS) as connection:
            return [dict(row) for row in connection.execute("SELECT * FROM prediction")]

    def running(self) -> bool:
        """Whether it answers."""
        with contextlib.suppress(GanderError):
            return bool(self.status())
        return False

    def status(self) -> dict[str, Any]:
        status: dict[str, Any] = ask(self.state, "status")
        return status

    def watching(self) -> bool:
        """Whether it can act, and knows its yard well enough to see who is new there."""
        if not self.running():
            return False
        status = self.status()
        models: list[dict[str, Any]] = status["models"]
        return status["controller_ready"] and status["frames"] > 30 and all(model["ready"] for model in models)

    def wait(self, condition: Callable[[], bool], seconds: float = 40) -> None:
        end = time.monotonic() + seconds
        while not condition():
            assert time.monotonic() < end, (self.levels(), self.events("action"))
            time.sleep(0.02)

    def wait_on(self) -> None:
        self.wait(lambda: any(level == 1 for _, level in self.levels()))

    def guard(self) -> int:
        """The pin guard's process."""
        out = subprocess.run(["ps", "-eo", "pid,ppid,args"], capture_output=True, text=True, check=True).stdout
        rows = [row.split(None, 2) for row in out.splitlines()[1:]]
        return next(int(p) for p, parent, what in rows if int(parent) == self.process.pid and "edge.pin_guard" in what)
