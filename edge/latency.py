"""Latencies as percentiles: a bounded memory of each step's last values."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

STEPS = ("motion", "predict", "invoke", "decide", "order", "pin", "onset")
"""Each step's own duration; `invoke` is the model's part of `predict`.

But `pin` is from the frame taken to the pin on, and `onset`, once a visit, from its first frame taken to the same.
"""


class Latencies:
    """The last `keep` values of each step, in milliseconds. One thread writes, any may read."""

    def __init__(self, keep: int = 4096) -> None:
        # Plain arrays, so that summing up, in another thread, holds the interpreter for microseconds only.
        self._values = {step: np.zeros(keep) for step in STEPS}
        self._counts = dict.fromkeys(STEPS, 0)

    def add(self, step: str, ms: float) -> None:
        values, count = self._values[step], self._counts[step]
        values[count % values.size] = ms
        self._counts[step] = count + 1

    def summary(self) -> dict[str, dict[str, float]]:
        """`{step: {n, p50, p95, p99, max}}`, only for steps that happened."""
        counts = self._counts.copy()
        return {step: percentiles(values[: counts[step]]) for step, values in self._values.items() if counts[step]}


def percentiles(values: ArrayLike) -> dict[str, float]:
    """`{n, p50, p95, p99, max}` of values in milliseconds, rounded to a microsecond."""
    array = np.asarray(values, np.float64)
    if not array.size:
        return {"n": 0}
    p50, p95, p99 = np.percentile(array, (50, 95, 99))
    return {
        "n": int(array.size),
        **{k: round(float(v), 3) for k, v in (("p50", p50), ("p95", p95), ("p99", p99), ("max", array.max()))},
    }
