"""From what happened to events: what is told, once each, and handed to the journal."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

from edge.clock import Clock, Ids, iso
from edge.evidence import sigmoid
from edge.journal import Journal, dump
from edge.latency import Latencies
from edge.media import Media
from edge.values import Action, Decision, Event, Frame, Reason, Role, Verdict, Visit

_MOST_UNANSWERED = 20  # rows of one visit about questions without an answer
_QUIET = (Reason.THREAT, Reason.WEAK_EVIDENCE)  # not worth an event of their own


@dataclass(slots=True)
class _Told:
    """What was already told about one open visit."""

    reason: Reason
    reasons: set[Reason] = field(default_factory=set)
    results: set[str] = field(default_factory=set)
    picture: str | None = None
    unanswered: int = 0


@dataclass(frozen=True, slots=True)
class Model:
    """Who answers: the champion's name and version in every event, and how much of a box's surroundings it is shown."""

    name: str
    version: str
    labels: tuple[str, ...]
    margin: float

    def json(self) -> dict[str, str]:
        return {"name": self.name, "version": self.version, "role": Role.CHAMPION.value}


@dataclass(frozen=True, slots=True)
class Step:
    """All of one turn of the loop, for the record. `timings` is in milliseconds, by step."""

    frame: Frame
    visit: Visit
    verdict: Verdict
    decision: Decision
    action: Action | None
    timings: dict[str, float]


class Record:
    """Tells a visit as `visit_started`, `action`, `suppressed` (once per reason) and `visit`. For the loop's thread."""

    def __init__(
        self,
        node: str,
        model: Model,
        journal: Journal,
        media: Media,
        latencies: Latencies,
        clock: Clock,
        ids: Ids,
        replayed: bool = False,
        listen: Callable[[Event], None] | None = None,
    ) -> None:
        self.model = model
        self._node, self._replayed, self._listen = node, replayed, listen
        self._journal, self._media, self._latencies = journal, media, latencies
        self._clock, self._ids = clock, ids
        self._told: dict[str, _Told] = {}

    def step(self, step: Step) -> None:
        """One question was decided."""
        visit, decision = step.visit, step.decision
        for name, ms in step.timings.items():
            self._latencies.add(name, ms)
        moments = [] if visit.id in self._told else ["visit_started"]
        told = self._told.setdefault(visit.id, _Told(decision.reason))
        # A failed order is tried again at each frame, and told once.
        if step.action and (step.action.acknowledged_at_ns or step.action.result not in told.results):
            told.results.add(step.action.result)
            moments.append("action")
        elif not step.action and decision.reason not in _QUIET and decision.reason not in told.reasons:
            told.reasons.add(decision.reason)
            moments.append("suppressed")
        told.reason = decision.reason
        for moment in moments:
            self._moment(moment, visit, told, step)
        unanswered = not step.verdict.chosen and told.unanswered < _MOST_UNANSWERED
        told.unanswered += unanswered
        if moments or unanswered:
            self._prediction_rows(visit, told, step)

    def _moment(self, type_: str, visit: Visit, told: _Told, step: Step) -> None:
        """Something worth a picture and an event."""
        told.picture = self._media.keep(step.frame, visit, self.model.margin) or told.picture
        self._visit_row(visit, ended=None)
        self._tell(type_, step.frame.wall, visit, told, step)

    def ended(self, visit: Visit) -> None:
        """A visitor left. One that nobody was ever asked about is not told."""
        told = self._told.pop(visit.id, None)
        self._media.forget(visit.id)
        if told is None:
            return
        ended = visit.first_wall + timedelta(seconds=visit.last_seen - visit.first_seen)
        self._visit_row(visit, ended=iso(ended))
        self._tell("visit", ended, visit, told, None)

    def champion(self, model: Model) -> None:
        """Another model judges from now on."""
        self.model = model
        self._send("model", datetime.now(UTC), {"media_time": None, "model": model.json(), "what": "is champion now"})

    def _tell(self, type_: str, wall: datetime, visit: Visit, told: _Told, step: Step | None) -> None:
        action = step.action if step and type_ == "action" else None
        body: dict[str, Any] = {
            "camera": visit.camera,
            "media_time": round(step.frame.media_time if step else visit.last_seen, 3),
            "visit": {
                "id": visit.id,
                "label": visit.label,
                "kind": visit.kind.value,
                "p": round(visit.label_p, 4),
                "threat_p": None if visit.log_odds is None else round(sigmoid(visit.log_odds), 4),
                "answers": visit.answers,
                "actions": visit.actions,
                "started": iso(visit.first_wall),
                "ended": iso(wall) if type_ == "visit" else None,
                "box": [round(side, 4) for side in (visit.box.x, visit.box.y, visit.box.w, visit.box.h)],
            },
            "action": _action(action),
            "reason": told.reason.value,
            "deterrent": step.decision.deterrent if step else None,
            "model": self.model.json(),
            "top": [[label, round(p, 4)] for label, p in visit.top],
            "latency_ms": {name: round(ms, 3) for name, ms in step.timings.items()} if step else {},
            "picture": told.picture,
        }
        self._send(type_, wall, body)

    def _send(self, type_: str, wall: datetime, facts: dict[str, Any]) -> None:
        id_ = self._ids.new(wall)
        head = {
            "v": 1,
            "id": id_,
            "type": type_,
            "node": self._node,
            "wall": iso(wall),
            "clock_ok": self._clock.known(),
        }
        event = Event(id_, type_, head | facts | {"replayed": self._replayed})
        self._journal.event(event)
        if self._listen:
            self._listen(event)

    def _visit_row(self, visit: Visit, ended: str | None) -> None:
        self._journal.write(
            "INSERT OR REPLACE INTO visit VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
            *(visit.id, visit.camera, iso(visit.first_wall), ended),
            *(visit.kind.value, visit.label, visit.label_p, visit.actions),
            precious=True,
        )

    def _prediction_rows(self, visit: Visit, told: _Told, step: Step) -> None:
        """What each model said. Only of moments that are told, or the card would be written to 15 times a second."""
        for prediction in step.verdict.predictions:
            top = None
            if prediction.label_p.size:
                best = int(prediction.label_p.argmax())
                top = dump([self.model.labels[best], round(float(prediction.label_p[best]), 4)])
            self._journal.write(
                "INSERT INTO prediction VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
                *(visit.id, step.frame.seq, prediction.model, prediction.role.value),
                *(prediction.fate.value, prediction.invoke_ms, top, told.picture),
            )


def _action(action: Action | None) -> dict[str, Any] | None:
    if action is None:
        return None
    return {
        "id": action.id,
        "deterrent": action.deterrent,
        "pattern": action.pattern,
        "on_ms": action.on_ms,
        "result": action.result,
        "acknowledged": action.acknowledged_at_ns > 0,
    }
