"""A circuit breaker: how long a sink that fails is left alone."""

from __future__ import annotations

import random

_LONGEST_S = 300.0


class Breaker:
    """Closed while all goes well. After a failure it is open for a time, doubled at each further one; then one try
    shows whether it closes."""

    def __init__(self, first_s: float, longest_s: float = _LONGEST_S) -> None:
        self._first_s, self._longest_s = first_s, longest_s
        self._wait_s = 0.0

    @property
    def closed(self) -> bool:
        """Whether the last sending went well."""
        return self._wait_s == 0.0

    def failed(self, after_s: float = 0.0) -> float:
        """Seconds to leave it alone: at least `after_s`, and by chance more or less, that many appliances do not come
        back in step."""
        self._wait_s = min(self._wait_s * 2 or self._first_s, self._longest_s)
        if after_s > self._wait_s:
            return after_s * random.uniform(1.0, 1.05)
        return max(after_s, self._wait_s * random.uniform(0.5, 1.0))

    def went_well(self) -> None:
        self._wait_s = 0.0
