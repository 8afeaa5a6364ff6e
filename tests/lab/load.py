"""What the live path costs while something else goes wrong: the same orders, in turns with and without it.

    python -m tests.lab.load STATE [--champion BUNDLE] [--orders N]

STATE holds the models. Each condition has a line of its own in a process of its own, all play short slices in turn,
so that whatever else the machine does is shared by all. Prints a table; the last line is the summary as JSON.
"""

from __future__ import annotations

import argparse
import contextlib
import gc
import json
import os
import shutil
import signal
import sqlite3
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any

from edge.app import Appliance, Desk, desk
from edge.bench import Scene, lifted, play
from edge.card import Card
from edge.climb import Climber
from edge.clock import Ids, LiveClock
from edge.config_file import load
from edge.control import SOCKET, Control
from edge.journal import EVENTS, Journal
from edge.latency import percentiles
from edge.lens import Lenses
from edge.owner import Owner
from edge.queues import Queues
from edge.rounds import Rounds
from edge.values import Event
from edge.watch import Watch

FPS = 60.0
SLICE = 250
ROUNDS_S = 1.0  # five times as often as in life: a slice takes seconds
HISTORY = 100_000
CARD = Path(__file__).with_name("card.c")
GANDER = (sys.executable, "-m", "edge.cli")
COUNTING = """import itertools, os
os.nice(10)
for _ in itertools.count(): pass"""
"""Gives way as `gander export` does, and touches neither memory nor disk: what any busy process costs here."""


@dataclass(frozen=True, slots=True)
class Condition:
    """Something that goes on beside the live path."""

    name: str
    settings: tuple[str, ...] = ("media.per_visit=0", "media.decoy_mb=0")
    environment: dict[str, str] = field(default_factory=dict)
    beside: tuple[str, ...] = ()  # a program that runs during each slice
    again: bool = False  # and begins anew as often as it ends


class Arm:
    """One condition's line, in a process that plays a slice when told to."""

    def __init__(self, condition: Condition, state: Path, models: Path, champion: str) -> None:
        self.condition, self.state = condition, state
        command = [sys.executable, "-m", "tests.lab.load", "--arm", str(state), str(models), champion]
        self._process = subprocess.Popen(
            [*command, *condition.settings],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env=os.environ | condition.environment,
        )
        self.overhead: list[float] = []
        self.dropped = 0
        assert self._said() == {"ready": True}

    def slice(self, orders: int) -> None:
        with self._beside():
            print(orders, file=self._pipe(self._process.stdin), flush=True)
            said = self._said()
        self.overhead += said["overhead"]
        self.dropped += said["dropped"]

    def close(self) -> None:
        self._pipe(self._process.stdin).close()
        self._process.wait(60)

    def _said(self) -> dict[str, Any]:
        line = self._pipe(self._process.stdout).readline()
        assert line, f"{self.condition.name}: the line ended; see above"
        said: dict[str, Any] = json.loads(line)
        return said

    @staticmethod
    def _pipe(pipe: IO[str] | None) -> IO[str]:
        assert pipe
        return pipe

    @contextlib.contextmanager
    def _beside(self) -> Iterator[None]:
        """The other program, for as long as the slice takes."""
        if not self.condition.beside:
            yield
            return
        with tempfile.TemporaryDirectory(prefix="gander-beside-", ignore_cleanup_errors=True) as folder:
            yield from self._other(folder)

    def _other(self, folder: str) -> Iterator[None]:
        """What it leaves when it is killed lies in `folder`."""
        command = list(self.condition.beside)
        environment = os.environ | {"GANDER_STATE": str(self.state), "TMPDIR": folder}
        if self.condition.again:
            script = 'n=0; while :; do n=$((n+1)); "$@" "$0/$n" >/dev/null || exit 1; rm -r "$0/$n"; done'
            command = ["sh", "-c", script, folder, *command]
        other = subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL, start_new_session=True)
        try:
            time.sleep(1.0)  # let it begin
            yield
            assert other.poll() is None, f"{self.condition.name}: the other program ended with {other.returncode}"
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(other.pid, signal.SIGKILL)
            other.wait()


def serve(state: Path, models: Path, champion: str, settings: list[str]) -> None:
    """An arm's own process: a line that plays as many orders as each line of the input says."""
    config = lifted(load(None, [*settings, "health.service=true", f"models.champion={json.dumps(champion)}"]))
    overhead: list[float] = []

    def heard(event: Event) -> None:
        latency = event.body.get("latency_ms", {})
        if "pin" in latency:
            overhead.append(latency["pin"] - latency["invoke"])

    with contextlib.ExitStack() as stack:
        made = stack.enter_context(desk(config, state, models, LiveClock(), Ids(), listen=heard))
        made.rendezvous.wait_ready(60.0)
        begin = beginning(made, stack)
        print(json.dumps({"ready": True}), flush=True)
        for line in sys.stdin:
            overhead.clear()
            dropped = 0
            while len(overhead) < int(line):
                scene = Scene(FPS, (int(line) - len(overhead)) / FPS * 16 / 12 + 1.0, moving=True)
                with contextlib.ExitStack() as beside:
                    dropped += play(made, scene, lambda watch: begin(watch, beside))
                gc.collect()  # a line that has ended, with its scene of 140 MB, is a ring of references
            print(json.dumps({"overhead": overhead[: int(line)], "dropped": dropped}), flush=True)


def beginning(made: Desk, stack: contextlib.ExitStack) -> Callable[[Watch, contextlib.ExitStack], None]:
    """What gives a line all that a daemon has beside it: rounds every second, lenses, ladder, queues, control."""
    config, state, owner = made.config, made.state, Owner(made.journal, "armed", LiveClock(), "load")
    climber = Climber(config.health, state, [c.id for c in config.camera], made.record.health, made.journal.settle)
    lenses, queues, card = Lenses(config.camera, state), Queues(state), Card(state)
    playing: list[Appliance] = []

    def begin(watch: Watch, beside: contextlib.ExitStack) -> None:
        whole = Appliance(made, owner, watch, time.monotonic_ns(), queues, climber, lenses, card)
        if not playing:
            stack.callback(Control(state / SOCKET, {"status": lambda who: playing[0].status()}).close)
        playing[:] = [whole]
        beside.callback(Rounds(whole.look, made.record.health, ROUNDS_S).close)

    return begin


def remember(state: Path, events: int) -> None:
    """Fill a journal with a year's events."""
    Journal(state).close()
    with contextlib.closing(sqlite3.connect(state / EVENTS)) as connection, connection:
        body = json.dumps(
            {"v": 1, "type": "visit", "node": "load", "wall": "2026-01-01T00:00:00.000Z", "top": ["x"] * 40}
        )
        connection.executemany(
            "INSERT INTO event (id, type, wall, visit_id, json) VALUES (?, 'visit', '2026-01-01T00:00:00.000Z', ?, ?)",
            ((f"old-{n}", f"visit-{n}", body) for n in range(events)),
        )


def stalling(folder: Path) -> dict[str, str]:
    """The environment of a process whose card stalls for five seconds at a time. Empty where no compiler is."""
    library = folder / "card.so"
    compiler = shutil.which("cc") or shutil.which("gcc")
    if not compiler:
        return {}
    subprocess.run([compiler, "-shared", "-fPIC", "-O2", "-o", library, CARD, "-ldl"], check=True)
    return {"LD_PRELOAD": str(library), "CARD_STALLS_S": "5"}


@contextlib.contextmanager
def small_disk(at: Path) -> Iterator[bool]:
    """A file system of 8 MB, where this user may make one."""
    at.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=8m", "none", at]
    mounted = not os.getuid() and not subprocess.run(command, check=False).returncode
    try:
        yield mounted
    finally:
        if mounted:
            subprocess.run(["umount", "-l", at], check=False)


def fill(at: Path) -> None:
    """Leave nothing free."""
    with contextlib.suppress(OSError), (at / "fill").open("wb", buffering=0) as file:
        while file.write(b"\0" * 4096):
            pass


def measure(models: Path, champion: str, orders: int, only: list[str], say: Any = lambda text: None) -> dict[str, Any]:
    """Overhead in milliseconds by condition, `{name: {n, p50, p95, p99, max, dropped}}`, and what was left out."""
    pictures = ("media.per_visit=20", "media.max_mb=100", "media.per_day_mb=1000000", "media.min_free=0.0")
    with tempfile.TemporaryDirectory(prefix="gander-load-") as scratch, contextlib.ExitStack() as stack:
        folder = Path(scratch)
        mounted = stack.enter_context(small_disk(folder / "full"))
        card = stalling(folder)
        conditions = {
            "quiet": Condition("quiet"),
            "broker down": Condition("broker down", beside=(*GANDER, "publish", "--mqtt", "127.0.0.1:9")),
            "disk full": Condition("disk full", pictures) if mounted else None,
            "card stalls 5 s at a time": Condition("card stalls", pictures, card) if card else None,
            "20 moments a visit as pictures": Condition("pictures", pictures),
            "100,000 events exported, over and over": Condition("export", beside=(*GANDER, "export"), again=True),
            "a process that only counts": Condition("counting", beside=(sys.executable, "-c", COUNTING)),
            "100,000 events in the journal": Condition("history"),
        }
        for history in ("100,000", "export"):
            remember(folder / history, HISTORY)
        arms = {}
        for name, condition in conditions.items():
            if condition and (not only or name in ("quiet", *only)):
                own = {"disk full": "full", "100,000 events in the journal": "100,000"}.get(name, condition.name)
                arms[name] = Arm(condition, folder / own, models, champion)
                stack.callback(arms[name].close)
        if "disk full" in arms:
            fill(folder / "full")
        for done in range(0, orders, SLICE):
            for name, arm in arms.items():
                say(f"{done} of {orders} orders: {name}")
                arm.slice(min(SLICE, orders - done))
        return {
            "conditions": {n: percentiles(arm.overhead) | {"dropped": arm.dropped} for n, arm in arms.items()},
            "left_out": [name for name, condition in conditions.items() if condition is None],
        }


def table(found: dict[str, Any]) -> str:
    """The figures for people; each against the quiet line."""
    quiet = found["conditions"]["quiet"]["p95"]
    lines = [f"{'overhead, ms':32}{'orders':>8}{'p50':>8}{'p95':>8}{'p99':>8}{'max':>8}  p95 to quiet"]
    for name, f in found["conditions"].items():
        lines.append(
            f"{name:32}{f['n']:8}{f['p50']:8.2f}{f['p95']:8.2f}{f['p99']:8.2f}{f['max']:8.2f}{f['p95'] / quiet:8.2f}"
        )
    return "\n".join(lines + [f"left out here: {name}" for name in found["left_out"]])


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--arm", nargs="+", default=[])
    parser.add_argument("models", type=Path, nargs="?")
    parser.add_argument("--champion", default="starter")
    parser.add_argument("--orders", type=int, default=2000)
    parser.add_argument("--only", action="append", default=[], metavar="CONDITION")
    chosen = parser.parse_args()
    if chosen.arm:
        state, models, champion, *settings = chosen.arm
        serve(Path(state), Path(models), champion, settings)
        return
    found = measure(
        chosen.models, chosen.champion, chosen.orders, chosen.only, lambda text: print(text, file=sys.stderr)
    )
    print(table(found))
    print(json.dumps({"summary": found}))


if __name__ == "__main__":
    main()
