"""Limits over a restart: what the journal says of the past, whatever became of the clock meanwhile."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from edge.clock import Uptime, iso
from edge.config_file import load
from edge.journal import Journal
from edge.past import Now, past
from edge.policy import DAY_S
from edge.values import Event

CONFIG = load(None, [])
DAYS_10_YEARS = 3652.0
T = datetime(2026, 5, 1, 12, tzinfo=UTC)


@dataclass
class House:
    """A machine: `true` seconds go by, its clock says what it says, it is booted now and then."""

    journal: Journal
    wall: datetime = T
    known: bool = True
    boot: int = 1
    up: float = 1000.0
    number: int = 0

    def passes(self, seconds: float) -> None:
        self.up += seconds
        self.wall += timedelta(seconds=seconds)

    def jumps(self, days: float, known: bool = True) -> None:
        self.wall, self.known = self.wall + timedelta(days=days), known

    def reboots(self, off_s: float = 60.0, known: bool = True) -> None:
        """Off for so long; the clock goes on (a real-time clock)."""
        self.wall += timedelta(seconds=off_s)
        self.boot, self.up, self.known = self.boot + 1, 30.0, known

    def event(self, type_: str = "action", **facts: object) -> None:
        self.number += 1
        body: dict[str, object] = {"wall": iso(self.wall), "clock_ok": self.known, "replayed": False}
        body |= {"boot": f"boot{self.boot}", "boot_s": self.up}
        if type_ in ("action", "test_fire"):
            body["action"] = {"deterrent": "light", "result": "on"}
        self.journal.event(Event(f"e{self.number}", type_, body | facts))

    def ages(self) -> list[float]:
        """Of the actions that the limits still know after a restart now, oldest first."""
        self.journal.ask(lambda owner: None, 30.0)
        return [-acted.at for acted in past(self.journal.state, CONFIG, self.now()).acted]

    def person(self) -> float | None:
        self.journal.ask(lambda owner: None, 30.0)
        seen = past(self.journal.state, CONFIG, self.now()).person_seen
        return None if seen is None else -seen

    def now(self) -> Now:
        return Now(self.wall, self.known, Uptime(f"boot{self.boot}", self.up))


@pytest.fixture
def house(tmp_path: Path) -> Iterator[House]:
    journal = Journal(tmp_path)
    yield House(journal)
    journal.close()


def test_actions_and_tests_of_the_last_day_are_remembered(house: House) -> None:
    house.event()
    house.passes(DAY_S - 100)
    house.event("test_fire")
    house.event("action", action={"deterrent": "light", "result": "refused: rest"})
    house.event("action", replayed=True)
    house.passes(50)
    assert house.ages() == [DAY_S - 50, 50]
    house.passes(50)
    assert house.ages() == [100]


@pytest.mark.parametrize("days", [1.0, -1.0, 0.01, -0.01, DAYS_10_YEARS, -DAYS_10_YEARS])
@pytest.mark.parametrize("known", [True, False])
def test_in_one_boot_no_jump_of_the_clock_moves_the_limits(house: House, days: float, known: bool) -> None:
    house.event()
    house.passes(600)
    house.event()
    house.jumps(days, known)
    assert house.ages() == [600, 0]
    house.passes(60)
    house.event("visit")
    house.jumps(-days, known)
    house.passes(60)
    assert house.ages() == [720, 120]
    house.passes(DAY_S)
    assert house.ages() == []


def test_over_a_reboot_a_clock_that_is_set_is_believed(house: House) -> None:
    house.event()
    house.reboots(7200)
    assert house.ages() == [7200]
    house.reboots(DAY_S)
    assert house.ages() == []


@pytest.mark.parametrize("days", [1.0, -1.0, DAYS_10_YEARS, -DAYS_10_YEARS])
@pytest.mark.parametrize("before", [True, False])
def test_over_a_reboot_a_clock_that_is_not_set_lifts_no_limit_and_holds_none_for_ever(
    house: House, days: float, before: bool
) -> None:
    """Not set before the reboot, or after it: then only the time counts that the machine ran."""
    house.known = before
    house.event()
    house.passes(100)
    house.event("visit")
    house.reboots(7200, known=not before)
    house.jumps(days, known=not before)
    assert house.ages() == [130]
    house.passes(3500)
    assert house.ages() == [3630], "an hour's quota is free again"
    for _ in range(30):  # switched off every night, with one event a day
        house.passes(3600)
        house.event("suppressed")
        house.reboots(20 * 3600, known=False)
    assert house.ages() == [], "and a day's after a day of running"


def test_a_clock_set_right_again_frees_what_it_recorded_in_the_future(house: House) -> None:
    house.jumps(DAYS_10_YEARS)
    house.event()
    house.jumps(-DAYS_10_YEARS)
    assert house.ages() == [0]
    house.reboots()
    assert house.ages() == [30]
    house.passes(DAY_S)
    assert house.ages() == []


@pytest.mark.parametrize("body", ["{torn", "[]", "null", "1e999", '{"boot_s": NaN}', "[" * 5000])
def test_a_damaged_row_counts_as_an_action_of_just_then(house: House, body: str) -> None:
    house.event()
    sql = "INSERT INTO event (id, type, wall, visit_id, json) VALUES ('torn', 'action', ?, 'v', ?)"
    house.passes(10)
    house.journal.write(sql, iso(house.wall), body)
    house.passes(10)
    house.event()
    assert house.ages() == ([20, 0] if body.startswith("{b") or "NaN" in body else [20, 0, 0])


def test_a_person_is_remembered_whatever_the_clock_says(house: House) -> None:
    person = {"visit": {"id": "p", "kind": "person"}}
    assert house.person() is None
    house.event("visit_started", **person)
    house.passes(20)
    house.jumps(DAYS_10_YEARS)
    assert house.person() == 0.0, "whose end nobody wrote down may be there still"
    house.event("visit", **person)
    house.passes(20)
    house.jumps(-1.0)
    assert house.person() == pytest.approx(20.0)
    house.passes(200)
    assert house.person() == pytest.approx(220.0)


def test_without_a_name_for_the_boot_a_set_clock_counts(house: House) -> None:
    house.event(boot="", boot_s=0)
    house.passes(100)
    now = replace(house.now(), up=None)
    house.journal.ask(lambda owner: None, 30.0)
    assert [-a.at for a in past(house.journal.state, CONFIG, now).acted] == [100]
    assert [-a.at for a in past(house.journal.state, CONFIG, replace(now, known=False)).acted] == [0]


STEP = st.tuples(
    st.sampled_from(["action", "visit", "passes", "jumps", "reboots", "clock"]),
    st.sampled_from([0.0, 1.0, 1800.0, 3600.0, 86400.0, 864000.0, 3.2e8]),
    st.booleans(),
)


@pytest.mark.timeout(600)  # some hundred syncs
@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(STEP, max_size=20))
def test_no_action_is_ever_thought_older_than_it_is(
    tmp_path_factory: pytest.TempPathFactory, steps: list[tuple[str, float, bool]]
) -> None:
    """Whatever happens to the clock, as long as one that says it is set is right."""
    journal, true_s, acted = Journal(tmp_path_factory.mktemp("house")), 0.0, list[float]()
    house = House(journal)
    for what, seconds, known in steps:
        if what in ("action", "visit"):
            house.event(what)
            acted += [true_s] if what == "action" else []
        elif what == "jumps":
            house.jumps((1 if known else -1) * seconds / 86400, known=False)
        elif what == "clock":
            house.wall, house.known = T + timedelta(seconds=true_s), True
        else:
            true_s += seconds
            (house.reboots if what == "reboots" else house.passes)(seconds)
            if what == "reboots":
                true_s += house.up
                house.wall, house.known = T + timedelta(seconds=true_s if known else seconds), known
    ages = house.ages()
    journal.close()
    really = [true_s - at for at in acted]
    recent = [age for age in really if age < DAY_S][-CONFIG.policy.per_day :]
    assert len(ages) >= len(recent)
    assert all(said <= age + 0.01 for said, age in zip(ages[len(ages) - len(recent) :], recent, strict=True))
