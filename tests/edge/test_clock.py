"""Clocks and ids: unique and sortable, also when the wall clock jumps."""

from __future__ import annotations

import struct
import time
import uuid
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge.clock import REPLAY_START, Ids, LiveClock, ReplayClock, iso, was_set

NOON = datetime(2026, 6, 1, 12, tzinfo=UTC)


@given(st.lists(st.floats(-3000, 3000), min_size=2, max_size=300))
def test_ids_sort_in_the_order_they_were_made_while_the_clock_trembles(offsets: list[float]) -> None:
    ids = Ids()
    made = [ids.new(NOON + timedelta(seconds=offset)) for offset in offsets if abs(offset) < 1700]
    assert made == sorted(set(made))


def test_a_clock_set_back_a_day_makes_no_id_twice_and_is_believed() -> None:
    ids = Ids()
    moments = [NOON, NOON, NOON - timedelta(days=1), NOON - timedelta(days=1), NOON + timedelta(days=1)]
    made = [ids.new(moment) for moment in moments]
    assert len(set(made)) == len(made)
    assert made[2] < made[0] < made[4]


def test_more_ids_in_a_millisecond_than_it_has_room_for() -> None:
    ids = Ids("seed")
    made = [ids.new(NOON) for _ in range(10_000)]
    assert made == sorted(set(made))


def test_an_id_is_a_uuid_of_version_7_with_its_time() -> None:
    id_ = uuid.UUID(Ids().new(NOON))
    assert (id_.version, id_.variant) == (7, uuid.RFC_4122)
    assert id_.int >> 80 == int(NOON.timestamp() * 1000)


def test_seeded_ids_are_the_same_each_time() -> None:
    moments = [NOON + timedelta(seconds=i / 15) for i in range(50)]
    assert [Ids("a").new(m) for m in moments] == [Ids("a").new(m) for m in moments]
    assert Ids("a").new(NOON) != Ids("b").new(NOON)


def test_a_replay_begins_at_noon_and_knows_its_clock() -> None:
    clock = ReplayClock()
    assert iso(clock.wall(1.5)) == "2026-01-01T12:00:01.500Z"
    assert clock.known()
    assert ReplayClock(NOON).wall(0) == NOON
    assert clock.wall(0) == REPLAY_START


def test_the_live_clock_is_utc_and_says_whether_it_is_set() -> None:
    clock = LiveClock()
    assert abs((clock.wall(0.0) - datetime.now(UTC)).total_seconds()) < 5
    assert clock.known() in (True, False)


@pytest.mark.parametrize(
    ("maxerror_us", "esterror_us", "status", "known"),
    [
        (16_000_000, 16_000_000, 0x40, False),  # since the boot, or since somebody set it by hand
        (500, 0, 0x2001, True),  # just now, by systemd-timesyncd
        (16_000_000, 0, 0x2041, True),  # 8.9 hours later, and ever after
        (16_000_000, 1_200, 0x40, True),  # chrony's estimate
        (900, 16_000_000, 0x2001, True),  # who says nothing of its error
    ],
)
def test_a_clock_that_was_set_in_this_boot_stays_known_without_a_network(
    maxerror_us: int, esterror_us: int, status: int, known: bool
) -> None:
    timex = struct.pack("@illlli", 0, 0, 0, maxerror_us, esterror_us, status)
    assert was_set(timex.ljust(256, b"\0")) is known


def test_a_clock_with_a_battery_is_believed_where_it_agrees(tmp_path: Path) -> None:
    module = tmp_path / "since_epoch"
    synchronised = LiveClock(module).known()  # there is no module yet: what the kernel says
    for shows, agrees in ((time.time() + 20, True), (time.time() - 3600, False), (946684800, False)):
        module.write_text(f"{round(shows)}\n")
        assert LiveClock(module).known() is (synchronised or agrees), shows
    module.write_text("nonsense")
    assert LiveClock(module).known() is synchronised
