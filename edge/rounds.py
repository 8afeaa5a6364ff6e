"""Makes the rounds: looks every few seconds how the appliance is, and tells what changed."""

from __future__ import annotations

import json
import logging
import re
import sqlite3
import threading
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from edge.database import EVENTS, reader
from edge.errors import GanderError, StateError

log = logging.getLogger(__name__)

_PERIOD_S = 5.0
_REST_S = 60.0  # a camera that comes and goes is told of once a minute, not at every turn
_SETTLE_S = 90.0  # a problem from before the start may only not have been noticed again yet
_BACK = 20_000  # events among which the last word on health is looked for


class Rounds:
    """A thread of its own. `tell` gets the problems there are now whenever they are others than before."""

    def __init__(
        self,
        look: Callable[[], Mapping[str, Any]],
        tell: Callable[[list[dict[str, str]]], None],
        period_s: float = _PERIOD_S,
        rest_s: float = _REST_S,
        known: Sequence[Mapping[str, str]] = (),
        settle_s: float = _SETTLE_S,
    ) -> None:
        """`known`: the problems told last, by an earlier process; that they are gone is told after `settle_s`."""
        self._look, self._tell, self._period_s, self._rest_s = look, tell, period_s, rest_s
        self._known, self._settle_s = _gist(known), settle_s
        self._closing = threading.Event()
        self._thread = threading.Thread(target=self._walk, name="rounds", daemon=True)
        self._thread.start()

    def check(self) -> None:
        """Raises `GanderError` when the thread is gone: nobody would climb for a stuck camera, or tell of anything."""
        if not self._thread.is_alive():
            raise GanderError("the rounds have ended; see the log above")

    def close(self) -> None:
        self._closing.set()
        self._thread.join()

    def _walk(self) -> None:
        known, began = self._known, time.monotonic()
        told_at: float | None = None  # None: what is known is from before the start
        while not self._closing.wait(self._period_s):
            try:
                found: list[dict[str, str]] = self._look()["problems"]
            except OSError as error:  # a dying card: the next look may do
                log.warning("how it is cannot be told: %s", error)
                continue
            now = _gist(found)
            if told_at is None:
                rested = not set(now) < set(known) or time.monotonic() - began >= self._settle_s
            else:
                rested = time.monotonic() - told_at >= self._rest_s
            if now != known and rested:
                self._tell(found)
                known, told_at = now, time.monotonic()


def _gist(problems: Iterable[Mapping[str, str]]) -> list[str]:
    """A figure that moves is no news."""
    return [re.sub(r"[\d.]+", "#", problem["what"]) for problem in problems]


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
