"""Counting right and wrong answers: shares with intervals, confusion, calibration, and comparison in pairs."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

Places = NDArray[np.int64]
"""Which label each is or is said to be, by its place among the labels, int64[n]."""
_Z = 1.959964
"""Of a two-sided interval of 95 %."""
_BINS = 10


@dataclass(frozen=True, slots=True)
class Share:
    """So many of so many."""

    hits: int
    n: int

    @property
    def value(self) -> float | None:
        """0..1; None of none."""
        return self.hits / self.n if self.n else None

    @property
    def missed(self) -> int:
        return self.n - self.hits

    @property
    def interval(self) -> tuple[float, float]:
        """Where the true share lies, 95 % sure, by Wilson; all of 0..1 where nothing was counted."""
        if not self.n:
            return 0.0, 1.0
        p, z2 = self.hits / self.n, _Z * _Z
        middle = (p + z2 / (2 * self.n)) / (1 + z2 / self.n)
        half = _Z / (1 + z2 / self.n) * math.sqrt(p * (1 - p) / self.n + z2 / (4 * self.n * self.n))
        low, high = max(middle - half, 0.0), min(middle + half, 1.0)
        return 0.0 if self.hits == 0 else low, 1.0 if self.hits == self.n else high

    def json(self) -> dict[str, Any]:
        low, high = self.interval
        return {
            "hits": self.hits,
            "n": self.n,
            "value": rounded(self.value),
            "low": round(low, 4),
            "high": round(high, 4),
        }


@dataclass(frozen=True, slots=True)
class Figures:
    """How many were named rightly, of pictures or of visits; `recall` has the labels that are there."""

    right: Share
    recall: dict[str, Share]

    @property
    def n(self) -> int:
        return self.right.n

    @property
    def accuracy(self) -> float | None:
        return self.right.value

    @property
    def balanced(self) -> float | None:
        """Mean recall over the labels that are there."""
        values = [share.value for share in self.recall.values() if share.value is not None]
        return float(np.mean(values)) if values else None

    def json(self) -> dict[str, Any]:
        return {
            "n": self.n,
            "accuracy": self.right.json(),
            "balanced_accuracy": rounded(self.balanced),
            "recall": {label: share.json() for label, share in self.recall.items()},
        }


@dataclass(frozen=True, slots=True)
class Confusion:
    """`counts[i, j]`: how often label i was called label j, int64[k, k], of labels that are there or were said."""

    labels: tuple[str, ...]
    counts: NDArray[np.int64]

    def json(self) -> dict[str, Any]:
        return {"labels": list(self.labels), "counts": self.counts.tolist()}


@dataclass(frozen=True, slots=True)
class Bin:
    """Answers that were about equally sure: how sure they were, and how often they were right."""

    low: float
    high: float
    n: int
    sure: float
    right: float


@dataclass(frozen=True, slots=True)
class Reliability:
    """Whether "90 %" is right nine times of ten. `error`: expected calibration error; None without answers."""

    error: float | None
    bins: tuple[Bin, ...]

    def json(self) -> dict[str, Any]:
        bins = [
            {"low": b.low, "high": b.high, "n": b.n, "sure": rounded(b.sure), "right": rounded(b.right)}
            for b in self.bins
        ]
        return {"ece": rounded(self.error), "bins": bins}


@dataclass(frozen=True, slots=True)
class Paired:
    """Two models on the same visits. `wins`: only this one was right; `losses`: only the other one."""

    n: int
    wins: int
    losses: int
    right: int
    other_right: int

    @property
    def p_value(self) -> float:
        """McNemar's exact test, two-sided: how likely such a difference is between equals."""
        differing = self.wins + self.losses
        tail = sum(math.comb(differing, k) for k in range(min(self.wins, self.losses) + 1))
        return float(min(2 * tail / 2**differing, 1.0))

    @property
    def difference(self) -> float:
        """Of the shares named rightly; positive where this model is better."""
        return (self.wins - self.losses) / self.n if self.n else 0.0

    @property
    def interval(self) -> tuple[float, float]:
        """Of the difference, 95 %, after Agresti and Min (2005): half a visit is added to each cell of the table."""
        n, wins, losses = self.n + 2, self.wins + 0.5, self.losses + 0.5
        middle = (wins - losses) / n
        half = _Z * math.sqrt(max(wins + losses - (wins - losses) ** 2 / n, 0.0)) / n
        return max(middle - half, -1.0), min(middle + half, 1.0)

    def json(self) -> dict[str, Any]:
        low, high = self.interval
        return {
            "n": self.n,
            "wins": self.wins,
            "losses": self.losses,
            "accuracy": rounded(Share(self.right, self.n).value),
            "other_accuracy": rounded(Share(self.other_right, self.n).value),
            "difference": rounded(self.difference),
            "low": rounded(low),
            "high": rounded(high),
            "p_value": self.p_value,
        }


def rounded(value: float | None) -> float | None:
    return None if value is None else round(float(value), 4)


def figures(right: Places, said: Places, labels: Sequence[str]) -> Figures:
    """What was said against what is right."""
    hit = right == said
    there = np.unique(right)
    recall = {labels[i]: Share(int(hit[right == i].sum()), int((right == i).sum())) for i in there}
    return Figures(Share(int(hit.sum()), len(right)), recall)


def confusion(right: Places, said: Places, labels: Sequence[str]) -> Confusion:
    there = np.union1d(right, said).astype(np.int64)
    counts = np.zeros((len(there), len(there)), np.int64)
    np.add.at(counts, (np.searchsorted(there, right), np.searchsorted(there, said)), 1)
    return Confusion(tuple(labels[i] for i in there), counts)


def reliability(sure: NDArray[np.floating], hit: NDArray[np.bool_]) -> Reliability:
    """`sure`: probability of the answer given, float[n]; `hit`: whether it was right, bool[n]."""
    if not len(sure):
        return Reliability(None, ())
    place = np.minimum((sure * _BINS).astype(np.int64), _BINS - 1)
    bins = tuple(
        Bin(i / _BINS, (i + 1) / _BINS, int(inside.sum()), float(sure[inside].mean()), float(hit[inside].mean()))
        for i in range(_BINS)
        if (inside := place == i).any()
    )
    return Reliability(sum(b.n * abs(b.sure - b.right) for b in bins) / len(sure), bins)


def auroc(high: NDArray[np.floating], low: NDArray[np.floating]) -> float | None:
    """How often one of `high` is above one of `low`, ties counting half; None where one of them is empty."""
    if not len(high) or not len(low):
        return None
    ordered = np.sort(low)
    below, upto = np.searchsorted(ordered, high, "left"), np.searchsorted(ordered, high, "right")
    return float((below + upto).mean() / (2 * len(low)))


def histogram(values: NDArray[np.floating]) -> tuple[int, ...]:
    """How many of float[n] in 0..1 fall into each tenth."""
    return tuple(int(count) for count in np.histogram(values, bins=_BINS, range=(0.0, 1.0))[0])
