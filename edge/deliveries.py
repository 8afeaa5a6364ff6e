"""`deliveries.db`: how far each publisher has come, what waits, what went wrong. Only `gander publish` writes it."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

from edge.clock import Ids, iso
from edge.database import DELIVERIES, connect, prepare, transaction

_KEPT = 1000  # of what was set aside, per publisher; older ones go
WHY = "why"  # memo: why nothing is posted now
_SENT_DAYS = 32  # a calendar month's spending must be known


@dataclass(frozen=True, slots=True)
class Dropped:
    """So many events, `first` to `last` (ids), that a publisher did not get."""

    id: str
    wall: str
    first: str
    last: str
    count: int
    why: str


class Deliveries:
    """One publisher's page. For one thread; what it writes raises `sqlite3.Error` where the disk does not take it."""

    def __init__(self, state: Path, publisher: str) -> None:
        """Open or create. Raises `StateError` when that cannot be, or the file is of a newer gander."""
        prepare(state / DELIVERIES)
        self._publisher, self._stack, self._ids = publisher, contextlib.ExitStack(), Ids()
        self._connection = self._stack.enter_context(connect(state / DELIVERIES))
        # A place lost in a power cut means an event told twice, not one lost: no flush of the card for each.
        self._connection.execute("PRAGMA synchronous = NORMAL")

    def close(self) -> None:
        self._stack.close()

    def place(self) -> str | None:
        """Id of the last event delivered, or taken up; "" before the first; None for a publisher never seen."""
        row = self._connection.execute("SELECT event_id FROM place WHERE publisher = ?", (self._publisher,)).fetchone()
        return row[0] if row else None

    def keep(self, event_id: str) -> None:
        """Everything up to this event is delivered."""
        with transaction(self._connection):
            self._keep(event_id)

    def tries(self, event_id: str) -> int:
        """How often an event was tried in vain."""
        row = self._connection.execute(
            "SELECT tries FROM delivery WHERE publisher = ? AND event_id = ?", (self._publisher, event_id)
        ).fetchone()
        return int(row[0]) if row else 0

    def failed(self, event_id: str, tries: int, next_try: datetime, why: str) -> None:
        """An event is tried again."""
        with transaction(self._connection):
            self._note(event_id, "waits", tries, iso(next_try), why)

    def away(self, why: str) -> None:
        """Why there is nobody to send anything to; empty: there is somebody."""
        with transaction(self._connection):
            self._connection.execute("DELETE FROM delivery WHERE publisher = ? AND event_id = ''", (self._publisher,))
            if why:
                self._note("", "waits", 0, None, why)

    def set_aside(self, event_id: str, tries: int, why: str) -> None:
        """An event that cannot be delivered is left behind, and the place moves past it."""
        with transaction(self._connection):
            self._keep(event_id)
            self._refused(event_id, tries, why)

    def drop(self, first: str, last: str, count: int, why: str) -> None:
        """Events are left behind unsent, and the place moves past them; what was not yet told of such grows."""
        with transaction(self._connection):
            self._keep(last)
            self._drop(first, last, count, why)

    def dropped(self) -> Dropped | None:
        """What was dropped and not yet told."""
        sql = "SELECT id, wall, first, last, count, why FROM dropped WHERE publisher = ?"
        row = self._connection.execute(sql, (self._publisher,)).fetchone()
        return Dropped(*row) if row else None

    def told_dropped(self, id_: str) -> None:
        """It was told, as it was then."""
        with transaction(self._connection):
            self._forget_dropped(id_)

    def hold(self, event_ids: Iterable[str], place: str) -> None:
        """These wait to be told to people; everything up to `place` is read."""
        with transaction(self._connection):
            self._connection.execute("INSERT OR REPLACE INTO place VALUES (?, ?)", (self._publisher, place))
            self._connection.executemany(
                "INSERT OR IGNORE INTO held VALUES (?, ?)", [(self._publisher, id_) for id_ in event_ids]
            )

    def held(self) -> list[str]:
        """Ids of the events that wait to be told to people, oldest first."""
        sql = "SELECT event_id FROM held WHERE publisher = ? ORDER BY event_id"
        return [row[0] for row in self._connection.execute(sql, (self._publisher,))]

    def told(
        self, event_ids: Sequence[str], price: float, dropped: str = "", memo: tuple[str, str] | None = None
    ) -> None:
        """One post told these events, and what was `dropped` (its id); `memo` is a name and a value to remember."""
        now = datetime.now(UTC)
        with transaction(self._connection):
            self._let_go(event_ids)
            self._connection.execute("DELETE FROM delivery WHERE publisher = ? AND state = 'waits'", (self._publisher,))
            self._connection.execute("INSERT INTO sent VALUES (?, ?, ?)", (self._publisher, iso(now), price))
            self._connection.execute("DELETE FROM sent WHERE wall < ?", (iso(now - timedelta(days=_SENT_DAYS)),))
            if dropped:
                self._forget_dropped(dropped)
            if memo:
                self._connection.execute("INSERT OR REPLACE INTO memo VALUES (?, ?, ?)", (self._publisher, *memo))

    def release(self, event_ids: Sequence[str], why: str = "") -> None:
        """These are not told any more: dropped for a reason, or overtaken where none is given."""
        with transaction(self._connection):
            self._let_go(event_ids)
            if why and event_ids:
                self._drop(event_ids[0], event_ids[-1], len(event_ids), why)

    def refuse(self, event_ids: Sequence[str], why: str) -> None:
        """The sink will never take these."""
        with transaction(self._connection):
            self._let_go(event_ids)
            self._connection.execute("DELETE FROM delivery WHERE publisher = ? AND state = 'waits'", (self._publisher,))
            for event_id in event_ids:
                self._refused(event_id, 1, why)

    def sent(self) -> list[tuple[datetime, float]]:
        """The posts of the last weeks: when, and for how many dollars."""
        sql = "SELECT wall, price FROM sent WHERE publisher = ? ORDER BY wall"
        return [
            (datetime.fromisoformat(wall), price) for wall, price in self._connection.execute(sql, (self._publisher,))
        ]

    def memo(self, name: str) -> str | None:
        """What was remembered under a name."""
        sql = "SELECT value FROM memo WHERE publisher = ? AND name = ?"
        row = self._connection.execute(sql, (self._publisher, name)).fetchone()
        return str(row[0]) if row else None

    def remember(self, name: str, value: str) -> None:
        with transaction(self._connection):
            self._connection.execute("INSERT OR REPLACE INTO memo VALUES (?, ?, ?)", (self._publisher, name, value))

    def _keep(self, event_id: str) -> None:
        self._connection.execute("INSERT OR REPLACE INTO place VALUES (?, ?)", (self._publisher, event_id))
        sql = "DELETE FROM delivery WHERE publisher = ? AND state = 'waits' AND event_id != ''"  # see `away`
        self._connection.execute(sql, (self._publisher,))

    def _let_go(self, event_ids: Sequence[str]) -> None:
        rows = [(self._publisher, id_) for id_ in event_ids]
        self._connection.executemany("DELETE FROM held WHERE publisher = ? AND event_id = ?", rows)

    def _drop(self, first: str, last: str, count: int, why: str) -> None:
        now = datetime.now(UTC)
        row = (self._publisher, self._ids.new(now), iso(now), first, last, count, why)
        self._connection.execute(
            "INSERT INTO dropped VALUES (?, ?, ?, ?, ?, ?, ?) ON CONFLICT (publisher) DO UPDATE SET "
            "id = excluded.id, wall = excluded.wall, last = excluded.last, count = count + excluded.count, "
            "why = excluded.why",
            row,
        )

    def _forget_dropped(self, id_: str) -> None:
        self._connection.execute("DELETE FROM dropped WHERE publisher = ? AND id = ?", (self._publisher, id_))

    def _refused(self, event_id: str, tries: int, why: str) -> None:
        self._note(event_id, "refused", tries, None, why)
        self._connection.execute(
            "DELETE FROM delivery WHERE publisher = ?1 AND event_id NOT IN "
            "(SELECT event_id FROM delivery WHERE publisher = ?1 ORDER BY event_id DESC LIMIT ?2)",
            (self._publisher, _KEPT),
        )

    def _note(self, event_id: str, state: str, tries: int, next_try: str | None, why: str) -> None:
        row = (self._publisher, event_id, state, tries, next_try, why[:500])
        self._connection.execute("INSERT OR REPLACE INTO delivery VALUES (?, ?, ?, ?, ?, ?)", row)


def name_active(state: Path, publishers: Iterable[str]) -> None:
    """Keep which publishers there are now: what others waited for once is nobody's trouble. Raises `StateError`."""
    prepare(state / DELIVERIES)
    with connect(state / DELIVERIES) as connection, transaction(connection):
        connection.execute("DELETE FROM active")
        connection.executemany("INSERT INTO active VALUES (?)", [(name,) for name in publishers])
