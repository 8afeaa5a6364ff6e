"""After a power cut without network: no clock, no broker, no internet from boot; and a clock that jumps back a day."""

from __future__ import annotations

import contextlib
import shutil
import signal
import struct
import subprocess
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from edge.control import ask
from edge.errors import GanderError
from edge.journal import EVENTS, events_after, reader
from tests.lab.mosquitto import Mosquitto, arrived, broker, ear, ended, feed, place
from tests.mqtt import Ear, until
from tests.stage import command, environment

__all__ = ["broker", "ear"]
pytestmark = [pytest.mark.lab, pytest.mark.timeout(1700)]
DAY_S = 86400
LONG_S = 400
SILENT = 2  # the time server has not answered for half a day
SOURCE = Path(__file__).with_name("clock.c")
SETTINGS = (
    *("labels.threat=['*']", "policy.initial_mode=armed", "policy.per_hour=1000", "policy.per_visit=100"),
    *("deterrent=[{id='light', cooldown_s=1}, {id='siren', kind='siren', channel=1, pin=27, fires_unseeing=true}]",),
    *("media.min_free=0", "journal.days=30", "node.name=yard"),
)


@dataclass
class Clock:
    """The wall clock of processes under test."""

    path: Path
    library: Path

    def show(self, off_s: int, known: int) -> None:
        """`known`: whether a time server says that it is set, or `SILENT`."""
        with self.path.open("r+b" if self.path.exists() else "wb") as file:
            file.write(struct.pack("<qq", off_s, known))

    @property
    def environment(self) -> dict[str, str]:
        return {"LD_PRELOAD": str(self.library), "CLOCK_FILE": str(self.path)}


@pytest.fixture
def clock(tmp_path: Path) -> Clock:
    compiler = shutil.which("cc") or shutil.which("gcc")
    if not compiler:
        pytest.skip("no C compiler: apt-get install gcc")
    library = tmp_path / "clock.so"
    subprocess.run([compiler, "-shared", "-fPIC", "-O2", "-o", library, SOURCE, "-ldl"], check=True)
    made = Clock(tmp_path / "clock", library)
    made.show(0, True)
    return made


@contextlib.contextmanager
def watching(state: Path, clock: Clock, alone: Sequence[str] = ()) -> Iterator[subprocess.Popen[bytes]]:
    """The daemon, by that clock; `alone`: what takes its network away."""
    settings = [part for setting in SETTINGS for part in ("--set", setting)]
    line = [*alone, *command("watch", "--source", "synthetic:drizzle", *settings)]
    with subprocess.Popen(line, env=environment(state, **clock.environment), stderr=subprocess.DEVNULL) as process:
        try:
            yield process
            process.terminate()
            assert process.wait(60) == 0
        finally:
            process.kill()


def status(state: Path) -> dict[str, Any]:
    """How it is; empty while it does not answer."""
    with contextlib.suppress(GanderError):
        found: dict[str, Any] = ask(state, "status")
        return found
    return {}


def events(state: Path) -> list[dict[str, Any]]:
    with contextlib.suppress(GanderError), reader(state / EVENTS) as connection:
        return [body for _, body in events_after(connection, 0, 10**6)]
    return []


def of(state: Path, type_: str) -> list[dict[str, Any]]:
    return [event for event in events(state) if event["type"] == type_]


def walls(state: Path) -> list[str]:
    with reader(state / EVENTS) as connection:
        return [row[0] for row in connection.execute("SELECT wall FROM picture ORDER BY id")]


def more(count: Callable[[], int], by: int = 1) -> None:
    """Wait until there are more."""
    before = count()
    until(lambda: count() >= before + by, LONG_S)


@pytest.fixture
def alone() -> Sequence[str]:
    """What takes a command's network away, the loopback too."""
    line = ["unshare", "-n", "--"]
    if not shutil.which("unshare") or subprocess.run([*line, "true"], capture_output=True, check=False).returncode:
        pytest.skip("taking a network away needs root and unshare (apt-get install util-linux)")
    return line


def test_no_clock_no_broker_no_internet_from_boot(
    tmp_path: Path, clock: Clock, broker: Mosquitto, ear: Ear, alone: Sequence[str]
) -> None:
    state = tmp_path / "state"
    clock.show(-100 * DAY_S, False)
    kept = broker.folder / "mosquitto.db"
    until(lambda: kept.exists() and b"gander/#" in kept.read_bytes(), LONG_S)  # what the ear wants outlives the kill
    broker.kill()
    with watching(state, clock, alone):
        until(lambda: bool(of(state, "action")) and bool(walls(state)), LONG_S)
    with watching(state, clock, alone):  # another process of the same boot
        until(lambda: len(of(state, "action")) >= 3, LONG_S)
        publish = feed(state, broker.port, broker.password("dev"), more=clock.environment)
        try:
            _alone(state)
            clock.show(0, True)
            broker.start()
            _caught_up(state, ear)
            ended(publish)
        finally:
            publish.kill()
            publish.wait()


def _alone(state: Path) -> None:
    """What works is done, what does not holds and says why."""
    actions = of(state, "action")
    assert {action["deterrent"] for action in actions} == {"light"}
    assert not any(action["clock_ok"] for action in actions)
    assert any("clock_unknown" in str(action["decided"]["held"].get("siren")) for action in actions), actions
    until(lambda: any("clock is not set" in problem["what"] for problem in status(state)["problems"]), LONG_S)
    until(lambda: bool(walls(state)), LONG_S)
    ask(state, "label", visit="last", label="jay")
    until(lambda: place(state) is not None, LONG_S)
    more(lambda: len(events(state)))
    until(lambda: status(state)["publishers"].get("mqtt", {}).get("waiting", 0) > 0, LONG_S)


def _caught_up(state: Path, ear: Ear) -> None:
    """The clock is set and the broker there: all is told, and nothing young is deleted."""
    until(lambda: status(state)["clock_known"], LONG_S)
    began = [event["id"] for event in events(state) if not event["clock_ok"]]
    more(lambda: len(of(state, "visit")))
    until(lambda: not any("clock is not set" in problem["what"] for problem in status(state)["problems"]), LONG_S)
    said = ask(state, "prune", timeout_s=LONG_S)
    assert "nothing was due" in said, said
    assert {event["id"] for event in events(state)} >= set(began), "they are younger than they look"
    until(lambda: min(walls(state)) > time.strftime("%Y-%m-%d", time.gmtime(time.time() - 2 * DAY_S)), LONG_S)
    last = events(state)[-1]["id"]
    until(lambda: last in arrived(ear), LONG_S)
    told = arrived(ear)
    owed = [event["id"] for event in events(state)]
    assert owed[owed.index(told[0]) : owed.index(last) + 1] == told[: told.index(last) + 1], "in order, none missing"
    assert set(told) & set(began), "also what happened meanwhile"


def test_a_network_gone_for_half_a_day_leaves_the_clock_known(tmp_path: Path, clock: Clock) -> None:
    state = tmp_path / "state"
    clock.show(0, SILENT)
    with watching(state, clock):  # a process that never saw it synchronised
        until(lambda: bool(status(state)), LONG_S)
        assert status(state)["clock_known"]
        clock.show(-100 * DAY_S, False)  # somebody set it by hand
        until(lambda: not status(state)["clock_known"], LONG_S)
        clock.show(0, True)
        until(lambda: status(state)["clock_known"], LONG_S)
        clock.show(0, SILENT)
        more(lambda: status(state)["frames"], 60)  # the kernel is asked once a second
        assert status(state)["clock_known"]


def in_order(told: Sequence[dict[str, Any]]) -> list[str]:
    """Ids. The time of a visit is that of its last sight; a command has the clock and the ids of who was asked."""
    return [event["id"] for event in told if event["type"] not in ("visit", "command")]


def test_a_clock_set_back_a_day_while_it_runs(tmp_path: Path, clock: Clock) -> None:
    """And a process frozen meanwhile."""
    state = tmp_path / "state"
    with watching(state, clock) as watch:
        until(lambda: len(of(state, "action")) >= 2, LONG_S)
        until(lambda: bool(walls(state)), LONG_S)
        clock.show(-DAY_S, True)
        jumped = len(in_order(events(state)))
        until(lambda: len(of(state, "action")) >= 4, LONG_S)
        assert "nothing was due" in ask(state, "prune", timeout_s=LONG_S)
        watch.send_signal(signal.SIGSTOP)
        frozen = len(of(state, "action"))
        time.sleep(3.0)
        watch.send_signal(signal.SIGCONT)
        until(lambda: len(of(state, "action")) > frozen, LONG_S)
        assert status(state)["journal"]["dropped"] == 0
    # One that a pause of this machine made too old was not carried out, and the next picture gives the next.
    actions = [a for a in of(state, "action") if a["deterrent"] == "light" and a["action"]["acknowledged"]]
    gaps = [after["media_time"] - before["media_time"] for before, after in pairwise(actions)]
    assert min(gaps) >= 0.999, "no cool-down is cut short by a clock that jumps, nor by waking up"
    told = events(state)
    assert len({event["id"] for event in told}) == len(told)
    ids = in_order(told)
    back = [number for number, (before, after) in enumerate(pairwise(ids), 1) if after < before]
    assert len(back) == 1, "they are in order but where the clock was set back"
    assert abs(back[0] - jumped) <= 10
    up = [event["boot_s"] for event in told if "boot_s" in event]
    assert all(after > before - 0.5 for before, after in pairwise(up)), (
        "the uptime in each says in what order they came"
    )
