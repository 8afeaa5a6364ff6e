"""Nothing moves: the shipped fake with a memory, for replays, desks and the demo model."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Sequence
from typing import Any

from edge.config import DeterrentConfig
from edge.values import Action, Order

_MS = 1_000_000


class Dry:
    """An `Actuator` that acknowledges at once what a controller would carry out, and refuses what it would refuse.

    `orders` remembers the last 1000 orders with what became of them. Rest between pulses is not imitated: a replay
    runs faster than its own time, and must not depend on that.
    """

    name = "dry"
    real = False

    def __init__(self, deterrents: Sequence[DeterrentConfig]) -> None:
        self.orders: deque[tuple[Order, Action]] = deque(maxlen=1000)
        self.refused = 0
        self._finished: deque[tuple[str, int]] = deque(maxlen=64)
        self._limits = {d.channel: d.max_on_ms for d in deterrents if d.enabled}
        self._until: dict[int, int] = {}

    def ready(self) -> bool:
        return True

    def fire(self, order: Order) -> Action:
        now = time.monotonic_ns()
        result = self._judge(order, now)
        on = result == "on"
        self.refused += not on
        if on:
            # A second pulse takes the place of the first, but not its maximum anew; nobody here counts that closely.
            self._until[order.channel] = now + order.length_ms * _MS
        on_ms = order.count * order.on_ms if on else 0
        action = Action(order.id, order.deterrent, order.pattern, now, now if on else 0, on_ms, result)
        self.orders.append((order, action))
        if on:
            self._finished.append((order.id, on_ms))  # at once: a replay runs faster than its own time
        return action

    def finished(self) -> list[tuple[str, int]]:
        finished = list(self._finished)
        self._finished.clear()
        return finished

    def _judge(self, order: Order, now: int) -> str:
        if now >= order.expires_ns:
            return "expired"
        if order.channel not in self._limits:
            return "refused: channel"
        if min(order.on_ms, order.count) < 1 or order.off_ms < 0 or order.length_ms > self._limits[order.channel]:
            return "refused: pattern"
        return "on"

    def off(self) -> None:
        self._until.clear()

    def facts(self) -> dict[str, Any]:
        return {"orders": len(self.orders), "refused": self.refused}

    def beat(self) -> None:
        """Nothing to keep alive."""

    def acting_until_ns(self) -> int:
        until = max(self._until.values(), default=0)
        return until if until > time.monotonic_ns() else 0

    def close(self) -> None:
        self.off()
