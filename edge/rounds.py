"""Makes the rounds: looks every few seconds how the appliance is, and tells what changed."""

from __future__ import annotations

import json
import logging
import math
import sqlite3
import threading
import time
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

from edge.database import EVENTS, reader
from edge.errors import GanderError, StateError
from edge.ladder import LONGEST_TURN_S

log = logging.getLogger(__name__)

_PERIOD_S = 5.0
LASTS_S = 30.0  # a problem that is over sooner is not told
OVER_S = 90.0  # one that is back sooner was not over; after a start it may only not have been noticed again yet
REST_S = 60.0  # between two words
_PATIENCE_S = 2.0  # for a look that a stalled card holds up
_BACK = 20_000  # events among which the last word on health is looked for

Problem = Mapping[str, str]


class News:
    """What of the problems at each look is worth telling. Pure."""

    def __init__(self, known: Iterable[Problem], now_s: float) -> None:
        """`known`: the problems told last, by an earlier process."""
        self._newest = {_gist(problem): problem for problem in known}
        self._told = set(self._newest)
        self._weight_s = dict.fromkeys(self._newest, OVER_S)
        self._looked_s, self._told_s = now_s, -math.inf

    def look(self, found: Iterable[Problem], now_s: float) -> list[Problem] | None:
        """The problems to tell, none where all is well again; None where that is no news.

        A new problem gains weight at each look that finds it and loses a third of that at each other, so that one that
        blinks is told, too; it is over when it was not found for `OVER_S`.
        """
        turn_s, self._looked_s = min(now_s - self._looked_s, LONGEST_TURN_S), now_s
        seen = {_gist(problem): problem for problem in found}
        newest = self._newest | seen
        lost_s = {gist: turn_s if gist in self._told else turn_s / 3.0 for gist in newest}
        weights = {gist: self._weight_s.get(gist, 0.0) + (turn_s if gist in seen else -lost_s[gist]) for gist in newest}
        weights |= dict.fromkeys(self._told & seen.keys(), OVER_S)
        self._weight_s = {gist: min(weight_s, OVER_S) for gist, weight_s in weights.items() if weight_s > 0.0}
        self._newest = {gist: newest[gist] for gist in self._weight_s}
        lasting = [gist for gist, weight_s in self._weight_s.items() if gist in self._told or weight_s >= LASTS_S]
        if self._told == set(lasting) or now_s - self._told_s < REST_S:
            return None
        self._weight_s |= dict.fromkeys(set(lasting) - self._told, OVER_S)
        self._told, self._told_s = set(lasting), now_s
        return [self._newest[gist] for gist in lasting]


class Rounds:
    """A thread of its own. `tell` gets the problems there are now whenever they are others than before."""

    def __init__(
        self,
        look: Callable[[], Mapping[str, Any]],
        tell: Callable[[list[dict[str, str]]], None],
        period_s: float = _PERIOD_S,
        known: Iterable[Problem] = (),
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """`known`: the problems told last, by an earlier process."""
        self._look, self._tell, self._period_s, self._clock = look, tell, period_s, clock
        self._news = News(known, clock())
        self._closing = threading.Event()
        self._thread = threading.Thread(target=self._walk, name="rounds", daemon=True)
        self._thread.start()

    def check(self) -> None:
        """Raises `GanderError` when the thread is gone: nobody would climb for a stuck camera, or tell of anything."""
        if not self._thread.is_alive():
            raise GanderError("the rounds have ended; see the log above")

    def close(self) -> None:
        self._closing.set()
        self._thread.join(_PATIENCE_S)

    def _walk(self) -> None:
        while not self._closing.wait(self._period_s):
            try:
                found = self._look()["problems"]
            except OSError as error:  # a dying card: the next look may do
                log.warning("how it is cannot be told: %s", error)
                continue
            problems = self._news.look(found, self._clock())
            if problems is not None:
                self._tell([dict(problem) for problem in problems])


def _gist(problem: Problem) -> str:
    """By what it is known: a figure that moves, or another reason, is no news."""
    return problem["what"].partition(": ")[0]


def last_told(state: Path) -> list[dict[str, str]]:
    """The problems of the newest `health` event, of whatever process; none where there is no such event."""
    try:
        with reader(state / EVENTS) as events:
            row = events.execute(
                "SELECT json FROM event WHERE place > (SELECT coalesce(max(place), 0) FROM event) - ? "
                "AND type = 'health' ORDER BY place DESC LIMIT 1",
                (_BACK,),
            ).fetchone()
        found = json.loads(row[0])["problems"] if row else []
        return [{"what": str(problem["what"]), "advice": str(problem["advice"])} for problem in found]
    except (StateError, sqlite3.Error, ValueError, KeyError, TypeError) as error:
        log.debug("%s: what was wrong last is not known: %s", state, error)
        return []
