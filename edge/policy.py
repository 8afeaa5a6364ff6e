"""Act or not, and why. Pure: the same visit, history and moment give the same decision."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime

from edge.config import DeterrentConfig, EvidenceConfig, PolicyConfig
from edge.evidence import is_threat
from edge.sun import is_quiet
from edge.values import Decision, Kind, Mode, Reason, Visit

DAY_S = 86400.0
HOUR_S = 3600.0
TEST = ""  # instead of a visit's id: the owner's test fire
_LASTING = Reason.PERSON_VETO, Reason.QUIET_HOURS, Reason.CLOCK_UNKNOWN, Reason.NEAR_RESIDENTS, Reason.QUOTA


@dataclass(frozen=True, slots=True)
class Acted:
    """One action of the past. `at` is media time, negative for before the start.

    `supposed`: only said in observe. Such actions limit what is said, never what is done.
    """

    at: float
    deterrent: str
    visit_id: str
    supposed: bool = False


@dataclass(frozen=True, slots=True)
class History:
    """What limits look back on: the actions of the last day, oldest first, and when a person was last seen.

    In media time, which no jump of the clock moves; `past.past` says what is made of it over a restart.
    `refused`: by deterrent, what its controller's refusal means and until when it is not asked again.
    """

    acted: tuple[Acted, ...] = ()
    person_seen: float | None = None
    refused: Mapping[str, tuple[Reason, float]] = field(default_factory=dict)

    def with_action(self, action: Acted) -> History:
        return replace(self, acted=(*(a for a in self.acted if action.at - a.at < DAY_S), action))

    def with_person(self, media_time: float) -> History:
        return replace(self, person_seen=media_time)

    def with_result(self, deterrent: DeterrentConfig, result: str, media_time: float) -> History:
        """What its controller said to an order. An hour that is spent lasts; a rest is soon over."""
        if result == "refused: duty":
            held = Reason.QUOTA, media_time + deterrent.cooldown_s
        elif result == "refused: rest":
            held = Reason.COOLDOWN, media_time + min(deterrent.cooldown_s, deterrent.rest_ms / 1000.0)
        else:
            return self
        return replace(self, refused={**self.refused, deterrent.id: held})


@dataclass(frozen=True, slots=True)
class Moment:
    """What is true of the house right now.

    `demo`: a demo model would drive a real deterrent. `sees_people`: the model has a label for them.
    """

    media_time: float
    wall: datetime
    clock_known: bool
    now_ns: int
    taken_at_ns: int
    mode: Mode
    paused: bool
    controller_ready: bool
    demo: bool
    sees_people: bool = True


class Policy:
    """The rules, from the configuration."""

    def __init__(
        self,
        config: PolicyConfig,
        evidence: EvidenceConfig,
        deterrents: Sequence[DeterrentConfig],
        place: tuple[float, float] | None = None,
    ) -> None:
        """`place`: latitude and longitude in degrees, for quiet hours by the sun."""
        self._config, self._evidence, self._place = config, evidence, place
        self._deterrents = [d for d in deterrents if d.enabled]

    def decide(
        self, visit: Visit, present: Sequence[Visit], answered: bool, history: History, moment: Moment
    ) -> Decision:
        """Decide about one visit after one question. `present`: all open visits of all cameras; `answered`: there was a
        verdict.

        Reasons are tried from the general to the particular, then the ladder is climbed (see `_ladder`).
        `observe` comes last, so that it says truly what would have happened.
        """
        if not answered:
            return Decision(False, Reason.NO_VERDICT)
        if not is_threat(visit.log_odds, visit.clear, self._evidence):
            return Decision(False, Reason.WEAK_EVIDENCE)
        if moment.mode is Mode.ARMED:
            history = _done(history)
        if against := self._house(history, moment):
            return Decision(False, against)
        answering = [d for d in self._deterrents if answers(d, visit.camera)]
        if not answering:
            return Decision(False, Reason.NO_CONTROLLER)
        against_each = {d.id: self._against(d, visit.id, present, history, moment) for d in answering}
        held = {id_: reason for id_, reason in against_each.items() if reason}
        ladder = self._ladder(answering, visit.id, history, against_each)
        eligible = tuple(d.id for d in ladder if against_each[d.id] is None)
        if not eligible:
            return Decision(False, held[ladder[0].id], held=tuple(held.items()))
        chosen = Decision(True, Reason.THREAT, eligible[0], eligible=eligible, held=tuple(held.items()))
        if moment.mode is Mode.OBSERVE:
            return replace(chosen, act=False, reason=Reason.OBSERVE)
        expires_ns = min(
            moment.now_ns + self._config.order_valid_ms * 1_000_000,
            moment.taken_at_ns + self._config.budget_ms * 1_000_000,
        )
        return replace(chosen, expires_ns=expires_ns)

    def _ladder(
        self,
        answering: Sequence[DeterrentConfig],
        visit_id: str,
        history: History,
        against: Mapping[str, Reason | None],
    ) -> list[DeterrentConfig]:
        """Those that this visit has climbed to, in the order in which they are tried.

        The first action is the lowest rung's, each further one of the same visit may be one rung higher: light, sound,
        water. Where the rung reached is held, the highest below that is free acts in its place. Only where all
        of these are held for as long as something lasts (a light that is quiet by day, or whose controller says that
        its hour is spent), the next that is free begins;
        one that merely rests is waited for. On one rung the one used longest ago comes first, so that nobody gets used
        to it.
        """
        rungs = sorted({d.step for d in answering})
        climbed = sum(a.visit_id == visit_id for a in history.acted)
        top = rungs[min(climbed, len(rungs) - 1)]
        if all(against[d.id] in _LASTING for d in answering if d.step <= top):
            top = min((d.step for d in answering if against[d.id] is None), default=top)
        used = {a.deterrent: a.at for a in history.acted}
        reached = [d for d in answering if d.step <= top]
        return sorted(reached, key=lambda d: (-d.step, used.get(d.id, -math.inf)))

    def _house(self, history: History, moment: Moment) -> Reason | None:
        """What speaks against any deterrent."""
        if moment.demo:
            return Reason.DEMO_MODEL
        if moment.mode is Mode.MAINTENANCE:
            return Reason.MAINTENANCE
        if moment.paused:
            return Reason.PAUSED
        return Reason.PERSON_VETO if self._person(history, moment) else None

    def _person(self, history: History, moment: Moment) -> bool:
        """Whether a person was seen a short while ago."""
        seen = history.person_seen
        return seen is not None and moment.media_time - seen <= self._config.person_veto_s

    def _against(
        self, deterrent: DeterrentConfig, visit_id: str, present: Sequence[Visit], history: History, moment: Moment
    ) -> Reason | None:
        """What speaks against this deterrent, for a visit or for a `TEST`."""
        if deterrent.harms and not moment.sees_people and not deterrent.fires_unseeing:
            return Reason.PERSON_VETO  # nobody would know that one is there
        if deterrent.quiet and not moment.clock_known:
            return Reason.CLOCK_UNKNOWN
        if deterrent.quiet and is_quiet(deterrent.quiet, moment.wall, self._place):
            return Reason.QUIET_HOURS
        near = (v for v in present if v.id != visit_id and answers(deterrent, v.camera))
        if deterrent.holds_near_residents and any(v.kind is Kind.RESIDENT for v in near):
            return Reason.NEAR_RESIDENTS
        refused, until = history.refused.get(deterrent.id, (Reason.QUOTA, -math.inf))
        if moment.media_time < until and visit_id != TEST:
            return refused  # to a test the controller itself says no
        ages = [moment.media_time - a.at for a in history.acted if a.deterrent == deterrent.id]
        if any(age < deterrent.cooldown_s for age in ages):
            return Reason.COOLDOWN
        of_visit = [moment.media_time - a.at for a in history.acted if visit_id != TEST and a.visit_id == visit_id]
        if any(age < self._config.escalate_after_s for age in of_visit):
            return Reason.COOLDOWN  # who flees needs a moment for it
        if len(of_visit) >= self._config.per_visit or self._spent(history, moment):
            return Reason.QUOTA
        return None if moment.controller_ready else Reason.NO_CONTROLLER

    def _spent(self, history: History, moment: Moment) -> bool:
        """Whether all actions of an hour or a day are used up."""
        ages = [moment.media_time - a.at for a in history.acted]
        return (
            sum(age < HOUR_S for age in ages) >= self._config.per_hour
            or sum(age < DAY_S for age in ages) >= self._config.per_day
        )

    def test(
        self, deterrent: DeterrentConfig, present: Sequence[Visit], history: History, moment: Moment
    ) -> Reason | None:
        """What speaks against a test fire the owner asks for: whatever would hold the deterrent back by itself.

        Observe (nothing moves in it), a pause, quiet hours, a clock that is not set, residents near, the cool-down
        since the last action or test, the quotas of the hour and the day, a person seen, a model that cannot see
        people, a deterrent that is not enabled, no controller. A test counts as an action for each of these.
        What does not hold it, and why: maintenance is there for testing; in it a person in view is most likely the
        owner, so that a light, a servo or a relay fires all the same, but siren and water do not; a demo model has no
        part in it; and what belongs to a visit (evidence, quota of the visit, ladder) has no meaning without one.
        """
        if moment.mode is Mode.OBSERVE:
            return Reason.OBSERVE
        if moment.paused:
            return Reason.PAUSED
        if not deterrent.enabled:
            return Reason.NO_CONTROLLER
        history = _done(history)
        if self._person(history, moment) and (deterrent.harms or moment.mode is not Mode.MAINTENANCE):
            return Reason.PERSON_VETO
        return self._against(deterrent, TEST, present, history, moment)


def answers(deterrent: DeterrentConfig, camera: str) -> bool:
    """Whether a deterrent is there for what this camera sees."""
    return not deterrent.cameras or camera in deterrent.cameras


def _done(history: History) -> History:
    """Without what was only supposed."""
    return replace(history, acted=tuple(a for a in history.acted if not a.supposed))
