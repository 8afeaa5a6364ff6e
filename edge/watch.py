"""The loop: the life of a frame, top to bottom."""

from __future__ import annotations

import contextlib
import queue
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Protocol

from edge.actuators import Actuator
from edge.capture import Cameras
from edge.clock import Clock, Ids
from edge.config import Config
from edge.disturbance import Disturbance
from edge.errors import GanderError
from edge.lineup import Lineup
from edge.policy import TEST, Acted, History, Moment, Policy
from edge.record import Record, Step
from edge.rendezvous import NO_DEADLINE, Rendezvous
from edge.values import Action, Box, Decision, Frame, Image, Kind, Mode, Motion, Order, Prediction, Verdict, Visit
from edge.visits import Visits

_MS = 1_000_000
_LOOK_NS = 1_000_000_000  # between two looks at who gives no picture
_MAY_BE_ON = "on", "silent"  # silent: it may still come


class Looker(Protocol):
    """Finds what moves; see `motion.MotionDetector`."""

    def look(self, frame: Frame) -> Motion: ...


@dataclass(frozen=True, slots=True)
class Brain:
    """What belongs to one champion and is replaced with it: how it sees, its processes, the visits it judged."""

    lineup: Lineup
    crop: Callable[[Image, Box], Image]
    rendezvous: Rendezvous
    visits: Mapping[str, Visits]  # by camera
    close: Callable[[], None]

    @property
    def open(self) -> tuple[Visit, ...]:
        """Everybody who is here now, at any camera."""
        return tuple(visit for visits in self.visits.values() for visit in visits.open)

    def end_visits(self) -> list[Visit]:
        """Everybody has left, at every camera: the sources have ended, or another champion begins."""
        return [visit for visits in self.visits.values() for visit in visits.close()]


@dataclass(frozen=True, slots=True)
class House:
    """What the owner decides, asked anew at every decision."""

    mode: Callable[[], Mode]
    paused: Callable[[], bool]


@dataclass(frozen=True, slots=True)
class _Test:
    """One test fire asked for, and who waits for what comes of it."""

    deterrent: str
    who: str
    done: Future[Action]


class Watch:
    """The line from the frames to the pin. `run` is the loop; only its thread touches the live objects."""

    def __init__(
        self,
        config: Config,
        cameras: Cameras,
        lookers: Mapping[str, Looker],
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
        """`lookers`: what finds motion, by camera."""
        self.cameras, self.actuator, self.brain, self.history = cameras, actuator, brain, history
        self._config, self._lookers, self._policy, self._house = config, lookers, policy, house
        self._record, self._clock, self._ids, self._tick = record, clock, ids, tick
        self._deadline_ns = config.models.deadline_ms * _MS if deadline else None
        self._deterrents = {d.id: d for d in config.deterrent}
        self._successor: Brain | None = None
        self._tests: queue.SimpleQueue[_Test] = queue.SimpleQueue()
        self._disturbance = Disturbance(config.policy, config.camera, config.deterrent, live=deadline)
        self._media_time = 0.0  # of the last question
        self._zero_ns = time.monotonic_ns()  # when media time was 0
        self._looked_ns = self._zero_ns  # when it was last asked who gives no picture
        self.frames = 0

    def run(self) -> None:
        """Watch until the sources end or the cameras are stopped. However it ends, all visits have ended then."""
        try:
            self._run()
        except BaseException:
            with contextlib.suppress(GanderError, OSError):  # the first error is the one to tell
                self._end_visits(self.brain.end_visits())
            raise
        self._end_visits(self.brain.end_visits())

    def _run(self) -> None:
        for frame in self.cameras:
            self.actuator.beat()
            self._tick()
            self._succeed()
            self._test()
            if frame is None:
                self._tend()
            else:
                self._step(frame)
            self._lapse(time.monotonic_ns())

    def _step(self, frame: Frame) -> None:
        """The life of a frame."""
        began = time.monotonic_ns()
        self.frames += 1
        self._zero_ns = frame.taken_at_ns - round(frame.media_time * 1e9)
        frame = self._disturbance.mark(frame)
        brain, visits = self.brain, self.brain.visits[frame.camera]
        motion = self._lookers[frame.camera].look(frame)
        self._end_visits(visits.follow(motion))
        visit = None if frame.disturbed else visits.question(frame)
        if visit is None:
            return self._tend()
        looked = time.monotonic_ns()
        crop = brain.crop(frame.image, visit.box)
        verdict = brain.rendezvous.ask(crop, self._deadline(frame), self.actuator.beat)
        predicted = time.monotonic_ns()
        visit, person = self._weigh(frame, visit, verdict)
        decision = self._policy.decide(visit, brain.open, verdict.chosen is not None, self.history, self._moment(frame))
        decided = time.monotonic_ns()
        action = self._act(frame, visit, decision)
        timings = {"motion": looked - began, "predict": predicted - looked, "decide": decided - predicted}
        if verdict.chosen:
            timings["invoke"] = round(verdict.chosen.invoke_ms * _MS)
        timings |= _pin(action, frame, visit)
        if action and action.acknowledged_at_ns:
            visit = visits.acted(visit.id)
        in_ms = {name: ns / _MS for name, ns in timings.items()}
        self._record.step(Step(frame, crop, visit, verdict, decision, action, in_ms, person))
        self._settle()

    def _tend(self) -> None:
        """Nobody to ask about: look after the models, which load, die and hang whether a camera works or not."""
        self.brain.rendezvous.tend()
        self._settle()

    def _lapse(self, now_ns: int) -> None:
        """End the visits at a camera that has gone silent: nobody sees them leave, and they would hold back a siren.

        By then it has been opened again in vain. A replay as fast as it can has no silence.
        """
        since_ns = now_ns - self._looked_ns
        if since_ns < _LOOK_NS or self._deadline_ns is None:
            return
        self._looked_ns = now_ns
        waited_s = min(since_ns, 2 * _LOOK_NS) / 1e9  # while this process was frozen no camera could be heard
        for camera in self._config.camera:
            self._end_visits(self.brain.visits[camera.id].lapse(waited_s, 2.0 * camera.stale_s))

    def _weigh(self, frame: Frame, visit: Visit, verdict: Verdict) -> tuple[Visit, bool]:
        """Weigh the answer, if there is one. Returns the visit as it is known now, and whether a person was seen."""
        self._media_time = frame.media_time
        person = any(self._person(prediction) for prediction in verdict.predictions)
        if verdict.chosen:
            label_p = self.brain.lineup.weighable(verdict.chosen)
            visit = self.brain.visits[frame.camera].weigh(visit.id, frame, label_p)
        return visit, person

    def _person(self, prediction: Prediction) -> bool:
        """Whether a model saw a person, in time or late; from now on the veto holds."""
        if not prediction.label_p.size:
            return False
        kinds = self.brain.lineup.kinds.p(self.brain.lineup.weighable(prediction))
        if kinds[Kind.PERSON] < self._config.evidence.person_p:
            return False
        self.history = self.history.with_person(self._media_time)
        return True

    def _settle(self) -> None:
        """What models said after their verdict: kept, and a person in it vetoes."""
        settled = self.brain.rendezvous.settled()
        for _, prediction in settled:
            self._person(prediction)
        self._record.settled(settled)
        self._record.finished(self.actuator.finished())

    def _moment(self, frame: Frame | None) -> Moment:
        """What is true of the house at a frame; at none: right now."""
        now_ns = time.monotonic_ns()
        return Moment(
            media_time=frame.media_time if frame else (now_ns - self._zero_ns) / 1e9,
            wall=frame.wall if frame else datetime.now(UTC),
            clock_known=self._clock.known(),
            now_ns=now_ns,
            taken_at_ns=frame.taken_at_ns if frame and self._deadline_ns is not None else now_ns,
            mode=self._house.mode(),
            paused=self._house.paused(),
            controller_ready=self.actuator.ready(),
            demo=self.brain.lineup.demo and self.actuator.real,
            sees_people=self.brain.lineup.sees_people,
        )

    def _act(self, frame: Frame, visit: Visit, decision: Decision) -> Action | None:
        """Order the pulse, or only suppose it."""
        if decision.deterrent is None:
            return None
        acted = Acted(frame.media_time, decision.deterrent, visit.id, supposed=not decision.act)
        if not decision.act:
            self.history = self.history.with_action(acted)
            return None
        return self._fire(acted, frame.wall, decision.expires_ns, Mode.ARMED)

    def _fire(self, acted: Acted, wall: datetime, expires_ns: int, mode: Mode) -> Action:
        """Order a pulse in `mode`. What may be on counts towards the limits; what was refused holds its deterrent."""
        deterrent = self._deterrents[acted.deterrent]
        pattern = deterrent.on_ms, deterrent.off_ms, deterrent.count
        order = Order(self._ids.new(wall), deterrent.id, deterrent.channel, *pattern, expires_ns)
        action = self.actuator.fire(order)
        if self._house.mode() is not mode or self._house.paused():
            self.actuator.off()  # the owner said stop between the decision and the order
        self._disturbance.ordered(order, action, acted.at)
        if action.result in _MAY_BE_ON:
            self.history = self.history.with_action(acted)
        else:
            self.history = self.history.with_result(deterrent, action.result, acted.at)
        return action

    def test_fire(self, deterrent: str, who: str) -> Future[Action]:
        """Any thread: have one deterrent fire once, at the next turn of the loop, if the house allows it then."""
        test = _Test(deterrent, who, Future())
        self._tests.put(test)
        return test.done

    def _test(self) -> None:
        """Fire one test that waits, within every limit; it counts towards them. Who gave up waiting gets none."""
        if self._tests.empty():
            return
        test = self._tests.get()
        if not test.done.set_running_or_notify_cancel():
            return
        deterrent, moment = self._deterrents[test.deterrent], self._moment(None)
        against = self._policy.test(deterrent, self.brain.open, self.history, moment)
        if against:
            test.done.set_exception(GanderError(f"test fire of {deterrent.id}: {against}"))
            return
        expires_ns = moment.now_ns + self._config.policy.order_valid_ms * _MS
        action = self._fire(Acted(moment.media_time, deterrent.id, TEST), moment.wall, expires_ns, moment.mode)
        self._record.test_fire(action, test.who, moment.wall)
        test.done.set_result(action)

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
            self._end_visits(self.brain.end_visits())
            self.brain.close()
            self.brain = successor
            self._record.champion(successor.lineup)


def _pin(action: Action | None, frame: Frame, visit: Visit) -> dict[str, int]:
    """The figures that matter: from the deciding frame to the pin, and once a visit from its first frame to it."""
    if action is None or not action.acknowledged_at_ns:
        return {}
    pin_ns = action.acknowledged_at_ns - frame.taken_at_ns
    seen_ns = round((frame.media_time - visit.first_seen) * 1e9)  # in media time, so that it also holds in a replay
    timings = {"order": action.acknowledged_at_ns - action.ordered_at_ns, "pin": pin_ns}
    return timings if visit.actions else timings | {"onset": seen_ns + pin_ns}
