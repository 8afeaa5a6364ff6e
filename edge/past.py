"""What limits must remember over a restart, read from the journal."""

from __future__ import annotations

import contextlib
from datetime import UTC, datetime, timedelta
from pathlib import Path

from edge.clock import iso
from edge.config import Config
from edge.errors import StateError
from edge.journal import EVENTS, reader
from edge.policy import DAY_S, Acted, History


def past(state: Path, config: Config) -> History:
    """At negative media times: the actions of the last day, and the last person."""
    history, now = History(), datetime.now(UTC)
    known = datetime.fromisoformat
    with contextlib.suppress(StateError), reader(state / EVENTS) as events:
        actions = events.execute(
            # A row that is damaged counts as an action of who knows which deterrent: as the first one's.
            "SELECT wall, visit_id, CASE WHEN json_valid(json) THEN json_extract(json, '$.action.deterrent') "
            "END AS deterrent FROM event WHERE type = 'action' AND CASE WHEN json_valid(json) THEN "
            "json_extract(json, '$.action.result') IN ('on', 'silent') AND NOT json_extract(json, '$.replayed') "
            "ELSE 1 END ORDER BY place DESC LIMIT ?",
            (config.policy.per_day,),
        ).fetchall()
        for row in reversed(actions):
            age = (now - known(row["wall"])).total_seconds()
            # A clock that went back makes the past lie in the future: then only the last counts, as just now.
            if 0 <= age < DAY_S or (row is actions[0] and age < 0):
                deterrent = row["deterrent"] or (config.deterrent[0].id if config.deterrent else "")
                history = history.with_action(Acted(-max(age, 0.0), deterrent, row["visit_id"] or ""))
        # Who was there at a crash may have been a person who is there still.
        person = events.execute(
            "SELECT max(coalesce(ended, ?)) FROM visit WHERE kind = 'person' OR (ended IS NULL AND started > ?)",
            (iso(now), iso(now - timedelta(seconds=config.visits.cap_s + config.policy.person_veto_s))),
        ).fetchone()[0]
        if person:
            history = history.with_person(-max((now - known(person)).total_seconds(), 0.0))
    return history
