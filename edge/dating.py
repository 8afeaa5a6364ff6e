"""Pictures taken before the clock was set get their right time once it is: else young ones would count as old."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta

from edge.clock import Clock, iso

MEND = (
    "UPDATE picture SET wall = strftime('%Y-%m-%dT%H:%M:%fZ', wall, ? || ' seconds') WHERE camera = ? "
    "AND wall BETWEEN ? AND ?"
)
_SAME = timedelta(seconds=10)  # a clock that differs by less was not set meanwhile
_MOST = 64  # stretches of time: cameras, each time somebody set the clock


@dataclass(frozen=True, slots=True)
class _Stretch:
    """Pictures of a camera, first to last, by a clock that nobody had set; `zero`: what it showed when uptime was 0."""

    camera: str
    first: datetime
    last: datetime
    zero: datetime


class Dating:
    """Remembers what is wrongly dated. For one thread. It forgets at the end of the process: then nobody can know."""

    def __init__(self, clock: Clock, uptime_s: Callable[[], float] = time.monotonic) -> None:
        self._clock, self._uptime_s = clock, uptime_s
        self._stretches: deque[_Stretch] = deque(maxlen=_MOST)
        self._unset = False  # whether the clock ever was

    def taken(self, camera: str, wall: datetime, uptime_s: float) -> None:
        """A picture that was taken at that uptime got this time."""
        known, zero = self._clock.known(), wall.astimezone(UTC) - timedelta(seconds=uptime_s)
        self._unset |= not known
        if not self._unset or (known and abs(zero - self._zero()) < _SAME):
            return  # if the clock was set since, it was saved after that, and dated before
        for number, stretch in enumerate(self._stretches):
            if stretch.camera == camera and abs(stretch.zero - zero) < _SAME:
                whole = replace(stretch, first=min(stretch.first, wall), last=max(stretch.last, wall))
                self._stretches[number] = whole
                return
        self._stretches.append(_Stretch(camera, wall, wall, zero))

    def due(self) -> tuple[str, str, str, str] | None:
        """What `MEND` is to be carried out with now; None: nothing. `mended` says that it was."""
        if not self._clock.known():
            self._unset = True
            return None
        while self._stretches:
            first = self._stretches[0]
            wrong = self._zero() - first.zero
            if abs(wrong) >= _SAME:
                return f"{wrong.total_seconds():+.3f}", first.camera, iso(first.first), iso(first.last)
            self._stretches.popleft()
        return None

    def mended(self) -> None:
        self._stretches.popleft()

    def _zero(self) -> datetime:
        return self._clock.wall(0.0).astimezone(UTC) - timedelta(seconds=self._uptime_s())
