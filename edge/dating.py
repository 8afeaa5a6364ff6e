"""Pictures taken before the clock was set get their right time once it is: else young ones would count as old."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta

from edge.books import SAME_S, open_books
from edge.clock import Clock, Uptime, iso, uptime
from edge.journal import Journal

MEND = "UPDATE picture SET wall = ? WHERE visit_id = ? AND wall = ?"
_SLICE = 500


class Dating:
    """Goes by the uptime in the events of this boot; of an earlier one nobody can know. For one thread."""

    def __init__(self, journal: Journal, clock: Clock, up: Callable[[], Uptime | None] = uptime) -> None:
        self._journal, self._clock, self._up = journal, clock, up
        self._unset = False  # whether the clock ever was since the start
        self.pending = True
        """Whether there may still be pictures that look older than they are."""

    def mend(self) -> bool:
        """Have the journal mend some of the pictures that are in it; whether there may be more when that is written.

        Raises `StateError` where it cannot be read.
        """
        if not self._clock.known():
            self._unset = self.pending = True
            return False
        wrong = []
        if self.pending and (up := self._up()):
            zero = self._clock.wall(0.0) - timedelta(seconds=up.seconds)
            with open_books(self._journal.state) as books:
                wrong = books.undated(up.boot, iso(zero), _SLICE)
        for row in wrong:
            self._journal.write(MEND, *row, precious=True)
        self.pending = bool(wrong)
        return self.pending

    def right(self, wall: datetime, ago_s: float) -> datetime:
        """The time of a picture, taken so long ago, by the clock as it is set now; `wall`: what it showed then."""
        known, taken = self._clock.known(), self._clock.wall(0.0) - timedelta(seconds=ago_s)
        self._unset |= not known
        wrong = self._unset and known and abs(taken - wall) >= timedelta(seconds=SAME_S)
        return taken if wrong else wall
