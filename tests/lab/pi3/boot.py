"""The real daemon on the emulated Pi: from power-on by systemd to an armed light, and what the pins did meanwhile."""

from __future__ import annotations

import logging
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.lab.pi3.card import Card
from tests.lab.pi3.faults import MARK
from tests.lab.pi3.levels import Change, Level, changes, level_at, spans
from tests.lab.pi3.machine import PIN, Machine, started

log = logging.getLogger(__name__)

UNARMED_PIN = 22
"""Of the second deterrent, which is never enabled."""
_UP_S, _READY_S, _THREAT_S, _ANSWER_S = 600.0, 900.0, 600.0, 300.0


@dataclass(frozen=True)
class Moment:
    """Something that was reached: what, and when (host's clock, s)."""

    name: str
    at: float


@dataclass
class Life:
    """What was seen of the machine, from power-on to its end."""

    machine: Machine
    up: dict[str, Any] = field(default_factory=dict)
    moments: list[Moment] = field(default_factory=list)
    units: dict[str, dict[str, str]] = field(default_factory=dict)  # after each moment, how systemd had the daemon
    status: dict[str, Any] = field(default_factory=dict)  # the daemon's own, before it was armed
    reasons: list[list[str]] = field(default_factory=list)  # type and reason of each event before it was armed
    answers: dict[str, Any] = field(default_factory=dict)
    killed: dict[str, Any] = field(default_factory=dict)
    pins: dict[int, list[Change]] = field(default_factory=dict)  # since power-on

    def at(self, name: str) -> float:
        return next(moment.at for moment in self.moments if moment.name == name)

    def lit(self, begin: str, end: str) -> list[tuple[float, float]]:
        """When the light was on between two moments."""
        return spans(self.pins[PIN], Level.HIGH, self.at(begin), self.at(end))

    def looks(self, begin: str, end: str) -> list[Level]:
        """The pin as the monitor read it between two moments."""
        first, last = self.at(begin), self.at(end)
        return [level for asked, answered, level in self.machine.samples if first <= asked and answered <= last]


def lived(card: Card, archive: Path) -> Life:
    """The whole story once, on a kernel that keeps released outputs driven, as Raspberry Pi's own do."""
    with (
        tempfile.TemporaryDirectory(prefix="gander-pi3-") as folder,
        started(card.parts, archive, Path(folder), persist=True, card=card.image) as machine,
    ):
        life = Life(machine)
        try:
            _observe(life)
            _armed(life)
            _back(life)
        except AssertionError as error:
            said = machine.log.read_text(errors="replace")[-4000:]
            raise AssertionError(f"{error}, after {life.moments[-1].name!r}; the guest's last words:\n{said}") from None
        writes = machine.trace.read()
        life.pins = {pin: changes(writes, pin) for pin in (PIN, UNARMED_PIN)}
    return life


def _observe(life: Life) -> None:
    """Nothing is armed: boot, pictures, a threat in view."""
    machine = life.machine
    _told(life, "power on")
    life.up = machine.wait("up", _UP_S)
    _told(life, "systemd up")
    _ready(life, "daemon ready", 0)
    _until(lambda: ["suppressed", "observe"] in _do(machine, "events").get("events", []), _THREAT_S)
    _told(life, "threat in view")
    life.status = _do(machine, "ask", verb="status")["answer"]
    life.reasons = _do(machine, "events")["events"]


def _armed(life: Life) -> None:
    """Armed by its socket: the threat in view is fired at; then everything is killed in the middle of a pulse."""
    machine = life.machine
    _told(life, "arming")
    life.answers["armed"] = _do(machine, "ask", verb="mode", mode="armed")
    _until(lambda: _was_on(machine, life.at("arming")), _THREAT_S)
    _until(lambda: _level(machine) is not Level.HIGH, _ANSWER_S)
    life.answers["maintenance"] = _do(machine, "ask", verb="mode", mode="maintenance")
    _told(life, "test fire")
    _until(lambda: _felled(life), _ANSWER_S)  # again while the channel rests
    marks = changes(machine.trace.read(), MARK)
    life.moments.append(Moment("all killed", marks[-1].at))
    _until(lambda: _level(machine) is Level.FREE, _ANSWER_S)  # first driven low, then let go
    _told(life, "off")


def _back(life: Life) -> None:
    """No longer armed: systemd starts the daemon again, and its guard holds the pin."""
    _ready(life, "daemon ready again", _pid(life, "daemon ready"))
    life.answers["back"] = _do(life.machine, "ask", verb="status")["answer"]


def _felled(life: Life) -> bool:
    life.killed = _do(life.machine, "felled", daemon=_pid(life, "daemon ready"))
    return "guards" in life.killed


def _was_on(machine: Machine, since: float) -> bool:
    """By the record: a pulse that began late may be over before one looks."""
    return any(c.level is Level.HIGH and c.at > since for c in changes(machine.trace.read(), PIN))


def _level(machine: Machine) -> Level:
    return level_at(changes(machine.trace.read(), PIN), time.time())


def _ready(life: Life, moment: str, before: int) -> None:
    """Wait until systemd has it started, as another process than `before`, and its guard holds the pin."""

    def there() -> bool:
        status = _do(life.machine, "ask", verb="status").get("answer", {})
        return status.get("pid", before) != before and status["frames"] and _level(life.machine) is Level.LOW

    _until(there, _READY_S)
    _until(lambda: _unit(life, moment).get("ActiveState") == "active", _READY_S)
    _told(life, moment)


def _unit(life: Life, moment: str) -> dict[str, str]:
    life.units[moment] = _do(life.machine, "unit")
    return life.units[moment]


def _pid(life: Life, moment: str) -> int:
    return int(life.units[moment]["MainPID"])


def _do(machine: Machine, name: str, **facts: Any) -> dict[str, Any]:
    machine.wish(name, **facts)
    return machine.wait("done", _ANSWER_S)


def _until(condition: Callable[[], Any], timeout_s: float) -> None:
    until = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < until, f"not reached in {timeout_s:g} s"
        time.sleep(1.0)


def _told(life: Life, name: str) -> None:
    log.info("%s", name)
    life.moments.append(Moment(name, time.time()))


def story(life: Life) -> str:
    """The README's figures: when what was reached, and what the light's pin did by then."""
    begin = life.at("power on")
    rows = ["| reached | s after power-on | the light's pin until then |", "|---|---|---|"]
    before = "power on"
    for moment in life.moments[1:]:
        lit = life.lit(before, moment.name)
        text = (
            " + ".join(f"{off - on:.3f} s on" for on, off in lit) or f"never on in {_looks(life, before, moment.name)}"
        )
        rows.append(f"| {moment.name} | {moment.at - begin:.0f} | {text} |")
        before = moment.name
    writes = sum(1 for change in life.pins[PIN] if change.at < life.at("arming"))
    return "\n".join(
        (
            *rows,
            "",
            f"disarmed: {life.at('arming') - begin:.0f} s, {len(life.looks('power on', 'arming'))} looks at the pin, "
            f"{writes} changes between input and low; mode {life.status['mode']}, {life.status['frames']} frames, "
            f"latency {life.status['latency_ms'].get('predict')}",
        )
    )


def _looks(life: Life, begin: str, end: str) -> str:
    return f"{len(life.looks(begin, end))} looks"
