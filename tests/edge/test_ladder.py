"""The ladder for a stuck camera: when a step is due, and that no budget is exceeded whatever happens."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from edge.climb import FILE, REQUEST, Climber, load
from edge.clock import Uptime, uptime
from edge.config import HealthConfig
from edge.errors import CameraStuck, StateError
from edge.health import problems
from edge.ladder import LONGEST_TURN_S, REBOOT_APART_S, REBOOTS_IN_S, RESTARTS_IN_S, Ladder, Past, Rules, Step
from edge.reboot import MOST
from tests.edge.test_health import but

RULES = Rules(after_s=600.0, restarts=2, reboots=3)
TURN_S = 5.0


class Machine:
    """Ladders one after the other on one disk, through restarts and reboots."""

    def __init__(self, rules: Rules = RULES, local: tuple[str, ...] = ("cam",), reboots: bool = True) -> None:
        self.rules, self.local, self.reboots = rules, local, reboots
        self.boot, self.now_s, self.disk = 1, 20.0, Past()
        self.start()

    @property
    def now(self) -> Uptime:
        return Uptime(f"boot{self.boot}", self.now_s)

    def start(self) -> None:
        self.ladder = Ladder(self.rules, self.disk, self.now, self.local, self.reboots)
        self.count = dict.fromkeys(self.local, 0)

    def reboot(self) -> None:
        self.boot, self.now_s = self.boot + 1, 20.0
        self.start()

    def run(self, seconds: float, works: tuple[str, ...] = (), turn_s: float = TURN_S) -> Step | None:
        """Look every few seconds for so long; the first step that is due, taken and obeyed."""
        end = self.now_s + seconds
        while self.now_s < end:
            self.now_s += turn_s
            for camera in works:
                self.count[camera] = self.count.get(camera, 0) + 1
            if step := self.ladder.look(self.now, self.count):
                self.disk = self.ladder.take(step)
                if step == "restart":
                    self.start()
                else:
                    self.reboot()
                return step
        self.disk = self.ladder.past
        return None


def test_a_camera_that_hangs_is_climbed_for_rung_by_rung() -> None:
    machine = Machine()
    assert machine.run(3600, works=("cam",)) is None
    assert machine.run(RULES.after_s - 2 * TURN_S) is None, "opening it again may still help"
    assert machine.run(3 * TURN_S) == "restart"
    assert machine.run(RULES.after_s - 2 * TURN_S) is None
    assert machine.run(3 * TURN_S) == "restart"
    assert machine.run(RULES.after_s + TURN_S) == "reboot"
    assert machine.run(48 * 3600) is None, "it never worked in this boot: it is broken, and no reboot mends it"


def test_one_picture_at_each_opening_ends_no_silence() -> None:
    """A driver that gives one, then hangs: it is opened again after half a minute, for ever."""
    machine = Machine()
    machine.run(60, works=("cam",))
    for _ in range(round(RULES.after_s / 30) - 1):
        assert machine.run(30) is None
        assert machine.run(TURN_S, works=("cam",)) is None
    assert machine.run(30) == "restart"


@pytest.mark.parametrize("every_s", [5.0, 9.0])
def test_a_slow_camera_works(every_s: float) -> None:
    machine = Machine()
    for look in range(2000):
        machine.now_s += TURN_S
        machine.count["cam"] = int(look * TURN_S / every_s)
        assert machine.ladder.look(machine.now, machine.count) is None


def test_one_that_is_back_in_the_last_moment_is_left_alone() -> None:
    machine = Machine()
    machine.run(60, works=("cam",))
    machine.run(RULES.after_s - TURN_S)
    assert machine.run(3600, works=("cam",)) is None


def test_what_a_restart_mends_is_not_rebooted_for() -> None:
    machine = Machine()
    machine.run(60, works=("cam",))
    assert machine.run(RULES.after_s + TURN_S) == "restart"
    assert machine.run(24 * 3600, works=("cam",)) is None
    assert machine.run(RULES.after_s + TURN_S) == "restart"


def test_no_more_reboots_may_be_set_than_are_ever_let_through() -> None:
    assert HealthConfig(reboots=MOST).reboots == MOST
    with pytest.raises(ValidationError):
        HealthConfig(reboots=MOST + 1)


def test_another_reboot_waits_for_six_hours() -> None:
    machine = Machine()
    for last in ("reboot", None):
        machine.run(60, works=("cam",))
        assert [machine.run(RULES.after_s + TURN_S) for _ in range(3)] == ["restart", "restart", last]
    assert machine.run(REBOOT_APART_S - 4 * RULES.after_s) is None
    assert machine.run(REBOOT_APART_S) == "reboot"


def test_three_reboots_in_a_week() -> None:
    machine, at = Machine(Rules(600.0, restarts=0, reboots=3)), []
    for _ in range(4):
        machine.run(60, works=("cam",))
        assert machine.run(8 * 24 * 3600.0, turn_s=LONGEST_TURN_S) == "reboot"
        at.append(machine.disk.reboots[-1])
    assert at[1] - at[0] == pytest.approx(REBOOT_APART_S, abs=60)
    assert at[3] - at[0] == pytest.approx(REBOOTS_IN_S, abs=60)


@pytest.mark.parametrize(
    ("local", "works"),
    [((), ("door",)), (("cam",), ("door",))],
    ids=["network camera", "local camera that never gave a picture"],
)
def test_what_no_step_mends(local: tuple[str, ...], works: tuple[str, ...]) -> None:
    machine = Machine(local=local)
    assert machine.run(600, works=works) is None
    assert machine.run(48 * 3600) is None


def test_no_step_takes_a_camera_that_works_away() -> None:
    machine = Machine()
    machine.run(60, works=("cam", "door"))
    assert machine.run(24 * 3600, works=("door",)) is None
    assert machine.run(RULES.after_s + TURN_S) == "restart", "the other is silent too now"


def test_without_anybody_to_reboot_it_restarts_at_most() -> None:
    machine = Machine(reboots=False)
    machine.run(60, works=("cam",))
    assert [machine.run(RULES.after_s + TURN_S) for _ in range(4)] == ["restart", "restart", None, None]
    assert machine.run(RESTARTS_IN_S) == "restart"


def test_a_step_that_was_spent_in_vain_is_not_followed_by_the_next_at_once() -> None:
    machine = Machine()
    machine.run(60, works=("cam",))
    machine.run(RULES.after_s - TURN_S)
    machine.now_s += 2 * TURN_S
    assert machine.ladder.look(machine.now, machine.count) == "restart"
    machine.ladder.take("restart")  # counted, then its event could not be kept: the process goes on
    assert machine.run(RULES.after_s - 2 * TURN_S) is None


def test_a_process_that_was_frozen_has_not_waited() -> None:
    machine = Machine()
    machine.run(60, works=("cam",))
    machine.now_s += 3600.0
    assert machine.ladder.look(machine.now, machine.count) is None
    assert machine.run(RULES.after_s - LONGEST_TURN_S - 2 * TURN_S) is None


@dataclass
class Oracle:
    """What happened, by the machine's own running time, counted apart from the ladder."""

    age_s: float = 0.0
    steps: list[tuple[str, int, float]] = field(default_factory=list)

    def check(self, rules: Rules) -> None:
        for what, boot, at in self.steps:
            within = RESTARTS_IN_S if what == "restart" else REBOOTS_IN_S
            same = [
                then for other, where, then in self.steps
                if other == what and at - within < then <= at and (what == "reboot" or where == boot)
            ]  # fmt: skip
            assert len(same) <= (rules.restarts if what == "restart" else rules.reboots)
            if what == "reboot":
                assert all(then == at or at - then >= REBOOT_APART_S - 1e-3 for then in same)


TURNS = st.lists(
    st.tuples(
        st.sampled_from(["run", "works", "other works", "killed", "frozen", "power cut", "saved"]),
        st.floats(1.0, 40_000.0),
    ),
    max_size=60,
)


WORKS = {"works": "cam", "other works": "door"}


@settings(max_examples=150, deadline=None)
@given(TURNS, st.integers(0, 3), st.integers(0, 3), st.floats(60.0, 3600.0), st.booleans())
def test_no_budget_is_exceeded_whatever_happens(
    turns: list[tuple[str, float]], restarts: int, reboots: int, after_s: float, obeyed: bool
) -> None:
    rules = Rules(after_s, restarts, reboots)
    machine, oracle = Machine(rules, ("cam",)), Oracle()
    count = {"cam": 0, "door": 0}
    worked, quiet_s, came = False, 0.0, ""
    for what, seconds in turns:
        if what in ("killed", "power cut"):
            if what == "power cut":
                machine.reboot()
                worked = False
            machine.start()
            count = dict.fromkeys(count, 0)
            quiet_s = 0.0
            continue
        if what == "frozen":
            machine.now_s += seconds
            oracle.age_s += seconds
            continue
        if what == "saved":
            machine.disk = machine.ladder.past
            continue
        turn_s = max(seconds / 100, 5.0)
        for _ in range(int(seconds / turn_s)):
            machine.now_s += turn_s
            oracle.age_s += turn_s
            before, came = came, WORKS.get(what, "")
            if came:
                count[came] += 1
                worked = worked or came == "cam"
            quiet_s = 0.0 if came and came == before else quiet_s + turn_s  # one look with pictures ends no silence
            first = worked and "cam" not in machine.ladder.past.worked
            step = machine.ladder.look(machine.now, count)
            if first:
                machine.disk = machine.ladder.past  # as the climber does at once
            if step is None:
                continue
            assert worked, "a camera that never worked"
            assert quiet_s >= after_s, "a camera worked just now"
            oracle.steps.append((step, machine.boot, oracle.age_s))
            machine.disk = machine.ladder.take(step)
            quiet_s = 0.0
            if step == "restart":
                machine.start()
                count = dict.fromkeys(count, 0)
            elif obeyed:
                machine.reboot()
                count, worked = dict.fromkeys(count, 0), False
    oracle.check(rules)


class Told:
    """A journal that can refuse."""

    def __init__(self) -> None:
        self.events: list[str] = []
        self.full = False

    def tell(self, found: list[dict[str, str]]) -> None:
        self.events += [problem["what"] for problem in found]

    def settle(self) -> None:
        if self.full:
            raise StateError("the card is full")


HASTY = HealthConfig(service=True, climb_after_s=1.0, restarts=1, reboots=1)


def climber(state: Path, told: Told, config: HealthConfig = HASTY, local: tuple[str, ...] = ("cam",)) -> Climber:
    return Climber(config, state, local, told.tell, told.settle)


DARK = {"what": "camera yard sees nothing but black", "advice": "look"}


def stuck(monkeypatch: pytest.MonkeyPatch, made: Climber, seconds: float = 30.0, count: int = 5) -> None:
    """A camera that gave pictures, then none for so long by the machine's clock."""
    now = uptime()
    assert now
    for passed in range(0, int(seconds) + 1):
        monkeypatch.setattr("edge.climb.uptime", lambda passed=passed: Uptime(now.boot, now.seconds + passed))
        made.look({"cam": count}, [DARK])
    monkeypatch.setattr("edge.climb.uptime", uptime)


def test_budget_event_step_in_this_order(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    runtime = tmp_path / "run"
    runtime.mkdir()
    monkeypatch.setenv("RUNTIME_DIRECTORY", f"{runtime}:/elsewhere")
    told = Told()
    first = climber(tmp_path, told)
    first.check()
    stuck(monkeypatch, first)
    with pytest.raises(CameraStuck, match=r"camera cam: no picture for 1 s although it worked: Gander restarts itself"):
        first.check()
    assert told.events == [
        "camera cam: no picture for 1 s although it worked: Gander restarts itself (1 of 1 in 6 hours)",
        DARK["what"],
    ], "and what else is wrong is not forgotten"
    assert len(json.loads((tmp_path / FILE).read_text())["restarts"]) == 1
    assert not (runtime / REQUEST).exists()
    second = climber(tmp_path, told)
    stuck(monkeypatch, second, count=0)
    second.check()
    assert (runtime / REQUEST).read_text() == told.events[2] + "\n"
    assert "asks for a reboot (1 of 1 in 7 days)" in told.events[2]
    (runtime / REQUEST).unlink()
    third = climber(tmp_path, told)
    stuck(monkeypatch, third, 3000.0, count=0)
    third.check()
    assert (len(told.events), list(runtime.iterdir())) == (4, []), "all is spent"
    assert (third.status()["restarts"], third.status()["reboots"]) == (1, 1)


def test_what_cannot_be_told_or_remembered_is_not_done(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    told = Told()
    told.full = True
    made = climber(tmp_path, told)
    stuck(monkeypatch, made)
    made.check()
    assert made.status()["restarts"] == 0
    assert caplog.text.count("the card is full") == 1, "said once, not at every look"
    told.full = False
    monkeypatch.setattr("edge.climb.write_atomically", _refuse)
    stuck(monkeypatch, made)
    made.check()
    assert told.events == []


def _refuse(path: Path, data: bytes, mode: int = 0o644) -> None:
    raise OSError(28, "No space left on device")


def test_on_a_desk_nothing_climbs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    told = Told()
    made = climber(tmp_path, told, HASTY.model_copy(update={"service": False}))
    stuck(monkeypatch, made, 3000.0)
    made.check()
    assert (told.events, list(tmp_path.iterdir()), made.status()["climbs"]) == ([], [], False)


NO_TIME = '{"boot":"b","boot_s":1.0,"age_s":NaN,"worked":[],"restarts":[],"reboots":[]}'


@pytest.mark.parametrize("damage", ["", "{}", "[1]", "null", NO_TIME, "\x00" * 40])
def test_a_damaged_memory_counts_as_all_spent(tmp_path: Path, damage: str) -> None:
    (tmp_path / FILE).write_text(damage)
    now = Uptime("b", 1000.0)
    past = load(tmp_path / FILE, now)
    ladder = Ladder(RULES, past, now, ("cam",))
    ladder.look(now, {"cam": 3})
    assert ladder.next is None


def test_what_is_kept_comes_back_the_same(tmp_path: Path) -> None:
    past = Past("b", 12.5, 99.0, ("cam", "door"), (3.0, 4.0), (7.0,))
    (tmp_path / FILE).write_text(json.dumps(asdict(past)))
    assert load(tmp_path / FILE, Uptime("b", 20.0)) == past
    assert load(tmp_path / "other", Uptime("b", 20.0)) == Past()


def test_a_working_camera_costs_the_card_one_write_a_boot(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    writes: list[Path] = []
    monkeypatch.setattr("edge.climb.write_atomically", lambda path, data, mode=0: writes.append(path))
    made = climber(tmp_path, Told())
    for count in range(1, 500):
        made.look({"cam": count}, [])
    assert writes == [tmp_path / FILE]


def test_the_status_says_what_comes_next(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    config = HealthConfig(service=True, climb_after_s=3600.0)
    made = climber(tmp_path, Told(), config)
    made.look({"cam": 1}, [])
    assert made.status()["due"] == {}
    stuck(monkeypatch, made, 600.0, count=1)
    due: Mapping[str, object] = made.status()["due"]
    assert due == {"cam": {"step": "restart", "in_s": pytest.approx(3000, abs=LONGEST_TURN_S)}}
    silent = {"id": "cam", "trouble": "", "silent_s": 600.0}
    (problem,) = problems(but(cameras=[silent], ladder={"due": due}))
    assert problem.what == "camera cam gives no picture: nothing for 600 s"
    assert problem.advice.endswith("if that does not help, Gander restarts itself in 50 minutes")
