"""The host's side of a controller, with one that was rehearsed: what it takes, refuses, reports, and survives."""

from __future__ import annotations

import contextlib
import threading
import time

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from edge.actuators.controller import Controller
from edge.actuators.guard import Guard
from edge.config import ControllerConfig
from edge.errors import ControllerError
from firmware import VERSION
from firmware.wire import seal
from tests.edge.test_actuators import LIGHT, order, until
from tests.rehearsed import Rehearsed

PATIENT = ControllerConfig(kind="guard", patience_ms=1000)


@pytest.mark.parametrize(
    ("greeting", "complaint"),
    [
        ("HELLO 2 0.1.0 s 0 0 0:5000:60000:1000", "protocol 2, this Gander speaks 1; `deploy/flash.sh`"),
        ("HELLO 2", "protocol 2"),
        ("HELLO 1 0.1.0 s 0 0 3:5000:60000:1000", "no channel 0 for deterrent 'light', its channels: 3; mend"),
        ("HELLO 1 0.1.0 s 0 0", "its channels: none"),
        ("HELLO 1 0.1.0 s 0 0 0:500:60000:1000", "allows 500 ms in one pulse, the pattern of deterrent 'light' takes"),
        ("HELLO 1 0.1.0 s 0 0 0:5000:1000:1000", "allows 1000 ms in an hour, the pattern of deterrent 'light' takes"),
        ("HELLO 1 0.1.0 s 0 0 0:-1:60000:1000", "limits that make no sense"),
        ("HELLO 1 0.1.0 s 0 0 0:5000:60000:1000:9", "limits that make no sense"),
        ("HELLO 1 0.1.0 s -5 0 0:5000:60000:1000", "greeting makes no sense"),
        ("HELLO 1", "greeting makes no sense"),
    ],
)
def test_a_controller_that_does_not_fit(greeting: str, complaint: str) -> None:
    controller = Controller([LIGHT], PATIENT, lambda: Rehearsed(greeting))
    try:
        until(lambda: complaint in controller.trouble)
        assert not controller.ready()
        assert controller.fire(order()).result == "no controller"
    finally:
        controller.close()


@pytest.mark.parametrize(
    ("firmware", "says"),
    [
        (VERSION, ""),
        ("0.0.9", "older"),
        ("0.0", "older"),
        ("9.0.0", "newer"),
        ("0.10.0", "newer"),
        ("strange", "older"),
    ],
)
def test_the_firmwares_version_is_a_problem_with_advice_and_no_more(firmware: str, says: str) -> None:
    wire = Rehearsed(f"HELLO 1 {firmware} s 0 0 0:5000:60000:1000")
    controller = Controller([LIGHT], PATIENT, lambda: wire)
    try:
        until(lambda: wire.far.recv(4096))  # ARM 1
        until(lambda: well(controller, wire))
        facts = controller.facts()
        assert facts["limits"] == {"0": {"max_on_ms": 5000, "hour_ms": 60000, "rest_ms": 1000}}
        assert [says in what and "deploy/flash.sh" in advice for what, advice in facts["complaints"]] == [True] * bool(
            says
        )
    finally:
        controller.close()


def well(controller: Controller, wire: Rehearsed) -> bool:
    """Whether it is, just after it was told so: what was said half a second ago does not count."""
    wire.say("OK 1 5 1 0")
    return not controller.facts()["trouble"]


def test_a_rest_longer_than_the_cool_down_is_said() -> None:
    wire = Rehearsed(f"HELLO 1 {VERSION} s 0 0 0:5000:60000:60000", "OK 1 5 1 0")
    controller = Controller([LIGHT, LIGHT.model_copy(update={"enabled": False, "channel": 9})], PATIENT, lambda: wire)
    try:
        until(lambda: controller.greeting)
        [(what, advice)] = controller.facts()["complaints"]
        assert what == "channel 0 rests for 60 s, deterrent 'light' only for 30 s: orders in between are refused"
        assert "cooldown_s" in advice
    finally:
        controller.close()


def test_an_open_arm_switch_is_said_and_closing_it_heals() -> None:
    wire = Rehearsed("HELLO 1 0.1.0 s 0 0 0:5000:60000:1000")
    controller = Controller([LIGHT], PATIENT, lambda: wire)
    try:
        until(lambda: wire.far.recv(4096))
        wire.say("NO 1 switch")
        until(lambda: "arm switch" in controller.facts()["trouble"])
        assert not controller.ready()
        until(lambda: well(controller, wire))
    finally:
        controller.close()


def test_a_controller_that_resets_by_itself_begins_with_everything_off() -> None:
    wire = Rehearsed("HELLO 1 0.1.0 first 700 9 0:5000:60000:1000", "OK 10 700 1 0", "ON 0 700")
    controller = Controller([LIGHT], PATIENT, lambda: wire)
    try:
        until(lambda: controller.greeting)
        wire.say("HELLO 1 0.1.0 second 3 0 0:5000:60000:1000")
        until(lambda: controller.restarts == 1)
        assert not controller.ready(), "it must be armed anew"
        assert controller.acting_until_ns() == 0
        controller.beat()
        until(lambda: seal("1 ARM 1") in wire.far.recv(65536))
    finally:
        controller.close()


WORDS = ["HELLO", "OK", "NO", "ON", "DONE", "0", "1", "-1", "1073741824", "", "switch", "replay", "0:1:2:3", "s", "1.0"]


@given(
    st.lists(st.one_of(st.lists(st.sampled_from(WORDS), max_size=8).map(" ".join), st.text(max_size=40)), max_size=30)
)
@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_whatever_a_controller_says_the_host_lives_on(said: list[str]) -> None:
    wires: list[Rehearsed] = []

    def open_wire() -> Rehearsed:
        first = Rehearsed("HELLO 1 0.1.0 s 0 0 0:5000:60000:1000", *said)
        first.far.sendall(b"\xff\n")
        wires.append(Rehearsed("HELLO 1 0.1.0 t 0 0 0:5000:60000:1000", "OK 1 5 1 0") if wires else first)
        return wires[-1]

    controller = Controller([LIGHT], PATIENT, open_wire)
    try:
        until(lambda: controller.garbled or len(wires) > 1)  # heard to the end, or given up
        controller.facts()
        with contextlib.suppress(OSError):  # given up just now
            wires[0].say("HELLO 1 0.1.0 t 0 0 0:5000:60000:1000", "OK 1 5 1 0")
        until(lambda: controller.beat() or controller.ready())  # type: ignore[func-returns-value]  # lives on, and is asked
    finally:
        controller.close()


def test_a_controller_that_cannot_be_opened(caplog: pytest.LogCaptureFixture) -> None:
    tried: list[int] = []

    def refuse() -> Rehearsed:
        tried.append(1)
        raise ControllerError("/dev/ttyACM0: no such port; plug it in")

    controller = Controller([LIGHT], ControllerConfig(kind="serial"), refuse)
    try:
        until(lambda: len(tried) > 1)
        assert "/dev/ttyACM0" in controller.trouble
        assert controller.fire(order()).result == "no controller"
        assert len(caplog.records) == 1, "told once"
    finally:
        controller.close()


def test_no_pins_is_no_controller(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GPIOZERO_PIN_FACTORY", "nonsense")
    controller = Controller([LIGHT], PATIENT, lambda: Guard([LIGHT]))
    try:
        until(lambda: "nonsense" in controller.trouble)
        assert not controller.ready()
    finally:
        controller.close()


def test_opening_that_hangs_holds_up_nothing() -> None:
    """A driver may sleep in the kernel for as long as it likes."""
    let_go = threading.Event()

    def hang() -> Rehearsed:
        let_go.wait(60)
        raise ControllerError("gone")

    controller = Controller([LIGHT], PATIENT, hang)
    began = time.monotonic()
    for _ in range(100):
        controller.beat()
        assert not controller.ready()
        assert controller.fire(order()).result == "no controller"
        controller.off()
        controller.facts()
    assert time.monotonic() - began < 20
    threading.Timer(0.1, let_go.set).start()
    controller.close()
