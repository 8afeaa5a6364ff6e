"""The daemon itself on an emulated Raspberry Pi 3, by systemd and its own unit from an SD card, from power-on.

The kernel keeps released outputs driven, as Raspberry Pi's own do; the pins are read from outside the guest.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.lab.pi3.boot import UNARMED_PIN, Life, lived, story
from tests.lab.pi3.card import boot_archive, made
from tests.lab.pi3.faults import PULSE_S
from tests.lab.pi3.levels import Level, level_at
from tests.lab.pi3.machine import PIN
from tests.lab.pi3.parts import NotHere, built

pytestmark = pytest.mark.lab

BUSY_S = 6.0  # an emulated processor on a busy machine


@pytest.fixture(scope="module")
def life(cache: Path, tmp_path_factory: pytest.TempPathFactory) -> Life:
    """The real daemon, from power-on to armed."""
    try:
        card = made(cache, built(cache))
    except NotHere as reason:
        pytest.skip(str(reason))
    seen = lived(card, boot_archive(card, tmp_path_factory.mktemp("pi3") / "boot"))
    print(f"\n{story(seen)}")
    return seen


def test_systemd_starts_the_daemon_by_its_own_unit(life: Life) -> None:
    """Started means that the first picture was taken up."""
    assert life.up["first"] == "systemd"
    assert life.up["persist"] == "Y"
    assert life.units["daemon ready"]["ActiveState"] == "active"
    assert life.units["daemon ready"]["NRestarts"] == "0"
    assert life.status["mode"] == "observe"
    assert life.status["controller_facts"]["limits"], "the guard has said so"


def test_no_pin_is_on_from_power_on_until_it_is_armed(life: Life) -> None:
    """Through boot, start, and a threat in view."""
    assert ["suppressed", "observe"] in life.reasons, "there was a threat, and nothing but the mode held back"
    assert not [reason for kind, reason in life.reasons if kind == "action"]
    assert life.lit("power on", "arming") == []
    looks = life.looks("power on", "arming")
    assert len(looks) > 500
    assert set(looks) == {Level.FREE, Level.LOW}, "an input at first, then held low"


def test_the_pin_of_a_deterrent_that_is_not_enabled_is_never_touched(life: Life) -> None:
    assert life.pins[UNARMED_PIN] == []


def test_armed_it_fires_once_and_no_longer_than_a_pulse(life: Life) -> None:
    """As long as ordered, or shorter where a slow emulator begins late."""
    pulses = life.lit("arming", "test fire")
    assert len(pulses) == 1
    on, off = pulses[0]
    assert 0.0 < off - on < PULSE_S + BUSY_S


def test_all_killed_in_mid_pulse_systemd_switches_off(life: Life) -> None:
    """The guard too, on a kernel that keeps its pins driven: what is left is the unit's `ExecStopPost=`."""
    assert life.killed["guards"], "there was a guard to kill"
    assert len(life.lit("test fire", "off")) == 1
    assert level_at(life.pins[PIN], life.at("all killed")) is Level.HIGH, "it was on when all was killed"
    assert level_at(life.pins[PIN], life.at("off")) is Level.FREE


def test_the_daemon_comes_back_and_nothing_is_on(life: Life) -> None:
    """Started by systemd, in the mode that the card has kept."""
    assert life.units["daemon ready again"]["NRestarts"] == "1"
    assert life.answers["back"]["mode"] == "maintenance"
    assert life.lit("off", "daemon ready again") == []
    assert level_at(life.pins[PIN], life.at("daemon ready again")) is Level.LOW
