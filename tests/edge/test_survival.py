"""Plain statistics: against figures worked out elsewhere, and the intervals cover the truth as often as they say."""

from __future__ import annotations

import math

import numpy as np
import pytest

from edge.survival import Flags, Times, Z, median, share_change, sooner, student, trend, wilson

# Gehan's leukaemia trial (1965): weeks in remission, and whether it ended. The textbooks' example.
TREATED = np.array([6, 6, 6, 6, 7, 9, 10, 10, 11, 13, 16, 17, 19, 20, 22, 23, 25, 32, 32, 34, 35], float)
ENDED = np.array([1, 1, 1, 0, 1, 0, 1, 0, 0, 1, 1, 0, 0, 0, 1, 1, 0, 0, 0, 0, 0], bool)
PLACEBO = np.array([1, 1, 2, 2, 3, 4, 4, 5, 5, 8, 8, 8, 8, 11, 11, 12, 12, 15, 17, 22, 23], float)
ALL = np.ones(21, bool)


def test_the_textbook_example() -> None:
    treated, placebo = median(TREATED, ENDED), median(PLACEBO, ALL)
    # R: survfit(Surv(time, cens) ~ treat, MASS::gehan, conf.type = "log-log")
    assert (treated.value, treated.low, treated.high) == (23.0, 13.0, math.inf)
    assert (placebo.value, placebo.low, placebo.high) == (8.0, 4.0, 11.0)
    assert sooner(PLACEBO, ALL, TREATED, ENDED) ** 2 == pytest.approx(16.79, abs=0.01)  # survdiff
    assert sooner(TREATED, ENDED, PLACEBO, ALL) == pytest.approx(-sooner(PLACEBO, ALL, TREATED, ENDED))


def test_shares() -> None:
    assert (wilson(0, 10).low, wilson(0, 10).high) == pytest.approx((0.0, 0.2775), abs=1e-4)
    assert (wilson(8, 10).low, wilson(8, 10).high) == pytest.approx((0.4902, 0.9433), abs=1e-4)
    change = share_change(wilson(56, 70), wilson(48, 80))  # Newcombe 1998, his example
    assert (change.value, change.low, change.high) == pytest.approx((0.2, 0.0524, 0.3339), abs=1e-4)


def test_students_quantile() -> None:
    known = {6: 2.4469, 10: 2.2281, 30: 2.0423, 1000: 1.9623}
    assert {v: student(v) for v in known} == pytest.approx(known, rel=0.01)


def test_without_anybody_staying_the_trend_is_the_line_of_least_squares() -> None:
    rng = np.random.default_rng(1)
    weeks = rng.uniform(0, 9, 50)
    seconds = np.exp(0.4 + 0.2 * weeks + rng.normal(0, 0.5, 50))
    found = trend(weeks, seconds, np.ones(50, bool))
    assert found is not None
    assert found.value == pytest.approx(np.polyfit(weeks, np.log(seconds), 1)[0], rel=1e-6)


def test_who_was_last_seen_staying_pulls_the_trend_up() -> None:
    rng = np.random.default_rng(2)
    weeks = np.linspace(0, 8, 200)
    seconds = np.exp(0.25 * weeks + rng.normal(0, 0.6, 200))
    capped = np.minimum(seconds, 5.0)
    found = trend(weeks, capped, seconds <= 5.0)
    assert found is not None
    assert found.low < 0.25 < found.high
    assert np.polyfit(weeks, np.log(capped), 1)[0] < found.low, "who takes the cap for leaving sees less"


def test_where_nothing_can_be_known_nothing_is_said() -> None:
    weeks, seconds = np.arange(30.0), np.full(30, 2.0)
    assert trend(weeks, seconds, np.ones(30, bool)) is None, "all alike"
    assert trend(weeks, seconds + weeks, weeks < 3) is None, "three left"
    assert trend(np.zeros(30), seconds + weeks, np.ones(30, bool)) is None, "one moment"
    nobody = median(seconds, np.zeros(30, bool))
    assert math.isinf(nobody.value)
    assert nobody.low == 2.0
    one = median(np.array([3.0]), np.array([True]))
    assert (one.value, one.high) == (3.0, math.inf)
    assert sooner(seconds, np.zeros(30, bool), seconds, np.zeros(30, bool)) == 0.0


def times(rng: np.random.Generator, kind: str, n: int) -> Times:
    """Median 3."""
    if kind == "log-normal":
        return np.asarray(3.0 * np.exp(rng.normal(0.0, 0.8, n)))
    return np.asarray(3.0 / math.log(2.0) * rng.exponential(size=n))


@pytest.mark.parametrize("kind", ["log-normal", "exponential"])
@pytest.mark.parametrize("cap", [1e9, 6.0, 4.0])
@pytest.mark.parametrize("n", [20, 60])
def test_of_a_hundred_intervals_about_ninety_five_hold_the_truth(kind: str, cap: float, n: int) -> None:
    rng = np.random.default_rng(3)
    runs = 300
    held = trends = known = false = 0
    for _ in range(runs):
        seconds = times(rng, kind, n)
        left: Flags = seconds <= cap
        half = median(np.minimum(seconds, cap), left)
        held += half.low <= 3.0 <= half.high
        weeks = rng.uniform(0.0, 8.0, n)
        slower = times(rng, kind, n) * np.exp(0.1 * (weeks - 4.0))
        found = trend(weeks, np.minimum(slower, cap), slower <= cap)
        known += found is not None
        trends += found is not None and found.low <= 0.1 <= found.high
        other = times(rng, kind, n)
        false += abs(sooner(np.minimum(seconds, cap), left, other, np.ones(n, bool))) > Z
    # Three standard errors of a share of 95 % in 300 are 4 %.
    assert 0.91 <= held / runs <= 1.0
    assert known > 0.9 * runs
    assert 0.91 <= trends / known <= 1.0
    assert false / runs <= 0.09
