"""The host's own driver over a serial port, against this repository's firmware on an emulated RP2040.

The Pico is several times slower than its host here, on a busy machine much more. Widths of pulses are in the Pico's
time, and so is its silence; the host's bounds (an answer within 1.5 s, a heart that beats) are in the host's own.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from edge.actuators.controller import Controller
from edge.app import open_actuator
from edge.config import Config
from edge.values import Order
from firmware import VERSION, settings
from firmware.deterrent import SILENCE_MS
from tests.lab.pico.bridge import Bridge
from tests.lab.pico.chip import Pico, flash
from tests.lab.pico.parts import NotHere, built

pytestmark = [pytest.mark.lab, pytest.mark.alone]

LAMP = 0
SWITCH = 22
NEVER = 1 << 62
WAIT_S = 240.0


@pytest.fixture(scope="module")
def bridge(cache: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Bridge]:
    """A Pico with the firmware as it is shipped, plugged in and up."""
    try:
        parts = built(cache)
    except NotHere as reason:
        pytest.skip(str(reason))
    pico = Pico.start(parts, flash(parts, tmp_path_factory.mktemp("pico") / "shipped.bin", {}), urgent=True)
    pico.drive(SWITCH, False)
    pico.greet()
    made = Bridge(pico)
    yield made
    made.close()
    pico.close()


@pytest.fixture(scope="module")
def controller(bridge: Bridge) -> Iterator[Controller]:
    given = {"controller": {"kind": "serial", "port": bridge.port, "patience_ms": 1000}, "deterrent": [{}]}
    actuator = open_actuator(Config.model_validate(given))
    assert isinstance(actuator, Controller)
    yield actuator
    actuator.close()


def fire(bridge: Bridge, controller: Controller, on_ms: int) -> float:
    """Order a pulse as soon as it is not refused for its rest; the Pico's time at which it was acknowledged."""
    until = time.monotonic() + WAIT_S
    while time.monotonic() < until:
        assert controller.wait_ready(WAIT_S), controller.trouble
        result = controller.fire(Order("an-id", "light", LAMP, on_ms, 0, 1, NEVER)).result
        if result == "on":
            with bridge.lock:
                return bridge.pico.now
        assert result in ("refused: rest", "silent", "no controller"), result
        past(bridge, controller, 1500 + on_ms if result == "silent" else 100)  # what is silent may have pulsed
    raise AssertionError(controller.facts())


def pulse(bridge: Bridge, controller: Controller, on_ms: int, beating: bool = True) -> tuple[float, float]:
    """A whole one; again where this machine stood still so long that the host gave its Pico up, which ends a pulse."""
    for _ in range(5):
        before = controller.restarts
        fire(bridge, controller, on_ms)
        eventually(controller, lambda: off(bridge), beating)
        span = spans(bridge)[-1]
        past(bridge, controller, 300)
        assert controller.wait_ready(WAIT_S), controller.trouble
        if controller.restarts == before:
            return span
    raise AssertionError(controller.facts())


def eventually(controller: Controller, true: Callable[[], object], beating: bool = True) -> None:
    until = time.monotonic() + WAIT_S
    while not true():
        if beating:
            controller.beat()
        assert time.monotonic() < until, controller.facts()
        time.sleep(0.02)


def past(bridge: Bridge, controller: Controller, ms: float) -> None:
    """Wait for so much of the Pico's time."""
    with bridge.lock:
        until = bridge.pico.now + ms
    eventually(controller, lambda: bridge.pico.now > until)


def spans(bridge: Bridge) -> list[tuple[float, float]]:
    with bridge.lock:
        return bridge.pico.high(LAMP)


def off(bridge: Bridge) -> bool:
    """Whether the lamp is off, and has been on."""
    with bridge.lock:
        found = bridge.pico.high(LAMP)
        return bool(found) and found[-1][1] < bridge.pico.now


def test_it_is_greeted_armed_pinged_and_pulses(bridge: Bridge, controller: Controller) -> None:
    start, end = pulse(bridge, controller, 300)
    assert controller.greeting is not None
    assert controller.greeting.firmware == VERSION
    assert sorted(controller.greeting.limits) == sorted(settings.CHANNELS)
    assert not controller.facts()["complaints"]
    print(f"\nhost's driver, ordered 300 ms: on for {end - start:.1f} ms of the Pico's time")
    assert end - start == pytest.approx(300, abs=20)
    eventually(controller, controller.finished)


def test_a_loop_that_hangs_in_mid_pulse(bridge: Bridge, controller: Controller) -> None:
    """No heart beat, no ping, off: the host's 1.2 s (less in the Pico's time) and the Pico's 2 s."""
    start, end = pulse(bridge, controller, 4500, beating=False)
    print(f"\nhost's loop hung, ordered 4500 ms: on for {end - start:.1f} ms of the Pico's time")
    assert SILENCE_MS - 20 <= end - start <= 1200 + SILENCE_MS + 100


def test_a_reset_in_mid_pulse_and_the_host_comes_back(bridge: Bridge, controller: Controller) -> None:
    fire(bridge, controller, 3000)
    assert controller.greeting is not None
    before = controller.greeting.session
    with bridge.lock:
        bridge.pico.order(reset=True)
        at = bridge.pico.now
    start, end = spans(bridge)[-1]
    assert end <= at
    eventually(controller, lambda: controller.greeting is not None and controller.greeting.session != before)
    eventually(controller, controller.ready)
    assert spans(bridge)[-1] == (start, end), "coming back turns nothing on"
    start, end = pulse(bridge, controller, 200)
    assert start > at
    assert end - start == pytest.approx(200, abs=20)
