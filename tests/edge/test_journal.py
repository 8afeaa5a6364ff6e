"""The journal: committed events survive, a stalling card delays nobody, newer files are refused."""

from __future__ import annotations

import os
import signal
import sqlite3
import subprocess
import sys
import time
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from edge import database
from edge.clock import Ids, iso
from edge.errors import StateError
from edge.journal import EVENTS, OWNER, Journal, events_after, last_place, lock, reader
from edge.values import Event


def event(number: int, **more: Any) -> Event:
    id_ = f"{number:08d}"
    return Event(id_, "visit", {"v": 1, "id": id_, "type": "visit", "wall": "2026-01-01T12:00:00.000Z", **more})


def events_in(state: Path) -> list[str]:
    with reader(state / EVENTS) as connection:
        return [body["id"] for _, body in events_after(connection, 0, 10**6)]


def test_events_are_there_in_order_after_closing(tmp_path: Path) -> None:
    journal = Journal(tmp_path)
    for number in range(1000):
        journal.event(event(number))
    journal.close(60.0)
    assert events_in(tmp_path) == [f"{n:08d}" for n in range(1000)]
    with reader(tmp_path / EVENTS) as connection:
        assert last_place(connection) == 1000
        assert [place for place, _ in events_after(connection, 998)] == [999, 1000]


def test_a_locked_database_delays_nobody_and_loses_nothing(tmp_path: Path) -> None:
    journal = Journal(tmp_path)
    other = sqlite3.connect(tmp_path / EVENTS, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    took = []
    for first in range(0, 500, 100):
        began = time.monotonic()
        for number in range(first, first + 100):
            journal.event(event(number))
        took.append(time.monotonic() - began)
    assert min(took) < 0.2, "handing over waits for nothing"
    time.sleep(1.5)
    assert journal.committed == 0
    other.execute("ROLLBACK")
    journal.close()
    assert len(events_in(tmp_path)) == 500


def test_what_does_not_fit_is_counted_and_events_go_last(tmp_path: Path) -> None:
    journal = Journal(tmp_path, queue_size=100)
    other = sqlite3.connect(tmp_path / EVENTS, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    journal.event(event(0))
    end = time.monotonic() + 20
    while not journal.trouble:  # the writer holds event 0 and waits
        assert time.monotonic() < end
        time.sleep(0.01)
    for number in range(1, 61):
        journal.event(event(number))
    assert journal.dropped_s is None
    journal.write("INSERT INTO prediction VALUES ('v', 1, 'm', 'champion', 'answered', 1, NULL, NULL)")
    assert journal.dropped == 1, "a prediction gives way when the queue is more than half full"
    assert journal.dropped_s is not None
    for number in range(61, 200):
        journal.event(event(number))
    assert journal.dropped == 1 + 99
    other.execute("ROLLBACK")
    journal.close()
    assert len(events_in(tmp_path)) == 101


def test_two_daemons_on_one_state_directory(tmp_path: Path) -> None:
    journal = Journal(tmp_path)
    with pytest.raises(StateError, match="another gander is at work"):
        Journal(tmp_path)
    journal.close()
    Journal(tmp_path).close()


def test_a_newer_journal_is_refused_untouched(tmp_path: Path) -> None:
    Journal(tmp_path).close()
    with sqlite3.connect(tmp_path / OWNER) as connection:
        connection.execute("PRAGMA user_version = 99")
    with pytest.raises(StateError, match="written by a newer gander"):
        Journal(tmp_path)
    os.close(lock(tmp_path))  # and the lock was let go


TAKEN = datetime(2026, 3, 1, 12, tzinfo=UTC)
CAME = TAKEN - timedelta(seconds=3)


def first_version(state: Path) -> dict[str, str]:
    """A journal as version 1 left it: a visit with two pictures, one whose visit is lost, one of another's making."""
    ids = Ids()
    named = {name: ids.new(TAKEN) for name in ("marked", "crop", "lost", "visit", "event")}
    with closing(sqlite3.connect(state / EVENTS)) as connection, connection:
        for statement in database._SCRIPTS[EVENTS][0].split(";"):
            connection.execute(statement)
        connection.execute("PRAGMA user_version = 1")
        connection.execute(
            "INSERT INTO visit VALUES (?, 'yard', ?, NULL, 'person', 'me', 1, 0)", (named["visit"], iso(CAME))
        )
        body = f'{{"camera":"gate","id":"{named["event"]}"}}'
        connection.execute(
            "INSERT INTO event (id, type, wall, visit_id, json) VALUES (?, 'visit', ?, 'lost', ?)",
            (named["event"], iso(CAME), body),
        )
        for id_, kind, visit, of in (
            (named["marked"], "frame", named["visit"], None),
            (named["crop"], "crop", named["visit"], named["marked"]),
            (named["lost"], "frame", "lost", None),
            ("foreign", "crop", named["visit"], None),
        ):
            connection.execute("INSERT INTO picture VALUES (?, 'p.jpg', 'x', 9, ?, ?, ?)", (id_, kind, visit, of))
    return named


def test_a_journal_of_version_1_is_brought_up_to_date(tmp_path: Path) -> None:
    named = first_version(tmp_path)
    Journal(tmp_path).close()
    with reader(tmp_path / EVENTS) as connection:
        rows = {row["id"]: dict(row) for row in connection.execute("SELECT * FROM picture")}
        assert connection.execute("PRAGMA user_version").fetchone()[0] == 2
        assert [body["id"] for _, body in events_after(connection, 0)] == [named["event"]]
        assert connection.execute("SELECT count(*) FROM visit").fetchone()[0] == 1
    marked, crop, lost, foreign = (rows[id_] for id_ in (named["marked"], named["crop"], named["lost"], "foreign"))
    assert marked["kind"] == "marked", "it had marks drawn in"
    assert (crop["kind"], crop["crop_of"]) == ("crop", named["marked"])
    assert marked["wall"] == crop["wall"] == lost["wall"] == iso(TAKEN), "as its id says"
    assert foreign["wall"] == iso(CAME), "as its visit says"
    assert [row["camera"] for row in (marked, crop, lost, foreign)] == ["yard", "yard", "gate", "yard"]
    assert [row["person"] for row in (marked, crop, lost, foreign)] == [1, 1, 0, 1]
    assert all((row["sha256"], row["bytes"], row["path"]) == ("x", 9, "p.jpg") for row in rows.values())
    Journal(tmp_path / "new").close()
    with closing(sqlite3.connect(tmp_path / EVENTS)) as old, closing(sqlite3.connect(tmp_path / "new" / EVENTS)) as new:
        tables = [sorted(c.execute("SELECT name, type FROM sqlite_master").fetchall()) for c in (old, new)]
        assert tables[0] == tables[1], "the same as one made new"


def test_a_migration_that_fails_leaves_all_as_it_was(tmp_path: Path) -> None:
    first_version(tmp_path)
    with closing(sqlite3.connect(tmp_path / EVENTS)) as connection, connection:
        connection.execute("CREATE INDEX picture_person ON picture (kind)")  # in the way, at the very end
    with pytest.raises(StateError, match="picture_person"):
        Journal(tmp_path)
    with closing(sqlite3.connect(tmp_path / EVENTS)) as connection:
        assert connection.execute("PRAGMA user_version").fetchone()[0] == 1
        assert len(connection.execute("SELECT * FROM picture").fetchone()) == 7
        kinds = connection.execute("SELECT kind FROM picture ORDER BY kind").fetchall()
        assert kinds == [("crop",), ("crop",), ("frame",), ("frame",)]


def test_an_older_journal_is_read_without_a_daemon_or_says_what_to_do(tmp_path: Path) -> None:
    named = first_version(tmp_path)
    assert events_in(tmp_path) == [named["event"]]
    said = pytest.raises(StateError, match=r"of an older gander .* start `gander run`")
    with said, reader(tmp_path / EVENTS) as connection:
        connection.execute("SELECT person FROM picture")
    with closing(sqlite3.connect(tmp_path / EVENTS)) as connection:
        assert connection.execute("PRAGMA user_version").fetchone()[0] == 1, "reading changes nothing"


def test_a_stubborn_disk_is_said_once_and_what_waited_is_written(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    journal = Journal(tmp_path)
    with closing(sqlite3.connect(tmp_path / EVENTS, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        journal.event(event(1))
        end = time.monotonic() + 20
        while not journal.trouble:
            assert time.monotonic() < end
            time.sleep(0.05)
        time.sleep(1.5)  # it is tried again meanwhile
        other.execute("ROLLBACK")
    journal.close()
    assert events_in(tmp_path) == ["00000001"]
    assert journal.trouble == ""
    assert [record.message.split(";")[0] for record in caplog.records] == [
        "events.db: database is locked",
        "events.db: written again",
    ]


@pytest.mark.skipif(os.getuid() == 0, reason="root may write anywhere")
def test_an_unwritable_directory_as_a_user(tmp_path: Path) -> None:
    tmp_path.chmod(0o500)
    with pytest.raises(StateError, match="cannot keep state there"):
        Journal(tmp_path / "state")


def test_a_file_where_the_directory_should_be(tmp_path: Path) -> None:
    (tmp_path / "state").write_text("")
    with pytest.raises(StateError, match="cannot keep state there"):
        Journal(tmp_path / "state")


def test_something_else_than_a_database(tmp_path: Path) -> None:
    (tmp_path / EVENTS).write_bytes(b"no database at all, but long enough to be looked at" * 100)
    with pytest.raises(StateError, match=r"events\.db: cannot be used"):
        Journal(tmp_path)
    with pytest.raises(StateError, match="no journal there"), reader(tmp_path / "nowhere.db"):
        pass


def test_calls_answer_with_what_they_found_or_why_not(tmp_path: Path) -> None:
    journal = Journal(tmp_path)

    def write(owner: sqlite3.Connection) -> int:
        owner.execute("INSERT INTO setting VALUES ('mode', 'armed')")
        return 7

    assert journal.ask(write) == 7
    with pytest.raises(StateError, match="UNIQUE"):
        journal.ask(write)
    with pytest.raises(StateError, match="too large"):
        journal.ask(lambda owner: owner.execute("SELECT ?", (2**80,)))
    journal.write("INSERT INTO visit VALUES (?, 'cam', 'then', NULL, NULL, NULL, NULL, ?)", "v", 2**80)
    journal.event(event(1))  # the writer lives on
    journal.close()
    assert events_in(tmp_path) == ["00000001"]


_WRITER = """
import sys
from pathlib import Path
from tests.edge.test_journal import event
from edge.journal import Journal
journal = Journal(Path(sys.argv[1]))
for number in range(10**6):
    journal.event(event(number))
    if number % 50 == 49:
        done = journal.ask(lambda owner: owner.execute("SELECT 1").fetchone()) and number + 1
        print(done, flush=True)
"""


def test_what_was_committed_survives_a_kill(tmp_path: Path) -> None:
    for round_ in range(3):
        state = tmp_path / str(round_)
        writer = subprocess.Popen([sys.executable, "-c", _WRITER, str(state)], stdout=subprocess.PIPE, text=True)
        assert writer.stdout
        promised = 0
        for _ in range(4 + round_ * 3):
            promised = int(writer.stdout.readline())
        writer.send_signal(signal.SIGKILL)
        writer.wait()
        kept = events_in(state)
        assert len(kept) >= promised >= 200
        assert kept == [f"{n:08d}" for n in range(len(kept))]
        with sqlite3.connect(state / EVENTS) as connection:
            assert connection.execute("PRAGMA integrity_check").fetchone() == ("ok",)


def test_what_was_answered_as_failed_is_not_done_later(tmp_path: Path) -> None:
    journal = Journal(tmp_path)
    other = sqlite3.connect(tmp_path / EVENTS, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    journal.event(event(1))  # holds the writer
    time.sleep(0.2)
    with pytest.raises(StateError, match="does not answer"):
        journal.ask(lambda owner: owner.execute("INSERT INTO setting VALUES ('mode', 'armed')"), 0.3)
    other.execute("ROLLBACK")
    journal.close()
    with reader(tmp_path / OWNER) as connection:
        assert connection.execute("SELECT count(*) FROM setting").fetchone()[0] == 0


def test_a_damaged_event_is_passed_over_and_a_batch_stays_whole(tmp_path: Path) -> None:
    journal = Journal(tmp_path)
    for number in range(10):
        journal.event(event(number))
    journal.close()
    with sqlite3.connect(tmp_path / EVENTS) as card:
        card.execute("UPDATE event SET json = replace(json, '\"id\"', '\"ie\"') WHERE place = 2")
        card.execute("UPDATE event SET json = '{' WHERE place = 3")
        card.execute("UPDATE event SET json = '7' WHERE place = 4")
    with reader(tmp_path / EVENTS) as connection:
        assert [place for place, _ in events_after(connection, 0, 5)] == [1, 5, 6, 7, 8]
