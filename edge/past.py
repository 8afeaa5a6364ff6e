"""What limits must remember over a restart, read from the journal."""

from __future__ import annotations

import contextlib
import json
import math
import sqlite3
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from edge.clock import LiveClock, Uptime, iso, uptime
from edge.config import Config
from edge.errors import StateError
from edge.journal import EVENTS, reader
from edge.policy import DAY_S, TEST, Acted, History

_MOST_ROWS = 20_000  # looked at, of the newest
_ACTIONS = "action", "test_fire"


@dataclass(frozen=True, slots=True)
class Now:
    """What the clocks say at the start. `known`: the wall clock is set; `up`: of the boot."""

    wall: datetime
    known: bool
    up: Uptime | None

    @classmethod
    def read(cls) -> Now:
        return cls(datetime.now(UTC), LiveClock().known(), uptime())


@dataclass(slots=True)
class _Age:
    """How long ago journalled rows were, newest first: never said to be longer than it surely was.

    Rows of one boot lie as far apart as its uptime says, whatever the clock did. Over a reboot the clock counts only if
    it was set then and is set now. Otherwise only the time counts that the machine was up since: so no jump of
    the clock makes an action seem older than it is, and none holds a limit for longer than the machine must run for it.
    """

    now: Now
    seconds: float = 0.0
    up: Uptime | None = field(init=False)

    def __post_init__(self) -> None:
        self.up = self.now.up

    def of(self, body: dict[str, Any]) -> float:
        """Seconds since a row. `body`: its event; what it lacks or what is odd in it proves nothing."""
        up = _uptime(body)
        if up and self.up:
            self.seconds += max(self.up.seconds - up.seconds, 0.0) if up.boot == self.up.boot else self.up.seconds
        self.up = up or self.up
        this_boot = up and self.now.up and up.boot == self.now.up.boot
        if self.now.known and body.get("clock_ok") is True and not this_boot:
            with contextlib.suppress(KeyError, TypeError, ValueError):
                self.seconds = max(self.seconds, (self.now.wall - datetime.fromisoformat(body["wall"])).total_seconds())
        return self.seconds


def past(state: Path, config: Config, now: Now | None = None) -> History:
    """At negative media times: the actions of the last day, tests among them, and the last person."""
    now = now or Now.read()
    with contextlib.suppress(StateError), reader(state / EVENTS) as events:
        return _read(events, config, now)
    return History()


def _read(events: sqlite3.Connection, config: Config, now: Now) -> History:
    age, acted, persons, ended = _Age(now), list[Acted](), list[float](), set[str]()
    # Who was there at a crash may have been a person who is there still.
    open_s = config.visits.cap_s + config.policy.person_veto_s
    rows = events.execute("SELECT type, visit_id, json FROM event ORDER BY place DESC LIMIT ?", (_MOST_ROWS,))
    for row in rows:
        body = _body(row["json"])
        seconds = age.of(body or {})
        if seconds >= DAY_S:
            break
        if row["type"] in _ACTIONS and len(acted) < config.policy.per_day and (deterrent := _fired(body, config)):
            acted.append(Acted(-seconds, deterrent, row["visit_id"] or TEST))
        if row["type"] == "visit":
            ended.add(row["visit_id"])
        visit = (body or {}).get("visit")
        if isinstance(visit, dict) and row["visit_id"] not in ended and seconds <= open_s:
            persons.append(0.0)
        elif isinstance(visit, dict) and visit.get("kind") == "person":
            persons.append(seconds)
    person = events.execute(
        """SELECT max(coalesce(ended, ?)) FROM visit
            WHERE (kind = 'person' AND ended IS NOT NULL) OR (ended IS NULL AND started > ?)""",
        (iso(now.wall), iso(now.wall - timedelta(seconds=open_s))),
    ).fetchone()[0]
    if person:
        persons.append(max((now.wall - datetime.fromisoformat(person)).total_seconds(), 0.0))
    return History(tuple(reversed(acted)), -min(persons) if persons else None)


def _fired(body: dict[str, Any] | None, config: Config) -> str | None:
    """Which deterrent was on, or may have been. A damaged row counts as an action of the first one."""
    if body is None:
        return config.deterrent[0].id if config.deterrent else None
    action = body.get("action")
    if body.get("replayed") or not isinstance(action, dict) or action.get("result") not in ("on", "silent"):
        return None
    return str(action.get("deterrent"))


def _body(text: str) -> dict[str, Any] | None:
    try:
        body = json.loads(text)
    except (TypeError, ValueError, RecursionError):
        return None
    return body if isinstance(body, dict) else None


def _uptime(body: dict[str, Any]) -> Uptime | None:
    boot, seconds = body.get("boot"), body.get("boot_s")
    if isinstance(boot, str) and isinstance(seconds, int | float) and math.isfinite(seconds):
        return Uptime(boot, float(seconds))
    return None
