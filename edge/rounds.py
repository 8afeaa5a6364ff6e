"""Makes the rounds: looks every few seconds how the appliance is, and tells what changed."""

from __future__ import annotations

import logging
import re
import threading
import time
from collections.abc import Callable, Mapping
from typing import Any

log = logging.getLogger(__name__)

_PERIOD_S = 5.0
_REST_S = 60.0  # a camera that comes and goes is told of once a minute, not at every turn


class Rounds:
    """A thread of its own. `tell` gets the problems there are now whenever they are others than before."""

    def __init__(
        self,
        look: Callable[[], Mapping[str, Any]],
        tell: Callable[[list[dict[str, str]]], None],
        period_s: float = _PERIOD_S,
        rest_s: float = _REST_S,
    ) -> None:
        self._look, self._tell, self._period_s, self._rest_s = look, tell, period_s, rest_s
        self._closing = threading.Event()
        self._thread = threading.Thread(target=self._walk, name="rounds", daemon=True)
        self._thread.start()

    def close(self) -> None:
        self._closing.set()
        self._thread.join()

    def _walk(self) -> None:
        known: list[str] = []
        told_at: float | None = None
        while not self._closing.wait(self._period_s):
            try:
                found: list[dict[str, str]] = self._look()["problems"]
            except OSError as error:  # a dying card: the next look may do
                log.warning("how it is cannot be told: %s", error)
                continue
            now = [re.sub(r"[\d.]+", "#", problem["what"]) for problem in found]  # a figure that moves is no news
            rested = told_at is None or time.monotonic() - told_at >= self._rest_s
            if now != known and rested:
                self._tell(found)
                known, told_at = now, time.monotonic()
