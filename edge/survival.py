"""Plain statistics of how long somebody stayed, also of those who were last seen staying. Pure arithmetic."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

Z = 1.959964  # both tails of the normal distribution together hold 5 %
_FEW = 8  # fewer give no trend: three figures are found from them
_STEPS = 60

Times: TypeAlias = "NDArray[np.floating[Any]]"
"""float64[n], seconds (or weeks)."""
Flags: TypeAlias = "NDArray[np.bool_]"
"""bool[n]: this one was seen leaving; else it was there for so long at least."""

_erfc = np.frompyfunc(math.erfc, 1, 1)


@dataclass(frozen=True, slots=True)
class Estimate:
    """A figure with its 95 % interval; `math.inf` where the data set no bound."""

    value: float
    low: float
    high: float


def median(seconds: Times, left: Flags) -> Estimate:
    """The time by which half have left (Kaplan and Meier), infinite where more than half were last seen staying.

    The interval is Brookmeyer and Crowley's on the log-log scale. Needs at least one time.
    """
    times = np.unique(seconds[left])
    if not times.size:
        return Estimate(math.inf, float(seconds.min()), math.inf)
    at_risk, gone = _there(seconds, times), _at(seconds[left], times)
    staying = np.cumprod(1.0 - gone / at_risk)
    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
        greenwood = np.cumsum(gone / (at_risk * (at_risk - gone)))
        centre = np.log(-np.log(staying))
        spread = Z * np.sqrt(greenwood) / np.abs(np.log(staying))
        pessimist, optimist = np.exp(-np.exp(centre - spread)), np.exp(-np.exp(centre + spread))
    none = staying <= 0.0
    # When nobody is left there is no spread to be had: it bounds from below only.
    low = _first(times, np.where(none, 0.0, optimist))
    high = _first(times, np.where(none, 1.0, pessimist))
    return Estimate(_halved(times, staying), low, high)


def wilson(k: int, n: int) -> Estimate:
    """A share and its interval, by Wilson. Needs n > 0."""
    p, z2 = k / n, Z * Z
    centre, spread = p + z2 / (2 * n), Z * math.sqrt(p * (1 - p) / n + z2 / (4 * n * n))
    scale = 1 + z2 / n
    return Estimate(p, max((centre - spread) / scale, 0.0), min((centre + spread) / scale, 1.0))


def share_change(a: Estimate, b: Estimate) -> Estimate:
    """How much larger share `a` is than share `b` (both by `wilson`), with Newcombe's interval."""
    low = math.hypot(a.value - a.low, b.high - b.value)
    high = math.hypot(a.high - a.value, b.value - b.low)
    change = a.value - b.value
    return Estimate(change, change - low, change + high)


def sooner(seconds: Times, left: Flags, other_seconds: Times, other_left: Flags) -> float:
    """How surely the first leave sooner than the others: the log-rank statistic, standard normal where they do not."""
    times = np.unique(np.concatenate([seconds[left], other_seconds[other_left]]))
    mine, all_there = _there(seconds, times), _there(seconds, times) + _there(other_seconds, times)
    gone = _at(seconds[left], times) + _at(other_seconds[other_left], times)
    share = mine / all_there
    several = all_there > 1
    rest = (all_there - gone)[several] / (all_there - 1)[several]
    variance = float(np.sum((gone * share * (1 - share))[several] * rest))
    excess = float(np.count_nonzero(left) - np.sum(gone * share))
    return excess / math.sqrt(variance) if variance > 0.0 else 0.0


def trend(weeks: Times, seconds: Times, left: Flags) -> Estimate | None:
    """Slope of the natural logarithm of `seconds` over `weeks`; None where the data give none.

    Log-normal regression by maximum likelihood that knows who was last seen staying (Tobit, in Olsen's parameters, in
    which the likelihood has one summit); the interval is the sandwich estimator's, so it does not depend on the
    distribution. `seconds` are above 0.
    """
    n, seen = len(seconds), int(np.count_nonzero(left))
    y = np.log(seconds)
    if seen < _FEW or np.ptp(weeks) <= 0.0 or np.ptp(weeks[left]) <= 0.0 or np.std(y[left]) < 1e-6:
        return None
    middle, width, level, scale = weeks.mean(), weeks.std(), y[left].mean(), y[left].std()
    data = np.column_stack([np.ones(n), (weeks - middle) / width, -(y - level) / scale])
    found = _summit(data, left)
    if found is None:
        return None
    theta, bread = found
    own = _push(data, left, theta)[0]
    covariance = bread @ (own.T @ own) @ bread * n / (n - 3)
    slope = theta[1] / theta[2]
    gradient = np.array([0.0, 1.0 / theta[2], -slope / theta[2]])
    error = math.sqrt(max(float(gradient @ covariance @ gradient), 0.0))
    unit = scale / width
    spread = student(seen - 2) * error * unit
    return Estimate(float(slope * unit), float(slope * unit - spread), float(slope * unit + spread))


def student(freedom: int) -> float:
    """The 97.5 % quantile of Student's distribution, by the first terms of Cornish and Fisher; within 1 % from 5 on."""
    z, v = Z, float(freedom)
    first, second = (z**3 + z) / 4, (5 * z**5 + 16 * z**3 + 3 * z) / 96
    return z + first / v + second / v**2 + (3 * z**7 + 19 * z**5 + 17 * z**3 - 15 * z) / 384 / v**3


def _summit(data: Times, left: Flags) -> tuple[Times, Times] | None:
    """Where the likelihood is highest, and the inverse of its curvature there; by Newton's method."""
    theta = np.array([0.0, 0.0, 1.0])
    for _ in range(_STEPS):
        own, curvature = _push(data, left, theta)
        try:
            bread = np.linalg.inv(curvature)
        except np.linalg.LinAlgError:
            return None
        step = bread @ own.sum(axis=0)
        part = 1.0
        while theta[2] + part * step[2] <= 0.1 * theta[2]:  # one over the spread stays positive
            part /= 2
        theta = theta + part * step
        if float(np.abs(step).max()) < 1e-9:
            return theta, bread
    return None


def _push(data: Times, left: Flags, theta: Times) -> tuple[Times, Times]:
    """Each one's gradient of the log-likelihood, float64[n, 3], and the negative second derivatives, float64[3, 3].

    `data`: 1, week, minus log time; `theta`: intercept and slope over the spread, and one over the spread.
    """
    rest = -(data @ theta)
    hazard = _hazard(rest)
    own = np.where(left, rest, hazard)[:, None] * data
    own[left, 2] += 1.0 / theta[2]
    weight = np.where(left, 1.0, hazard * (hazard - rest))
    curvature = (data * weight[:, None]).T @ data
    curvature[2, 2] += np.count_nonzero(left) / theta[2] ** 2
    return own, curvature


def _hazard(u: Times) -> Times:
    """Density over upper tail of the normal distribution."""
    safe = np.clip(u, -30.0, 25.0)
    tail = 0.5 * np.asarray(_erfc(safe / math.sqrt(2.0)), np.float64)
    hazard = np.exp(-0.5 * safe * safe) / math.sqrt(2.0 * math.pi) / tail
    return np.where(u > 25.0, u + 1.0 / np.maximum(u, 1.0), hazard)


def _there(seconds: Times, times: Times) -> Times:
    """How many were still there just before each of the times."""
    return (len(seconds) - np.searchsorted(np.sort(seconds), times, "left")).astype(np.float64)


def _at(seconds: Times, times: Times) -> Times:
    """How many of the seconds are each of the times."""
    ordered = np.sort(seconds)
    return (np.searchsorted(ordered, times, "right") - np.searchsorted(ordered, times, "left")).astype(np.float64)


def _first(times: Times, share: Times) -> float:
    """The first of the times at which no more than half are there."""
    below = np.flatnonzero(share <= 0.5)
    return float(times[below[0]]) if below.size else math.inf


def _halved(times: Times, staying: Times) -> float:
    below = np.flatnonzero(staying <= 0.5 + 1e-9)
    if not below.size:
        return math.inf
    at = int(below[0])
    exactly = abs(staying[at] - 0.5) < 1e-9 and at + 1 < len(times)
    return float((times[at] + times[at + 1]) / 2 if exactly else times[at])
