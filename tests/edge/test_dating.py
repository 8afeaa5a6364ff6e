"""Pictures from before the clock was set: dated right once it is, and not deleted as old."""

from __future__ import annotations

import shutil
import tempfile
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edge import retention
from edge.clock import Ids, ReplayClock, Uptime, iso
from edge.dating import Dating
from edge.journal import Journal
from edge.values import Event
from tests.edge.shelf import NOW, Shelf


@dataclass
class Machine:
    """One whose clock somebody sets, that is restarted, and what it keeps of a moment."""

    journal: Journal
    truth: datetime = NOW
    off: timedelta = field(default_factory=timedelta)
    up: Uptime = field(default_factory=lambda: Uptime("boot0", 0.0))
    set_: bool = False
    taken: dict[str, tuple[datetime, str]] = field(default_factory=dict)
    ids: Ids = field(default_factory=Ids)

    def wall(self, media_time: float) -> datetime:
        return self.truth + self.off

    def known(self) -> bool:
        return self.set_

    def uptime(self) -> Uptime:
        return self.up

    def later(self, seconds: float) -> None:
        self.truth += timedelta(seconds=seconds)
        self.up = Uptime(self.up.boot, self.up.seconds + seconds)

    def cut(self, seconds: float) -> None:
        """No power for so long. Without a battery the clock goes on from where it was."""
        self.truth += timedelta(seconds=seconds)
        self.off -= timedelta(seconds=seconds)
        self.up = Uptime(f"boot{int(self.up.boot[4:]) + 1}", 3.0)

    def moment(self, visit: str, at: datetime | None = None) -> str:
        """A picture and its event. Returns the picture's id."""
        at = at or self.wall(0.0)
        id_, event = self.ids.new(at), self.ids.new(at)
        row = id_, f"x/{id_}.jpg", "", 10, "crop", visit, None, iso(at), "cam", 0
        body: dict[str, Any] = {"id": event, "type": "action", "wall": iso(at), "clock_ok": self.set_}
        body |= {"boot": self.up.boot, "boot_s": self.up.seconds, "visit": {"id": visit}}
        self.journal.event(Event(event, "action", body))
        self.journal.write(retention.INSERT, *row)
        self.taken[id_] = self.truth, self.up.boot
        return id_

    def pictures(self) -> dict[str, str]:
        self.journal.settle()
        with retention.open_books(self.journal.state) as books:
            return dict(books._ask("SELECT id, wall FROM picture").fetchall())


def mend(machine: Machine) -> None:
    """What retention does, by a process that knows nothing of any earlier one."""
    machine.journal.settle()
    dating = Dating(machine.journal, machine, machine.uptime)
    while dating.mend():
        machine.journal.settle()
    assert dating.pending != machine.set_
    machine.journal.settle()


steps = st.one_of(
    st.tuples(st.just("moment"), st.integers(0, 9000)),
    st.tuples(st.just("set wrongly"), st.integers(-(10**7), 10**7)),
    st.tuples(st.just("cut"), st.integers(60, 10**7)),
    st.tuples(st.just("set"), st.just(0)),
)


@settings(max_examples=12, deadline=None)
@given(st.lists(steps, max_size=12))
def test_every_picture_of_this_boot_gets_the_time_it_was_taken_at(story: list[tuple[str, int]]) -> None:
    state = Path(tempfile.mkdtemp())
    journal = Journal(state)
    try:
        machine = Machine(journal)
        for number, (what, by) in enumerate(story):
            machine.later(20.0)
            if what == "moment":
                machine.later(by)
                machine.moment(f"v{number}")
            elif what == "cut":
                machine.cut(by)
                machine.set_ = False
            else:
                machine.off, machine.set_ = timedelta(seconds=by), what == "set"
            held = machine.pictures()
            mend(machine)
            found = machine.pictures()
            for id_, (truth, boot) in machine.taken.items():
                wrong = abs(datetime.fromisoformat(found[id_]) - truth) >= timedelta(seconds=10)
                assert not (machine.set_ and boot == machine.up.boot and wrong)
                assert found[id_] == held[id_] or boot == machine.up.boot, "of another boot nobody knows"
    finally:
        journal.close()
        shutil.rmtree(state)


def test_what_was_dated_right_before_a_power_cut_stays_as_it_is(tmp_path: Path) -> None:
    """The clock goes on shortly before the cut, so that moments before and after it bear the same times."""
    machine = Machine(Journal(tmp_path), set_=True)
    before = [machine.moment("v0")]
    machine.later(300.0)
    before.append(machine.moment("v0"))
    held = machine.pictures()
    machine.cut(86400.0 * 90)
    machine.set_, machine.off = False, machine.off - timedelta(seconds=400)
    for _ in range(5):
        machine.later(60.0)
        machine.moment("v1")
    machine.off, machine.set_ = timedelta(), True
    mend(machine)
    found = machine.pictures()
    assert [found[id_] for id_ in before] == [held[id_] for id_ in before]
    assert [found[id_] for id_ in machine.taken if id_ not in before] == [
        iso(truth) for truth, boot in machine.taken.values() if boot == "boot1"
    ]
    machine.journal.close()


def test_many_are_mended_and_other_events_are_between(tmp_path: Path) -> None:
    machine = Machine(Journal(tmp_path), off=-timedelta(days=90))
    for number in range(700):
        machine.later(1.0)
        if number % 300 == 0:
            machine.journal.settle()
        machine.moment(f"v{number}")
    for text in ('{"clock_ok":false,"who":"me"}', '{"boot":"boot0", cut', '{"boot":"boot0"}'):
        sql = "INSERT INTO event (id, type, wall, visit_id, json) VALUES (?, 'command', ?, 'v7', ?)"
        machine.journal.write(sql, machine.ids.new(NOW), iso(machine.wall(0.0)), text)
    machine.off, machine.set_ = timedelta(), True
    mend(machine)
    assert machine.pictures() == {id_: iso(truth) for id_, (truth, _) in machine.taken.items()}
    machine.journal.close()


def test_one_that_was_taken_before_and_saved_after_the_clock_was_set(tmp_path: Path) -> None:
    machine = Machine(Journal(tmp_path), off=-timedelta(days=100))
    dating, wall = Dating(machine.journal, machine, machine.uptime), machine.wall(0.0)
    assert dating.right(wall, 0.5) == wall, "nobody knows yet"
    machine.off, machine.set_ = timedelta(), True
    machine.later(3.0)
    assert dating.right(wall, 3.0) == NOW
    assert dating.right(machine.wall(0.0), 0.0) == machine.wall(0.0)
    machine.journal.close()


def test_a_replay_has_a_time_of_its_own(tmp_path: Path) -> None:
    journal = Journal(tmp_path)
    dating = Dating(journal, ReplayClock())
    assert not dating.mend()
    assert dating.right(NOW, 7.0) == NOW
    journal.close()


def test_what_is_young_stays_when_the_clock_is_set(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(retention, "_SETTLE_S", 30.0)  # the card of a test machine may take seconds
    shelf = Shelf(tmp_path)
    machine = Machine(shelf.journal, off=-timedelta(days=100))
    shelf.retention._clock = machine
    shelf.retention.dating = Dating(shelf.journal, machine, machine.uptime)
    young, wall = [], machine.wall(0.0)
    for person in (0, 1):
        visit = shelf.ids.new(wall)
        young.append(shelf.picture((NOW - wall) / timedelta(hours=1), visit, person=person))
        body = {"wall": iso(wall), "clock_ok": False, "boot": "boot0", "boot_s": 0.0, "visit": {"id": visit}}
        shelf.journal.event(Event(visit, "action", body))
    old = shelf.picture(24 * 131)
    machine.later(3600.0)
    assert shelf.prune().pictures == 1, "older than what the clock says"
    machine.off, machine.set_ = timedelta(), True
    assert not shelf.prune()
    assert [path.exists() for path in (*young, old)] == [True, True, False]
    assert shelf.rows("SELECT wall FROM picture") == [iso(NOW)] * 2
    machine.later(86400.0 * 31)
    assert shelf.prune().pictures == 2
    shelf.journal.close()
