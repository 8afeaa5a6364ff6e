"""The scenarios, what was seen of the pin in each, and the table that is made of it."""

from __future__ import annotations

import logging
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.lab.pi3.levels import Change, Level, changes, level_at, spans
from tests.lab.pi3.machine import PIN, Machine, started
from tests.lab.pi3.parts import Parts

log = logging.getLogger(__name__)

MARK = 27
PULSE_S = 5.0
_UP_S = 600.0
_SCENARIO_S = 180.0
_TRIES = 6
_LATE_S = 0.5  # an emulator that stood still for longer is no measure of what it emulates
_LONG = {"on_ms": int(PULSE_S * 1000), "count": 1}
# Another pin, so that "off" of one kind of relay is not "on" of the other before its scenario begins.
_LOW = _LONG | {"active_high": False, "pin": 18}
_BARE = _LOW | {"pin": 23}
_PAST_THE_PULSE_S = 5.5


@dataclass(frozen=True)
class Scenario:
    """One order and what happens half a second into its pulse. `strikes`: [whom, signal or way]."""

    name: str
    strikes: tuple[tuple[str, str], ...] = ()
    deterrent: dict[str, Any] = field(default_factory=lambda: dict(_LONG))
    fires: bool = True
    then: str = ""  # wait for the host to tell of this
    watched_s: float = _PAST_THE_PULSE_S
    rescue: bool = False  # at last, start the guard alone with nobody at its line
    bare: bool = False  # gpiozero's own pin instead of the guard


SCENARIOS = (
    Scenario("start, active high", fires=False, watched_s=1.0),
    Scenario("start, active low", deterrent=_LOW, fires=False, watched_s=1.0),
    Scenario("gpiozero's own start, active low", deterrent=_BARE, fires=False, bare=True, watched_s=0.5),
    # Where it is on again before it was seen off, two pulses would be one: the pause is long for an emulator.
    Scenario("one action", deterrent={"on_ms": 400, "off_ms": 1800, "count": 3}, then="done", watched_s=1.0),
    Scenario("whole pulse", then="done", watched_s=1.0),
    Scenario("watch killed", (("host", "SIGKILL"),)),
    Scenario("watch killed, active low", (("host", "SIGKILL"),), _LOW),
    Scenario("watch stopped", (("host", "SIGSTOP"),)),
    Scenario("SIGTERM to watch", (("host", "SIGTERM"),)),
    Scenario("SIGTERM to the guard", (("guard", "SIGTERM"),), then="restarted", watched_s=1.0),
    Scenario("guard killed, watch alive", (("guard", "SIGKILL"),), then="restarted", watched_s=1.0),
    Scenario("guard frozen, watch alive", (("guard", "SIGSTOP"),), then="restarted", watched_s=1.0),
    Scenario("guard and watch killed", (("guard", "SIGKILL"), ("host", "SIGKILL")), rescue=True),
)
REBOOT = Scenario("reboot", (("machine", "reboot"),))
CRASH = Scenario("kernel dead", (("machine", "c"),))


@dataclass(frozen=True)
class Seen:
    """The pin during one scenario. Times are the host's clock, s; `struck` and `ended` from the guest's own mark."""

    begin: float
    struck: float | None
    rescue: float | None
    ended: float
    pin: list[Change]  # since power-on
    on: Level
    told: dict[str, Any]

    @property
    def lit(self) -> list[tuple[float, float]]:
        return spans(self.pin, self.on, self.begin, self.ended)

    @property
    def longest_s(self) -> float | None:
        """The longest time on; None: it never went off by itself."""
        if self.stays:
            return None
        return max((after - before for before, after in self.lit), default=0.0)

    @property
    def stays(self) -> bool:
        return level_at(self.pin, self.rescue or self.ended) is self.on

    @property
    def after_s(self) -> float | None:
        """From the fault until off; None: never."""
        if self.struck is None or self.stays:
            return None
        return max((after - self.struck for _, after in self.lit if after > self.struck), default=0.0)

    def last(self) -> Level:
        return level_at(self.pin, self.ended)


@dataclass
class Habit:
    """Everything seen of one machine, from power-on to its end."""

    machine: Machine
    up: dict[str, Any]
    seen: dict[str, Seen] = field(default_factory=dict)
    clocks: list[tuple[float, float]] = field(default_factory=list)  # the guest's and the host's, s
    again: list[str] = field(default_factory=list)  # scenarios that were played again


def run_both(parts: Parts, initramfs: Path) -> tuple[Habit, Habit]:
    """Both machines at once: released outputs let go, and kept driven."""
    with ThreadPoolExecutor(2) as threads:
        free, kept = (threads.submit(_run, parts, initramfs, persist) for persist in (False, True))
        return free.result(), kept.result()


def _run(parts: Parts, initramfs: Path, persist: bool) -> Habit:
    # Sockets have short names: not in pytest's deep folders.
    with (
        tempfile.TemporaryDirectory(prefix="gander-pi3-") as folder,
        started(parts, initramfs, Path(folder), persist=persist) as machine,
    ):
        begin = time.time()
        habit = Habit(machine, machine.wait("up", _UP_S))
        habit.seen["power on and boot"] = _seen(machine, begin, habit.up["heard"], _LONG, {})
        _calibrate(habit)
        for scenario in SCENARIOS:
            habit.seen[scenario.name] = _play(habit, scenario, "ended")
        habit.seen[REBOOT.name] = _play(habit, REBOOT, "up")
        habit.seen[CRASH.name] = _play(habit, CRASH, "")
    return habit


def _calibrate(habit: Habit) -> None:
    machine = habit.machine
    begin = time.time()
    machine.wish("calibrate", times=6, apart_s=0.5)
    moments = machine.wait("ended", _SCENARIO_S)["moments"]
    marks = [change.at for change in changes(machine.trace.read(), MARK) if change.at > begin]
    habit.clocks = [(ns / 1e9, at) for ns, at in zip(moments, marks, strict=True)]


def _play(habit: Habit, scenario: Scenario, until: str) -> Seen:
    """One scenario; again where the emulator brought the order too late or stood still meanwhile."""
    machine = habit.machine
    wish = {key: value for key, value in vars(scenario).items() if key != "name"}
    for left in reversed(range(_TRIES)):
        log.info("%s", scenario.name)
        begin = time.time()
        machine.wish("bare" if scenario.bare else "fault", **wish)
        told = {} if scenario.bare else machine.wait("fired", _SCENARIO_S)
        if scenario.fires and told.get("result") != "on":
            machine.wait("missed", _SCENARIO_S)
        else:
            told = machine.wait(until, _UP_S) if until else told
            if told.get("late_s", 0.0) < _LATE_S or left < _TRIES // 2:
                break
        habit.again.append(scenario.name)
    else:
        raise AssertionError(f"{scenario.name}: the emulator brought the order too late {_TRIES} times")
    if not until:  # who has crashed says nothing; the record goes on
        time.sleep(1.0 + _PAST_THE_PULSE_S)
    return _seen(machine, begin, time.time(), scenario.deterrent, told)


def _seen(machine: Machine, begin: float, end: float, deterrent: dict[str, Any], told: dict[str, Any]) -> Seen:
    writes = machine.trace.read()
    marks = [change.at for change in changes(writes, MARK) if begin < change.at <= end]
    if told.get("event") == "ended":
        *faults, end = marks
    else:
        faults = marks[:1]
    struck, rescue = (*faults, None, None)[:2]
    pin, on = deterrent.get("pin", PIN), Level.HIGH if deterrent.get("active_high", True) else Level.LOW
    return Seen(begin, struck, rescue, end, changes(writes, pin), on, told)


def table(free: Habit, kept: Habit) -> str:
    """The README's table, in Markdown."""
    fault = f"fault, half a second into a pulse of {PULSE_S:g} s"
    rows = [f"| {fault} | released outputs let go | released outputs kept driven |", "|---|---|---|"]
    for name in free.seen:
        rows.append(f"| {name} | {_cell(free.seen[name])} | {_cell(kept.seen[name])} |")
    return "\n".join((*rows, "", _note(free), _note(kept)))


def _cell(seen: Seen) -> str:
    longest = seen.longest_s
    if longest is None:
        since = seen.lit[-1][0]
        text = f"**stays on** ({(seen.rescue or seen.ended) - since:.1f} s watched)"
        if seen.rescue is not None and seen.last() is not seen.on:
            text += f"; off {seen.lit[-1][1] - seen.rescue:.1f} s after the command"
        return text
    if not seen.lit:
        return "never on"
    text = " + ".join(f"{after - before:.3f}" for before, after in seen.lit) + " s"
    return text + (f" (off {seen.after_s:.3f} s after the fault)" if seen.after_s is not None else "")


def _note(habit: Habit) -> str:
    board, kernel, persist = (habit.up[key] for key in ("board", "kernel", "persist"))
    return (
        f"{board}, Linux {kernel}, persist_gpio_outputs={persist}: every write to the pins' registers, stamped in "
        f"microseconds, and {len(habit.machine.samples)} looks at the pin by the monitor; the guest's clock and ours "
        f"come apart by {drift_ms(habit):.2f} ms in {habit.clocks[-1][0] - habit.clocks[0][0]:.1f} s; played again, "
        f"since the emulator was too late: {', '.join(habit.again) or 'nothing'}"
    )


def drift_ms(habit: Habit) -> float:
    """How far the guest's clock moves against the host's from the first marks to the last.

    The guest reads its clock after the mark, be it ever so late: of three offsets the largest is the nearest.
    """
    offsets = [host - guest for guest, host in habit.clocks]
    return (max(offsets[-3:]) - max(offsets[:3])) * 1000
