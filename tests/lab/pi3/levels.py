"""A pin seen from outside: every write to the GPIO registers that QEMU carried out, and what the pin was when."""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import StrEnum
from itertools import pairwise
from pathlib import Path

GPIO = 0x3F200000
_FSEL, _SET, _CLEAR, _LEVEL = 0x00, 0x1C, 0x28, 0x34
_PULL, _PULL_CLOCK = 0x94, 0x98
REGISTERS = _LEVEL // 4 + 1
_RESET = 0x3F10001C  # PM_RSTC: the only writer is a kernel that wants the chip to start anew
_WRITE = re.compile(
    r"@(\d+\.\d+):memory_region_ops_write .* addr (0x[0-9a-f]+) value (0x[0-9a-f]+) .*'(bcm2835[-_]\w+)'"
)


class Level(StrEnum):
    """`FREE`: an input. What the wiring makes of it: with a pull-down off, without one anything."""

    FREE = "free"
    LOW = "low"
    HIGH = "high"


@dataclass(frozen=True, slots=True)
class Write:
    """One write to a register: when (host's clock, s), where and what."""

    at: float
    address: int
    value: int


@dataclass(frozen=True, slots=True)
class Change:
    at: float
    level: Level


class Trace:
    """QEMU's record of writes, read as it grows."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._place = 0
        self.writes: list[Write] = []

    def read(self) -> list[Write]:
        """All writes so far."""
        with self._path.open("rb") as file:
            file.seek(self._place)
            data = file.read()
        whole = data.rfind(b"\n") + 1
        self._place += whole
        for at, address, value, name in _WRITE.findall(data[:whole].decode("ascii", "replace")):
            where = int(address, 16)
            if name == "bcm2835_gpio" or where == _RESET:
                self.writes.append(Write(float(at), where, int(value, 16)))
        return self.writes


def changes(writes: list[Write], pin: int) -> list[Change]:
    """Every change of a pin below 32, from the chip's start on: it begins free."""
    found: list[Change] = []
    output, latch, level = False, False, Level.FREE
    for write in writes:
        where = write.address - GPIO
        if write.address == _RESET:
            output = latch = False
        elif where == _FSEL + pin // 10 * 4:
            output = write.value >> pin % 10 * 3 & 7 == 1
        elif where == _SET and write.value >> pin & 1:
            latch = True
        elif where == _CLEAR and write.value >> pin & 1:
            latch = False
        now = (Level.HIGH if latch else Level.LOW) if output else Level.FREE
        if now is not level:
            found.append(Change(write.at, now))
            level = now
    return found


def pulls(writes: list[Write], pin: int) -> set[int]:
    """The pulls that were set for a pin: 0 none, 1 down, 2 up. One register holds the wish, another who gets it."""
    wish, found = 0, set()
    for write in writes:
        if write.address == GPIO + _PULL:
            wish = write.value
        elif write.address == GPIO + _PULL_CLOCK and write.value >> pin & 1:
            found.add(wish)
    return found


def level_at(found: list[Change], at: float) -> Level:
    return next((change.level for change in reversed(found) if change.at <= at), Level.FREE)


def read_registers(words: list[int], pin: int) -> Level:
    """The pin from a copy of the registers up to GPLEV0, as the monitor gives them."""
    if words[pin // 10] >> pin % 10 * 3 & 7 != 1:
        return Level.FREE
    return Level.HIGH if words[_LEVEL // 4] >> pin & 1 else Level.LOW


def spans(found: list[Change], level: Level, begin: float, end: float) -> list[tuple[float, float]]:
    """When between two times the pin was so: (from, to), cut at both."""
    edges = [Change(begin, level_at(found, begin)), *(c for c in found if begin < c.at < end), Change(end, Level.FREE)]
    return [(edge.at, after.at) for edge, after in pairwise(edges) if edge.level is level]
