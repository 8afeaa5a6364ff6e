"""What the journal tells those who publish: events as they come, who was last, today's counts, pictures that may go."""

from __future__ import annotations

import contextlib
import json
import logging
import sqlite3
from datetime import datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any

from edge.books import is_inside
from edge.clock import first_id, iso
from edge.database import EVENTS, reader
from edge.journal import events_after, last_place

log = logging.getLogger(__name__)

_MOST_LABELS = 200
_MOST_PICTURE = 2_000_000  # bytes


class Reading:
    """The journal as its readers see it. For one thread; opened when first needed, also before there is a journal."""

    def __init__(self, state: Path) -> None:
        self._state, self._path = state, state / EVENTS
        self._stack = contextlib.ExitStack()
        self._connection: sqlite3.Connection | None = None
        self._seen: tuple[int, int] | None = None  # the file, and SQLite's count of what others committed
        self._inode = 0
        self.opened = 0
        """How often a journal was opened: after another, places mean something else."""

    def close(self) -> None:
        self._stack.close()
        self._connection = None

    def news(self) -> bool:
        """Whether anything was committed since last asked. Costs next to nothing, and the disk nothing.

        Raises `StateError` for a journal that is damaged or newer, `sqlite3.Error` when it cannot be read now.
        """
        connection = self._open()
        if connection is None:
            return False
        seen = self._inode, int(connection.execute("PRAGMA data_version").fetchone()[0])
        changed, self._seen = seen != self._seen, seen
        return changed

    def after(self, place: int, limit: int) -> list[tuple[int, dict[str, Any]]]:
        """Events committed after `place`, in the order of their commit, each with its own place."""
        connection = self._open()
        return events_after(connection, place, limit) if connection else []

    def place_of(self, event_id: str) -> int:
        """The place of an event; where it is gone (another journal, or tended), of the last before it in time."""
        connection = self._open()
        if connection is None or not event_id:
            return 0
        row = connection.execute("SELECT place FROM event WHERE id = ?", (event_id,)).fetchone()
        if row is None:
            row = connection.execute("SELECT min(place) - 1 FROM event WHERE id > ?", (event_id,)).fetchone()
        return int(row[0]) if row[0] is not None else last_place(connection)

    def last_place(self) -> int:
        """The newest event's place; 0 where there is none."""
        connection = self._open()
        return last_place(connection) if connection else 0

    def event(self, id_: str) -> dict[str, Any] | None:
        """An event; None where it is gone, or damaged."""
        connection = self._open()
        sql = "SELECT json FROM event WHERE id = ? AND json_valid(json)"
        row = connection.execute(sql, (id_,)).fetchone() if connection else None
        return json.loads(row[0]) | {"id": id_} if row else None

    def visits(self, begin: datetime, end: datetime) -> list[dict[str, Any]]:
        """How the visits that ended from `begin` to before `end` ended: their `visit` events."""
        connection = self._open()
        if connection is None:
            return []
        # An id has the time it was given, which is a little after the visit's end.
        late = timedelta(hours=1)
        rows = connection.execute(
            "SELECT json FROM event WHERE type = 'visit' AND id >= ? AND id < ? AND wall >= ? AND wall < ? "
            "AND json_valid(json) ORDER BY id",
            (first_id(begin), first_id(end + late), iso(begin), iso(end)),
        )
        return [json.loads(row[0]) for row in rows]

    def last_id(self) -> str:
        """The newest event's id; "" where there is none."""
        connection = self._open()
        row = connection.execute("SELECT id FROM event ORDER BY place DESC LIMIT 1").fetchone() if connection else None
        return str(row[0]) if row else ""

    def last_visitor(self) -> dict[str, Any] | None:
        """The newest event about the visitor of whom there was news last; that another has left is no news of him."""
        connection = self._open()
        if connection is None:
            return None
        newest = "SELECT visit_id FROM event WHERE visit_id IS NOT NULL AND type != 'visit' ORDER BY place DESC LIMIT 1"
        sql = f"SELECT json FROM event WHERE visit_id = ({newest}) AND json_valid(json) ORDER BY place DESC LIMIT 1"  # noqa: S608 - no input
        row = connection.execute(sql).fetchone()
        return json.loads(row[0]) if row else None

    def counts(self, now: datetime) -> dict[str, int]:
        """Today's visits by label, today as the house has it. Labels of the last week that did not come count 0."""
        connection = self._open()
        if connection is None:
            return {}
        midnight = now.astimezone().replace(hour=0, minute=0, second=0, microsecond=0)
        rows = connection.execute(
            "SELECT label, sum(id >= ?) FROM visit WHERE id >= ? AND label IS NOT NULL GROUP BY label "
            "ORDER BY 2 DESC, 1 LIMIT ?",
            (first_id(midnight), first_id(midnight - timedelta(days=7)), _MOST_LABELS),
        )
        return {row[0]: int(row[1]) for row in rows}

    def may_leave(self, id_: str, people: bool) -> bool:
        """Whether a picture is still there and may leave this machine."""
        connection = self._open()
        row = connection.execute("SELECT person FROM picture WHERE id = ?", (id_,)).fetchone() if connection else None
        return row is not None and (people or row[0] == 0)

    def picture(self, id_: str, people: bool) -> bytes | None:
        """A picture's JPEG bytes, where it is there and may leave this machine.

        `people`: also one with a person on it, or on which nobody knows.
        """
        connection = self._open()
        row = connection.execute("SELECT * FROM picture WHERE id = ?", (id_,)).fetchone() if connection else None
        if row is None or not (people or row["person"] == 0) or not is_inside(row["path"]):
            return None
        path = self._state / "pictures" / row["path"]
        try:
            return path.read_bytes() if path.stat().st_size <= _MOST_PICTURE else None
        except OSError as error:  # tended away meanwhile
            log.debug("%s: %s", path, error)
            return None

    def _open(self) -> sqlite3.Connection | None:
        """The connection; a new one where another journal was put in the place of the old."""
        try:
            inode = self._path.stat().st_ino
        except OSError:
            inode = 0
        if self._connection and inode == self._inode:
            return self._connection
        self.close()
        if not inode:
            return None
        self._inode = inode
        self._connection = self._stack.enter_context(reader(self._path))
        self._connection.text_factory = partial(str, encoding="utf-8", errors="replace")  # a row may be damaged
        self.opened += 1
        return self._connection
