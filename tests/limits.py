"""The limits of policy said once more, without a look at its code, and random stories to try them on."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from types import ModuleType
from typing import Any

from edge.config import DeterrentConfig, EvidenceConfig, PolicyConfig
from edge.values import Box, Decision, Kind, Mode, Reason, Visit

Pick = Callable[[Sequence[Any]], Any]
MIDNIGHT = datetime(2026, 3, 1).astimezone()
POLICY = PolicyConfig(per_visit=3, per_hour=5, per_day=8)
EVIDENCE = EvidenceConfig()
NOW_NS = 10**15
LASTING = {"unseeing", "quiet", "clock", "residents", "spent"}
GAPS = (0.0, 0.5, 4.5, 5.0, 29.5, 30.0, 60.0, 60.5, 100.0, 1200.0, 3570.0, 3599.5, 3600.0, 20000.0, 86399.5, 86400.0)
DENSE = (4.5, 5.0, 5.0, 30.0, 30.0, 60.5)


@dataclass(frozen=True, slots=True)
class Step:
    """One question of a story: what is true then, and what is asked. `test`: a test fire of that deterrent instead."""

    at: float
    visit: Visit
    present: tuple[Visit, ...]
    answered: bool
    person: bool
    wall: datetime
    frame_age_ns: int
    house: dict[str, Any]
    test: DeterrentConfig | None
    result: str  # of an order, if there is one

    @property
    def mode(self) -> Mode:
        return Mode(self.house["mode"])


@dataclass(frozen=True, slots=True)
class Story:
    deterrents: tuple[DeterrentConfig, ...]
    steps: tuple[Step, ...]


@dataclass(frozen=True, slots=True)
class Done:
    """One action, kept apart from the history that policy is given."""

    at: float
    deterrent: str
    visit: str
    real: bool


@dataclass(slots=True)
class Memory:
    done: list[Done] = field(default_factory=list)
    people: list[float] = field(default_factory=list)
    refused: dict[str, tuple[str, float]] = field(default_factory=dict)  # the last of each deterrent: why, and when

    def counts(self, mode: Mode) -> list[Done]:
        """What limits an action in this mode: armed, only what really was done."""
        return [d for d in self.done if d.real or mode is Mode.OBSERVE]


def story(pick: Pick) -> Story:
    """A few deterrents, and what befalls them; `pick` chooses one of several."""

    def mostly(usual: Any, *others: Any) -> Any:
        return usual if pick(range(20)) else pick(others)

    deterrents = tuple(_deterrent(pick, number) for number in range(pick((1, 2, 3, 3, 4))))
    kinds = (Kind.THREAT, Kind.RESIDENT, Kind.PERSON)
    visits = [Visit(f"v{n}", "ab"[n % 2], 0.0, 1.0, MIDNIGHT, Box(0, 0, 1, 1), kind=kinds[n % 3]) for n in range(4)]
    steps, at, gaps = list[Step](), 0.0, pick((DENSE, DENSE, DENSE, GAPS, (720.0,), (10800.0,)))
    results = pick((("on",), ("on", "on", "refused: duty", "refused: rest", "refused: old")))
    hour, favourite, day = pick((3, 7, 9, 21, 22)), pick(visits), 0
    for _ in range(pick(range(1, 25))):
        gap = pick(gaps)
        at, day = at + gap, day + (gap > 200)
        house = {
            "clock_known": mostly(True, False),
            "mode": mostly(Mode.ARMED, Mode.OBSERVE, Mode.MAINTENANCE),
            "paused": mostly(False, True),
            "controller_ready": mostly(True, False),
            "demo": mostly(False, True),
            "sees_people": mostly(True, False),
        }
        about = mostly(favourite, *visits)
        about = replace(about, id=f"{about.id}-{day}", log_odds=mostly(2.0, -2.0, None), clear=mostly(2, 1, 3))
        tried = pick(deterrents) if pick(range(7)) == 6 else None
        if tried and pick((True, False)):
            house["mode"] = Mode.MAINTENANCE
        wall = MIDNIGHT + timedelta(hours=hour, minutes=pick((0, 0, 30)))
        present = tuple(replace(v, id=f"{v.id}-{day}") for v in visits if pick(range(5)) == 4)
        answered, person, age_ns = mostly(True, False), mostly(False, True), pick((0, 10**8, 9 * 10**8, 15 * 10**8))
        result = pick(results)
        steps.append(Step(at, about, present, answered, person, wall, age_ns, house, tried, result))
    return Story(deterrents, tuple(steps))


def _deterrent(pick: Pick, number: int) -> DeterrentConfig:
    return DeterrentConfig(
        id=f"d{number}",
        kind=pick(("light", "relay", "siren", "water")),
        enabled=pick(range(10)) > 0,
        rung=pick((0, 0, 0, 1, 2)),
        cameras=pick(([], [], [], ["a"], ["b"])),
        channel=number,
        pin=number,
        rest_ms=pick((1000, 10000, 60500)),
        cooldown_s=pick((5.0, 30.0, 30.0, 100.0)),
        near_residents=pick(("", "", "fire", "hold")),
        quiet_hours=pick((None, "", "", "07:00-09:00", "21:30-07:00")),
        fires_unseeing=pick(range(5)) == 4,
    )


def broken(policy: ModuleType, story: Story) -> str | None:
    """What of the limits is broken when `policy` (a module) decides through the story; None: nothing."""
    rules, history, memory = policy.Policy(POLICY, EVIDENCE, story.deterrents), policy.History(), Memory()
    for step in story.steps:
        if step.person:
            history = history.with_person(step.at)
            memory.people.append(step.at)
        moment = policy.Moment(step.at, step.wall, now_ns=NOW_NS, taken_at_ns=NOW_NS - step.frame_age_ns, **step.house)
        if step.test:
            reason = rules.test(step.test, step.present, history, moment)
            speaks = against_test(step.test, step, memory)
            if (reason is None) is not (not speaks):
                return f"test fire: {reason}, and {speaks} speak against it"
            fired, visit, real = step.test.id if reason is None else None, "", True
        else:
            present = (*(v for v in step.present if v.id != step.visit.id), step.visit)
            decision = rules.decide(step.visit, present, step.answered, history, moment)
            wrong = unlike(decision, step, present, story.deterrents, memory)
            if wrong:
                return wrong
            fired, visit, real = decision.deterrent, step.visit.id, decision.act
        if fired and real and step.result != "on":
            if step.result != "refused: old":  # which says nothing of the next
                memory.refused[fired] = step.result, step.at
            deterrent = next(d for d in story.deterrents if d.id == fired)
            history = history.with_result(deterrent, step.result, step.at)
        elif fired:
            memory.done.append(Done(step.at, fired, visit, real))
            history = history.with_action(policy.Acted(step.at, fired, visit, supposed=not real))
    return None


def unlike(
    decision: Decision, step: Step, present: Sequence[Visit], deterrents: Sequence[DeterrentConfig], memory: Memory
) -> str | None:
    """How a decision differs from what the limits ask for."""
    if house := against_house(step, memory):
        allowed, held = list[str](), set[str]()
    else:
        allowed, held = ladder(step, present, deterrents, memory)
    if decision.deterrent != (allowed[0] if allowed else None) or list(decision.eligible) != allowed:
        return f"{decision.deterrent} of {decision.eligible} at {step}: allowed are {allowed}, {house}"
    if {id_ for id_, _ in decision.held} != held:
        return f"{decision.held} are said to be held: {held} are"
    if decision.act is not (bool(allowed) and step.mode is Mode.ARMED):
        return f"acts: {decision.act}, in {step.mode}"
    if bool(allowed) is not (decision.reason in (Reason.THREAT, Reason.OBSERVE)):
        return f"{decision.reason}: is no reason to hold {allowed}"
    if decision.act and decision.expires_ns != NOW_NS + min(500_000_000, 1_000_000_000 - step.frame_age_ns):
        return f"the order is valid until {decision.expires_ns - NOW_NS} ns from now"
    return None


def against_house(step: Step, memory: Memory) -> set[str]:
    """What speaks against any action at all."""
    odds = step.visit.log_odds
    threat = odds is not None and 1 / (1 + math.exp(-odds)) > 0.2 and step.visit.clear >= 2
    speaks = {
        "no answer": not step.answered,
        "no threat": not threat,
        "demo": step.house["demo"],
        "maintenance": step.mode is Mode.MAINTENANCE,
        "paused": step.house["paused"],
        "person": _person(step, memory),
    }
    return {name for name, true in speaks.items() if true}


def _person(step: Step, memory: Memory) -> bool:
    return any(step.at - seen <= 60 for seen in memory.people)


def against(
    deterrent: DeterrentConfig,
    visit: str,
    step: Step,
    present: Sequence[Visit],
    done: Sequence[Done],
    refused: tuple[str, float] = ("", 0.0),
) -> set[str]:
    """What speaks against one deterrent. `refused`: how its controller refused it last, and when."""
    residents = [v for v in present if v.kind is Kind.RESIDENT and v.id != visit]
    mine = [d for d in done if visit and d.visit == visit]
    hours, since = deterrent.quiet, step.at - refused[1]
    speaks = {
        "unseeing": deterrent.kind in ("siren", "water")
        and not (step.house["sees_people"] or deterrent.fires_unseeing),
        "clock": bool(hours) and not step.house["clock_known"],
        "quiet": bool(hours) and _quiet(hours, step.wall),
        "residents": (deterrent.near_residents or ("hold" if deterrent.kind in ("siren", "water") else "fire"))
        == "hold"
        and any(v.camera in (deterrent.cameras or v.camera) for v in residents),
        "rest": any(step.at - d.at < deterrent.cooldown_s for d in done if d.deterrent == deterrent.id),
        "spent": refused[0] == "refused: duty" and since < deterrent.cooldown_s,
        "resting": refused[0] == "refused: rest" and since < deterrent.cooldown_s and since < deterrent.rest_ms / 1000,
        "too soon": any(step.at - d.at < 5 for d in mine),
        "visit": len(mine) >= 3,
        "hour": len([d for d in done if step.at - d.at < 3600]) >= 5,
        "day": len([d for d in done if step.at - d.at < 86400]) >= 8,
        "controller": not step.house["controller_ready"],
    }
    return {name for name, true in speaks.items() if true}


def _quiet(hours: str, wall: datetime) -> bool:
    start, end = (int(text[:2]) * 60 + int(text[3:]) for text in hours.split("-"))
    minute = wall.hour * 60 + wall.minute
    return (minute - start) % 1440 < (end - start) % 1440


def against_test(deterrent: DeterrentConfig, step: Step, memory: Memory) -> set[str]:
    """What speaks against a test fire."""
    speaks = against(deterrent, "", step, step.present, [d for d in memory.done if d.real])
    if step.mode is Mode.OBSERVE:
        speaks.add("observe")
    if step.house["paused"]:
        speaks.add("paused")
    if not deterrent.enabled:
        speaks.add("disabled")
    if _person(step, memory) and (step.mode is Mode.ARMED or deterrent.kind in ("siren", "water")):
        speaks.add("person")
    return speaks


def ladder(step: Step, present: Sequence[Visit], deterrents: Sequence[DeterrentConfig], memory: Memory) -> list[str]:
    """Ids of all that may act, in the order in which they come."""
    done = memory.counts(step.mode)
    rungs: dict[int, list[DeterrentConfig]] = {}
    for deterrent in deterrents:
        if deterrent.enabled and step.visit.camera in (deterrent.cameras or [step.visit.camera]):
            rung = deterrent.rung or {"siren": 2, "water": 3}.get(deterrent.kind, 1)
            rungs.setdefault(rung, []).append(deterrent)
    speaks = {
        d.id: against(d, step.visit.id, step, present, done, memory.refused.get(d.id, ("", 0.0)))
        for rung in rungs.values()
        for d in rung
    }
    climbed = 1 + len([d for d in done if d.visit == step.visit.id])
    order = [rungs[number] for number in sorted(rungs)]
    reached, above = order[:climbed], order[climbed:]
    if not any(speaks[d.id].isdisjoint(LASTING) for rung in reached for d in rung):
        reached = [next((rung for rung in above if any(not speaks[d.id] for d in rung)), [])]
    newest = max((d.at for d in memory.done), default=0.0)
    last = {d.deterrent: d.at for d in done if newest - d.at < 86400}  # nobody remembers for longer than a day
    free: list[str] = []
    for rung in reversed(reached):
        free += sorted((d.id for d in rung if not speaks[d.id]), key=lambda id_: last.get(id_, -1.0))
    return free, {id_ for id_, against_it in speaks.items() if against_it}
