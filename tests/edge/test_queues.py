"""What waits to be published: for how long, also where clocks were wrong, and where a row is damaged."""

from __future__ import annotations

import contextlib
import shutil
import sqlite3
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from edge.clock import Uptime, iso, uptime
from edge.database import DELIVERIES, EVENTS, prepare
from edge.journal import Journal
from edge.queues import Queues, look
from edge.values import Event

DAY = timedelta(days=1)


@pytest.fixture
def journal(tmp_path: Path) -> Iterator[Journal]:
    """Of a state directory with one sink of lines and one that people read."""
    made = Journal(tmp_path)
    prepare(tmp_path / DELIVERIES)
    with closing(sqlite3.connect(tmp_path / DELIVERIES)) as deliveries:
        deliveries.execute("INSERT INTO active VALUES ('lines'), ('people')")
        deliveries.execute("INSERT INTO place VALUES ('lines', '')")
        deliveries.execute("INSERT INTO memo VALUES ('people', 'why', 'it is night')")
        deliveries.execute("INSERT INTO held VALUES ('people', 'first')")
        deliveries.commit()
    yield made
    made.close()


def now_up() -> Uptime:
    up = uptime()
    if not up:
        pytest.skip("this system has no name for a boot")
    return up


def ages(journal: Journal, **body: Any) -> list[float | None]:
    """For how long the first event waits for each sink, if it says that of itself."""
    journal.event(Event("first", "health", {"wall": iso(datetime.now(UTC)), "clock_ok": True} | body))
    journal.event(Event("second", "health", {"wall": iso(datetime.now(UTC)), "clock_ok": True}))
    journal.settle()
    found = look(journal.state)
    assert [found[name]["waiting"] for name in ("lines", "people")] == [2, 1]
    assert found["people"]["why"] == "it is night"
    return [found[name]["oldest_s"] for name in ("lines", "people")]


def test_an_event_of_this_boot_is_as_old_as_the_uptime_says(journal: Journal) -> None:
    up = now_up()
    wall = iso(datetime.now(UTC) - DAY)
    found = ages(journal, wall=wall, clock_ok=False, boot=up.boot, boot_s=up.seconds - 2.0)
    assert all(age is not None and 2.0 <= age < 3600 for age in found), "the clock was a day behind, and was set"


def test_one_of_an_earlier_boot_is_as_old_as_a_clock_that_was_set_says(journal: Journal) -> None:
    found = ages(journal, wall=iso(datetime.now(UTC) - DAY), boot="another", boot_s=7.0)
    assert all(age is not None and abs(age - 86400) < 3600 for age in found)


def test_where_nobody_knows_it_is_from_before_this_boot(journal: Journal) -> None:
    wall = iso(datetime.now(UTC) - timedelta(days=9000))
    found, up = ages(journal, wall=wall, clock_ok=False, boot="another", boot_s=7.0), now_up()
    assert all(age is not None and abs(age - up.seconds) < 3600 for age in found)


def test_a_clock_that_was_set_back_makes_nothing_younger_than_now(journal: Journal) -> None:
    assert ages(journal, wall=iso(datetime.now(UTC) + DAY)) == [0.0, 0.0]


@pytest.mark.parametrize(
    "bad", ["wall = x'ff00', json = x'ff00'", "json = '{\"wall\": 7}'", "json = '[]'", "json = '{cut'"]
)
def test_a_damaged_row_ends_no_rounds(journal: Journal, tmp_path: Path, bad: str) -> None:
    ages(journal)
    with closing(sqlite3.connect(tmp_path / EVENTS)) as events:
        events.execute(f"UPDATE event SET {bad} WHERE id = 'first'")
        events.commit()
    found = Queues(tmp_path).facts()
    assert {name: queue["oldest_s"] for name, queue in found.items()} == {"lines": None, "people": None}
    assert found["lines"]["waiting"] == 2


def descriptors() -> int:
    """Of this process, of a database of deliveries."""
    found: list[str] = []
    for path in Path("/proc/self/fd").iterdir():
        with contextlib.suppress(OSError):  # closed meanwhile
            found.append(path.readlink().name)
    return sum(name.startswith(DELIVERIES) for name in found)


def test_files_stay_open_for_any_thread_and_are_opened_anew_when_they_are_others(journal: Journal) -> None:
    state = journal.state
    ages(journal)
    queues = Queues(state, every_s=0.0)
    with ThreadPoolExecutor(1) as other:
        assert other.submit(queues.facts).result()["lines"]["waiting"] == 2
    assert (opened := descriptors()) > 0
    journal.event(Event("third", "health", {"wall": iso(datetime.now(UTC)), "clock_ok": True}))
    journal.settle()
    assert queues.facts()["lines"]["waiting"] == 3
    assert descriptors() == opened
    shutil.copy(state / DELIVERIES, state / "copy")
    with closing(sqlite3.connect(state / "copy")) as deliveries:
        deliveries.execute("DELETE FROM active WHERE publisher = 'people'")
        deliveries.commit()
    (state / "copy").replace(state / DELIVERIES)
    assert list(queues.facts()) == ["lines"]
    assert descriptors() == opened
