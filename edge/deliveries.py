"""`deliveries.db`: how far each publisher has come, and what it could not deliver. Only `gander publish` writes it."""

from __future__ import annotations

import contextlib
from datetime import datetime
from pathlib import Path

from edge.clock import iso
from edge.database import DELIVERIES, connect, prepare, transaction

_KEPT = 1000  # of what was set aside, per publisher; older ones go


class Deliveries:
    """One publisher's page. For one thread; what it writes raises `sqlite3.Error` where the disk does not take it."""

    def __init__(self, state: Path, publisher: str) -> None:
        """Open or create. Raises `StateError` when that cannot be, or the file is of a newer gander."""
        prepare(state / DELIVERIES)
        self._publisher, self._stack = publisher, contextlib.ExitStack()
        self._connection = self._stack.enter_context(connect(state / DELIVERIES))
        # A place lost in a power cut means an event told twice, not one lost: no flush of the card for each.
        self._connection.execute("PRAGMA synchronous = NORMAL")

    def close(self) -> None:
        self._stack.close()

    def place(self) -> str | None:
        """Id of the last event delivered; "" before the first; None for a publisher never seen."""
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

    def set_aside(self, event_id: str, tries: int, why: str) -> None:
        """An event that cannot be delivered is left behind, and the place moves past it."""
        with transaction(self._connection):
            self._keep(event_id)
            self._note(event_id, "refused", tries, None, why)
            self._connection.execute(
                "DELETE FROM delivery WHERE publisher = ?1 AND event_id NOT IN "
                "(SELECT event_id FROM delivery WHERE publisher = ?1 ORDER BY event_id DESC LIMIT ?2)",
                (self._publisher, _KEPT),
            )

    def _keep(self, event_id: str) -> None:
        self._connection.execute("INSERT OR REPLACE INTO place VALUES (?, ?)", (self._publisher, event_id))
        self._connection.execute("DELETE FROM delivery WHERE publisher = ? AND state = 'waits'", (self._publisher,))

    def _note(self, event_id: str, state: str, tries: int, next_try: str | None, why: str) -> None:
        row = (self._publisher, event_id, state, tries, next_try, why[:500])
        self._connection.execute("INSERT OR REPLACE INTO delivery VALUES (?, ?, ?, ?, ?, ?)", row)
