"""Makes the rounds: looks every few seconds how the appliance is, and tells what changed."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from typing import Any

_PERIOD_S = 5.0


class Rounds:
    """A thread of its own. `tell` gets the problems there are now whenever they are others than before."""

    def __init__(
        self,
        look: Callable[[], Mapping[str, Any]],
        tell: Callable[[list[dict[str, str]]], None],
        period_s: float = _PERIOD_S,
    ) -> None:
        self._look, self._tell, self._period_s = look, tell, period_s
        self._closing = threading.Event()
        self._thread = threading.Thread(target=self._walk, name="rounds", daemon=True)
        self._thread.start()

    def close(self) -> None:
        self._closing.set()
        self._thread.join()

    def _walk(self) -> None:
        known: list[str] = []
        while not self._closing.wait(self._period_s):
            found: list[dict[str, str]] = self._look()["problems"]
            now = [problem["what"] for problem in found]
            if now != known:
                self._tell(found)
                known = now
