"""The safety rules hold over random histories; `tests/firmware/rules.py` states them."""

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from firmware import deterrent, wire
from firmware.deterrent import HOUR_MS, LONGEST_MS, MASK, REST_MS, Limits, ticks_diff
from tests.firmware.rules import LIMITS, Code, Step, Trial, play, seal

SHIPPED = Code(deterrent, wire)
STARTS = st.sampled_from([0, 12345, MASK - 700, MASK - 3_700_000, MASK >> 1])


def step(name: str, *arguments: st.SearchStrategy[Any]) -> st.SearchStrategy[Step]:
    return st.tuples(st.just(name), *arguments)


channels = st.sampled_from([0, 3])
fresh_pulse = step("pulse", channels, st.integers(1, 400), st.integers(0, 150), st.integers(1, 4))
living = [
    fresh_pulse,
    fresh_pulse,
    step("order", st.sampled_from(["PING", "ARM 1"])),
    step("wait", st.integers(0, 900) | st.sampled_from([1, 99, 100, 101, 499, 500, 501, 700, 1999, 2000])),
]
any_pulse = step(
    "pulse",
    st.sampled_from([0, 3, 1, 7]),
    st.integers(0, 1600),
    st.integers(0, 1600),
    st.integers(0, 5),
    st.integers(-600, 900) | st.sampled_from([-(1 << 29), 1 << 29]),
    st.sampled_from(["", "", "5e550000", "0"]),
    st.integers(0, 2),
)
told = st.integers(0, 50)
anything = [
    *living,
    any_pulse,
    step("order", st.sampled_from(["OFF", "ARM 0", "STATE", "BURN 0 5000", "PING 1", "ARM 2", "ARM", "PULSE"])),
    step("wait", st.sampled_from([2500, 60_000, 1_200_000, HOUR_MS, HOUR_MS + 60_000])),
    step("switch", st.booleans()),
    step("reset", st.sampled_from([True, None])),
    step("again", told),
    step("altered", told, st.integers(0, 80), st.integers(0, 255)),
    step("cut", told, st.integers(0, 80)),
    step("resealed", told, st.integers(0, 80), st.integers(0, 94)),
    step("say", st.just("{seq} PULSE 2 {session} {tick} 0 500 0 1 soft")),  # a later version's
    step("line", st.binary(max_size=60) | st.none()),
    step("feed", st.binary(max_size=300)),
]
ARMED: list[Step] = [("wait", 700), ("switch", True), ("order", "ARM 1")]


@settings(max_examples=150, deadline=None)
@given(STARTS, st.booleans(), st.lists(st.one_of(anything), max_size=40))
def test_any_history(start: int, armed: bool, history: list[Step]) -> None:
    play(SHIPPED, start, ARMED * armed + history)


@settings(max_examples=150, deadline=None)
@given(STARTS, st.lists(st.one_of(living), max_size=50))
def test_a_host_that_wants_to_shine(start: int, history: list[Step]) -> None:
    lively = [part for step_ in history for part in (step_, ("order", "ARM 1"))]
    play(SHIPPED, start, ARMED + lively)


@settings(max_examples=60, deadline=None)
@given(STARTS, st.lists(st.one_of([*anything, step("hold_up", st.integers(0, 7000))]), max_size=30))
def test_a_controller_that_is_held_up(start: int, history: list[Step]) -> None:
    """It cannot turn off what it does not get to; but it gives no more than was ordered, and obeys nothing old."""
    play(SHIPPED, start, ARMED + history)


def test_the_hour_is_a_sliding_one() -> None:
    trial = Trial(SHIPPED)
    trial.wait(700)
    given_ms = []
    for _ in range(400):  # three hours, asking every 27 s
        trial.order("ARM 1")
        if trial.pulse(0, 300)[0] == "OK":
            given_ms.append(trial.now)
        trial.wait(27_000)
    trial.finish()
    assert len(given_ms) in (15, 20), "five in an hour, or little less"
    assert given_ms[5] - given_ms[0] >= HOUR_MS


def test_nothing_before_the_switch_is_known_to_be_closed() -> None:
    trial = Trial(SHIPPED, closed=False)
    trial.wait(700)
    assert trial.order("ARM 1")[2] == "switch"
    assert trial.pulse(0, 100)[2] == "switch"
    trial.switch(True)
    assert trial.order("ARM 1")[0] == "OK"
    assert trial.pulse(0, 100)[0] == "OK"
    trial.switch(False)
    assert not trial.controller.armed
    assert trial.said[-1][0] == "DONE"


def test_resets_add_up_no_pulses() -> None:
    """The rest after a start: a controller that resets again and again cannot be on all the time."""
    trial, on_ms = Trial(SHIPPED), 0
    for _ in range(20):
        trial.begin(True)
        trial.order("ARM 1")
        while trial.pulse(3, 1500)[0] == "NO":
            trial.wait(10)
        trial.wait(1400)
        on_ms += 1400
    assert on_ms / trial.now <= 1500 / (1500 + LIMITS[3][2])


@settings(max_examples=100, deadline=None)
@given(st.lists(st.binary(max_size=400), max_size=20), st.integers(0, 3))
def test_noise_turns_nothing_on(noise: list[bytes], when: int) -> None:
    trial = Trial(SHIPPED)
    trial.wait(700)
    if when:
        trial.order("ARM 1")
    for number, data in enumerate(noise):
        if number == when:
            trial.pulse(3, 1000)
        trial.feed(data)
    trial.finish()
    assert sum(b - a for output in trial.outputs.values() for a, b in output.lit) <= 1000


def test_its_own_answers_coming_back_arm_nothing() -> None:
    trial = Trial(SHIPPED)
    lines = [trial.controller.greeting(0)]
    for tick in range(50):
        lines = [answer for line in lines for answer in trial.controller.handle(line[:-1], tick)]
        assert not trial.controller.armed


def test_bytes_delivered_seconds_late() -> None:
    trial = Trial(SHIPPED)
    trial.wait(700)
    trial.order("ARM 1")
    held = seal(f"50 PULSE {trial.session} {trial.tick} 0 100 0 1")
    for _ in range(4):
        trial.wait(900)
        trial.order("PING")
    assert trial.line(held)[2] == "old"
    trial.begin(True)
    trial.order("ARM 1")
    assert trial.line(held)[2] == "session"


@settings(deadline=None)
@given(st.integers(0, MASK), st.integers(-(1 << 29), (1 << 29) - 1))
def test_ticks_wrap(tick: int, ms: int) -> None:
    assert ticks_diff((tick + ms) & MASK, tick) == ms


@pytest.mark.parametrize(
    "limits",
    [
        (0, 1000, 1000),
        (LONGEST_MS + 1, 60_000, 1000),
        (HOUR_MS, HOUR_MS, 1000),
        (1000, 0, 1000),
        (1000, HOUR_MS + 1, 1000),
        (1000, 60_000, REST_MS - 1),
        (1000.5, 60_000, 1000),
        ("1000", 60_000, 1000),
    ],
)
def test_limits_that_would_allow_harm_are_refused(limits: tuple[int, int, int]) -> None:
    with pytest.raises(ValueError, match="must be a whole number"):
        Limits(*limits)
