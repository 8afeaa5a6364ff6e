"""What waits to be published, as others than `gander publish` see it."""

from __future__ import annotations

import contextlib
import json
import logging
import sqlite3
import threading
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from edge.clock import uptime
from edge.database import DELIVERIES, EVENTS, reader
from edge.deliveries import WHY
from edge.errors import StateError

log = logging.getLogger(__name__)

_REACHED_S = 10.0  # within this a sink that can be reached is told


class Queues:
    """Looks at most every few seconds, whoever asks; any thread.

    Keeps both databases open: opening one dirties a page of its shared memory, which goes to the card half a minute
    later, all day long.
    """

    def __init__(self, state: Path, every_s: float = 5.0) -> None:
        self._paths, self._every_s = (state / DELIVERIES, state / EVENTS), every_s
        self._seen: dict[str, dict[str, Any]] = {}
        self._seen_at = -every_s
        self._turn, self._open = threading.Lock(), contextlib.ExitStack()
        self._files: list[int] = []  # inodes of those that are open
        self._books: list[sqlite3.Connection] = []

    def facts(self) -> dict[str, dict[str, Any]]:
        """By publisher: `waiting` events or posts, `oldest_s` the age of the first of them, `trouble` why the last
        sending failed, `why` nothing is posted now, `refused` set aside, `dropped` and not yet told."""
        with self._turn:
            if time.monotonic() - self._seen_at >= self._every_s:
                try:
                    self._seen = self._look()
                except (OSError, StateError, sqlite3.Error, ValueError, TypeError) as error:  # away, or a damaged row
                    log.debug("%s", error)
                    self._files = []
                self._seen_at = time.monotonic()
            return self._seen

    def _look(self) -> dict[str, dict[str, Any]]:
        files = [path.stat().st_ino for path in self._paths if path.exists()]
        if len(files) < len(self._paths):
            return {}
        if files != self._files:
            self._open.close()
            self._books, self._files = [self._open.enter_context(reader(path)) for path in self._paths], files
        return _pages(*self._books)


def look(state: Path) -> dict[str, dict[str, Any]]:
    """As `Queues.facts`, now. Raises `StateError`, `sqlite3.Error`."""
    if not (state / DELIVERIES).exists() or not (state / EVENTS).exists():
        return {}
    with reader(state / DELIVERIES) as deliveries, reader(state / EVENTS) as events:
        return _pages(deliveries, events)


def _pages(deliveries: sqlite3.Connection, events: sqlite3.Connection) -> dict[str, dict[str, Any]]:
    names = [row[0] for row in deliveries.execute("SELECT publisher FROM active ORDER BY publisher")]
    return {name: _page(deliveries, events, name) for name in names}


def _page(deliveries: sqlite3.Connection, events: sqlite3.Connection, name: str) -> dict[str, Any]:
    def one(sql: str, *more: str) -> Any:
        row = deliveries.execute(sql, (name, *more)).fetchone()
        return row[0] if row else None

    is_people = one("SELECT 1 FROM memo WHERE publisher = ? LIMIT 1")
    if is_people:
        waiting = one("SELECT count(*) FROM held WHERE publisher = ?")
        first = events.execute(
            "SELECT json FROM event WHERE id = ?", (one("SELECT min(event_id) FROM held WHERE publisher = ?"),)
        ).fetchone()
    elif (last := one("SELECT event_id FROM place WHERE publisher = ?")) is None:  # it has never begun
        waiting, first = 0, None
    else:
        place = events.execute("SELECT place FROM event WHERE id = ?", (last,)).fetchone()
        after = place[0] if place else 0
        waiting = events.execute("SELECT coalesce(max(place), ?1) - ?1 FROM event", (after,)).fetchone()[0]
        first = events.execute("SELECT json FROM event WHERE place > ? ORDER BY place LIMIT 1", (after,)).fetchone()
    age_s = _age_s(first[0]) if first else None
    trouble = one("SELECT why FROM delivery WHERE publisher = ? AND state = 'waits'") or ""
    if not is_people and not trouble and (age_s or 0.0) > _REACHED_S:
        trouble = "not reached, or `gander publish` does not run"
    return {
        "waiting": waiting,
        "oldest_s": None if age_s is None else round(age_s, 1),
        "trouble": trouble,
        "why": one("SELECT value FROM memo WHERE publisher = ? AND name = ?", WHY) or "",
        "refused": one("SELECT count(*) FROM delivery WHERE publisher = ? AND state = 'refused'"),
        "dropped": one("SELECT count FROM dropped WHERE publisher = ?") or 0,
    }


def _age_s(text: str) -> float | None:
    """How long ago an event happened, as far as anybody knows; None where it is damaged.

    In this boot by the uptime, else by the clock; without either it was before the boot, so long ago at least.
    """
    up = uptime()
    try:
        event = json.loads(text)
        boot = up and event.get("boot")
        if up and boot == up.boot:
            return max(up.seconds - float(event["boot_s"]), 0.0)
        if up and boot and not event["clock_ok"]:
            return up.seconds
        return max((datetime.now(UTC) - datetime.fromisoformat(event["wall"])).total_seconds(), 0.0)
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        log.debug("a damaged event: %s", error)
        return None
