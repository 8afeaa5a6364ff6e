"""The loop: the life of a frame, top to bottom."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Protocol

from edge.actuators import Actuator
from edge.capture import Capture
from edge.clock import Clock, Ids
from edge.config import Config
from edge.evidence import Kinds
from edge.policy import Acted, History, Moment, Policy
from edge.record import Model, Record, Step
from edge.rendezvous import NO_DEADLINE, Rendezvous
from edge.values import Action, Box, Decision, Frame, Image, Kind, Mode, Motion, Order, Verdict, Visit
from edge.visits import Visits

_MS = 1_000_000


class Looker(Protocol):
    """Finds what moves; see `motion.MotionDetector`."""

    def look(self, frame: Frame) -> Motion: ...


@dataclass(frozen=True, slots=True)
class Brain:
    """What belongs to one champion and is replaced with it: how it sees, its processes, the visits it judged."""

    model: Model
    demo: bool
    crop: Callable[[Image, Box], Image]
    kinds: Kinds
    rendezvous: Rendezvous
    visits: Visits
    close: Callable[[], None]


@dataclass(frozen=True, slots=True)
class House:
    """What the owner decides, asked anew at every decision."""

    mode: Callable[[], Mode]
    paused: Callable[[], bool]


class Watch:
    """One camera's line from the frame to the pin. `run` is the loop; only its thread touches the live objects."""

    def __init__(
        self,
        config: Config,
        capture: Capture,
        motion: Looker,
        brain: Brain,
        policy: Policy,
        house: House,
        actuator: Actuator,
        record: Record,
        clock: Clock,
        ids: Ids,
        history: History,
        tick: Callable[[], None],
        deadline: bool = True,
    ) -> None:
        self.capture, self.actuator, self.brain, self.history = capture, actuator, brain, history
        self._config, self._motion, self._policy, self._house = config, motion, policy, house
        self._record, self._clock, self._ids, self._tick = record, clock, ids, tick
        self._deadline_ns = config.models.deadline_ms * _MS if deadline else None
        self._deterrents = {d.id: d for d in config.deterrent}
        self._successor: Brain | None = None
        self._disturbed_until = 0.0  # media time
        self.frames = 0

    def run(self) -> None:
        """Watch until the source ends or the capture is stopped."""
        for frame in self.capture:
            self.actuator.beat()
            self._tick()
            self._succeed()
            if frame is not None:
                self._step(frame)
        self._end_visits(self.brain.visits.close())

    def _step(self, frame: Frame) -> None:
        """The life of a frame."""
        began = time.monotonic_ns()
        self.frames += 1
        frame = self._mark(frame)
        brain = self.brain
        motion = self._motion.look(frame)
        self._end_visits(brain.visits.follow(motion))
        visit = None if frame.disturbed else brain.visits.question(frame)
        if visit is None:
            return brain.rendezvous.tend()
        looked = time.monotonic_ns()
        verdict = brain.rendezvous.ask(brain.crop(frame.image, visit.box), self._deadline(frame))
        predicted = time.monotonic_ns()
        visit, decision = self._decide(frame, visit, verdict)
        decided = time.monotonic_ns()
        action = self._act(frame, visit, decision)
        timings = {"motion": looked - began, "predict": predicted - looked, "decide": decided - predicted}
        if verdict.chosen:
            timings["invoke"] = round(verdict.chosen.invoke_ms * _MS)
        timings |= _pin(action, frame, visit)
        if action and action.acknowledged_at_ns:
            visit = brain.visits.acted(visit.id)
        self._record.step(Step(frame, visit, verdict, decision, action, {k: v / _MS for k, v in timings.items()}))

    def _decide(self, frame: Frame, visit: Visit, verdict: Verdict) -> tuple[Visit, Decision]:
        """Weigh the answer, if there is one, and judge."""
        brain = self.brain
        if verdict.chosen:
            visit = brain.visits.weigh(visit.id, frame, verdict.chosen.label_p)
            if brain.kinds.p(verdict.chosen.label_p)[Kind.PERSON] >= self._config.evidence.person_p:
                self.history = self.history.with_person(frame.media_time)
        now_ns = time.monotonic_ns()
        moment = Moment(
            media_time=frame.media_time,
            wall=frame.wall,
            clock_known=self._clock.known(),
            now_ns=now_ns,
            taken_at_ns=now_ns if self._deadline_ns is None else frame.taken_at_ns,
            mode=self._house.mode(),
            paused=self._house.paused(),
            controller_ready=self.actuator.ready(),
            demo=brain.demo and self.actuator.real,
            sees_people=brain.kinds.has(Kind.PERSON),
        )
        return visit, self._policy.decide(visit, brain.visits.open, verdict.chosen is not None, self.history, moment)

    def _act(self, frame: Frame, visit: Visit, decision: Decision) -> Action | None:
        """Order the pulse. What may be on counts towards the limits; an order that failed does not."""
        if decision.deterrent is None:
            return None
        acted = Acted(frame.media_time, decision.deterrent, visit.id, supposed=not decision.act)
        if not decision.act:
            self.history = self.history.with_action(acted)
            return None
        deterrent = self._deterrents[decision.deterrent]
        pattern = deterrent.on_ms, deterrent.off_ms, deterrent.count
        order = Order(self._ids.new(frame.wall), deterrent.id, deterrent.channel, *pattern, decision.expires_ns)
        action = self.actuator.fire(order)
        if action.result in ("on", "silent"):  # silent: it may still come
            self.history = self.history.with_action(acted)
            self._disturbed_until = frame.media_time + order.length_ms / 1000 + self._config.policy.settle_s
        return action

    def _mark(self, frame: Frame) -> Frame:
        """Mark frames taken while a deterrent acts and settles: a strobe is a lighting change, a jet is motion."""
        late = self._deadline_ns is not None and frame.taken_at_ns < self.actuator.acting_until_ns()
        if late or frame.media_time < self._disturbed_until:
            return replace(frame, disturbed=True)
        return frame

    def _deadline(self, frame: Frame) -> int:
        return NO_DEADLINE if self._deadline_ns is None else frame.taken_at_ns + self._deadline_ns

    def _end_visits(self, visits: Sequence[Visit]) -> None:
        for visit in visits:
            self._record.ended(visit)

    def succeed(self, brain: Brain) -> None:
        """Any thread, one at a time: let a new champion take over at the next turn of the loop."""
        unused, self._successor = self._successor, brain
        if unused:
            unused.close()

    def _succeed(self) -> None:
        successor, self._successor = self._successor, None
        if successor:
            self._end_visits(self.brain.visits.close())
            self.brain.close()
            self.brain = successor
            self._record.champion(successor.model)


def _pin(action: Action | None, frame: Frame, visit: Visit) -> dict[str, int]:
    """The figures that matter: from the deciding frame to the pin, and once a visit from its first frame to it."""
    if action is None or not action.acknowledged_at_ns:
        return {}
    pin_ns = action.acknowledged_at_ns - frame.taken_at_ns
    seen_ns = round((frame.media_time - visit.first_seen) * 1e9)  # in media time, so that it also holds in a replay
    timings = {"order": action.acknowledged_at_ns - action.ordered_at_ns, "pin": pin_ns}
    return timings if visit.actions else timings | {"onset": seen_ns + pin_ns}
