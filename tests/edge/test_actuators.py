"""Orders to the output, the same for the pin guard and for a Pico's firmware: both run here, and are broken here."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from edge.actuators import Actuator
from edge.actuators.dry import Dry
from edge.bench_faults import Changes, lit_s
from edge.bench_host import Tap
from edge.config import DeterrentConfig
from edge.values import Order
from tests.beds import KINDS, Rig, children, history
from tests.conftest import ROOT
from tests.daemon import stall_ms as stall_ms

LIGHT = DeterrentConfig(rest_ms=100)
SIREN = DeterrentConfig(id="siren", kind="siren", channel=1, pin=18, rest_ms=100, on_ms=300, count=1)
NEVER = 1 << 62

HOST = """
import sys, time
from pathlib import Path
from edge.config import DeterrentConfig
from edge.values import Order
from tests.beds import Rig
rigs = [Rig(kind, Path(sys.argv[1]) / kind, [DeterrentConfig(rest_ms=100)]) for kind in sys.argv[2:]]
for rig in rigs:
    rig.ready()
print(*[rig.bed.pid for rig in rigs], flush=True)
print(*[rig.fire(Order("a", "light", 0, 5000, 0, 1, 1 << 62)).result for rig in rigs], flush=True)
was = [True for _ in rigs]
while True:
    for number, rig in enumerate(rigs):
        rig.controller.beat()
        if was[number] is not rig.controller.ready():
            was[number] = not was[number]
            print(rig.bed.kind, "ready" if was[number] else "lost", rig.controller.restarts, flush=True)
    time.sleep(0.02)
"""


def order(on_ms: int = 100, off_ms: int = 0, count: int = 1, channel: int = 0, expires_ns: int = NEVER) -> Order:
    return Order("an-id", "light", channel, on_ms, off_ms, count, expires_ns)


@pytest.fixture(params=KINDS)
def rig(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Rig]:
    made = Rig(request.param, tmp_path, [LIGHT, SIREN])
    try:
        made.ready()
        yield made
    finally:
        made.close()


def test_they_are_actuators(rig: Rig) -> None:
    actuators: list[Actuator] = [rig.controller, Dry([LIGHT])]
    assert [a.real for a in actuators] == [True, False]
    rig.eventually(lambda: all(a.ready() for a in actuators))


def test_a_pulse(rig: Rig) -> None:
    for _ in range(5):  # a controller that stands still in a pause or a flash shows one flash of two
        begun, before = len(rig.levels()), time.monotonic_ns()
        action = rig.fire(order(300, 100, 2))
        assert (action.result, action.pattern, action.on_ms) == ("on", "2x300/100", 600)
        assert before <= action.ordered_at_ns < action.acknowledged_at_ns <= time.monotonic_ns()
        acting, now_ns = rig.controller.acting_until_ns(), time.monotonic_ns()
        assert acting > action.acknowledged_at_ns or now_ns > action.acknowledged_at_ns + 700_000_000
        finished: list[tuple[str, int]] = []
        rig.eventually(lambda: finished.extend(rig.controller.finished()) or finished)  # noqa: B023
        [(name, on_ms)] = finished
        assert name == "an-id"
        assert rig.controller.finished() == []
        if rig.levels()[begun:] == [1, 0, 1, 0]:
            break
        time.sleep(0.2)  # it rests
    assert rig.levels()[begun:] == [1, 0, 1, 0]
    assert on_ms > 300  # both flashes; a busy machine begins one late, and ends it in time
    assert rig.levels(1) == [0]
    assert rig.controller.acting_until_ns() == 0


def test_two_deterrents_at_once(rig: Rig) -> None:
    assert [rig.fire(order(300, channel=channel)).result for channel in (0, 1)] == ["on", "on"]
    rig.eventually(lambda: len(rig.controller.finished()) == 2 or rig.levels() == rig.levels(1) == [0, 1, 0])
    for channel in (0, 1):
        assert 0.1 < rig.lit_s(channel)[0] < 4.9


def test_what_is_not_carried_out(rig: Rig) -> None:
    assert rig.controller.fire(order(expires_ns=time.monotonic_ns())).result == "expired"
    assert rig.controller.fire(order(channel=5)).result == "refused: channel"
    refused = rig.fire(order(4000, 0, 2))
    assert (refused.result, refused.acknowledged_at_ns, refused.on_ms) == ("refused: pattern", 0, 0)
    assert rig.controller.refused >= 2  # of orders that came late, too
    assert rig.levels() == [0]


def test_off(rig: Rig) -> None:
    assert rig.fire(order(5000)).result == "on"
    rig.controller.off()
    rig.eventually(lambda: rig.levels() == [0, 1, 0])
    rig.eventually(lambda: rig.controller.acting_until_ns() == 0)
    assert rig.lit_s()[0] < 4.9, "by the word: the loop's heart beats on"


def test_close_is_off(rig: Rig) -> None:
    ours = children(os.getpid())
    assert rig.fire(order(5000)).result == "on"
    rig.controller.close()
    rig.eventually(lambda: rig.levels() == [0, 1, 0])
    assert any(b" ARM 0 *" in line for line in rig.taps[-1].sent), "by the word, not by silence"
    assert rig.lit_s()[0] < 4.9
    assert rig.controller.fire(order()).result == "no controller"
    rig.bed.close()
    assert not [pid for pid in ours if Path(f"/proc/{pid}").exists()]


def test_a_dead_controller_comes_back_and_nothing_fires(rig: Rig) -> None:
    assert rig.fire(order(5000)).result == "on"
    rig.bed.strike(signal.SIGKILL, rig.bed.pid)
    rig.eventually(lambda: rig.controller.restarts and rig.controller.ready())
    # The recording pin of the dead one stays as it was; the successor opens its own, off.
    assert rig.levels() == [0, 1, 0]
    assert rig.controller.acting_until_ns() == 0
    assert rig.fire(order(20)).result in ("on", "refused: rest"), "it rests when it has started"


@pytest.fixture(scope="module")
def both(tmp_path_factory: pytest.TempPathFactory) -> Iterator[list[Rig]]:
    """A guard and a firmware that outlive a test: each must leave them as they were, well and dark."""
    rigs = [Rig(kind, tmp_path_factory.mktemp(kind), [LIGHT]) for kind in KINDS]
    try:
        for rig in rigs:
            rig.ready()
        yield rigs
    finally:
        for rig in rigs:
            rig.close()


def test_frozen_controllers(tmp_path: Path) -> None:
    rigs = [Rig(kind, tmp_path, [LIGHT], patience_ms=200) for kind in KINDS]
    try:
        for rig in rigs:
            rig.ready()
            os.kill(rig.bed.pid, signal.SIGSTOP)
            assert rig.controller.fire(order(5000)).result == "silent"
            assert rig.controller.acting_until_ns() > time.monotonic_ns(), "it may still come"
        for rig in rigs:
            rig.eventually(lambda rig=rig: rig.controller.restarts or "answer" in rig.controller.trouble)  # type: ignore[misc]
        os.kill(rigs[1].bed.pid, signal.SIGCONT)  # a guard is replaced, a Pico has its watchdog
        for rig in rigs:
            rig.eventually(lambda rig=rig: rig.controller.restarts and rig.controller.ready())  # type: ignore[misc]
            assert set(rig.levels()) == {0}, "the order was not carried over"
    finally:
        for rig in rigs:
            rig.close()


@pytest.fixture
def pulsing(both: list[Rig]) -> Callable[[int], list[Callable[[], list[int]]]]:
    """Starts a pulse on each of `both`; returns for each what its output did since."""

    def begin(on_ms: int) -> list[Callable[[], list[int]]]:
        before = [len(rig.levels()) for rig in both]
        for rig in both:
            rig.eventually(lambda rig=rig: rig.controller.ready() and rig.controller.fire(order(on_ms)).result == "on")  # type: ignore[misc]
        return [lambda rig=rig, n=n: rig.levels()[n:] for rig, n in zip(both, before, strict=True)]  # type: ignore[misc]

    return begin


def test_a_hung_loop_is_silence(
    both: list[Rig], pulsing: Callable[[int], list[Callable[[], list[int]]]], stall_ms: Callable[[], float]
) -> None:
    since = pulsing(5000)
    for rig, levels in zip(both, since, strict=True):  # without a beat
        rig.eventually(lambda levels=levels: levels() == [1, 0], beating=False)  # type: ignore[misc]
        assert rig.lit_s()[-1] < 4.5 + stall_ms() / 1000
        assert not rig.controller.ready()
    for rig, levels in zip(both, since, strict=True):
        rig.eventually(rig.controller.ready)
        assert levels() == [1, 0], "nothing fires by itself"


@pytest.mark.parametrize(
    ("fault", "answer"),
    [
        ("noise", "NO 0 garbage"),
        ("garbage", "NO 0 garbage"),
        ("half", "NO 0 garbage"),
        ("checksum", "NO 0 garbage"),
        ("replay", " replay"),
        ("session", " session"),
        ("future", " future"),
        ("long", " pattern"),
        ("verb", " verb"),
        ("protocol", " session"),
    ],
)
def test_what_comes_along_the_wire_lengthens_nothing(
    both: list[Rig], pulsing: Callable[[int], list[Callable[[], list[int]]]], fault: str, answer: str
) -> None:
    since, restarts = pulsing(150), [rig.controller.restarts for rig in both]
    for rig in both:
        rig.taps[-1].heard, stray = b"", rig.taps[-1].stray(fault)
        rig.taps[-1].wire.send(stray)
    for rig, levels in zip(both, since, strict=True):
        rig.eventually(lambda rig=rig: answered(rig.taps[-1], fault, answer))  # type: ignore[misc]
        rig.eventually(lambda levels=levels: levels() == [1, 0])  # type: ignore[misc]
        assert rig.lit_s()[-1] < 4.9, "a pulse of 5 s did not take its place"
    for rig, levels in zip(both, since, strict=True):
        rig.eventually(rig.controller.ready)  # it heals by itself
        assert levels() == [1, 0], "and nothing fires by itself"
    assert [rig.controller.restarts for rig in both] == restarts


def answered(tap: Tap, fault: str, answer: str) -> bool:
    """Whether it did; what was old when it came, since the machine stood still, is said anew."""
    if fault == "long" and b" old *" in tap.heard and b"OK " in tap.heard:
        tap.heard, stray = b"", tap.stray(fault)
        tap.wire.send(stray)
    return answer.encode() + b" *" in tap.heard


def test_orders_delivered_seconds_late(
    both: list[Rig], pulsing: Callable[[int], list[Callable[[], list[int]]]]
) -> None:
    since = pulsing(50)
    late = [rig.taps[-1].stray("late") for rig in both]
    time.sleep(0.6)
    for rig, line in zip(both, late, strict=True):
        rig.taps[-1].wire.send(line)
    for rig, levels in zip(both, since, strict=True):
        rig.eventually(lambda rig=rig: b" old *" in rig.taps[-1].heard)  # type: ignore[misc]
        rig.eventually(rig.controller.ready)  # that number was used up: it counts on from there
        assert levels() == [1, 0]


class Hosts:
    """A host of its own that has a guard and a firmware in mid-pulse of 5 s."""

    def __init__(self, folder: Path) -> None:
        self._folders = {kind: folder / kind for kind in KINDS}
        for made in self._folders.values():
            made.mkdir()
        command = [sys.executable, "-c", HOST, str(folder), *KINDS]
        self.process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True)
        self.pids = [int(word) for word in self.line().split()]
        assert self.line() == "on on"

    def line(self) -> str:
        assert self.process.stdout
        return self.process.stdout.readline().strip()

    def changes(self) -> list[Changes]:
        return [history(kind, folder) for kind, folder in self._folders.items()]

    def dark(self) -> bool:
        return all([level for _, level in changes] == [0, 1, 0] for changes in self.changes())

    def lit_s(self) -> float:
        return max(s for changes in self.changes() for s in lit_s(changes))

    def close(self) -> None:
        self.process.kill()
        self.process.communicate()
        for pid in self.pids:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)


@pytest.fixture
def hosts(tmp_path: Path) -> Iterator[Hosts]:
    made = Hosts(tmp_path)
    yield made
    made.close()


def until(true: Callable[[], object]) -> None:
    end = time.monotonic() + 15
    while not true():
        assert time.monotonic() < end
        time.sleep(0.01)


def test_a_stopped_host(hosts: Hosts) -> None:
    hosts.process.send_signal(signal.SIGSTOP)
    until(hosts.dark)
    assert hosts.lit_s() < 4.9
    hosts.process.send_signal(signal.SIGCONT)
    said: set[str] = set()
    while sum("ready" in line for line in said) < 2:  # a busy machine loses and finds them once more
        said.add(hosts.line())
    assert said == {"guard lost 0", "guard ready 0", "serial lost 0", "serial ready 0"}, "they are the same"
    time.sleep(0.3)
    assert hosts.dark(), "nothing fires by itself"


def test_a_killed_host(hosts: Hosts) -> None:
    guard = hosts.pids[0]
    assert os.getsid(guard) == guard != os.getsid(hosts.process.pid), "Ctrl-C at its terminal does not reach the guard"
    hosts.process.kill()
    until(hosts.dark)
    assert hosts.lit_s() < 4.9
    until(lambda: not alive(guard))


def alive(pid: int) -> bool:
    """A zombie that nobody collects is not."""
    try:
        return "\nState:\tZ" not in Path(f"/proc/{pid}/status").read_text()
    except OSError:
        return False


@pytest.mark.parametrize("kind", KINDS)
def test_no_more_than_the_hour_allows(kind: str, tmp_path: Path) -> None:
    light = DeterrentConfig(rest_ms=100, hour_s=1.0, count=1)
    rig = Rig(kind, tmp_path, [light])
    try:
        rig.ready()
        results = []
        while len(results) < 40 and results[-1:] != ["refused: duty"]:
            time.sleep(0.05)  # it rests
            results.append(rig.controller.fire(order(300)).result)
            rig.eventually(lambda: rig.levels()[-1] == 0)
        assert results[-1] == "refused: duty"
        lit = rig.lit_s()
        measured = 0.05
        assert sum(lit) + 0.3 > 1.0 - measured, "what an hour has left is not refused"
        assert sum(lit[:-1]) + 0.3 < 1.0 + measured, "and nothing was allowed that it has not"
    finally:
        rig.close()


@pytest.mark.parametrize("kind", KINDS)
def test_every_deterrent_disabled(kind: str, tmp_path: Path) -> None:
    off = [LIGHT.model_copy(update={"enabled": False})]
    rig = Rig(kind, tmp_path, off)
    try:
        rig.ready()
        assert rig.controller.fire(order()).result == "refused: channel"
        assert set(rig.levels()) <= {0}
    finally:
        rig.close()


def test_dry_remembers_and_refuses() -> None:
    dry = Dry([LIGHT])
    action = dry.fire(order(200, 100, 2))
    assert (action.result, action.on_ms) == ("on", 400)
    assert action.ordered_at_ns == action.acknowledged_at_ns
    assert 0 < dry.acting_until_ns() - action.ordered_at_ns <= 500_000_000
    assert dry.fire(order(expires_ns=1)).result == "expired"
    assert dry.fire(order(channel=4)).result == "refused: channel"
    assert dry.fire(order(3000, 0, 2)).result == "refused: pattern"
    assert dry.refused == 3
    assert [action.result.partition(":")[0] for _, action in dry.orders] == ["on", "expired", "refused", "refused"]
    dry.off()
    assert dry.acting_until_ns() == 0
    for _ in range(2000):
        dry.fire(order())
    assert len(dry.orders) == 1000
