"""The pin guard on gpiozero and lgpio, on an emulated Raspberry Pi 3, the pin read from outside the guest.

Twice: with a kernel that lets released outputs go, and with one that keeps them driven, as Raspberry Pi's own do.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.lab.pi3.faults import PULSE_S, Habit, drift_ms, run_both, table
from tests.lab.pi3.levels import Level, changes, level_at, pulls
from tests.lab.pi3.machine import PIN
from tests.lab.pi3.parts import NotHere, built, initramfs

pytestmark = pytest.mark.lab

BUSY_S = 2.0  # an emulated processor on a busy machine; the table says what it was
EARLY_S = 4.0  # after a fault: before the pulse would have ended by itself
REPLACED_S = 30.0  # there: a guard is missed, killed, and another started
FREE, KEPT = "let go", "kept driven"


@pytest.fixture(scope="module")
def habits(cache: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Habit]:
    """All scenarios on both machines."""
    try:
        parts = built(cache)
    except NotHere as reason:
        pytest.skip(str(reason))
    free, kept = run_both(parts, initramfs(parts, tmp_path_factory.mktemp("pi3") / "initramfs"))
    print(f"\n{table(free, kept)}")
    return {FREE: free, KEPT: kept}


@pytest.fixture(params=[FREE, KEPT])
def habit(request: pytest.FixtureRequest, habits: dict[str, Habit]) -> Habit:
    return habits[request.param]


def test_the_kernel_has_the_habit_that_was_asked_for(habits: dict[str, Habit]) -> None:
    assert {name: habit.up["persist"] for name, habit in habits.items()} == {FREE: "N", KEPT: "Y"}
    assert habits[FREE].seen["guard and watch killed"].last() is Level.FREE


def test_the_guests_clock_runs_as_ours(habit: Habit) -> None:
    assert abs(drift_ms(habit)) < 100, "an emulator that drops time could not be measured against"


def test_two_witnesses_agree(habit: Habit) -> None:
    """The record of writes, and the registers read by the monitor (GPLEV0, and which pins are outputs)."""
    pin = changes(habit.machine.trace.writes, PIN)
    wrong = 0
    for asked, answered, level in habit.machine.samples:
        near = {c.level for c in pin if asked - 0.1 < c.at < answered + 0.1}
        wrong += level not in near | {level_at(pin, asked)}
    assert len(habit.machine.samples) > 500
    assert wrong == 0
    assert {level for _, _, level in habit.machine.samples} == set(Level)


@pytest.mark.parametrize("name", ["power on and boot", "start, active high", "start, active low"])
def test_nothing_is_on_before_an_order(habit: Habit, name: str) -> None:
    assert habit.seen[name].lit == []


def test_gpiozeros_own_start_would_have_switched_an_active_low_relay(habit: Habit) -> None:
    """Why the guard has a pin of its own; and that such a blip would be seen from here."""
    assert len(habit.seen["gpiozero's own start, active low"].lit) == 1


def test_the_chips_own_pull_is_off_once_gpiozero_had_the_pin(habit: Habit) -> None:
    """So a pin let go floats: the wiring needs a resistor of its own."""
    assert pulls(habit.machine.trace.writes, PIN) == {0}


def test_an_action_is_as_long_as_ordered(habit: Habit) -> None:
    action, whole = habit.seen["one action"], habit.seen["whole pulse"]
    # A late start makes it shorter, a late end longer, each as late as the emulator is.
    assert len(action.lit) == 3
    assert all(0.0 < after - before < 0.4 + BUSY_S for before, after in action.lit)
    assert whole.longest_s == pytest.approx(PULSE_S, abs=BUSY_S)


@pytest.mark.parametrize(
    "name",
    [
        *("watch killed", "watch killed, active low", "watch stopped"),
        *("SIGTERM to watch", "SIGTERM to the guard", "reboot"),
    ],
)
def test_a_fault_ends_the_pulse_whatever_the_kernel_does_with_released_outputs(habit: Habit, name: str) -> None:
    seen = habit.seen[name]
    assert len(seen.lit) == 1, "on once, and not again"
    assert seen.after_s is not None
    assert seen.after_s < EARLY_S
    assert seen.longest_s is not None
    assert seen.longest_s < PULSE_S


def test_a_guard_killed_while_watch_lives_is_followed_by_one_that_switches_off(habits: dict[str, Habit]) -> None:
    free, kept = (habits[habit].seen["guard killed, watch alive"] for habit in (FREE, KEPT))
    assert free.after_s is not None
    assert free.after_s < EARLY_S
    for seen in (free, kept):
        assert len(seen.lit) == 1, "the order is not carried out again"
        assert seen.longest_s is not None
        assert seen.longest_s < REPLACED_S
        assert seen.last() is Level.LOW, "the successor holds it"


def test_a_guard_frozen_while_watch_lives_is_replaced(habit: Habit) -> None:
    seen = habit.seen["guard frozen, watch alive"]
    assert len(seen.lit) == 1
    assert seen.longest_s is not None
    assert seen.longest_s < REPLACED_S


def test_a_guard_killed_together_with_watch_is_off_only_where_outputs_are_let_go(habits: dict[str, Habit]) -> None:
    """The honest residue, and its cure: the guard started once with nobody at its line, as `ExecStopPost` would."""
    free, kept = (habits[habit].seen["guard and watch killed"] for habit in (FREE, KEPT))
    assert free.after_s is not None
    assert free.after_s < EARLY_S
    assert kept.stays, "a kernel that keeps outputs: beyond the pulse"
    assert kept.rescue is not None
    assert kept.rescue < kept.lit[-1][1] < kept.ended, "and off by the command"
    assert kept.last() is Level.FREE, "gpiozero makes an input of what it closes, whatever the kernel's habit"


def test_nothing_is_on_after_a_reboot(habit: Habit) -> None:
    seen = habit.seen["reboot"]
    assert [c.level for c in seen.pin if seen.lit[-1][1] <= c.at <= seen.ended] == [Level.FREE]


def test_a_dead_kernel_leaves_the_pin_as_it_was(habit: Habit) -> None:
    """The other residue: only a watchdog of the chip's own, or a Pico, ends this pulse."""
    assert habit.seen["kernel dead"].stays
    assert habit.machine.samples[-1][2] is Level.HIGH
