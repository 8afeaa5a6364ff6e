"""Policy: a reason for every decision, and no action against any limit, over random histories."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge.config import DeterrentConfig, EvidenceConfig, PolicyConfig
from edge.policy import Acted, History, Moment, Policy, is_quiet
from edge.values import Box, Kind, Mode, Reason, Visit

LIGHT = DeterrentConfig()
SIREN = DeterrentConfig(id="siren", kind="siren", channel=1, pin=27)
NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)
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


@pytest.mark.parametrize(
    ("hours", "hour", "quiet"),
    [("22:00-07:00", 23, True), ("22:00-07:00", 6, True), ("22:00-07:00", 7, False), ("22:00-07:00", 12, False),
     ("12:00-14:00", 13, True), ("12:00-14:00", 14, False), ("00:00-00:00", 5, False)],
)  # fmt: skip
def test_quiet_hours_are_local_time(hours: str, hour: int, quiet: bool) -> None:
    local = datetime(2026, 6, 1, hour).astimezone()
    assert is_quiet(hours, local.astimezone(UTC)) is quiet


moments = st.builds(
    Moment,
    media_time=st.floats(0, 200_000),
    wall=st.floats(0, 86400).map(lambda s: NOON + timedelta(seconds=s)),
    clock_known=st.booleans(),
    now_ns=st.just(10**15),
    taken_at_ns=st.just(10**15 - 10**8),
    mode=st.sampled_from(Mode),
    paused=st.booleans(),
    controller_ready=st.booleans(),
    demo=st.booleans(),
)


@given(
    st.lists(moments, min_size=1, max_size=80),
    st.lists(st.sampled_from(["a", "b"]), min_size=80, max_size=80),
    st.lists(st.booleans(), min_size=80, max_size=80),
)
def test_no_history_breaks_a_limit(times: list[Moment], visits: list[str], people: list[bool]) -> None:
    config = PolicyConfig(per_visit=3, per_hour=4, per_day=6)
    policy = Policy(config, EvidenceConfig(), [LIGHT, SIREN])
    history = History()
    fired: list[Acted] = []
    seen: list[float] = []
    for moment, visit_id, person in zip(sorted(times, key=lambda m: m.media_time), visits, people, strict=False):
        if person:
            history = history.with_person(moment.media_time)
            seen.append(moment.media_time)
        decision = policy.decide(replace(THREAT, id=visit_id), (), True, history, moment)
        if not decision.act:
            continue
        at = moment.media_time
        assert decision.deterrent
        assert moment.mode is Mode.ARMED
        assert moment.controller_ready
        assert not moment.paused
        assert not moment.demo
        assert all(at - t > config.person_veto_s for t in seen)
        assert all(at - a.at >= 30 for a in fired if a.deterrent == decision.deterrent)
        assert sum(a.visit_id == visit_id for a in fired if at - a.at < 86400) < 3
        assert sum(at - a.at < 3600 for a in fired) < 4
        assert sum(at - a.at < 86400 for a in fired) < 6
        if decision.deterrent == "siren":
            assert moment.clock_known
            assert 7 <= moment.wall.astimezone().hour < 22
        fired.append(Acted(at, decision.deterrent, visit_id))
        history = history.with_action(fired[-1])


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


NIGHT = datetime(2026, 1, 1, 23, 30).astimezone()  # the house's own time


@pytest.mark.parametrize(
    ("against", "deterrent", "changes"),
    [
        (None, LIGHT, {}),
        (None, LIGHT, {"mode": Mode.MAINTENANCE}),
        (None, LIGHT, {"clock_known": False}),
        (Reason.OBSERVE, LIGHT, {"mode": Mode.OBSERVE}),
        (Reason.PAUSED, LIGHT, {"paused": True}),
        (Reason.NO_CONTROLLER, LIGHT, {"ready": False}),
        (Reason.NO_CONTROLLER, LIGHT.model_copy(update={"enabled": False}), {}),
        (Reason.CLOCK_UNKNOWN, SIREN, {"clock_known": False}),
        (Reason.QUIET_HOURS, SIREN, {"wall": NIGHT}),
        (Reason.COOLDOWN, LIGHT, {"rested": False}),
        (Reason.PERSON_VETO, SIREN, {"person": True}),
        (None, SIREN, {"person": True, "mode": Mode.MAINTENANCE}),
        (None, LIGHT, {"person": True}),
        (None, LIGHT, {"wall": NIGHT}),
    ],
)
def test_what_speaks_against_a_test_fire(against: Reason | None, deterrent: DeterrentConfig, changes: dict) -> None:  # type: ignore[type-arg]
    house = {
        "mode": Mode.ARMED,
        "paused": False,
        "ready": True,
        "wall": NOON,
        "clock_known": True,
        "person": False,
        "rested": True,
    } | changes
    assert Policy(PolicyConfig(), EvidenceConfig(), [deterrent]).test(deterrent, **house) is against
