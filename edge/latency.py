"""Latencies as percentiles: a bounded memory of each step's last values."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable

import numpy as np

STEPS = ("motion", "predict", "invoke", "decide", "order", "pin", "onset")
"""Each step's own duration; `invoke` is the model's part of `predict`.

But `pin` is from the frame taken to the pin on, and `onset`, once a visit, from its first frame taken to the same.
"""


class Latencies:
    """The last `keep` values of each step, in milliseconds. One thread writes, any may read."""

    def __init__(self, keep: int = 4096) -> None:
        self._values: dict[str, deque[float]] = {step: deque(maxlen=keep) for step in STEPS}

    def add(self, step: str, ms: float) -> None:
        self._values[step].append(ms)

    def summary(self) -> dict[str, dict[str, float]]:
        """`{step: {n, p50, p95, p99, max}}`, only for steps that happened."""
        return {step: percentiles(values) for step, values in self._values.items() if values}


def percentiles(values: Iterable[float]) -> dict[str, float]:
    """`{n, p50, p95, p99, max}` of values in milliseconds, rounded to a microsecond."""
    array = np.fromiter(tuple(values), np.float64)
    if not array.size:
        return {"n": 0}
    p50, p95, p99 = np.percentile(array, (50, 95, 99))
    return {
        "n": int(array.size),
        **{k: round(float(v), 3) for k, v in (("p50", p50), ("p95", p95), ("p99", p99), ("max", array.max()))},
    }
