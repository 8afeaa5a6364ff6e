"""What the appliance would have done on each visit, by its own rule, and what other costs would have changed."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edge.config import EvidenceConfig
from edge.evidence import Evidence, Kinds, is_threat, line
from edge.values import Kind
from training.measures import Share, rounded

APART_S = 1.0 / 15.0
"""Seconds between the pictures of a visit, as a replay plays them."""
RATIOS = (0.25, 0.35, 0.5, 0.7, 1.0, 1.4, 2.0, 2.8, 4.0, 5.6, 8.0, 11.0, 16.0)
"""Costs of a miss for which the curve is drawn, a false scare costing 1. Above 19, the prior alone would nearly do."""
_FEWEST = 10  # visits of each side without which nothing is suggested


@dataclass(frozen=True, slots=True)
class Course:
    """How the evidence of one visit rose and fell: `log_odds` float64[m] after each picture, with who it was.

    It is -inf where nothing may be done: too few pictures spoke for a threat so far, or a person was seen.
    `pictures`: how many different ones there were.
    """

    label: str
    threat: bool
    pictures: int
    log_odds: NDArray[np.float64]

    def acted(self, least: float) -> bool:
        return bool((self.log_odds > least).any())

    def frames(self, least: float) -> int:
        """How many pictures it took."""
        return int((self.log_odds > least).argmax()) + 1


@dataclass(frozen=True, slots=True)
class Point:
    """One choice of costs. `scares`: visits of no threat acted on; `misses`: visits of a threat not acted on."""

    ratio: float
    frames: int
    scares: Share
    misses: Share

    @property
    def threshold(self) -> float:
        """The probability above which is acted."""
        return 1.0 / (1.0 + self.ratio)

    def json(self) -> dict[str, Any]:
        return {
            "cost_miss_per_false": self.ratio,
            "threshold": rounded(self.threshold),
            "min_frames": self.frames,
            "scares": self.scares.json(),
            "misses": self.misses.json(),
        }


@dataclass(frozen=True, slots=True)
class Acting:
    """The curve, the point the configuration is at, and the one that would cost least.

    `by_label`: how many visits were acted on at the chosen point. `bursts`: the chosen point of only those visits that
    have the pictures that acting needs; of the others, each picture counts as often as that takes.
    """

    curve: tuple[Point, ...]
    chosen: Point
    bursts: Point
    best: Point
    suggested: dict[str, float]
    by_label: dict[str, Share]
    threats: tuple[str, ...]
    median_frames: float | None

    def json(self) -> dict[str, Any]:
        return {
            "curve": [point.json() for point in self.curve],
            "chosen": self.chosen.json(),
            "bursts": self.bursts.json(),
            "best": self.best.json(),
            "suggested_evidence": self.suggested,
            "acted_by_label": {label: share.json() for label, share in self.by_label.items()},
            "median_frames_to_act": self.median_frames,
        }


def course(label: str, p: NDArray[np.float32], kinds: Kinds, config: EvidenceConfig) -> Course:
    """Play one visit, float32[m, K] in the order taken, as the appliance would weigh it.

    Too few pictures for acting at all are shown again until they suffice: a photograph stands for a visitor who holds
    still.
    """
    evidence, person = Evidence(config, kinds), False
    log_odds = []
    for frame in range(max(len(p), config.min_frames)):
        seen = evidence.add(p[frame % len(p)], frame * APART_S)
        person |= seen[Kind.PERSON] >= config.person_p
        enough = is_threat(math.inf, evidence.clear, config) and not person
        log_odds.append(evidence.log_odds if enough else -math.inf)
    threat = label in kinds.labels and kinds.of_label[kinds.labels.index(label)] == Kind.THREAT
    return Course(label, threat, len(p), np.array(log_odds))


def acting(visits: Sequence[tuple[str, NDArray[np.float32]]], kinds: Kinds, config: EvidenceConfig) -> Acting | None:
    """`visits`: label and answers float32[m, K] of each. None where the model knows no threat, or there is no visit."""
    if not kinds.has(Kind.THREAT) or not visits:
        return None
    ratio = config.cost_miss / config.cost_false
    courses = [course(label, p, kinds, config) for label, p in visits]
    curve = [_point(courses, each, config.min_frames) for each in sorted({*RATIOS, ratio})]
    chosen = next(point for point in curve if point.ratio == ratio)
    best = _best(curve, chosen, config)
    acted = [one for one in courses if one.acted(line(config))]
    took = [one.frames(line(config)) for one in acted if one.threat]
    labels = sorted({one.label for one in courses})
    return Acting(
        curve=tuple(curve),
        chosen=chosen,
        bursts=_point([one for one in courses if one.pictures >= config.min_frames], ratio, config.min_frames),
        best=best,
        suggested=_suggested(best, chosen, config),
        by_label={
            label: Share(sum(one.label == label for one in acted), sum(one.label == label for one in courses))
            for label in labels
        },
        threats=tuple(sorted({one.label for one in courses if one.threat})),
        median_frames=float(np.median(took)) if took else None,
    )


def _point(courses: Sequence[Course], ratio: float, frames: int) -> Point:
    least = -math.log(ratio)  # `edge.evidence.line` of these costs
    threats = [one.acted(least) for one in courses if one.threat]
    others = [one.acted(least) for one in courses if not one.threat]
    return Point(ratio, frames, Share(sum(others), len(others)), Share(threats.count(False), len(threats)))


def _best(points: Sequence[Point], chosen: Point, config: EvidenceConfig) -> Point:
    """The cheapest per visitor, a threat coming as often as the prior says.

    The chosen one unless more than one visit speaks against it; among equals the one nearest to it.
    """
    if min(chosen.scares.n, chosen.misses.n) < _FEWEST:
        return chosen

    def cost(point: Point) -> float:
        scares, misses = point.scares.value or 0.0, point.misses.value or 0.0
        return config.cost_false * (1.0 - config.prior) * scares + config.cost_miss * config.prior * misses

    def distance(point: Point) -> float:
        return abs(math.log(point.ratio / chosen.ratio))

    worth = max(
        config.cost_false * (1.0 - config.prior) / chosen.scares.n, config.cost_miss * config.prior / chosen.misses.n
    )
    least = min(cost(point) for point in points)
    if cost(chosen) <= least + worth:
        return chosen
    return min((point for point in points if cost(point) <= least + 1e-12), key=distance)


def _suggested(best: Point, chosen: Point, config: EvidenceConfig) -> dict[str, float]:
    """For `[evidence]`. Nothing where there are too few visits to say."""
    if min(chosen.scares.n, chosen.misses.n) < _FEWEST:
        return {}
    return {"cost_false": config.cost_false, "cost_miss": round(best.ratio * config.cost_false, 3)}
