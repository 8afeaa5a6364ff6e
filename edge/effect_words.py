"""What the figures on a deterrent say, in plain words, and that they say nothing yet where that is so. Pure."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from datetime import timedelta
from typing import Any

from edge import feed
from edge.effect import WANTED, WEEKS_WANTED, Effect, Figures, Finding, Week, fewer_back, works
from edge.survival import Estimate, Z

_BARS = "▁▂▃▄▅▆▇█"
_MOST_WEEKS = 26
_HIDDEN = math.log(1.1)  # wearing off by so much a week that would not be seen makes "no sign of it" worth little


def sentence(finding: Finding, back_within_s: float) -> str:
    """One finding in words."""
    name, tool = who(finding.label), f"the {finding.deterrent}"
    n = finding.figures.n
    if n < WANTED:
        return f"{name}: {tool}: not enough yet: {count(n, 'action')}, {WANTED} are wanted"
    parts = [_leaving(finding, tool), _wearing(finding), _back(finding, back_within_s)]
    return f"{name}: {'; '.join(part for part in parts if part)}"


def opening(effect: Effect) -> str:
    """What is said where nothing has fired yet, or no threat was there; empty elsewhere."""
    if not effect.told:
        return "no visits of threats are kept yet: there is nothing to say"
    if not effect.findings:
        alone = sum(figures.n for figures in effect.alone.values())
        return f"no deterrent has fired at a threat yet: {count(alone, 'visit')} without, to compare with later"
    return ""


def who(label: str) -> str:
    """The common name, where a label has one."""
    return feed.who({"visit": {"label": label}})


def count(n: int, what: str) -> str:
    return f"{n} {what}{'' if n == 1 else 's'}"


def span(estimate: Estimate | None) -> str:
    """Seconds with their interval: "2.1 s (1.6-2.9)"."""
    if estimate is None:
        return "–"
    if math.isinf(estimate.value):
        return f"more than {_seconds(estimate.low)} s"
    high = "?" if math.isinf(estimate.high) else _seconds(estimate.high)
    low = "?" if math.isinf(estimate.low) else _seconds(estimate.low)
    return f"{_seconds(estimate.value)} s ({low}-{high})"


def gone_in(figures: Figures) -> str:
    """Seconds until half have left; "at most", where most left while the deterrent's own light hid them."""
    most = figures.leave and math.isfinite(figures.leave.value) and 2 * figures.unseen > figures.n - figures.still
    return f"{'at most ' if most else ''}{span(figures.leave)}"


def share(figures: Figures) -> str:
    """Who came back: "12 % (8-18), 9 of 75"."""
    back = figures.back_share
    if back is None:
        return "–"
    return f"{_percent(back.value)} ({100 * back.low:.0f}-{100 * back.high:.0f}), {figures.back} of {figures.followed}"


def sparkline(weeks: Sequence[Week]) -> str:
    """The median time to leave of each week as a bar, on a scale of logarithms; "·" for a week without any."""
    if not weeks:
        return ""
    found = {week.began.date(): week.median_s for week in weeks}
    last = weeks[-1].began.date()
    first = max(weeks[0].began.date(), last - timedelta(weeks=_MOST_WEEKS - 1))
    days = [first + timedelta(weeks=number) for number in range((last - first).days // 7 + 1)]
    heights = [math.log(s) for day in days if (s := found.get(day)) and math.isfinite(s)]
    if not heights:
        return ""
    low, unit = min(heights), max(max(heights) - min(heights), math.log(2)) / (len(_BARS) - 1)

    def bar(seconds: float | None) -> str:
        if seconds is None:
            return "·"
        return _BARS[-1] if math.isinf(seconds) else _BARS[round((math.log(seconds) - low) / unit)]

    return "".join(bar(found.get(day)) for day in days)


def per_week(trend: Estimate) -> Estimate:
    """Slower by this part a week; below 0: faster."""
    return Estimate(math.expm1(trend.value), math.expm1(trend.low), math.expm1(trend.high))


def left_out(why: Mapping[str, int]) -> str:
    """Visits that were not used, and why; empty where there are none."""
    parts = [f"{n} {reason}" for reason, n in why.items() if n]
    return f"visits left out: {', '.join(parts)}" if parts else ""


def _leaving(finding: Finding, tool: str) -> str:
    mine, alone = finding.figures, finding.alone
    if works(finding) is None:
        missing = f"only {count(finding.compared.n, 'stay')} began with it"
        if alone.n < WANTED:
            missing = f"{count(alone.n, 'visit')} without an action, {WANTED} are wanted"
        return f"{_gone(mine)} after {tool}; how soon by itself is not known yet ({missing})"
    mine = finding.compared
    if works(finding):
        if mine.leave and math.isinf(mine.leave.value):
            return f"sooner gone with {tool} than without, but more than half stay on"
        return f"{tool} makes it leave in {gone_in(mine)} instead of {gone_in(alone)}"
    if finding.sureness is not None and finding.sureness < -Z:
        return f"{tool} does not drive it off: it stays longer, {gone_in(mine)}, than without, {gone_in(alone)}"
    return f"no effect of {tool} to be seen: gone in {gone_in(mine)} with it, in {gone_in(alone)} without"


def _gone(figures: Figures) -> str:
    if figures.leave is None or math.isinf(figures.leave.value):
        return f"more than half ({figures.still} of {figures.n}) stay on"
    return f"gone in {gone_in(figures)}"


def _wearing(finding: Finding) -> str:
    if finding.trend is None:
        if finding.span_weeks < WEEKS_WANTED:
            return (
                f"whether it wears off is not known yet: {finding.span_weeks:.1f} weeks, {WEEKS_WANTED:.0f} are wanted"
            )
        return "whether it wears off cannot be told: too few were seen leaving"
    change = per_week(finding.trend)
    low, high = sorted((abs(change.low), abs(change.high)))
    between = f"a week ({100 * low:.0f}-{100 * high:.0f})"
    if finding.trend.low > 0.0:
        return f"it wears off: slower by {_percent(change.value)} {between}"
    if finding.trend.high < 0.0:
        return f"it works better and better: faster by {_percent(-change.value)} {between}"
    hidden = f", but slower by up to {_percent(change.high)} a week would not be seen yet"
    return f"no sign that it wears off{hidden if finding.trend.high > _HIDDEN else ''}"


def _back(finding: Finding, back_within_s: float) -> str:
    mine, alone = finding.figures, finding.alone
    within = f"within {back_within_s / 60:g} min"
    if not mine.back_share:
        return ""
    said = f"{mine.back} of {mine.followed} came back {within} ({_interval(mine.back_share)})"
    change = fewer_back(finding)
    if change is None or alone.back_share is None:
        return said
    without = f"{_percent(alone.back_share.value)} without ({_interval(alone.back_share)})"
    if change.high < 0.0:
        return f"{said}, fewer than the {without}"
    return f"{said}, {'more than the' if change.low > 0.0 else 'no clear change from the'} {without}"


def _percent(part: float) -> str:
    return f"{100 * part:.0f} %"


def _interval(estimate: Estimate) -> str:
    return f"{100 * estimate.low:.0f}-{100 * estimate.high:.0f} %"


def _seconds(seconds: float) -> str:
    return f"{seconds:.1f}" if seconds < 10 else f"{seconds:.0f}"


def as_json(finding: Finding, back_within_s: float) -> dict[str, Any]:
    """A finding for programs."""
    change, less = per_week(finding.trend) if finding.trend else None, fewer_back(finding)
    return {
        "label": finding.label,
        "deterrent": finding.deterrent,
        **figures_json(finding.figures),
        "first": figures_json(finding.compared),
        "without": figures_json(finding.alone),
        "sooner_z": None if finding.sureness is None else round(finding.sureness, 3),
        "sooner": works(finding),
        "returns_change": less and estimate_json(less),
        "slower_per_week": change and estimate_json(change),
        "weeks": [
            {"week": week.began.date().isoformat(), "n": week.n, "median_s": finite(week.median_s)}
            for week in finding.weeks
        ],
        "enough": finding.figures.n >= WANTED,
        "words": sentence(finding, back_within_s),
    }


def figures_json(figures: Figures) -> dict[str, Any]:
    return {
        "n": figures.n,
        "still_there": figures.still,
        "unseen": figures.unseen,
        "leave_s": figures.leave and estimate_json(figures.leave),
        "returned": figures.back,
        "followed": figures.followed,
        "returns": figures.back_share and estimate_json(figures.back_share),
    }


def estimate_json(estimate: Estimate) -> dict[str, float | None]:
    """Null where there is no bound."""
    return {"value": finite(estimate.value), "low": finite(estimate.low), "high": finite(estimate.high)}


def finite(value: float) -> float | None:
    return round(value, 4) if math.isfinite(value) else None
