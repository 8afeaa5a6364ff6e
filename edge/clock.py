"""The clocks: wall time for people, and unique sortable ids. Deadlines use `time.monotonic_ns` directly."""

from __future__ import annotations

import ctypes
import hashlib
import os
import struct
import time
import uuid
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import cache
from pathlib import Path
from typing import Protocol

REPLAY_START = datetime(2026, 1, 1, 12, tzinfo=UTC)
_BOOT_ID = Path("/proc/sys/kernel/random/boot_id")
_STA_UNSYNC = 0x0040  # <sys/timex.h>
_NEVER_US = 16_000_000  # NTP_PHASE_LIMIT in the kernel
_TIMEX = struct.Struct("@illlli")  # modes, offset, freq, maxerror, esterror, status
_MODULE = Path("/sys/class/rtc/rtc0/since_epoch")
_AGREE_S = 300.0
_SECOND_NS = 1_000_000_000


class Clock(Protocol):
    """What time people would say it is."""

    def wall(self, media_time: float) -> datetime:
        """Aware UTC of a frame `media_time` seconds after its source began."""
        ...

    def known(self) -> bool:
        """Whether the wall clock was synchronised, so that quiet hours can be trusted."""
        ...


class LiveClock:
    """The system's clock: known once it was synchronised in this boot, or where a clock with a battery agrees.

    The kernel is asked at most once a second, the module, which answers slowly, once a minute.
    """

    def __init__(self, module: Path = _MODULE) -> None:
        self._module = module
        self._known = self._agrees = False
        self._asked_ns = self._read_ns = 0

    def wall(self, media_time: float) -> datetime:
        return datetime.now(UTC)

    def known(self) -> bool:
        now = time.monotonic_ns()
        if not self._asked_ns or now - self._asked_ns > _SECOND_NS:
            self._asked_ns, self._known = now, _synchronised() or self._by_module(now)
        return self._known

    def _by_module(self, now: int) -> bool:
        if not self._read_ns or now - self._read_ns > 60 * _SECOND_NS:
            self._read_ns, self._agrees = now, _agrees(self._module)
        return self._agrees


class ReplayClock:
    """A clip's own time: noon UTC of 2026-01-01 at its start unless told otherwise."""

    def __init__(self, start: datetime = REPLAY_START) -> None:
        self._start = start

    def wall(self, media_time: float) -> datetime:
        return self._start + timedelta(seconds=media_time)

    def known(self) -> bool:
        return True


def _synchronised() -> bool:
    """Ask adjtimex(2). Where the kernel cannot be asked (not Linux), a plausible year has to do."""
    try:
        timex = ctypes.create_string_buffer(256)  # struct timex, mode 0: read only
        state = ctypes.CDLL(None, use_errno=True).adjtimex(timex)
    except (AttributeError, OSError):
        return datetime.now(UTC).year >= 2026
    return state != -1 and was_set(timex.raw)


def was_set(timex: bytes) -> bool:
    """Whether a time server has set this machine's clock since it booted, and nobody else since: of a `struct timex`.

    The kernel counts a clock as out of step 8.9 hours after the last answer, when it is off by seconds. But what it
    was told then of its error stays: only the boot, and whoever sets the clock by hand, make that "unknown".
    """
    *_, esterror_us, status = _TIMEX.unpack_from(timex)
    return not status & _STA_UNSYNC or esterror_us < _NEVER_US


def _agrees(module: Path) -> bool:
    """Whether a real-time clock shows about the system's time. One without a battery begins in 1970 or 2000."""
    try:
        seconds = int(module.read_text())
    except (OSError, ValueError):
        return False
    return seconds > REPLAY_START.timestamp() and abs(time.time() - seconds) < _AGREE_S


@dataclass(frozen=True, slots=True)
class Uptime:
    """How long this machine is up: `seconds` of the boot `boot`, sleep included. No jump of the clock moves it."""

    boot: str
    seconds: float


def uptime() -> Uptime | None:
    """Of now; None where the system has no name for a boot (not Linux)."""
    boot = boot_id()
    return Uptime(boot[:8], round(time.clock_gettime(time.CLOCK_BOOTTIME), 3)) if boot else None


@cache
def boot_id() -> str:
    """This boot's own id (Linux), empty elsewhere."""
    try:
        return _BOOT_ID.read_text().strip()
    except OSError:
        return ""


def iso(moment: datetime) -> str:
    """Aware UTC as ISO 8601 with milliseconds."""
    return moment.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


class Ids:
    """Unique, sortable UUIDv7 (RFC 9562). With a seed (replay) the same calls give the same ids."""

    def __init__(self, seed: str | None = None) -> None:
        self._seed = seed
        self._count = 0
        self._last_ms = 0

    def new(self, wall: datetime) -> str:
        """An id that sorts after every earlier one, also when the wall clock goes back by less than an hour."""
        ms = int(wall.timestamp() * 1000)
        # A clock set back must not reorder the journal: time stands still until it catches up. One set back
        # by more than an hour is believed, else one wrong day would freeze the ids for that long.
        self._count = (self._count + 1) & 0xFFF
        if ms <= self._last_ms and self._last_ms - ms < 3_600_000:
            ms = self._last_ms + (self._count == 0)
        elif ms != self._last_ms:
            self._count = 0
        self._last_ms = ms
        if self._seed is None:
            tail = int.from_bytes(os.urandom(8), "big")
        else:
            tail = int.from_bytes(hashlib.sha256(f"{self._seed}:{ms}:{self._count}".encode()).digest()[:8], "big")
        value = (ms & (1 << 48) - 1) << 80 | 0x7 << 76 | self._count << 64 | 0b10 << 62 | tail & (1 << 62) - 1
        return str(uuid.UUID(int=value))


def first_id(moment: datetime) -> str:
    """The least id that can be given at a moment: ids begin with their time, so a range of them needs no index."""
    digits = f"{max(int(moment.timestamp() * 1000), 0):012x}"
    return f"{digits[:8]}-{digits[8:]}"
