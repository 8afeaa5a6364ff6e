"""Publishing: every event at least once and in order, whatever fails; a file as the sink that can be read."""

from __future__ import annotations

import contextlib
import sqlite3
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from edge.database import DELIVERIES
from edge.deliveries import Deliveries, name_active
from edge.errors import StateError
from edge.outbox import Bounds, Outbox
from edge.publishers import Events, Later, Refused
from edge.queues import look
from edge.values import Event
from tests.mqtt import until
from tests.yard import Yard, yard


@pytest.fixture
def here(tmp_path: Path) -> Iterator[Yard]:
    with yard(tmp_path, socket=False) as made:
        yield made


class Sink:
    """A sink that fails as it is told: by event id, what to raise how often; -1: always."""

    name = "sink"
    batch = 10
    trouble = ""

    def __init__(self, from_start: bool = True) -> None:
        self.from_start = from_start
        self.got: list[str] = []
        self.troubles: dict[str, tuple[Exception, int]] = {}
        self.rows: list[Exception] = []  # raised one after the other, whatever is sent
        self.there = True

    def ready(self, wait_s: float) -> bool:
        if not self.there:
            time.sleep(wait_s)
        return self.there

    def send(self, events: Events) -> None:
        if self.rows:
            raise self.rows.pop(0)
        for done, event in enumerate(events):
            error, times = self.troubles.get(event["id"], (None, 0))
            if error is not None and times:
                self.troubles[event["id"]] = error, times - 1
                if isinstance(error, Later | Refused):
                    error.done = done
                raise error
            self.got.append(event["id"])

    def close(self) -> None:
        self.there = False


class Kept(Sink):
    """Keeps whole events."""

    def __init__(self) -> None:
        super().__init__()
        self.events: list[dict[str, Any]] = []

    def send(self, events: Events) -> None:
        self.events += [dict(event) for event in events]


def run(state: Path, sink: Any) -> Outbox:
    return Outbox(state, sink, first_wait_s=0.02)


def rows(state: Path) -> dict[str, tuple[str, int, str]]:
    with sqlite3.connect(state / DELIVERIES) as connection:
        found = connection.execute("SELECT event_id, state, tries, why FROM delivery").fetchall()
    return {row[0]: row[1:] for row in found}


def placed(state: Path) -> list[str]:
    with sqlite3.connect(state / DELIVERIES) as connection:
        return [row[0] for row in connection.execute("SELECT event_id FROM place")]


def finish(outbox: Outbox) -> None:
    outbox.end()
    outbox.join()


def test_events_arrive_once_and_in_order(here: Yard) -> None:
    sink = Sink()
    first = [here.visitor() for _ in range(35)]
    outbox = run(here.state, sink)
    until(lambda: len(sink.got) == 35)
    more = [here.visitor() for _ in range(3)]
    until(lambda: len(sink.got) == 38)
    finish(outbox)
    assert sink.got == first + more == here.events()
    again = Sink()
    outbox = run(here.state, again)
    last = here.visitor()
    until(lambda: again.got)
    finish(outbox)
    assert again.got == [last], "the place was kept"


def test_a_new_publisher_begins_with_now(here: Yard) -> None:
    here.visitor()
    until(here.events)
    sink = Sink(from_start=False)
    outbox = run(here.state, sink)
    until(lambda: any(placed(here.state)))
    new = here.visitor()
    until(lambda: sink.got)
    finish(outbox)
    assert sink.got == [new]


def test_what_fails_for_a_time_is_tried_again_and_keeps_its_place_in_the_queue(here: Yard) -> None:
    sink = Sink()
    ids = [here.visitor() for _ in range(20)]
    sink.troubles[ids[7]] = Later("the line is cut"), 3
    sink.troubles[ids[12]] = OSError("unforeseen"), 2
    outbox = run(here.state, sink)
    until(lambda: ids[-1] in sink.got)
    finish(outbox)
    assert list(dict.fromkeys(sink.got)) == ids
    assert rows(here.state) == {}


@pytest.mark.parametrize("poison", [Refused("not wanted here"), ZeroDivisionError("a bug about this one")])
def test_poison_is_set_aside_with_why_and_blocks_nothing(here: Yard, poison: Exception) -> None:
    sink = Sink()
    ids = [here.visitor() for _ in range(20)]
    sink.troubles[ids[4]] = poison, -1
    outbox = run(here.state, sink)
    until(lambda: ids[-1] in sink.got)
    finish(outbox)
    assert list(dict.fromkeys(sink.got)) == ids[:4] + ids[5:]
    state, tries, why = rows(here.state)[ids[4]]
    assert (state, tries) == ("refused", 1 if isinstance(poison, Refused) else 5)
    assert str(poison) in why


def test_an_outage_brings_no_event_nearer_to_being_set_aside(here: Yard) -> None:
    sink, event = Sink(), here.visitor()
    odd = OSError("out of processes for a moment")
    sink.rows = [*[odd] * 4, Later("away"), odd]
    outbox = Outbox(here.state, sink, first_wait_s=0.005)
    until(lambda: sink.got == [event])
    finish(outbox)
    assert (sink.rows, rows(here.state)) == ([], {})


def test_what_waits_says_why_and_counts_on_over_a_restart(here: Yard) -> None:
    event = here.visitor()
    sink = Sink()
    sink.troubles[event] = Later("the broker is away"), -1
    outbox = run(here.state, sink)
    until(lambda: rows(here.state).get(event, ("", 0))[1] >= 3)
    finish(outbox)
    tries = rows(here.state)[event][1]
    outbox = run(here.state, sink)
    until(lambda: rows(here.state)[event][1] > tries)
    assert rows(here.state)[event][::2] == ("waits", "the broker is away")
    sink.troubles.clear()
    until(lambda: sink.got == [event])
    finish(outbox)
    assert rows(here.state) == {}


def test_what_is_too_old_or_too_much_is_dropped_and_that_is_told(here: Yard) -> None:
    old = [here.visitor(age_s=3600.0 * (80 - n)) for n in range(5)]
    fresh = [here.visitor(age_s=60.0) for _ in range(30)]
    until(lambda: len(here.events()) == 35)
    sink = Kept()
    outbox = Outbox(here.state, sink, "yard", Bounds(max_age_s=72 * 3600.0, most=20), first_wait_s=0.02)
    until(lambda: len(sink.events) == 21)
    finish(outbox)
    note, *others = sink.events
    assert [event["id"] for event in others] == fresh[-20:]
    assert (note["type"], note["count"], note["first"], note["last"]) == ("dropped", 15, old[0], fresh[9])
    assert (note["node"], note["publisher"]) == ("yard", "sink")
    assert "more than 20 waited" in note["why"]
    finish(Outbox(here.state, sink, "yard"))
    assert len(sink.events) == 21, "it is told once"


def test_an_event_of_an_unset_clock_is_not_dropped_for_its_age(here: Yard) -> None:
    at = datetime(2020, 1, 1, tzinfo=UTC)
    for known in (False, True):
        id_ = here.ids.new(at)
        body = {"id": id_, "type": "health", "wall": at.isoformat(), "clock_ok": known, "what": ""}
        here.journal.event(Event(id_, "health", body))
    sink = Kept()
    outbox = Outbox(here.state, sink, "yard", Bounds(max_age_s=3600.0), first_wait_s=0.02)
    last = here.visitor()
    until(lambda: sink.events and sink.events[-1]["id"] == last)
    finish(outbox)
    assert [event["type"] for event in sink.events] == ["health", "dropped", "visit_started"]


def test_an_older_file_is_brought_up_to_date(here: Yard) -> None:
    path = here.state / DELIVERIES
    with contextlib.closing(sqlite3.connect(path)) as connection, connection:
        connection.execute("CREATE TABLE place (publisher TEXT PRIMARY KEY, event_id TEXT NOT NULL) WITHOUT ROWID")
        connection.execute(
            "CREATE TABLE delivery (publisher TEXT NOT NULL, event_id TEXT NOT NULL, state TEXT NOT NULL, "
            "tries INTEGER NOT NULL, next_try TEXT, why TEXT NOT NULL, PRIMARY KEY (publisher, event_id)) WITHOUT ROWID"
        )
        connection.execute("INSERT INTO place VALUES ('sink', 'x')")
        connection.execute("PRAGMA user_version = 1")
    with contextlib.closing(Deliveries(here.state, "sink")) as pages:
        assert (pages.place(), pages.held(), pages.sent()) == ("x", [], [])


def test_nothing_is_tried_while_there_is_nobody_to_send_to(here: Yard) -> None:
    sink = Sink()
    sink.there = False
    event = here.visitor()
    outbox = run(here.state, sink)
    time.sleep(0.6)
    assert rows(here.state) == {}
    sink.there = True
    until(lambda: sink.got == [event])
    finish(outbox)


def test_what_waits_for_a_sink_that_is_away_says_so_to_others(here: Yard) -> None:
    sink = Sink()
    sink.there = False
    here.visitor(age_s=900.0)
    name_active(here.state, ["sink"])
    outbox = run(here.state, sink)
    until(lambda: look(here.state).get("sink", {}).get("waiting") == 1)
    found = look(here.state)["sink"]
    assert found["oldest_s"] >= 900
    assert "not reached" in found["trouble"]
    sink.there = True
    until(lambda: sink.got)
    finish(outbox)
    assert look(here.state)["sink"] == found | {"waiting": 0, "oldest_s": None, "trouble": ""}


def test_why_a_sink_is_away_is_told_also_while_nothing_waits_for_it(here: Yard) -> None:
    sink = Sink()
    name_active(here.state, ["sink"])
    with contextlib.closing(Deliveries(here.state, "sink")) as pages:
        pages.away("of an earlier life")
    outbox = run(here.state, sink)
    until(lambda: rows(here.state) == {})
    sink.trouble, sink.there = "the password is not taken", False
    until(lambda: look(here.state)["sink"]["trouble"] == "the password is not taken")
    with contextlib.closing(Deliveries(here.state, "sink")) as pages:
        pages.drop("a", "b", 2, "too old")
    assert look(here.state)["sink"]["trouble"] == "the password is not taken", "it is still so"
    sink.there = True
    until(lambda: look(here.state)["sink"]["trouble"] == "")
    finish(outbox)


def test_before_there_is_a_journal_and_when_it_is_another(tmp_path: Path) -> None:
    sink = Sink(from_start=False)
    outbox = run(tmp_path, sink)
    until(lambda: placed(tmp_path) == [""])
    with yard(tmp_path, socket=False) as before:
        first = [before.visitor(age_s=60) for _ in range(3)]
        until(lambda: sink.got == first)
    for path in tmp_path.glob("events.db*"):
        path.unlink()
    with yard(tmp_path, socket=False) as after:
        second = [after.visitor()]
        until(lambda: sink.got[3:] == second)
    finish(outbox)


def test_a_place_that_cannot_be_kept_stops_the_sending(here: Yard) -> None:
    sink = Sink()
    sink.batch = 1
    outbox = run(here.state, sink)
    until(lambda: outbox._away == "")  # it has begun, and has nothing more to write
    other = sqlite3.connect(here.state / DELIVERIES, isolation_level=None, timeout=10)
    other.execute("BEGIN IMMEDIATE")
    ids = [here.visitor() for _ in range(5)]
    until(lambda: sink.got)
    time.sleep(1.5)
    assert sink.got == ids[:1], "one was sent, and its place is not kept yet"
    other.execute("ROLLBACK")
    until(lambda: len(sink.got) == 5)
    finish(outbox)
    assert sink.got == ids


def test_a_newer_file_is_refused(here: Yard) -> None:
    Deliveries(here.state, "sink").close()
    with sqlite3.connect(here.state / DELIVERIES) as connection:
        connection.execute("PRAGMA user_version = 99")
    with pytest.raises(StateError, match="written by a newer gander"):
        run(here.state, Sink())
