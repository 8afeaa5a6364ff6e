"""The outbox of a sink that wants every event: what the journal owes it, in order, at least once."""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from edge.publishers import Events, Later, Publisher, Refused
from edge.reading import Reading
from edge.sender import LOOK_S, Sender

log = logging.getLogger(__name__)

_MOST_ERRORS = 5  # an event at which a publisher fails so often in a row in an unforeseen way is poison
_AWAY = 10  # of the first wait: who is away for longer, that is told

Owed = Sequence[tuple[int, Mapping[str, Any]]]
"""Events, each with its place in the journal."""


@dataclass(frozen=True, slots=True)
class Bounds:
    """What waits longer, or is more, is not sent any more: how many went and why is told instead."""

    max_age_s: float = math.inf
    most: int = 10**9


@dataclass(frozen=True, slots=True)
class _Outcome:
    """What came of one sending: the first `done` events are delivered; `why` not the next (empty: all are)."""

    done: int
    why: str = ""
    refused: bool = False
    unforeseen: bool = False
    after_s: float = 0.0


def _is_from_before(moment: datetime, event: Mapping[str, Any]) -> bool:
    """Whether an event is so old. One whose clock was not set, or that is damaged, says nothing about that."""
    try:
        return bool(event["clock_ok"]) and datetime.fromisoformat(event["wall"]) < moment
    except (KeyError, TypeError, ValueError):  # it is sent, and set aside where the sink cannot make sense of it
        return False


class Outbox(Sender):
    """One publisher's loop. It keeps its place only after the sink has acknowledged, so a kill loses nothing."""

    def __init__(
        self, state: Path, publisher: Publisher, node: str = "", bounds: Bounds | None = None, first_wait_s: float = 1.0
    ) -> None:
        """`node`: as events have it. Raises `StateError` when `deliveries.db` cannot be used."""
        super().__init__(state, publisher.name, first_wait_s)
        self._publisher, self._node, self._bounds = publisher, node, bounds or Bounds()
        self._last = ""  # the last event delivered
        self._errors = 0  # in a row, unforeseen, at the event after that
        self._dropped = True  # whether there may be something to tell about what was dropped
        self._away: str | None = None  # why there is nobody to send to, as it is kept; None: who knows
        self._there_at, self._away_after_s = time.monotonic(), _AWAY * first_wait_s
        self.start()

    def follow(self, reading: Reading) -> None:
        self._last = self._begin(reading)
        place, opened, behind = 0, -1, True
        while not self.over:
            grown = self.insist(reading.news)
            if opened != reading.opened:
                place, opened = self.insist(lambda: reading.place_of(self._last)) or 0, reading.opened
            owed = self._owed(reading, place) if grown or behind else []
            behind = bool(owed)
            gone, owed = self._sorted_out(reading, owed)
            if gone:
                place = self._drop(gone)
                continue
            there = self._publisher.ready(LOOK_S if owed else 0.0)
            self._keep_away("" if there else self._publisher.trouble)
            if owed and there:
                if self._tell_dropped():  # one by one after a failure, so that it is known which event is the trouble
                    place = self._settle(owed, self._send(owed if self.breaker.closed else owed[:1]), place)
            elif self.ending:
                return
            elif not owed:
                self.rest(LOOK_S)

    def _keep_away(self, why: str) -> None:
        """Keep why there is nobody to send to, for `gander status`; not of a moment's absence."""
        if not why:
            self._there_at = time.monotonic()
        if why == self._away or (why and time.monotonic() - self._there_at < self._away_after_s):
            return
        self.insist(lambda: self.pages.away(why))
        self._away = why

    def _begin(self, reading: Reading) -> str:
        """The last event delivered. Where a new publisher begins is kept before anything is sent."""
        kept = self.insist(self.pages.place)
        if kept is not None:
            return kept
        first = "" if self._publisher.from_start else self.insist(reading.last_id) or ""
        self.insist(lambda: self.pages.keep(first))
        return first

    def _owed(self, reading: Reading, place: int) -> Owed:
        return self.insist(lambda: reading.after(place, self._publisher.batch)) or []

    def _sorted_out(self, reading: Reading, owed: Owed) -> tuple[Owed, Owed]:
        """Of these the first that are too many or too old to be sent; and those to send, up to the next such."""
        if not owed:
            return owed, owed
        over = (self.insist(reading.last_place) or 0) - owed[0][0] + 1 - self._bounds.most
        if over > 0:
            return owed[:over], owed[over:]
        if math.isinf(self._bounds.max_age_s):
            return [], owed
        oldest = datetime.now(UTC) - timedelta(seconds=self._bounds.max_age_s)
        old = [_is_from_before(oldest, event) for _, event in owed]
        first = old.index(not old[0]) if (not old[0]) in old else len(owed)
        return (owed[:first], owed[first:]) if old[0] else ([], owed[:first])

    def _drop(self, owed: Owed) -> int:
        """Leave events behind for good, and keep that to be told. Returns the new place."""
        place, last = owed[-1]
        why = f"older than {self._bounds.max_age_s / 3600:g} h, or more than {self._bounds.most} waited"
        log.warning("%s: %d events are dropped: %s", self.name, len(owed), why)
        self.insist(lambda: self.pages.drop(owed[0][1]["id"], last["id"], len(owed), why))
        self._last, self._dropped, self._errors = last["id"], True, 0
        return place

    def _tell_dropped(self) -> bool:
        """Say first how many are missing before what comes now. False when that did not go well."""
        note = self.insist(self.pages.dropped) if self._dropped else None
        if note is None:
            self._dropped = False
            return True
        event = {
            "v": 1,
            "id": note.id,
            "type": "dropped",
            "node": self._node,
            "wall": note.wall,
            "clock_ok": True,
            "media_time": None,
            "publisher": self.name,
            "count": note.count,
            "why": note.why,
            "first": note.first,
            "last": note.last,
            "what": f"{note.count} events were not sent: {note.why}",
            "replayed": False,
        }
        outcome = self._send([(0, event)])
        if outcome.why and not outcome.refused:
            self.rest(self.stumble(note.last, 1, outcome.why, outcome.after_s))
            return False
        self.insist(lambda: self.pages.told_dropped(note.id))
        self._dropped = False
        return True

    def _send(self, owed: Owed) -> _Outcome:
        events: Events = [event for _, event in owed]
        try:
            self._publisher.send(events)
        except Later as error:
            return _Outcome(error.done, str(error), after_s=error.after_s)
        except Refused as error:
            return _Outcome(error.done, str(error), refused=True)
        except Exception as error:  # noqa: BLE001 - whatever a sink's library throws is a reason to try again
            return _Outcome(0, f"{type(error).__name__}: {error}", unforeseen=True)
        return _Outcome(len(owed))

    def _settle(self, owed: Owed, outcome: _Outcome, place: int) -> int:
        """Keep what was delivered; wait before what was not, or set it aside. Returns the new place."""
        if outcome.done:
            place, event = owed[outcome.done - 1]
            self._last, self._errors = event["id"], 0
            self.insist(lambda: self.pages.keep(self._last))
            self.breaker.went_well()
        if not outcome.why:
            return place
        following, event = owed[outcome.done]
        tries = (self.insist(lambda: self.pages.tries(event["id"])) or 0) + 1
        self._errors = self._errors + 1 if outcome.unforeseen else 0  # an outage before says nothing about the event
        if outcome.refused or self._errors >= _MOST_ERRORS:
            log.warning("%s: event %s is set aside: %s", self.name, event["id"], outcome.why)
            self._last, self._errors = event["id"], 0
            self.insist(lambda: self.pages.set_aside(self._last, tries, outcome.why))
            return following
        self.rest(self.stumble(event["id"], tries, outcome.why, outcome.after_s))
        return place
