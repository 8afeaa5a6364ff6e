"""Act or not, and why. Pure: the same visit, history and moment give the same decision."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime, time

from edge.config import DeterrentConfig, EvidenceConfig, PolicyConfig
from edge.evidence import is_threat
from edge.values import Decision, Kind, Mode, Reason, Visit

DAY_S = 86400.0


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
    """What limits look back on: the actions of the last day, oldest first, and when a person was last seen."""

    acted: tuple[Acted, ...] = ()
    person_seen: float | None = None

    def with_action(self, action: Acted) -> History:
        return replace(self, acted=(*(a for a in self.acted if action.at - a.at < DAY_S), action))

    def with_person(self, media_time: float) -> History:
        return replace(self, person_seen=media_time)


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

    def __init__(self, config: PolicyConfig, evidence: EvidenceConfig, deterrents: Sequence[DeterrentConfig]) -> None:
        self._config = config
        self._evidence = evidence
        self._deterrents = [d for d in deterrents if d.enabled]

    def decide(
        self, visit: Visit, present: Sequence[Visit], answered: bool, history: History, moment: Moment
    ) -> Decision:
        """Decide about one visit after one question. `present`: all open visits of all cameras; `answered`: there was a
        verdict.

        Reasons are tried from the general to the particular; the first deterrent that nothing speaks against acts.
        `observe` comes last, so that it says truly what would have happened.
        """
        if not answered:
            return Decision(False, Reason.NO_VERDICT)
        if not is_threat(visit.log_odds, visit.clear, self._evidence):
            return Decision(False, Reason.WEAK_EVIDENCE)
        if moment.mode is Mode.ARMED:
            history = replace(history, acted=tuple(a for a in history.acted if not a.supposed))
        against = self._house(history, moment)
        if against:
            return Decision(False, against)
        reasons: list[Reason] = []
        answering = [d for d in self._deterrents if answers(d, visit.camera)]
        for deterrent in answering:
            reason = self._deterrent(deterrent, visit, present, history, moment)
            if reason is None:
                return self._act(deterrent, moment)
            reasons.append(reason)
        return Decision(False, reasons[0] if reasons else Reason.NO_CONTROLLER)

    def _act(self, deterrent: DeterrentConfig, moment: Moment) -> Decision:
        if moment.mode is Mode.OBSERVE:
            return Decision(False, Reason.OBSERVE, deterrent.id)
        expires_ns = min(
            moment.now_ns + self._config.order_valid_ms * 1_000_000,
            moment.taken_at_ns + self._config.budget_ms * 1_000_000,
        )
        return Decision(True, Reason.THREAT, deterrent.id, expires_ns)

    def _house(self, history: History, moment: Moment) -> Reason | None:
        """What speaks against any deterrent."""
        if moment.demo:
            return Reason.DEMO_MODEL
        if moment.mode is Mode.MAINTENANCE:
            return Reason.MAINTENANCE
        if moment.paused:
            return Reason.PAUSED
        seen = history.person_seen
        if seen is not None and moment.media_time - seen <= self._config.person_veto_s:
            return Reason.PERSON_VETO
        return None

    def _deterrent(
        self,
        deterrent: DeterrentConfig,
        visit: Visit,
        present: Sequence[Visit],
        history: History,
        moment: Moment,
    ) -> Reason | None:
        """What speaks against this deterrent."""
        if deterrent.harms and not moment.sees_people and not deterrent.fires_unseeing:
            return Reason.PERSON_VETO  # nobody would know that one is there
        if against := _quiet(deterrent, moment.wall, moment.clock_known):
            return against
        near = (v for v in present if v.id != visit.id and answers(deterrent, v.camera))
        if deterrent.holds_near_residents and any(v.kind is Kind.RESIDENT for v in near):
            return Reason.NEAR_RESIDENTS
        ages = [moment.media_time - a.at for a in history.acted if a.deterrent == deterrent.id]
        if any(age < deterrent.cooldown_s for age in ages):
            return Reason.COOLDOWN
        if self._quota_used(visit, history, moment):
            return Reason.QUOTA
        if not moment.controller_ready:
            return Reason.NO_CONTROLLER
        return None

    def test(
        self,
        deterrent: DeterrentConfig,
        mode: Mode,
        paused: bool,
        ready: bool,
        wall: datetime,
        clock_known: bool,
        person: bool,
        rested: bool,
    ) -> Reason | None:
        """What speaks against a test fire the owner asks for. `person`: one was just seen; `rested`: since the last.

        Whoever tests in maintenance stands before it and knows; armed, it may be somebody far away who does not.
        """
        if mode is Mode.OBSERVE:
            return Reason.OBSERVE
        if paused:
            return Reason.PAUSED
        if not (deterrent.enabled and ready):
            return Reason.NO_CONTROLLER
        if deterrent.harms and person and mode is Mode.ARMED:
            return Reason.PERSON_VETO
        if not rested:
            return Reason.COOLDOWN
        return _quiet(deterrent, wall, clock_known)

    def _quota_used(self, visit: Visit, history: History, moment: Moment) -> bool:
        ages = [moment.media_time - a.at for a in history.acted]
        return (
            sum(a.visit_id == visit.id for a in history.acted) >= self._config.per_visit
            or sum(age < 3600 for age in ages) >= self._config.per_hour
            or sum(age < DAY_S for age in ages) >= self._config.per_day
        )


def answers(deterrent: DeterrentConfig, camera: str) -> bool:
    """Whether a deterrent is there for what this camera sees."""
    return not deterrent.cameras or camera in deterrent.cameras


def _quiet(deterrent: DeterrentConfig, wall: datetime, clock_known: bool) -> Reason | None:
    if deterrent.quiet and not clock_known:
        return Reason.CLOCK_UNKNOWN
    if deterrent.quiet and is_quiet(deterrent.quiet, wall):
        return Reason.QUIET_HOURS
    return None


def is_quiet(hours: str, wall: datetime) -> bool:
    """Whether local time lies in "22:00-07:00" (over midnight or not; the end is not part of it)."""
    start, end = (time.fromisoformat(part) for part in hours.split("-"))
    now = wall.astimezone().time()
    return start <= now < end if start <= end else now >= start or now < end
