"""Pictures from before the clock was set: dated right once it is, and not deleted as old."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from edge import retention
from edge.clock import ReplayClock, iso
from edge.dating import MEND, Dating
from tests.edge.test_retention import NOW, Shelf


@dataclass
class Hand:
    """A clock that somebody sets, and the machine's uptime beside it."""

    begin: datetime
    up: float = 0.0
    set_: bool = False
    off: timedelta = field(default_factory=timedelta)

    def wall(self, media_time: float) -> datetime:
        return self.begin + self.off + timedelta(seconds=self.up)

    def known(self) -> bool:
        return self.set_

    def uptime(self) -> float:
        return self.up


@given(
    st.lists(
        st.tuples(st.integers(1, 9000), st.integers(-(10**7), 10**7), st.sampled_from(["a", "b"])),
        min_size=1,
        max_size=8,
    )
)
def test_every_picture_gets_the_time_it_was_taken_at(story: list[tuple[int, int, str]]) -> None:
    clock = Hand(datetime(2026, 9, 1, tzinfo=UTC))
    dating, rows = Dating(clock, clock.uptime), []
    for later, off, camera in story:  # somebody sets it wrongly before each
        clock.up += later
        clock.off = timedelta(seconds=off)
        rows.append((camera, clock.wall(0.0), clock.begin + timedelta(seconds=clock.up)))
        dating.taken(camera, clock.wall(0.0), clock.up)
    assert dating.due() is None, "nobody knows yet"
    clock.set_, clock.off = True, timedelta()
    clock.up += 60
    mended = []
    while due := dating.due():
        mended.append(due)
        dating.mended()
    for camera, wall, truly in rows:
        wrong = [float(by) for by, of, first, last in mended if of == camera and first <= iso(wall) <= last]
        assert any(abs(wall + timedelta(seconds=by) - truly) < timedelta(seconds=10) for by in [*wrong, 0.0])
    clock.off = timedelta(days=-1)
    assert dating.due() is None, "once is enough"


def test_one_that_was_taken_before_and_saved_after_the_clock_was_set() -> None:
    clock = Hand(NOW, up=50.0, off=-timedelta(days=100))
    dating, wall = Dating(clock, clock.uptime), clock.wall(0.0)
    assert dating.due() is None
    clock.set_, clock.off, clock.up = True, timedelta(), 53.0
    dating.taken("cam", wall, 50.0)
    dating.taken("cam", clock.wall(0.0), 53.0)
    assert dating.due() == ("+8640000.000", "cam", iso(wall), iso(wall))


def test_a_replay_has_a_time_of_its_own() -> None:
    dating = Dating(ReplayClock())
    dating.taken("cam", NOW, 7.0)
    assert dating.due() is None


def test_what_is_young_stays_when_the_clock_is_set(tmp_path: Path) -> None:
    clock = Hand(NOW)
    shelf = Shelf(tmp_path, clock)  # type: ignore[arg-type]
    clock.off = -timedelta(days=100)
    dating = Dating(clock, clock.uptime)
    hours_ago = (NOW - clock.wall(0.0)).total_seconds() / 3600
    young = [shelf.picture(hours_ago), shelf.picture(hours_ago - 0.01, person=1)]
    for wall in (clock.wall(0.0), clock.wall(0.0) + timedelta(seconds=36)):
        dating.taken("cam", wall, (wall - clock.begin - clock.off).total_seconds())
    old = shelf.picture(24 * 31)
    clock.up += 3600
    assert shelf.prune().pictures == 0, "nothing is older than what the clock says"
    clock.set_, clock.off = True, timedelta()
    due = dating.due()
    assert due
    shelf.journal.write(MEND, *due)
    assert shelf.prune().pictures == 1
    assert [path.exists() for path in (*young, old)] == [True, True, False]
    assert shelf.rows("SELECT wall FROM picture ORDER BY wall") == [iso(NOW), iso(NOW + timedelta(seconds=36))]
    assert retention.INSERT
    shelf.journal.close()
