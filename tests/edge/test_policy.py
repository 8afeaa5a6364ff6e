"""Policy: a reason for every decision, the ladder, and what holds a test fire."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

import pytest

from edge.config import DeterrentConfig, EvidenceConfig, PolicyConfig
from edge.policy import TEST, Acted, History, Moment, Policy
from edge.values import Box, Kind, Mode, Reason, Visit

LIGHT = DeterrentConfig()
SIREN = DeterrentConfig(id="siren", kind="siren", channel=1, pin=27)
NOON = datetime(2026, 1, 1, 12).astimezone()  # the house's own time
THREAT = Visit("v1", "cam", 0.0, 1.0, NOON, Box(0.1, 0.1, 0.1, 0.1), log_odds=2.0, kind=Kind.THREAT, answers=2, clear=2)
HEN = replace(THREAT, id="v2", kind=Kind.RESIDENT, log_odds=-3.0, clear=0)
NOW = Moment(100.0, NOON, True, 10**12, 10**12 - 10**8, Mode.ARMED, False, True, False)


def decide(visit: Visit = THREAT, present=(), answered=True, history=None, deterrents=(LIGHT,), **moment):  # type: ignore[no-untyped-def]
    policy = Policy(PolicyConfig(), EvidenceConfig(), deterrents)
    return policy.decide(visit, (visit, *present), answered, history or History(), replace(NOW, **moment))


def acted(*ages: float, deterrent: str = "light", visit: str = "old") -> History:
    return History(tuple(Acted(NOW.media_time - age, deterrent, visit) for age in ages))


def test_a_clear_threat_is_acted_upon_within_the_budget() -> None:
    decision = decide()
    assert decision.act
    assert (decision.reason, decision.deterrent) == (Reason.THREAT, "light")
    assert decision.expires_ns == NOW.now_ns + 500_000_000
    late = decide(taken_at_ns=NOW.now_ns - 900_000_000)
    assert late.expires_ns == NOW.now_ns + 100_000_000


@pytest.mark.parametrize(
    ("reason", "changes"),
    [
        (Reason.NO_VERDICT, {"answered": False}),
        (Reason.WEAK_EVIDENCE, {"visit": replace(THREAT, log_odds=-2.0)}),
        (Reason.WEAK_EVIDENCE, {"visit": replace(THREAT, clear=1)}),
        (Reason.WEAK_EVIDENCE, {"visit": replace(THREAT, log_odds=None)}),
        (Reason.DEMO_MODEL, {"demo": True}),
        (Reason.MAINTENANCE, {"mode": Mode.MAINTENANCE}),
        (Reason.PAUSED, {"paused": True}),
        (Reason.PERSON_VETO, {"history": History(person_seen=41.0)}),
        (Reason.COOLDOWN, {"history": acted(29.9)}),
        (Reason.QUOTA, {"history": acted(*range(100, 700, 100), visit="v1")}),
        (Reason.QUOTA, {"history": acted(*range(100, 2100, 100))}),
        (Reason.QUOTA, {"history": acted(*range(4000, 84000, 800))}),
        (Reason.NO_CONTROLLER, {"controller_ready": False}),
        (Reason.NO_CONTROLLER, {"deterrents": ()}),
        (Reason.NO_CONTROLLER, {"deterrents": (LIGHT.model_copy(update={"enabled": False}),)}),
        (Reason.NEAR_RESIDENTS, {"deterrents": (SIREN,), "present": (HEN,)}),
        (Reason.CLOCK_UNKNOWN, {"deterrents": (SIREN,), "clock_known": False}),
        (Reason.OBSERVE, {"mode": Mode.OBSERVE}),
    ],
)
def test_each_reason_holds_the_action(reason: Reason, changes: dict[str, object]) -> None:
    decision = decide(**changes)  # type: ignore[arg-type]
    assert not decision.act
    assert decision.reason is reason
    assert (decision.deterrent == "light") == (reason is Reason.OBSERVE)


def test_what_no_longer_holds_it() -> None:
    assert decide(history=History(person_seen=39.0)).act
    assert decide(history=acted(30.0)).act
    assert decide(history=acted(*range(100, 600, 100), visit="v1")).act
    assert decide(present=(HEN,)).act, "a light may fire near residents"
    assert decide(clock_known=False).act, "a light knows no quiet hours"
    assert decide(visit=replace(THREAT, kind=Kind.RESIDENT), deterrents=(SIREN,)).act, "a visit does not veto itself"


def test_the_next_deterrent_takes_over_where_the_first_must_hold() -> None:
    decision = decide(deterrents=(SIREN, LIGHT), present=(HEN,))
    assert (decision.act, decision.deterrent) == (True, "light")


def test_what_was_only_supposed_limits_no_deed() -> None:
    supposed = History(tuple(replace(a, supposed=True) for a in acted(*range(1, 200)).acted))
    assert decide(history=supposed).act
    assert decide(history=supposed, mode=Mode.OBSERVE).reason is Reason.COOLDOWN


def test_siren_and_water_do_not_fire_unseeing() -> None:
    siren = SIREN.model_copy(update={"quiet_hours": ""})
    assert decide(deterrents=(siren,), sees_people=False).reason is Reason.PERSON_VETO
    assert decide(deterrents=(siren.model_copy(update={"fires_unseeing": True}),), sees_people=False).act
    assert decide(sees_people=False).act, "a light may"


def test_observe_says_truly_what_would_have_happened() -> None:
    assert decide(mode=Mode.OBSERVE, history=acted(1.0)).reason is Reason.COOLDOWN


def test_the_history_forgets_after_a_day() -> None:
    history = History()
    for hour in range(100):
        history = history.with_action(Acted(hour * 3600.0, "light", "v"))
    assert len(history.acted) == 24
    assert history.acted[-1].at == 99 * 3600.0
    assert timedelta(seconds=history.acted[-1].at - history.acted[0].at) < timedelta(days=1)


def test_a_deterrent_answers_only_its_own_cameras() -> None:
    nest = LIGHT.model_copy(update={"cameras": ["nest"]})
    door = LIGHT.model_copy(update={"id": "door", "channel": 1, "cameras": ["door"]})
    assert decide(replace(THREAT, camera="nest"), deterrents=(door, nest)).deterrent == "light"
    assert decide(replace(THREAT, camera="door"), deterrents=(door, nest)).deterrent == "door"
    assert decide(replace(THREAT, camera="yard"), deterrents=(door, nest)).reason is Reason.NO_CONTROLLER


def test_residents_hold_only_what_answers_their_camera() -> None:
    siren = SIREN.model_copy(update={"cameras": ["cam"]})
    assert decide(deterrents=(siren,), present=(HEN,)).reason is Reason.NEAR_RESIDENTS
    assert decide(deterrents=(siren,), present=(replace(HEN, camera="coop"),)).act
    assert decide(deterrents=(SIREN,), present=(replace(HEN, camera="coop"),)).reason is Reason.NEAR_RESIDENTS


NIGHT = NOON.replace(hour=23, minute=30)
LOUD = SIREN.model_copy(update={"quiet_hours": ""})
SEEN = History(person_seen=NOW.media_time - 60)
MAINTENANCE = {"mode": Mode.MAINTENANCE}


@pytest.mark.parametrize(
    ("against", "deterrent", "history", "changes"),
    [
        (None, LIGHT, History(), {}),
        (None, LIGHT, History(), MAINTENANCE),
        (None, LIGHT, History(), {"clock_known": False}),
        (None, LIGHT, History(), {"wall": NIGHT}),
        (None, LOUD, History(), {"wall": NIGHT}),
        (None, LIGHT, History(), {"demo": True}),
        (Reason.OBSERVE, LIGHT, History(), {"mode": Mode.OBSERVE}),
        (Reason.PAUSED, LIGHT, History(), {"paused": True}),
        (Reason.PAUSED, LIGHT, History(), {"paused": True} | MAINTENANCE),
        (Reason.NO_CONTROLLER, LIGHT, History(), {"controller_ready": False}),
        (Reason.NO_CONTROLLER, LIGHT.model_copy(update={"enabled": False}), History(), MAINTENANCE),
        (Reason.CLOCK_UNKNOWN, SIREN, History(), {"clock_known": False} | MAINTENANCE),
        (Reason.QUIET_HOURS, SIREN, History(), {"wall": NIGHT} | MAINTENANCE),
        (Reason.COOLDOWN, LIGHT, acted(29.9), MAINTENANCE),
        (None, LIGHT, acted(30.0), MAINTENANCE),
        (Reason.COOLDOWN, LIGHT, acted(29.9, visit=TEST), {}),
        (None, LIGHT, acted(29.9, deterrent="siren"), {}),
        (Reason.QUOTA, LIGHT, acted(*range(100, 2100, 100)), MAINTENANCE),
        (Reason.QUOTA, LIGHT, acted(*range(4000, 84000, 800), visit=TEST), MAINTENANCE),
        (None, LIGHT, acted(*range(100, 1000, 100), visit=TEST), {}),
        (Reason.PERSON_VETO, LIGHT, SEEN, {}),
        (Reason.PERSON_VETO, LOUD, SEEN, MAINTENANCE),
        (None, LIGHT, SEEN, MAINTENANCE),
        (Reason.PERSON_VETO, LOUD, History(), {"sees_people": False} | MAINTENANCE),
    ],
)
def test_what_speaks_against_a_test_fire(
    against: Reason | None,
    deterrent: DeterrentConfig,
    history: History,
    changes: dict[str, Any],
) -> None:
    policy = Policy(PolicyConfig(), EvidenceConfig(), [deterrent])
    assert policy.test(deterrent, (), history, replace(NOW, **changes)) is against


def test_residents_hold_a_test_fire_too() -> None:
    policy = Policy(PolicyConfig(), EvidenceConfig(), [LIGHT, LOUD])
    assert policy.test(LOUD, (HEN,), History(), replace(NOW, mode=Mode.MAINTENANCE)) is Reason.NEAR_RESIDENTS
    assert policy.test(LIGHT, (HEN,), History(), replace(NOW, mode=Mode.MAINTENANCE)) is None


WATER = DeterrentConfig(id="water", kind="water", channel=2, pin=22, near_residents="fire")
BELL = DeterrentConfig(id="bell", kind="siren", channel=3, pin=23, quiet_hours="")
HOUSE = (WATER, LOUD, LIGHT)


def climb(steps: int, deterrents: Sequence[DeterrentConfig], every: float = 5.0, **moment: Any) -> list[str | Reason]:
    """What one visitor that stays meets, `every` so many seconds."""
    history, met, loud = (
        History(),
        list[str | Reason](),
        [d.model_copy(update={"near_residents": "fire"}) for d in deterrents],
    )
    policy = Policy(PolicyConfig(), EvidenceConfig(), loud)
    for step in range(steps):
        now = replace(NOW, media_time=NOW.media_time + step * every, **moment)
        decision = policy.decide(THREAT, (THREAT,), True, history, now)
        met.append(decision.deterrent or decision.reason)
        if decision.deterrent:
            supposed = not decision.act
            history = history.with_action(Acted(now.media_time, decision.deterrent, THREAT.id, supposed))
    return met


def test_a_visitor_that_stays_climbs_the_ladder_from_light_over_sound_to_water() -> None:
    assert climb(3, HOUSE) == ["light", "siren", "water"]
    assert climb(3, HOUSE, mode=Mode.OBSERVE) == ["light", "siren", "water"]
    assert climb(3, HOUSE, every=4.9) == ["light", Reason.COOLDOWN, "siren"]
    assert climb(3, [WATER.model_copy(update={"rung": 1}), LOUD]) == ["water", "siren", Reason.COOLDOWN]


def test_where_a_rung_is_held_the_highest_free_one_below_acts() -> None:
    assert climb(3, (WATER, SIREN, LIGHT), every=30.0, wall=NIGHT) == ["light", "light", "water"]
    assert climb(4, HOUSE, every=10.0) == ["light", "siren", "water", "light"]
    assert climb(3, HOUSE, every=30.0, sees_people=False) == ["light"] * 3


def test_a_rung_that_only_rests_is_waited_for_and_one_that_is_held_for_long_is_not() -> None:
    assert decide(deterrents=HOUSE, history=acted(29.0)).reason is Reason.COOLDOWN, "another visit begins below"
    by_night = LIGHT.model_copy(update={"quiet_hours": "06:00-20:00"})
    assert climb(2, (WATER, SIREN, by_night), wall=NOON.replace(hour=8)) == ["siren", Reason.COOLDOWN]
    assert climb(1, (by_night,), wall=NOON.replace(hour=8)) == [Reason.QUIET_HOURS]


def test_what_its_controller_refuses_does_not_block_the_ladder() -> None:
    spent = History().with_result(LIGHT, "refused: duty", NOW.media_time - 29.0)
    assert decide(deterrents=(LIGHT,), history=spent).reason is Reason.QUOTA
    assert decide(deterrents=HOUSE, history=spent).deterrent == "siren", "an hour that is spent is not waited for"
    assert decide(deterrents=HOUSE, history=spent, media_time=NOW.media_time + 1.0).deterrent == "light"
    rests = acted(50.0, visit=THREAT.id).with_result(LOUD, "refused: rest", NOW.media_time - 0.5)
    assert decide(deterrents=HOUSE, history=rests).deterrent == "light", "what is below acts in its place"
    rests = History().with_result(LIGHT, "refused: rest", NOW.media_time - 0.5)
    assert decide(deterrents=HOUSE, history=rests).reason is Reason.COOLDOWN, "a rest is waited for"
    assert Policy(PolicyConfig(), EvidenceConfig(), HOUSE).test(LIGHT, (), spent, NOW) is None
    assert History().with_result(LIGHT, "refused: old", 0.0) == History()


def test_among_equals_the_one_used_longest_ago_comes_first() -> None:
    both = LOUD, BELL
    assert [decide(deterrents=both, history=h).deterrent for h in (
        History(), acted(100.0, deterrent="siren"), acted(100.0, deterrent="bell"),
        History((*acted(200.0, deterrent="siren").acted, *acted(100.0, deterrent="bell").acted)),
        History((*acted(200.0, deterrent="bell").acted, *acted(100.0, deterrent="siren").acted)),
    )] == ["siren", "bell", "siren", "siren", "bell"]  # fmt: skip
    assert decide(deterrents=both, history=acted(10.0, 100.0, deterrent="siren")).eligible == ("bell",)


def test_a_decision_names_all_that_could_have_been_chosen_and_what_held_the_others() -> None:
    decision = decide(deterrents=(*HOUSE, BELL, SIREN.model_copy(update={"id": "horn"})), wall=NIGHT)
    assert (decision.eligible, decision.held) == (("light",), (("horn", Reason.QUIET_HOURS),))
    history = acted(50.0, visit=THREAT.id)
    decision = decide(deterrents=(*HOUSE, BELL), present=(HEN,), history=history)
    assert (decision.deterrent, decision.eligible) == ("light", ("light",))
    assert dict(decision.held) == {"siren": Reason.NEAR_RESIDENTS, "bell": Reason.NEAR_RESIDENTS}
