"""The controller's rules by example; `test_rules.py` has them over random histories."""

import pytest

from firmware import deterrent, wire
from tests.firmware.rules import SILENCE_MS, Code, Trial


def armed() -> Trial:
    trial = Trial(Code(deterrent, wire))
    trial.wait(700)
    trial.order("ARM 1")
    return trial


def lit(trial: Trial, channel: int) -> list[tuple[int, int]]:
    """From when to when it was on, since it was armed."""
    return [(begin - 700, end - 700) for begin, end in trial.outputs[channel].lit]


def test_a_pattern_is_carried_out_to_the_millisecond() -> None:
    trial = armed()
    trial.wait(7)
    assert trial.pulse(3, 200, 50, 3)[0] == "OK"
    assert trial.said[-1] == ["ON", "3", "707"]
    trial.wait(1400)
    assert lit(trial, 3) == [(7, 207), (257, 457), (507, 707)]
    assert trial.said[-1] == ["DONE", "3", "600"]


def test_nothing_before_arm() -> None:
    trial = Trial(Code(deterrent, wire))
    trial.wait(700)
    assert trial.pulse(0, 100)[2] == "disarmed"


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"session": "00000000"}, "session"),
        ({"again": 1}, "replay"),
        ({"age": 501}, "old"),
        ({"age": -1}, "future"),
        ({"channel": 1}, "channel"),
        ({"on": 601}, "pattern"),
        ({"on": 0}, "pattern"),
        ({"count": 0}, "pattern"),
        ({"on": 300, "off": 1, "count": 2}, "pattern"),
        ({"count": 1_000_000_000}, "pattern"),
    ],
)
def test_refusals(change: dict[str, int | str], reason: str) -> None:
    order = {"channel": 0, "on": 100, "off": 0, "count": 1} | change
    assert armed().pulse(**order)[::2] == ["NO", reason]  # type: ignore[arg-type]


def test_rest_then_duty() -> None:
    trial = armed()
    reasons = []
    for _ in range(14):
        trial.order("PING")
        reasons.append(trial.pulse(0, 500)[0::2])
        trial.wait(501)
        reasons.append(trial.pulse(0, 500)[0::2])
        trial.wait(99)
    assert [reason[1] for reason in reasons if reason[0] == "NO"][:3] == ["rest"] * 3
    assert [reason[1] for reason in reasons if reason[0] == "NO"][-1] == "duty"
    assert [reason[0] for reason in reasons].count("OK") == 3, "three times 500 ms fit into the 1500 of an hour"
    trial.order("PING")
    assert trial.pulse(3, 500)[0] == "OK", "every channel has its own hour"


@pytest.mark.parametrize("text", ["9 PULSE", "9 PULSE 5e550001", "9 PULSE 5e550001 0 0 1 1 -1", "9 ARM", "9 ARM 2"])
def test_broken_arguments(text: str) -> None:
    assert armed().say(text)[::2] in (["NO", "arguments"], ["NO", "session"])


def test_a_second_pulse_does_not_begin_the_maximum_anew() -> None:
    trial = armed()
    trial.pulse(0, 400)
    trial.wait(300)
    trial.pulse(0, 500)
    trial.wait(1000)
    assert lit(trial, 0) == [(0, 600)]
    assert [a for a in trial.said if a[0] == "DONE"] == [["DONE", "0", "300"], ["DONE", "0", "300"]]


def test_silence_disarms() -> None:
    trial = armed()
    trial.pulse(3, 100)
    trial.wait(SILENCE_MS)
    assert not trial.controller.armed
    assert trial.pulse(3, 100)[2] == "disarmed"


def test_two_broken_lines_are_forgiven_and_three_are_not() -> None:
    trial = armed()
    trial.pulse(3, 1000)
    trial.line(b"x")
    trial.line(None)
    trial.order("PING")
    trial.line(b"x")
    trial.line(b"x")
    assert dict(trial.controller.outputs())[3]
    trial.line(b"x")
    assert not dict(trial.controller.outputs())[3]
    assert not trial.controller.armed


def test_off_from_anyone() -> None:
    trial = armed()
    trial.pulse(3, 1000)
    assert trial.say("0 OFF wrong-session")[0] == "OK"
    assert not dict(trial.controller.outputs())[3]
    assert trial.controller.armed


def test_refused_orders_are_no_sign_of_life() -> None:
    trial = armed()
    for _ in range(21):
        trial.wait(100)
        reason = trial.pulse(0, 9999)[2]
    assert reason == "disarmed"


def test_a_controller_that_was_late_itself_judges_by_the_clock_and_not_by_what_it_last_knew() -> None:
    trial = armed()
    trial.pulse(3, 1500)
    trial.order("PING")
    trial.hold_up(SILENCE_MS)
    said = len(trial.said)
    assert trial.order("PING")[3] == "0"
    assert trial.said[said] == ["DONE", "3", str(SILENCE_MS)]
