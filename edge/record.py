"""From what happened to events: what is told, once each, and handed to the journal."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

from edge import feed
from edge.clock import Clock, Ids, iso, uptime
from edge.evidence import sigmoid
from edge.journal import Journal, dump
from edge.labels import NOBODY
from edge.latency import Latencies
from edge.lineup import Lineup, Model
from edge.media import Media
from edge.values import Action, Decision, Event, Frame, Image, Prediction, Reason, Verdict, Visit

_MOST_UNANSWERED = 20  # rows of one visit about questions without an answer
_BRIEF_S = 1.0
_MOMENTS_AGO = timedelta(minutes=10)  # what is told happened within a visit's time
_MOST_PULSES = 64  # whose end may still be told
_MOST_QUESTIONS = 64  # that may still be answered
_QUIET = (Reason.THREAT, Reason.WEAK_EVIDENCE)  # not worth an event of their own


@dataclass(slots=True)
class _Told:
    """What was already told about one open visit."""

    reason: Reason
    model: Model  # who answered last
    reasons: set[Reason] = field(default_factory=set)
    results: set[str] = field(default_factory=set)
    picture: str | None = None
    unanswered: int = 0
    started: bool = False
    pulses: list[dict[str, Any]] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Step:
    """All of one turn of the loop, for the record.

    `crop` is what the models were shown, uint8[h, w, 3] RGB; `timings` is in milliseconds, by step; `person`: one was
    seen in the crop.
    """

    frame: Frame
    crop: Image
    visit: Visit
    verdict: Verdict
    decision: Decision
    action: Action | None
    timings: dict[str, float]
    person: bool = False


@dataclass(frozen=True, slots=True)
class _Question:
    """A question that has rows, for the answers to it that come after the verdict."""

    visit_id: str
    seq: int
    picture: str | None


class Record:
    """Tells a visit as `visit_started`, `action`, `suppressed` (once per reason) and `visit`. For the loop's thread."""

    def __init__(
        self,
        node: str,
        lineup: Lineup,
        journal: Journal,
        media: Media,
        latencies: Latencies,
        clock: Clock,
        ids: Ids,
        replayed: bool = False,
        listen: Callable[[Event], None] | None = None,
    ) -> None:
        self._lineup = lineup
        self._node, self._replayed, self._listen = node, replayed, listen
        self._journal, self._media, self._latencies = journal, media, latencies
        self._clock, self._ids = clock, ids
        self._told: dict[str, _Told] = {}
        self._questions: OrderedDict[int, _Question] = OrderedDict()
        self._pulses: OrderedDict[str, dict[str, Any]] = OrderedDict()  # by action, those that are not over
        self.untold = 0  # visits of nobody, too brief to tell

    def step(self, step: Step) -> None:
        """One question was decided."""
        visit, decision = step.visit, step.decision
        for name, ms in step.timings.items():
            self._latencies.add(name, ms)
        told = self._told.setdefault(visit.id, _Told(decision.reason, self._lineup.champion))
        moments = []
        if step.verdict.chosen:
            told.model = self._lineup.model(step.verdict.chosen.role)
        if step.person:
            self._media.person(step.frame)
        # A failed order is tried again at each frame, and told once.
        if step.action and (step.action.acknowledged_at_ns or step.action.result not in told.results):
            told.results.add(step.action.result)
            moments.append("action")
        elif not step.action and decision.reason not in _QUIET and decision.reason not in told.reasons:
            told.reasons.add(decision.reason)
            moments.append("suppressed")
        if not told.started and (moments or not _brief(visit)):
            told.started = True
            moments.insert(0, "visit_started")
        told.reason = decision.reason
        if step.action and step.action.acknowledged_at_ns:
            self._pulse(step.action, step, told)
        for moment in moments:
            self._moment(moment, visit, told, step)
        unanswered = not step.verdict.chosen and told.unanswered < _MOST_UNANSWERED
        told.unanswered += unanswered
        if moments or unanswered:
            self._prediction_rows(visit, told, step)

    def _pulse(self, action: Action, step: Step, told: _Told) -> None:
        """The pin is on: told with the visit's end, then also how long it really was. `at_s`: of the deciding frame."""
        at_s = round(step.frame.media_time - step.visit.first_seen, 3)
        pulse = {"id": action.id, "deterrent": action.deterrent, "at_s": at_s, "on_ms": None}
        told.pulses.append(pulse)
        self._pulses[action.id] = pulse
        if len(self._pulses) > _MOST_PULSES:
            self._pulses.popitem(last=False)

    def finished(self, pulses: Iterable[tuple[str, int]]) -> None:
        """Pulses that are over: the action's id, and for how many milliseconds the controller measured the pin on."""
        for action_id, on_ms in pulses:
            if pulse := self._pulses.pop(action_id, None):
                pulse["on_ms"] = on_ms

    def _moment(self, type_: str, visit: Visit, told: _Told, step: Step) -> None:
        """Something worth a picture and an event."""
        told.picture = self._media.keep(step.frame, visit, self._lineup.champion.margin) or told.picture
        self._media.decoy(step.crop, visit.id, step.frame.seq)
        self._visit_row(visit, ended=None)
        self._tell(type_, step.frame.wall, visit, told, step)

    def ended(self, visit: Visit) -> None:
        """A visitor left. One that nobody was ever asked about is not told, nor one that was nobody and brief."""
        told = self._told.pop(visit.id, None)
        self._media.forget(visit.id)
        if told is None or not told.started:
            self.untold += told is not None
            return
        ended = visit.first_wall + timedelta(seconds=visit.last_seen - visit.first_seen)
        self._visit_row(visit, ended=iso(ended))
        self._tell("visit", ended, visit, told, None)

    def champion(self, lineup: Lineup) -> None:
        """Another model judges from now on."""
        self._lineup = lineup
        self._questions.clear()
        facts = {"media_time": None, "model": lineup.champion.json(), "what": "is champion now"}
        self._send("model", datetime.now(UTC), facts)

    def health(self, problems: list[dict[str, str]]) -> None:
        """Any thread: these are the problems now, with advice; none: it is well again."""
        what = "; ".join(problem["what"] for problem in problems) or feed.WELL
        self._send("health", datetime.now(UTC), {"media_time": None, "what": what, "problems": problems})

    def test_fire(self, action: Action, who: str, wall: datetime) -> None:
        """The owner tried a deterrent."""
        order_ms = (action.acknowledged_at_ns - action.ordered_at_ns) / 1e6 if action.acknowledged_at_ns else None
        facts = {"media_time": None, "action": _action(action), "deterrent": action.deterrent, "who": who}
        self._send("test_fire", wall, facts | {"latency_ms": {"order": round(order_ms, 3)} if order_ms else {}})

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
            "model": told.model.json(),
            "top": [[label, round(p, 4)] for label, p in visit.top],
            "latency_ms": {name: round(ms, 3) for name, ms in step.timings.items()} if step else {},
            "picture": told.picture,
        }
        if type_ in ("action", "suppressed") and step:
            # Whoever compares with and without needs to know who chose, and among what.
            body["decided"] = {
                "by": "policy",
                "eligible": list(step.decision.eligible),
                "held": dict(step.decision.held),
            }
        elif type_ == "visit":
            body["visit"] |= {"left": visit.left, "blind_s": round(visit.blind_s, 3)}
            body["pulses"] = told.pulses
        if step and step.frame.exposure_ms is not None:
            body["exposure"] = {"ms": round(step.frame.exposure_ms, 3), "gain": step.frame.gain}
        self._send(type_, wall, body)

    def _send(self, type_: str, wall: datetime, facts: dict[str, Any]) -> None:
        id_ = self._ids.new(wall)
        head = {
            "v": 1,
            "id": id_,
            "type": type_,
            "node": self._node,
            "wall": iso(wall),
            "clock_ok": self._dated(wall),
        }
        up = None if self._replayed else uptime()
        if up:  # what limits go by after a restart, whatever the clock did
            head |= {"boot": up.boot, "boot_s": up.seconds}
        event = Event(id_, type_, head | facts | {"replayed": self._replayed})
        self._journal.event(event)
        if self._listen:
            self._listen(event)

    def _dated(self, wall: datetime) -> bool:
        """Whether this moment is by a clock that was set: a visitor may have come before it was, and left since."""
        return self._clock.known() and (self._replayed or abs(self._clock.wall(0.0) - wall) <= _MOMENTS_AGO)

    def _visit_row(self, visit: Visit, ended: str | None) -> None:
        self._journal.write(
            "INSERT OR REPLACE INTO visit VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
            *(visit.id, visit.camera, iso(visit.first_wall), ended),
            *(visit.kind.value, visit.label, visit.label_p, visit.actions),
            precious=True,
        )

    def _prediction_rows(self, visit: Visit, told: _Told, step: Step) -> None:
        """What each model said. Only of moments that are told, or the card would be written to 15 times a second."""
        question = _Question(visit.id, step.frame.seq, told.picture)
        for prediction in step.verdict.predictions:
            self._prediction_row(question, prediction)
        self._questions[step.verdict.number] = question
        if len(self._questions) > _MOST_QUESTIONS:
            self._questions.popitem(last=False)

    def settled(self, answers: Iterable[tuple[int, Prediction]]) -> None:
        """Answers nobody waited for, each with the number of its verdict: a row each, where the question has rows."""
        for number, prediction in answers:
            if question := self._questions.get(number):
                self._prediction_row(question, prediction)

    def _prediction_row(self, question: _Question, prediction: Prediction) -> None:
        top = None
        if prediction.label_p.size:
            best = int(prediction.label_p.argmax())
            label = self._lineup.model(prediction.role).labels[best]
            top = dump([label, round(float(prediction.label_p[best]), 4)])
        self._journal.write(
            "INSERT INTO prediction VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
            *(question.visit_id, question.seq, prediction.model, prediction.role.value),
            *(prediction.fate.value, prediction.invoke_ms, top, question.picture),
        )


def _brief(visit: Visit) -> bool:
    """Whether the models see nobody in it, and it did not stay: insects at the lens make hundreds of such an hour.

    What stays is told, also when the model knows it for nothing: it may be a fox the model has no word for.
    """
    nobody = visit.label in NOBODY and not visit.clear
    return nobody and visit.last_seen - visit.first_seen < _BRIEF_S


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
