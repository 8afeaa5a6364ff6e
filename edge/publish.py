"""Publishing: one loop per publisher sends what the journal owes it, in order, at least once."""

from __future__ import annotations

import contextlib
import logging
import os
import random
import sqlite3
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, TypeVar

from edge.config import Config
from edge.deliveries import Deliveries
from edge.errors import ConfigError, GanderError, StateError
from edge.journal import lock
from edge.publishers import Later, Publisher, Refused
from edge.publishers.jsonl import Jsonl
from edge.publishers.mqtt import Mqtt
from edge.reading import Reading

log = logging.getLogger(__name__)

_LOOK_S = 0.2
_MAKING_S = 3.0  # a journal that cannot be opened for so long is unfit
_FIRST_WAIT_S, _LONGEST_WAIT_S = 1.0, 300.0
_MOST_ERRORS = 5  # an event at which a publisher fails so often in an unforeseen way is poison
_REPEAT_S = 300.0  # the same trouble is logged again after so long: the card is a consumable
_LAST_WORDS_S = 3.0  # for what is still owed when told to end
_GOODBYE_S = 15.0

T = TypeVar("T")
Owed = Sequence[tuple[int, Mapping[str, Any]]]
"""Events, each with its place in the journal."""


@dataclass(frozen=True, slots=True)
class _Outcome:
    """What came of one sending: the first `done` events are delivered; `why` not the next (empty: all are)."""

    done: int
    why: str = ""
    refused: bool = False
    unforeseen: bool = False


class Outbox:
    """One publisher's loop. It keeps its place only after the sink has acknowledged, so a kill loses nothing."""

    def __init__(self, state: Path, publisher: Publisher, first_wait_s: float = _FIRST_WAIT_S) -> None:
        """Raises `StateError` when `deliveries.db` cannot be used."""
        self._state, self._publisher, self._first_wait_s = state, publisher, first_wait_s
        self._pages = Deliveries(state, publisher.name)
        self._ending, self._end_at = threading.Event(), 0.0
        self._last = ""  # the last event delivered
        self._wait_s = 0.0  # 0: the last sending went well
        self._said, self._said_at = "", 0.0
        self._error: GanderError | None = None
        self._thread = threading.Thread(target=self._run, name=publisher.name, daemon=True)
        self._thread.start()

    def check(self) -> None:
        """Raises `GanderError` when the loop is gone: then it must be started anew, not forgotten."""
        if not self._thread.is_alive() and not self._ending.is_set():
            raise self._error or GanderError(f"{self._publisher.name}: its loop has ended; see the log above")

    def end(self) -> None:
        """Send what is still owed, where that takes but a moment, then stop."""
        self._end_at = time.monotonic() + _LAST_WORDS_S
        self._ending.set()

    def join(self) -> None:
        self._thread.join(_GOODBYE_S)

    def _run(self) -> None:
        try:
            with contextlib.closing(self._pages), contextlib.closing(Reading(self._state)) as reading:
                self._follow(reading)
        except GanderError as error:
            self._error = error

    def _begin(self, reading: Reading) -> str:
        """The last event delivered. Where a new publisher begins is kept before anything is sent."""
        kept = self._insist(self._pages.place)
        if kept is not None:
            return kept
        first = "" if self._publisher.from_start else self._insist(reading.last_id) or ""
        self._insist(lambda: self._pages.keep(first))
        return first

    def _follow(self, reading: Reading) -> None:
        self._last = self._begin(reading)
        place, opened, behind = 0, -1, True
        while not self._ending.is_set() or time.monotonic() < self._end_at:
            grown = self._insist(reading.news)
            if opened != reading.opened:
                place, opened = self._insist(lambda: reading.place_of(self._last)) or 0, reading.opened
            owed = self._owed(reading, place) if grown or behind else []
            behind = bool(owed)
            there = self._publisher.ready(_LOOK_S if owed else 0.0)
            if owed and there:
                one_by_one = self._wait_s > 0  # so that it is known which event is the trouble
                place = self._settle(owed, self._send(owed[:1] if one_by_one else owed), place)
            elif self._ending.is_set():
                return
            elif not owed:
                self._ending.wait(_LOOK_S)

    def _owed(self, reading: Reading, place: int) -> Owed:
        return self._insist(lambda: reading.after(place, self._publisher.batch)) or []

    def _send(self, owed: Owed) -> _Outcome:
        try:
            self._publisher.send([event for _, event in owed])
        except Later as error:
            return _Outcome(error.done, str(error))
        except Refused as error:
            return _Outcome(error.done, str(error), refused=True)
        except Exception as error:  # noqa: BLE001 - whatever a sink's library throws is a reason to try again
            return _Outcome(0, f"{type(error).__name__}: {error}", unforeseen=True)
        return _Outcome(len(owed))

    def _settle(self, owed: Owed, outcome: _Outcome, place: int) -> int:
        """Keep what was delivered; wait before what was not, or set it aside. Returns the new place."""
        if outcome.done:
            place, event = owed[outcome.done - 1]
            self._last = event["id"]
            self._insist(lambda: self._pages.keep(self._last))
            self._wait_s = 0.0
        if not outcome.why:
            return place
        following, event = owed[outcome.done]
        tries = (self._insist(lambda: self._pages.tries(event["id"])) or 0) + 1
        if outcome.refused or (outcome.unforeseen and tries >= _MOST_ERRORS):
            log.warning("%s: event %s is set aside: %s", self._publisher.name, event["id"], outcome.why)
            self._last = event["id"]
            self._insist(lambda: self._pages.set_aside(self._last, tries, outcome.why))
            return following
        self._wait_s = min(self._wait_s * 2 or self._first_wait_s, _LONGEST_WAIT_S)
        wait_s = self._wait_s * random.uniform(0.5, 1.0)  # many appliances must not come back in step
        next_try = datetime.now(UTC) + timedelta(seconds=wait_s)
        self._say(outcome.why)
        self._insist(lambda: self._pages.failed(event["id"], tries, next_try, outcome.why))
        self._ending.wait(wait_s)
        return place

    def _insist(self, work: Callable[[], T]) -> T | None:
        """Have a database do its part, for as long as it takes: without a place kept, nothing more may be sent.

        None when the end came first.
        """
        wait_s, began = self._first_wait_s, time.monotonic()
        while True:
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

    def _say(self, why: str) -> None:
        """Once, and again only after minutes."""
        if why != self._said or time.monotonic() - self._said_at > _REPEAT_S:
            log.warning("%s: %s", self._publisher.name, why)
            self._said, self._said_at = why, time.monotonic()


def publishers(config: Config, state: Path) -> Iterator[Publisher]:
    """The sinks that are configured."""
    if config.jsonl.path:
        yield Jsonl(config.jsonl)
    if config.mqtt.host:
        yield Mqtt(config.mqtt, config.node.name, state, config.media.publish_people)


def publish(config: Config, state: Path, ending: threading.Event) -> None:
    """Publish until told to end. Raises `ConfigError` when there is nobody to tell, `StateError`, `GanderError`."""
    with contextlib.ExitStack() as stack:
        stack.callback(os.close, lock(state, "publish.lock"))
        outboxes = []
        for publisher in publishers(config, state):
            stack.callback(publisher.close)
            outboxes.append(Outbox(state, publisher))
            stack.callback(outboxes[-1].join)
            stack.callback(outboxes[-1].end)
        if not outboxes:
            raise ConfigError("publish: there is nobody to tell; set mqtt.host (or --mqtt HOST:PORT) or jsonl.path")
        while not ending.wait(_LOOK_S):
            for outbox in outboxes:
                outbox.check()
