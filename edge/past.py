"""What limits must remember over a restart, read from the journal."""

from __future__ import annotations

import contextlib
from datetime import UTC, datetime
from pathlib import Path

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
            "SELECT wall, visit_id, json_extract(json, '$.action.deterrent') AS deterrent FROM event "
            "WHERE type = 'action' AND json_extract(json, '$.action.result') IN ('on', 'silent') "
            "AND NOT json_extract(json, '$.replayed') ORDER BY place DESC LIMIT ?",
            (config.policy.per_day,),
        ).fetchall()
        for row in reversed(actions):
            age = (now - known(row["wall"])).total_seconds()
            # A clock that went back makes the past lie in the future: then only the last counts, as just now.
            if 0 <= age < DAY_S or (row is actions[0] and age < 0):
                history = history.with_action(Acted(-max(age, 0.0), row["deterrent"], row["visit_id"]))
        person = events.execute("SELECT max(ended) FROM visit WHERE kind = 'person'").fetchone()[0]
        if person:
            history = history.with_person(-max((now - known(person)).total_seconds(), 0.0))
    return history
