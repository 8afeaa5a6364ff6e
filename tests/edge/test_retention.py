"""Retention: what is due goes in slices, the rest stays, and what the owner labelled is never deleted."""

from __future__ import annotations

import os
import shutil
import sqlite3
import tempfile
import time
from collections.abc import Iterator
from datetime import datetime, timedelta
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edge import reserve, retention
from edge.books import Kept, open_books
from edge.clock import ReplayClock, iso
from edge.decoy import Decoys, content
from edge.journal import EVENTS, OWNER
from edge.retention import Limits, Retention, choose
from tests.edge.shelf import NOW, Shelf

LIMITS = Limits(iso(NOW - timedelta(days=30)), iso(NOW - timedelta(hours=24)))


def wall(hours_ago: float) -> str:
    return iso(NOW - timedelta(hours=hours_ago))


@pytest.fixture(autouse=True)
def patient(monkeypatch: pytest.MonkeyPatch) -> None:
    """The card of a test machine may take seconds."""
    monkeypatch.setattr(retention, "_SETTLE_S", 30.0)


walls = st.one_of(st.just(""), st.floats(-1, 2000).map(wall), st.just("1970-01-01T00:00:00.000Z"))
kept = st.builds(
    Kept,
    id=st.uuids().map(str),
    path=st.just("x.jpg"),
    bytes=st.integers(1, 10**6),
    wall=walls,
    kind=st.sampled_from(["frame", "crop", "marked"]),
    visit_id=st.none(),
    person=st.sampled_from([0, 1, 2]),
    threat=st.booleans(),
    labelled=st.booleans(),
)
shelves = st.lists(kept, max_size=40, unique_by=lambda picture: picture.id)


@given(shelves, st.integers(-(10**6), 10**7))
def test_what_goes_and_what_stays(pictures: list[Kept], excess: int) -> None:
    going = choose(pictures, LIMITS, excess)
    stays = [picture for picture in pictures if picture not in going]
    assert len(set(going)) == len(going)
    assert not any(picture.labelled for picture in going), "the owner's are never deleted"
    assert not any(LIMITS.over(picture) for picture in stays), "what is too old goes"
    freed = sum(picture.bytes for picture in going)
    left = [picture for picture in stays if not picture.labelled]
    assert freed >= excess or not left, "room is made while there is anything to delete"
    room = [picture for picture in going if not LIMITS.over(picture)]
    if room:
        assert freed - room[-1].bytes < excess, "and not more than is needed"
    for gone in room:
        for rest in left:
            assert rest.threat or not gone.threat, "threats go last"
            assert rest.threat != gone.threat or gone.wall <= rest.wall, "the oldest go first"


def test_times_are_over_by_the_day_and_for_people_by_the_hour() -> None:
    def over(hours: float, person: int = 0, labelled: bool = False) -> bool:
        return LIMITS.over(Kept("a", "a", 1, wall(hours), "crop", None, person, True, labelled))

    assert not over(24 * 30 - 1)
    assert over(24 * 30 + 1), "also of a threat"
    assert not over(24 * 40, labelled=True)
    assert not over(23, person=1)
    assert over(25, person=1)
    assert not over(25, person=2)
    assert not over(25, person=1, labelled=True)
    assert not LIMITS.over(Kept("a", "a", 1, "1970-01-01T00:00:00.000Z", "crop", None, 0, False, False)), "no clock"


@pytest.fixture
def shelf(tmp_path: Path) -> Iterator[Shelf]:
    made = Shelf(tmp_path)
    yield made
    made.journal.close()


def test_old_pictures_go_and_empty_days_with_them(shelf: Shelf) -> None:
    old, new = shelf.picture(24 * 31), shelf.picture(24 * 29)
    done = shelf.prune()
    assert (done.pictures, old.parent.exists(), new.exists()) == (1, False, True)
    assert str(done) == "deleted 1 pictures (0.0 MB)"
    assert str(shelf.prune()) == "nothing was due"


def test_more_than_a_slice_goes_in_slices(shelf: Shelf) -> None:
    for number in range(retention.SLICE + 50):
        shelf.picture(24 * 40 - number / 100)
    assert shelf.retention.turn().pictures == retention.SLICE
    assert shelf.retention.turn().pictures == 50
    assert not shelf.retention.turn()
    assert shelf.files() == []


def test_who_waits_for_the_card_gets_it_between_the_slices(shelf: Shelf) -> None:
    for number in range(retention.SLICE * 2 + 50):
        shelf.picture(24 * 40 - number / 100)
    turns = []

    class Turns:
        def __enter__(self) -> None:
            turns.append(len(shelf.files()))

        def __exit__(self, *_: object) -> None: ...

    assert shelf.retention.prune(30.0, Turns()).pictures == 450
    assert turns == [450, 450, 250, 50, 0]


def test_labelled_pictures_stay_whatever_the_limits(shelf: Shelf) -> None:
    visit = shelf.visit(24 * 1000)
    stays = [shelf.picture(24 * 1000, visit, size=20 * 10**6, person=1)]
    moment = shelf.picture(24 * 900, kind="frame")
    stays += [moment, shelf.picture(24 * 900, kind="marked", crop_of=moment.stem)]
    goes = shelf.picture(1, size=1)
    shelf.label(visit=visit)
    shelf.label(picture=stays[-1].stem)
    assert shelf.prune().pictures == 1
    assert not goes.exists()
    assert all(path.exists() for path in stays), "with the label's picture its whole moment stays"
    assert shelf.rows("SELECT id FROM visit") == [visit]
    assert len(shelf.rows("SELECT id FROM event")) == 1
    why = shelf.retention.room(1000, NOW)
    assert why.startswith("labelled pictures alone fill media.max_mb = 10")
    assert shelf.retention.stock.labelled_bytes == 20 * 10**6 + 2000


def test_too_many_bytes_cost_the_oldest_and_threats_last(shelf: Shelf) -> None:
    threat, acted = shelf.visit(500, "threat"), shelf.visit(400, "other", actions=1)
    precious = [shelf.picture(500, threat, 3 * 10**6), shelf.picture(400, acted, 3 * 10**6)]
    ordinary = [shelf.picture(hours, shelf.visit(hours), 2 * 10**6) for hours in (300, 200, 100)]
    assert shelf.prune().pictures == 2, "one fewer would fit, but a full card is not tidied at every picture"
    assert [path.exists() for path in ordinary] == [False, False, True]
    assert all(path.exists() for path in precious)
    later = shelf.picture(1, threat, 9 * 10**6)
    assert shelf.prune().pictures == 3
    assert [path.exists() for path in (*precious, ordinary[2], later)] == [False, False, False, True]


def test_room_is_made_for_the_next_picture(shelf: Shelf) -> None:
    paths = [shelf.picture(100 - number, size=10**6) for number in range(10)]
    shelf.prune()
    assert shelf.retention.stock.bytes == 10 * 10**6
    assert shelf.retention.room(400_000, NOW) == ""
    assert [path.exists() for path in paths].count(True) == 9
    assert shelf.retention.stock.bytes == 9 * 10**6
    assert "more pictures than media.max_mb" in shelf.retention.room(11 * 10**6, NOW)


def test_a_full_disk_costs_decoys_before_pictures(tmp_path: Path) -> None:
    shelf = Shelf(tmp_path, min_free=1.0)
    crop = np.full((8, 8, 3), 7, np.uint8)
    shelf.decoys.keep(crop, content(crop))
    path = shelf.picture(1)
    shelf.rows()
    done = shelf.retention.turn()
    assert done.decoy_bytes > 0
    assert done.pictures == 1
    assert not path.exists()
    assert "media.min_free" in shelf.retention.room(1, NOW)
    shelf.journal.close()


def test_what_is_set_aside_is_made_again_where_there_is_room(tmp_path: Path) -> None:
    shelf, full = Shelf(tmp_path / "a"), Shelf(tmp_path / "b", min_free=1.0)
    shelf.prune()
    assert reserve.missing(shelf.state) == 0
    size = (shelf.state / reserve.NAME).stat().st_size
    assert size > 0
    assert reserve.spend(shelf.state)
    assert not reserve.spend(shelf.state)
    assert reserve.missing(shelf.state) == size
    shelf.prune()
    assert reserve.missing(shelf.state) == 0
    full.prune()
    assert reserve.missing(full.state) == size
    for each in (shelf, full):
        each.journal.close()


def test_pictures_with_people_and_what_the_models_saw_of_them_go_by_the_hour(shelf: Shelf) -> None:
    visit, other = shelf.visit(25, "threat"), shelf.visit(25)
    crops = [np.full((8, 8, 3), number, np.uint8) for number in range(2)]
    for crop, whose in zip(crops, (visit, other), strict=True):
        shelf.decoys.keep(crop, content(crop))
        shelf.journal.write(
            "INSERT INTO prediction VALUES (?, 1, 'decoy', 'decoy', 'answered', NULL, NULL, ?)", whose, content(crop)
        )
    goes, stays, recent = shelf.picture(25, visit, person=1), shelf.picture(25, other), shelf.picture(23, person=1)
    done = shelf.prune()
    assert (done.pictures, goes.exists(), stays.exists(), recent.exists()) == (1, False, True, True)
    assert not (shelf.state / "decoy" / content(crops[0])[:2] / f"{content(crops[0])}.png").exists()
    assert (shelf.state / "decoy" / content(crops[1])[:2] / f"{content(crops[1])}.png").exists()


def test_the_journals_past_goes_but_for_what_the_owner_named(shelf: Shelf) -> None:
    old, named, new = shelf.visit(24 * 401), shelf.visit(24 * 500), shelf.visit(24 * 399)
    shown = shelf.visit(24 * 450)
    shelf.label(visit=named)
    picture = shelf.picture(24 * 450, shown)
    shelf.label(picture=picture.stem)
    shelf.journal.write("INSERT INTO prediction VALUES (?, 1, 'm', 'champion', 'answered', 1, NULL, NULL)", old)
    done = shelf.prune()
    assert (done.visits, done.events) == (1, 1)
    assert shelf.rows("SELECT id FROM visit ORDER BY id") == sorted([named, new, shown])
    assert shelf.rows("SELECT visit_id FROM event ORDER BY visit_id") == sorted([named, new, shown])
    assert shelf.rows("SELECT count(*) FROM prediction") == [0]


def test_what_happened_before_the_clock_was_set_is_as_young_as_what_came_after(tmp_path: Path) -> None:
    """In autumn without power, in spring minutes without a clock: what happened in these looks half a year old."""
    now = [0.0]

    class Spring(ReplayClock):
        def wall(self, media_time: float) -> datetime:
            return super().wall(now[0] * 86400)

    shelf = Shelf(tmp_path, Spring(NOW))
    shelf.retention._keep_days = 30
    old, undated = shelf.visit(24 * 200), [shelf.visit(24 * 180 - hour, dated=False) for hour in range(3)]
    assert shelf.prune().events == 1, "the only one of whose age something is known"
    assert shelf.rows("SELECT id FROM visit") == undated, old
    first, second = shelf.visit(0), shelf.visit(-24)
    now[0] = 29.0
    assert not shelf.prune()
    now[0] = 30.5
    assert (shelf.prune().events, shelf.rows("SELECT id FROM visit")) == (4, [second]), first
    assert shelf.rows("SELECT visit_id FROM event") == [second]
    shelf.journal.close()


@pytest.mark.parametrize("known", [False, True])
def test_where_no_clock_was_ever_set_the_past_goes_by_the_clock_there_is(tmp_path: Path, known: bool) -> None:
    class Alone(ReplayClock):
        def known(self) -> bool:
            return known

    shelf = Shelf(tmp_path, Alone(NOW))
    for hours_ago in (24 * 401, 24 * 399, 0):
        shelf.visit(hours_ago, dated=False)
    assert shelf.prune().events == (0 if known else 1), "a clock that was set tells nothing of them"
    shelf.journal.close()


def test_a_clock_nobody_set_deletes_nothing(tmp_path: Path) -> None:
    class Lost(ReplayClock):
        def known(self) -> bool:
            return False

    shelf = Shelf(tmp_path, Lost(NOW + timedelta(days=20000)))
    shelf.visit(24)
    path = shelf.picture(24, person=1)
    assert not shelf.prune()
    assert path.exists()
    shelf.journal.close()


def test_a_crash_between_file_and_row_heals(shelf: Shelf) -> None:
    path = shelf.picture(24 * 40)
    path.unlink()
    assert shelf.prune().pictures == 1
    stray = shelf.picture(2)
    half = stray.with_name(f".{stray.name}.abc")
    half.write_bytes(b"half")
    foreign = stray.with_name("holiday.jpg")
    foreign.write_bytes(b"mine")
    hour_ago = time.time() - 4000
    for file in (stray, half, foreign):
        os.utime(file, (hour_ago, hour_ago))
    shelf.rows()
    shelf.journal.write("DELETE FROM picture")
    assert shelf.retention.prune(10.0).strays == 1
    assert not half.exists()
    assert foreign.exists(), "not ours"
    assert shelf.rows("SELECT kind || person || wall FROM picture") == [f"stray2{wall(2)}"]
    assert not shelf.retention.prune(10.0), "entered once"


def test_when_the_journal_is_lost_no_picture_goes_while_labels_name_its_visits(shelf: Shelf) -> None:
    visit, other = shelf.visit(24 * 40), shelf.visit(1)
    labelled, unknown = shelf.picture(24 * 40, visit, 9 * 10**6), shelf.picture(24 * 50, size=9 * 10**6)
    shelf.label(visit=visit)
    shelf.label(visit=other)
    hour_ago = time.time() - 4000
    for path in (labelled, unknown):
        os.utime(path, (hour_ago, hour_ago))
    shelf.rows()
    shelf.journal.write("DELETE FROM picture")
    shelf.journal.write("DELETE FROM visit WHERE id = ?", visit)
    assert str(shelf.prune()) == "nothing was due; 2 pictures the journal did not know are entered"
    shelf.journal.write("UPDATE picture SET bytes = 9000000")
    new = shelf.picture(24 * 35)
    assert shelf.prune().pictures == 1
    assert (labelled.exists(), unknown.exists(), new.exists()) == (True, True, False)
    shelf.journal.write("INSERT INTO visit VALUES (?, 'cam', ?, NULL, 'other', 'jay', 0.9, 0)", visit, wall(24 * 40))
    shelf.journal.write("UPDATE picture SET visit_id = ?, kind = 'crop' WHERE id = ?", visit, labelled.stem)
    assert shelf.prune().pictures == 1, "with a backup of the journal it is known again which is the owner's"
    assert (labelled.exists(), unknown.exists()) == (True, False)


def test_room_is_made_while_the_journal_cannot_write(shelf: Shelf, monkeypatch: pytest.MonkeyPatch) -> None:
    path = shelf.picture(24 * 40, real=5000)
    shelf.rows()
    monkeypatch.setattr(retention, "_SETTLE_S", 1.0)
    other = sqlite3.connect(shelf.state / EVENTS, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    assert shelf.retention.turn().pictures == 1
    assert not path.exists()
    assert not shelf.retention.turn(), "its row is still there, and is not chosen for ever"
    other.execute("ROLLBACK")
    monkeypatch.setattr(retention, "_SETTLE_S", 30.0)
    shelf.prune()
    assert shelf.rows() == []


def test_what_a_day_writes_is_limited_also_over_a_restart(tmp_path: Path) -> None:
    shelf = Shelf(tmp_path, per_day_mb=1)
    today = NOW - timedelta(hours=1)
    assert shelf.retention.room(600_000, today) == ""
    shelf.picture(1, size=600_000)
    shelf.retention.saved(600_000, pictures=1)
    assert "media.per_day_mb" in shelf.retention.room(600_000, today)
    assert not shelf.retention.spare(), "decoys take half of it at most"
    shelf.rows()
    again = Retention(tmp_path, shelf.config, 400, shelf.journal, Decoys(tmp_path, 0), ReplayClock(NOW))
    assert "media.per_day_mb" in again.room(600_000, today)
    assert again.room(600_000, today + timedelta(days=1)) == ""
    shelf.journal.close()


rows = st.lists(
    st.tuples(
        st.integers(0, 2000),  # hours
        st.integers(1, 3 * 10**6),  # bytes
        st.sampled_from(["other", "threat"]),
        st.booleans(),  # acted upon
        st.sampled_from([0, 0, 1, 2]),  # person
        st.sampled_from([False, False, True]),  # labelled
    ),
    max_size=25,
)


@settings(max_examples=25, deadline=None)
@given(rows)
def test_slices_come_to_what_one_choice_would(rows: list[tuple[int, int, str, bool, int, bool]]) -> None:
    state = Path(tempfile.mkdtemp())
    shelf = Shelf(state)
    shelf.retention = Retention(state, shelf.config, 400, shelf.journal, shelf.decoys, ReplayClock(NOW), slice_=3)
    try:
        expected = []
        for hours, size, kind, acted, person, labelled in rows:
            visit = shelf.visit(hours, kind, int(acted))
            path = shelf.picture(hours, visit, size, person=person)
            if labelled:
                shelf.label(visit=visit)
            threat = kind == "threat" or acted
            expected.append(Kept(path.stem, str(path), size, wall(hours), "crop", visit, person, threat, labelled))
        total = sum(picture.bytes for picture in expected)
        over = sum(picture.bytes for picture in expected if LIMITS.over(picture))
        shelf.prune()
        kept = {picture.id for picture in expected} & set(shelf.rows())
        assert {picture.id for picture in expected if picture.labelled} <= kept
        assert not [picture for picture in expected if picture.id in kept and LIMITS.over(picture)]
        left = sum(picture.bytes for picture in expected if picture.id in kept)
        if total - over <= 10 * 10**6:
            assert left == total - over, "nothing went that had a place"
        deletable = [picture for picture in expected if picture.id in kept and not picture.labelled]
        assert left <= 10 * 10**6 or not deletable
        went = [picture for picture in expected if picture.id not in kept and not LIMITS.over(picture)]
        assert all((gone.threat, gone.wall) <= (rest.threat, rest.wall) for gone in went for rest in deletable)
    finally:
        shelf.journal.close()
        shutil.rmtree(state)


def test_the_owners_file_is_only_read(shelf: Shelf) -> None:
    shelf.rows()
    with open_books(shelf.state) as books, pytest.raises(sqlite3.OperationalError, match="readonly"):
        books._ask("DELETE FROM owner.label")
    assert (shelf.state / OWNER).exists()
