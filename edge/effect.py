"""What the deterrents do: how soon threats leave, how many come back, whether it wears off, and what that says."""

from __future__ import annotations

import math
from bisect import bisect_right
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import numpy as np

from edge.stays import Season, Stay
from edge.survival import Estimate, Flags, Times, Z, median, share_change, sooner, trend, wilson

WANTED = 20
"""Stays with a deterrent, or without, before anything is said of it."""
WEEKS_WANTED = 4.0
SHORTEST_S = 0.1
"""Who is gone at once was there for about a frame or two: logarithms need a time above 0."""
_WEEK_S = 7 * 86400.0
_PLAUSIBLE = datetime(2026, 1, 1, tzinfo=UTC).timestamp()  # earlier dates are of a clock that was not set


@dataclass(frozen=True, slots=True)
class Told:
    """One stay and what became of it. Times are seconds; None: not so, or not known.

    Who was gone when the picture came back from a deterrent's own light counts as gone only then: the longest it can
    have taken.

    `leave_s`: from the first pulse of the last deterrent to the end; `after_first_s`, `after_last_s`: from the first
    and the last pulse of all; `without_s`: where nothing fired, from when it would have; `back_s`: how long after it
    left the next one came, when within the time asked for.
    """

    stay: Stay
    leave_s: float | None
    after_first_s: float | None
    after_last_s: float | None
    without_s: float | None
    back: bool | None
    back_s: float | None

    @property
    def deterrents(self) -> tuple[str, ...]:
        """Those that fired, in the order of their first pulse."""
        return tuple(dict.fromkeys(pulse.deterrent for pulse in self.stay.pulses))


@dataclass(frozen=True, slots=True)
class Spell:
    """One deterrent at work on one stay: from its first pulse until the threat left, or another deterrent took over.

    `unseen`: it left while the picture was spoilt, within `seconds`.
    """

    began: float
    seconds: float
    left: bool
    unseen: bool
    first: bool
    back: bool | None


@dataclass(frozen=True, slots=True)
class Week:
    """`began` is a Monday; `median_s` is infinite where more than half were last seen staying."""

    began: datetime
    n: int
    median_s: float


@dataclass(frozen=True, slots=True)
class Figures:
    """How soon they left, and how many of those who could be followed came back. `still`: never seen leaving;
    `unseen`: left while the picture was spoilt, so in at most so long."""

    n: int
    still: int
    unseen: int
    leave: Estimate | None
    back: int
    followed: int
    back_share: Estimate | None


@dataclass(frozen=True, slots=True)
class Finding:
    """One deterrent and one threat. `alone`: the same threat where nothing fired; `compared`: only the stays in which
    this deterrent was the first; `sureness`: the log-rank statistic against `alone`; `trend`: change of the natural
    logarithm of the time to leave, per week."""

    label: str
    deterrent: str
    figures: Figures
    alone: Figures
    compared: Figures
    sureness: float | None
    trend: Estimate | None
    span_weeks: float
    weeks: tuple[Week, ...]


@dataclass(frozen=True, slots=True)
class Ladder:
    """Several deterrents in one stay, in their order; times from the first pulse of the first."""

    label: str
    deterrents: tuple[str, ...]
    figures: Figures


@dataclass(frozen=True, slots=True)
class Effect:
    """All of it."""

    told: tuple[Told, ...]
    findings: tuple[Finding, ...]
    alone: dict[str, Figures]
    ladders: tuple[Ladder, ...]


def effect(season: Season, back_within_s: float) -> Effect:
    """Work it out. `back_within_s`: who comes within that time after one of its kind left has come back."""
    told = _tell(season, back_within_s)
    labels = sorted({one.stay.label for one in told})
    findings, ladders, alone = [], [], {}
    for label in labels:
        mine = [one for one in told if one.stay.label == label]
        without = [spell for one in mine if (spell := _without(one))]
        alone[label] = figures(without)
        spells = _spells(mine)
        findings += [_finding(label, name, spells[name], without) for name in sorted(spells)]
        combined = sorted({one.deterrents for one in mine if len(one.deterrents) > 1})
        for names in combined:
            whole = [_whole(one) for one in mine if one.deterrents == names]
            ladders.append(Ladder(label, names, figures(whole)))
    return Effect(tuple(told), tuple(findings), alone, tuple(ladders))


def figures(spells: Sequence[Spell]) -> Figures:
    """Numbers of one group."""
    followed = [spell.back for spell in spells if spell.back is not None]
    seconds, left = _arrays(spells)
    return Figures(
        n=len(spells),
        still=int(np.count_nonzero(~left)),
        unseen=sum(spell.unseen for spell in spells),
        leave=median(seconds, left) if spells else None,
        back=sum(followed),
        followed=len(followed),
        back_share=wilson(sum(followed), len(followed)) if followed else None,
    )


def fewer_back(finding: Finding) -> Estimate | None:
    """By how much the share of those who come back differs from where nothing fired."""
    mine, alone = finding.compared, finding.alone
    if not (mine.back_share and alone.back_share) or min(mine.followed, alone.followed) < WANTED:
        return None
    return share_change(mine.back_share, alone.back_share)


def works(finding: Finding) -> bool | None:
    """Whether they leave sooner with it; None where that cannot be told."""
    if finding.sureness is None:
        return None
    return finding.sureness > Z


def _tell(season: Season, back_within_s: float) -> list[Told]:
    typical_s = _typical_lag(season.stays)
    begins: dict[tuple[str, str], list[float]] = {}
    for stay in season.stays:
        begins.setdefault((stay.camera, stay.label), []).append(stay.began)
    for moments in begins.values():
        moments.sort()
    told = []
    for stay in season.stays:
        moments = begins[stay.camera, stay.label]
        at = bisect_right(moments, stay.began)
        back_s = moments[at] - stay.ended if at < len(moments) else math.inf
        soon = back_s <= back_within_s
        known = stay.left and (soon or season.newest >= stay.ended + back_within_s)
        length = _length(stay)
        firsts = [pulse.at_s for pulse in stay.pulses]
        last = _runs(stay)[-1][1] if firsts else None
        told.append(
            Told(
                stay,
                leave_s=_since(length, last),
                after_first_s=_since(length, firsts[0] if firsts else None),
                after_last_s=_since(length, firsts[-1] if firsts else None),
                without_s=_since(length, None if stay.let_be_s is None else stay.let_be_s + typical_s),
                back=soon if known else None,
                back_s=back_s if known and soon else None,
            )
        )
    return sorted(told, key=lambda one: one.stay.began)


def _typical_lag(stays: Sequence[Stay]) -> float:
    """From a frame that decided to the pin: what a deterrent that did not fire would have taken."""
    lags = [pulse.lag_s for stay in stays for pulse in stay.pulses]
    return float(np.median(lags)) if lags else 0.0


def _length(stay: Stay) -> float:
    return stay.ended + stay.blind_s - stay.began


def _since(length: float, at_s: float | None) -> float | None:
    return None if at_s is None else max(length - at_s, SHORTEST_S)


def _runs(stay: Stay) -> list[tuple[str, float]]:
    """The deterrents in turn, each with when its first pulse was; the same one again and again is one."""
    runs: list[tuple[str, float]] = []
    for pulse in stay.pulses:
        if not runs or runs[-1][0] != pulse.deterrent:
            runs.append((pulse.deterrent, pulse.at_s))
    return runs


def _spells(told: Iterable[Told]) -> dict[str, list[Spell]]:
    """By deterrent. A deterrent that another one had to follow is known not to have driven off until then.

    Were leaving told of the last alone, the first would look the better the more often it failed.
    """
    spells: dict[str, list[Spell]] = {}
    for one in told:
        runs, length = _runs(one.stay), _length(one.stay)
        for number, (name, at_s) in enumerate(runs):
            last = number + 1 == len(runs)
            until = length if last else runs[number + 1][1]
            spell = Spell(
                began=one.stay.began + at_s,
                seconds=max(until - at_s, SHORTEST_S),
                left=last and one.stay.left,
                unseen=last and one.stay.blind_s > 0.0,
                first=number == 0,
                back=one.back if last else None,
            )
            spells.setdefault(name, []).append(spell)
    return spells


def _without(one: Told) -> Spell | None:
    if one.without_s is None:
        return None
    return Spell(one.stay.began, one.without_s, one.stay.left, False, True, one.back)


def _whole(one: Told) -> Spell:
    return Spell(one.stay.began, one.after_first_s or SHORTEST_S, one.stay.left, one.stay.blind_s > 0.0, True, one.back)


def _finding(label: str, deterrent: str, spells: list[Spell], without: list[Spell]) -> Finding:
    first = [spell for spell in spells if spell.first]
    sureness = None
    if min(len(first), len(without)) >= WANTED:
        sureness = sooner(*_arrays(first), *_arrays(without))
    # Who comes to it after another deterrent is harder to move: mixed, a change of the mixture would look like a trend.
    alike = first if 2 * len(first) >= len(spells) else [spell for spell in spells if not spell.first]
    dated = [spell for spell in alike if spell.began >= _PLAUSIBLE]
    weeks = np.array([spell.began / _WEEK_S for spell in dated])
    span = float(np.ptp(weeks)) if dated else 0.0
    slope = trend(weeks, *_arrays(dated)) if len(dated) >= WANTED and span >= WEEKS_WANTED else None
    return Finding(
        label,
        deterrent,
        figures(spells),
        figures(without),
        figures(first),
        sureness,
        slope,
        span,
        tuple(_weeks(dated)),
    )


def _weeks(spells: Iterable[Spell]) -> list[Week]:
    by_week: dict[datetime, list[Spell]] = {}
    for spell in spells:
        day = datetime.fromtimestamp(spell.began, UTC).astimezone()
        monday = day.replace(hour=0, minute=0, second=0, microsecond=0) - timedelta(days=day.weekday())
        by_week.setdefault(monday, []).append(spell)
    return [Week(week, len(mine), median(*_arrays(mine)).value) for week, mine in sorted(by_week.items())]


def _arrays(spells: Sequence[Spell]) -> tuple[Times, Flags]:
    return np.array([spell.seconds for spell in spells], np.float64), np.array([s.left for s in spells], np.bool_)
