"""What every loop that sends has in common: a thread, patience with its database, trouble said but once."""

from __future__ import annotations

import contextlib
import logging
import sqlite3
import threading
import time
from abc import ABC, abstractmethod
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TypeVar

from edge.breaker import Breaker
from edge.deliveries import Deliveries
from edge.errors import GanderError, StateError
from edge.reading import Reading

log = logging.getLogger(__name__)

LOOK_S = 0.2
_MAKING_S = 3.0  # a journal that cannot be opened for so long is unfit
_FIRST_WAIT_S = 1.0
_REPEAT_S = 300.0  # the same trouble is logged again after so long: the card is a consumable
_BOUNDED_S = 240.0  # any sending, to all addresses of a sink, is over by then
_LAST_WORDS_S = 3.0  # for what is still owed when told to end
_GOODBYE_S = 15.0

T = TypeVar("T")


class Sender(ABC):
    """One sink's loop, in a thread of its own. What is delivered is kept only once the sink has acknowledged it."""

    def __init__(self, state: Path, name: str, first_wait_s: float = _FIRST_WAIT_S) -> None:
        """`first_wait_s`: after a first failure. Raises `StateError` when `deliveries.db` cannot be used."""
        self.name = name
        self.pages = Deliveries(state, name)
        self.breaker = Breaker(first_wait_s)
        self._state, self._first_wait_s = state, first_wait_s
        self._ending, self._end_at = threading.Event(), 0.0
        self._said, self._said_at = "", 0.0
        self._error: GanderError | None = None
        self._moves_by = time.monotonic() + _BOUNDED_S
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)

    def start(self) -> None:
        self._thread.start()

    def check(self) -> None:
        """Raises `GanderError` when the loop is gone: then it must be started anew, not forgotten."""
        if not self._thread.is_alive() and not self._ending.is_set():
            raise self._error or GanderError(f"{self.name}: its loop has ended; see the log above")

    @property
    def stuck(self) -> bool:
        """Whether its loop neither turns nor rests, for longer than any call in it may take."""
        return time.monotonic() > self._moves_by

    def end(self) -> None:
        """Send what is still owed, where that takes but a moment, then stop."""
        self._end_at = time.monotonic() + _LAST_WORDS_S
        self._ending.set()

    def join(self) -> None:
        self._thread.join(_GOODBYE_S)

    @abstractmethod
    def follow(self, reading: Reading) -> None:
        """The loop, until it is time to end."""

    @property
    def ending(self) -> bool:
        return self._ending.is_set()

    @property
    def over(self) -> bool:
        """Whether also the time for last words is up."""
        return self._ending.is_set() and time.monotonic() >= self._end_at

    def rest(self, seconds: float) -> None:
        """Wait, but not beyond the end."""
        self._moves_by = time.monotonic() + seconds + _BOUNDED_S
        self._ending.wait(seconds)

    def stumble(self, event_id: str, tries: int, why: str, after_s: float = 0.0) -> float:
        """A sending failed: it is said, kept, and to be tried again after the seconds that are returned."""
        wait_s = self.breaker.failed(after_s)
        self._say(why)
        next_try = datetime.now(UTC) + timedelta(seconds=wait_s)
        self.insist(lambda: self.pages.failed(event_id, tries, next_try, why))
        return wait_s

    def insist(self, work: Callable[[], T]) -> T | None:
        """Have a database do its part, for as long as it takes: without a place kept, nothing more may be sent.

        None when the end came first.
        """
        wait_s, began = self._first_wait_s, time.monotonic()
        while True:
            self._moves_by = time.monotonic() + wait_s + _BOUNDED_S
            try:
                return work()
            except sqlite3.Error as error:
                self._say(f"{error}; nothing is sent until that is over")
            except StateError as error:  # just being made, or put in the place of another; else of a newer gander
                if time.monotonic() - began > _MAKING_S:
                    raise
                log.debug("%s", error)
            if self._ending.wait(wait_s):
                return None
            wait_s = min(wait_s * 2, 30.0)

    def _run(self) -> None:
        try:
            with contextlib.closing(self.pages), contextlib.closing(Reading(self._state)) as reading:
                self.follow(reading)
        except GanderError as error:
            self._error = error

    def _say(self, why: str) -> None:
        """Once, and again only after minutes."""
        if why != self._said or time.monotonic() - self._said_at > _REPEAT_S:
            log.warning("%s: %s", self.name, why)
            self._said, self._said_at = why, time.monotonic()
