"""The board of retained topics: what they say now, and what of it was not yet told."""

from __future__ import annotations

import json
import logging
import sqlite3
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from edge import payloads
from edge.control import ask
from edge.errors import GanderError
from edge.reading import Reading
from edge.values import Kind

log = logging.getLogger(__name__)

_ROUND_S, _FULL_ROUND_S = 2.0, 60.0
_ASK_S = 5.0
_PICTURE_S = 30.0  # a picture that is not there by then does not come
_SETTLE_S = 12.0  # so long after it a person may turn out to be on a picture, and it be known


class Board:
    """For one thread. Reads the journal when it grew, asks the watch every two seconds, or as it acts more often."""

    def __init__(
        self,
        state: Path,
        images: bool,
        people: bool,
        more: Callable[[], Mapping[str, Any]],
        settle_s: float = _SETTLE_S,
    ) -> None:
        """`images`: with `image/last`, `people`: also where a person is on it; `more`: facts for `status`.

        A picture of somebody who is no threat waits for `settle_s`: a person is often not known at first.
        """
        self._settle_s = settle_s
        self._state, self._images, self._people, self._more = state, images, people, more
        self._reading = Reading(state)
        self._status: dict[str, Any] | None = None
        self._visitor: dict[str, Any] | None = None
        self._counts: dict[str, int] = {}
        self._counted_on = ""
        self._grew = False
        self.forget()

    def close(self) -> None:
        self._reading.close()

    def forget(self) -> None:
        """Whoever was told knows nothing any more: everything is new again."""
        self._told: dict[str, str] = {}
        self._picture: str | None = None  # the one told; "": told that there is none; None: who knows
        self._checked_at = 0.0
        self._asked_at = self._full_at = -_FULL_ROUND_S
        self._wanted: _Wanted | None = None
        self._finished = ""  # the picture that was wanted last: it was told, or did not come

    def news(self) -> list[tuple[str, str | bytes]]:
        """Topics that say something else than was told last, with what they say."""
        grown, self._grew = self._grew, self._grows()
        self._ask(self._grew)
        if grown or self._today() != self._counted_on:  # a turn later: first the event, then who it was
            self._read()
        wanted = payloads.states(self._status, self._visitor, self._counts, self._more())
        full = time.monotonic() - self._full_at >= _FULL_ROUND_S
        if full:
            self._full_at = time.monotonic()
        new = {topic: text for topic, text in wanted.items() if self._is_new(topic, text, full)}
        if self._status is not None:  # a label that did not come for long is not counted any more
            new |= {topic: "" for topic in self._told if topic.startswith("count/") and topic not in wanted}
        self._told = {topic: text for topic, text in (self._told | new).items() if text}
        return [*new.items(), *self._new_picture()]

    def there(self) -> tuple[Mapping[str, Any] | None, list[str]]:
        """The newest status, None while nobody knows how it is; and the topics that count labels."""
        counted = [topic for topic in self._told if topic.startswith("count/")]
        return (self._status if self._counted_on else None), counted

    def _is_new(self, topic: str, text: str, full: bool) -> bool:
        told = self._told.get(topic)
        if topic != "status" or told is None or full:
            return text != told
        return payloads.gist(text) != payloads.gist(told)

    def _grows(self) -> bool:
        """Whether the journal has grown since last asked."""
        try:
            return self._reading.news()
        except (sqlite3.Error, GanderError) as error:
            log.debug("%s: %s", self._state, error)  # the outbox says it
            return False

    def _read(self) -> None:
        """What the journal tells."""
        try:
            visitor = self._reading.last_visitor()
            self._counts, self._counted_on = self._reading.counts(datetime.now(UTC)), self._today()
        except (sqlite3.Error, GanderError, json.JSONDecodeError) as error:
            log.debug("%s: %s", self._state, error)
            return
        if not visitor or _is_sound(visitor):
            self._visitor = visitor

    @staticmethod
    def _today() -> str:
        return f"{datetime.now(UTC).astimezone():%Y-%m-%d}"

    def _ask(self, grown: bool) -> None:
        acting = bool(self._status and self._status["acting"])
        if not (grown or acting or time.monotonic() - self._asked_at >= _ROUND_S):
            return
        self._asked_at = time.monotonic()
        try:
            self._status = ask(self._state, "status", timeout_s=_ASK_S)
        except GanderError as error:
            log.debug("%s", error)
            self._status = None

    def _withdrawn(self, picture: str) -> bool:
        """Whether what was told shows a person, as is known now, or its time here is over."""
        if time.monotonic() - self._checked_at < _ROUND_S:
            return False
        self._checked_at = time.monotonic()
        try:
            return not self._reading.may_leave(picture, self._people)
        except (sqlite3.Error, GanderError):
            return False

    def _new_picture(self) -> list[tuple[str, str | bytes]]:
        """A last visitor's picture: a threat's as soon as it is there, which is after its event."""
        if self._picture and self._withdrawn(self._picture):
            self._picture = ""
            return [("image/last", b"")]
        if self._images and self._status is not None:
            self._want(time.monotonic())
        if self._wanted and self._wanted.due <= time.monotonic():
            picture = self._wanted.picture
            try:
                data = self._reading.picture(picture, self._people)
            except (sqlite3.Error, GanderError) as error:
                log.debug("%s: %s", self._state, error)
                data = None
            if data is not None or time.monotonic() > self._wanted.until:
                self._wanted, self._finished = None, picture
            if data is not None:
                self._picture = picture
                return [("image/last", data)]
        if self._picture is None:  # a broker keeps what was told in another life, which may be withdrawn since
            self._picture = ""
            return [("image/last", b"")]
        return []

    def _want(self, now_s: float) -> None:
        """The newest picture's turn comes after that of one that waits already, but for a threat's."""
        picture = self._visitor["picture"] if self._visitor else None
        if not picture or picture in (self._finished, self._wanted and self._wanted.picture):
            return
        wait_s = self._wait_s(self._visitor or {})
        if self._wanted is None or not wait_s:
            self._wanted = _Wanted(picture, now_s + wait_s, now_s + _PICTURE_S)

    def _wait_s(self, visitor: Mapping[str, Any]) -> float:
        if self._people or visitor["visit"]["kind"] == Kind.THREAT.value:
            return 0.0
        return min(max(self._settle_s - _age_s(visitor), 0.0), self._settle_s)


@dataclass(frozen=True, slots=True)
class _Wanted:
    """A picture that is to be told: not before `due`, and not after `until` (monotonic seconds)."""

    picture: str
    due: float
    until: float


def _age_s(visitor: Mapping[str, Any]) -> float:
    """How long ago it happened; 0 for what happened before the clock was set."""
    age = datetime.now(UTC) - datetime.fromisoformat(visitor["wall"])
    return age.total_seconds() if visitor["clock_ok"] else 0.0


def _is_sound(visitor: Mapping[str, Any]) -> bool:
    """Whether an event can be told at all: a damaged one would end the board, and with it all publishing."""
    try:
        payloads.last_visitor(visitor)
        _age_s(visitor)
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        log.debug("a damaged event: %r", error)
        return False
    return True
