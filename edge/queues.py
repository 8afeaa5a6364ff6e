"""What waits to be published, as others than `gander publish` see it."""

from __future__ import annotations

import contextlib
import logging
import sqlite3
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from edge.database import DELIVERIES, EVENTS, reader
from edge.deliveries import WHY
from edge.errors import StateError

log = logging.getLogger(__name__)

_REACHED_S = 10.0  # within this a sink that can be reached is told


class Queues:
    """Looks at most every few seconds, whoever asks."""

    def __init__(self, state: Path, every_s: float = 5.0) -> None:
        self._state, self._every_s = state, every_s
        self._seen: dict[str, dict[str, Any]] = {}
        self._seen_at = -every_s

    def facts(self) -> dict[str, dict[str, Any]]:
        """By publisher: `waiting` events or posts, `oldest_s` the age of the first of them, `trouble` why the last
        sending failed, `why` nothing is posted now, `refused` set aside, `dropped` and not yet told."""
        if time.monotonic() - self._seen_at >= self._every_s:
            try:
                self._seen = look(self._state)
            except (StateError, sqlite3.Error) as error:
                log.debug("%s", error)
            self._seen_at = time.monotonic()
        return self._seen


def look(state: Path) -> dict[str, dict[str, Any]]:
    """As `Queues.facts`, now. Raises `StateError`, `sqlite3.Error`."""
    if not (state / DELIVERIES).exists() or not (state / EVENTS).exists():
        return {}
    with contextlib.ExitStack() as stack:
        deliveries = stack.enter_context(reader(state / DELIVERIES))
        events = stack.enter_context(reader(state / EVENTS))
        names = [row[0] for row in deliveries.execute("SELECT publisher FROM active ORDER BY publisher")]
        return {name: _page(deliveries, events, name) for name in names}


def _page(deliveries: sqlite3.Connection, events: sqlite3.Connection, name: str) -> dict[str, Any]:
    def one(sql: str) -> Any:
        row = deliveries.execute(sql, (name,)).fetchone()
        return row[0] if row else None

    is_people = one("SELECT 1 FROM memo WHERE publisher = ? LIMIT 1")
    if is_people:
        waiting = one("SELECT count(*) FROM held WHERE publisher = ?")
        first = events.execute(
            "SELECT wall FROM event WHERE id = ?", (one("SELECT min(event_id) FROM held WHERE publisher = ?"),)
        ).fetchone()
    else:
        place = events.execute(
            "SELECT place FROM event WHERE id = ?", (one("SELECT event_id FROM place WHERE publisher = ?"),)
        ).fetchone()
        after = place[0] if place else 0
        waiting = events.execute("SELECT coalesce(max(place), ?1) - ?1 FROM event", (after,)).fetchone()[0]
        first = events.execute("SELECT wall FROM event WHERE place > ? ORDER BY place LIMIT 1", (after,)).fetchone()
    age_s = (datetime.now(UTC) - datetime.fromisoformat(first[0])).total_seconds() if first else None
    trouble = one("SELECT why FROM delivery WHERE publisher = ? AND state = 'waits'") or ""
    if not is_people and not trouble and (age_s or 0.0) > _REACHED_S:
        trouble = "not reached, or `gander publish` does not run"
    return {
        "waiting": waiting,
        "oldest_s": None if age_s is None else round(age_s, 1),
        "trouble": trouble,
        "why": one(f"SELECT value FROM memo WHERE publisher = ? AND name = '{WHY}'") or "",  # noqa: S608 - no input
        "refused": one("SELECT count(*) FROM delivery WHERE publisher = ? AND state = 'refused'"),
        "dropped": one("SELECT count FROM dropped WHERE publisher = ?") or 0,
    }
