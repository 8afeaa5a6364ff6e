"""The card is a consumable: how many bytes a day are written to it, by this process and in all."""

from __future__ import annotations

import os
import re
import time
from collections import deque
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from edge.health import Finding

_IO = Path("/proc/self/io")
_DEVICES = Path("/sys/dev/block")
_STEP_S = 600.0  # between two figures that are kept
_DAY_S = 86400.0
_LEAST_S = 3600.0  # from less nothing is said about a day
_SECTOR = 512
_WRITTEN = 6  # column of `stat` (Documentation/block/stat.rst): sectors written
_MANY = 20e9  # bytes a day: a card of 32 GB is rewritten in less than two


@dataclass(frozen=True, slots=True)
class _Count:
    """Bytes since the process, or the machine, began; `disk` None where no card tells."""

    at_s: float
    process: int
    disk: int | None


class Card:
    """What was written in the last 24 hours, or since the start. For one thread at a time, or several: it only adds."""

    def __init__(self, state: Path, devices: Path = _DEVICES, io: Path = _IO) -> None:
        """`state`: a folder on the card in question."""
        self._disk, self._io = disk_of(state, devices), io
        self._counts = deque([self._count(time.monotonic())], maxlen=round(_DAY_S / _STEP_S) + 1)

    def facts(self, now_s: float | None = None) -> dict[str, Any]:
        """For `gander status`.

        `hours`: that the figures are of, at most 24; `written`: bytes this process wrote in them, `disk_written`: bytes
        that reached the disk `disk`, whoever wrote them. `written_day`, `disk_written_day`: the same as of a whole day;
        None before an hour has passed, and where no disk tells (a tmpfs, a container).
        """
        now = self._count(time.monotonic() if now_s is None else now_s)
        if now.at_s - self._counts[-1].at_s >= _STEP_S:
            self._counts.append(now)
        first = self._counts[0]
        seconds, written = now.at_s - first.at_s, now.process - first.process
        reached = None if now.disk is None or first.disk is None else now.disk - first.disk
        long = seconds >= _LEAST_S
        return {
            "hours": round(seconds / 3600, 2),
            "written": written,
            "written_day": round(written * _DAY_S / seconds) if long else None,
            "disk": self._disk.name if self._disk else "",
            "disk_written": reached,
            "disk_written_day": round(reached * _DAY_S / seconds) if long and reached is not None else None,
        }

    def _count(self, at_s: float) -> _Count:
        return _Count(at_s, written_by(self._io), _sectors(self._disk) if self._disk else None)


def written_by(io: Path = _IO) -> int:
    """Bytes that a process made dirty in files on a disk, less what it deleted before it was written; 0 unknown."""
    try:
        found = dict(re.findall(r"^(write_bytes|cancelled_write_bytes): (\d+)$", io.read_text(), re.MULTILINE))
    except OSError:
        return 0
    return int(found.get("write_bytes", 0)) - int(found.get("cancelled_write_bytes", 0))


def disk_of(state: Path, devices: Path = _DEVICES) -> Path | None:
    """The kernel's folder of the whole disk that a folder is on; None where it is on none (tmpfs, network)."""
    number = state.stat().st_dev
    found = devices / f"{os.major(number)}:{os.minor(number)}"
    if not os.major(number) or not (found / "stat").exists():
        return None
    whole = found.resolve()
    return whole.parent if (whole / "partition").exists() else whole


def _sectors(disk: Path) -> int | None:
    """Bytes written to a disk since the machine was started."""
    try:
        return int((disk / "stat").read_text().split()[_WRITTEN]) * _SECTOR
    except (OSError, ValueError, IndexError):
        return None


def findings(facts: Mapping[str, Any]) -> Iterator[Finding]:
    """What `gander doctor` says of a running daemon's card, by `Card.facts`."""
    own, disk = facts["written_day"], facts["disk_written_day"]
    if own is None:
        yield Finding(
            "ok", "card", f"{facts['written'] / 1e6:.1f} MB written by watch in {facts['hours'] * 60:.0f} min"
        )
        return
    says = f"{own / 1e9:.2f} GB a day by watch"
    says += f"; {disk / 1e9:.2f} GB in all reach {facts['disk']}" if disk is not None else ""
    says += f" (of the last {facts['hours']:.0f} h)"
    if max(own, disk or 0) < _MANY:
        yield Finding("ok", "card", says)
    elif own < _MANY / 2:
        yield Finding("advice", "card", says, "something else wears it out: `sudo iotop -oPa` names it after a while")
    else:
        yield Finding("advice", "card", says, "lower media.per_day_mb, media.per_visit or media.decoy_mb")
