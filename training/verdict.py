"""One plain sentence about a model, and what else is worth doing."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from training.measures import Share

if TYPE_CHECKING:
    from training.evaluation import Evaluation

ENOUGH = 0.9
"""Share of the visits of a label that should be named rightly."""
FEWEST = 10
"""Visits of a label below which nothing can be said of it."""
_ELSEWHERE = 0.7  # recall on a source never seen, below which the model knows places rather than animals
_STILL_RISING = 0.02  # gain of the learning curve's last step that more pictures would continue


@dataclass(frozen=True, slots=True)
class Verdict:
    """`text` is the sentence that matters; `advice` what else was found, the most useful first."""

    good: bool
    text: str
    advice: tuple[str, ...] = ()

    def json(self) -> dict[str, Any]:
        return {"good": self.good, "text": self.text, "advice": list(self.advice)}


def verdict(evaluation: Evaluation) -> Verdict:
    """What is wanting most, or that it is enough."""
    if not evaluation.visits.n:
        why = "the model knows none of these labels" if evaluation.unknown else "there is no picture that could be read"
        return Verdict(False, f"Cannot say: {why}.")
    wanting = [*_weak(evaluation), *_costly(evaluation), *_elsewhere(evaluation)]
    few = _few(evaluation)
    hints = [*few, *_rising(evaluation)]
    if wanting:
        return Verdict(False, wanting[0], (*wanting[1:], *hints))
    if evaluation.visits.n < FEWEST or (few and len(_scarce(evaluation)) == len(evaluation.visits.recall)):
        return Verdict(False, few[0], tuple(hints[1:]))
    return Verdict(True, _enough(evaluation), tuple(hints))


def _weak(evaluation: Evaluation) -> list[str]:
    """Labels that are surely missed too often, and whether at night; the weakest first."""
    night = next((one.recall for one in evaluation.slices if (one.of, one.value) == ("light", "night")), {})
    found = []
    for label, share in evaluation.visits.recall.items():
        at_night = night.get(label, Share(0, 0))
        by_day = Share(share.hits - at_night.hits, share.n - at_night.n)
        if _surely_weak(at_night) and by_day.n and (by_day.value or 0.0) >= ENOUGH:
            found.append((at_night.interval[1], f"{label} at night", at_night))
        elif _surely_weak(share):
            found.append((share.interval[1], label, share))
    return [f"More pictures of {what}: {s.missed} of {s.n} visits missed." for _, what, s in sorted(found)]


def _surely_weak(share: Share) -> bool:
    return share.missed >= 2 and share.interval[1] < ENOUGH


def _costly(evaluation: Evaluation) -> list[str]:
    """Acting on friends, at the costs as they are."""
    if not evaluation.acting:
        return []
    scares = evaluation.acting.chosen.scares
    if scares.interval[0] <= 0.02:
        return []
    worst = max(
        (pair for pair in evaluation.acting.by_label.items() if pair[0] not in evaluation.acting.threats),
        key=lambda pair: pair[1].hits,
    )
    return [
        f"It would scare friends: {scares.hits} of {scares.n} visits, {worst[1].hits} of them of {worst[0]}; "
        "more pictures of these, or a higher cost_false."
    ]


def _elsewhere(evaluation: Evaluation) -> list[str]:
    """Sources that cannot be told by a model that never saw them: it knows the places, not the animals."""
    means = {
        source: sum(recall.values()) / len(recall) for source, recall in evaluation.without_source.items() if recall
    }
    if not means or sum(means.values()) / len(means) >= _ELSEWHERE:
        return []
    mean = sum(means.values()) / len(means)
    source, least = min(means.items(), key=lambda pair: pair[1])
    return [
        f"It knows places as much as animals: of a source it never saw it names {_percent(mean)} on average, "
        f"of {source} {_percent(least)}; pictures from your own camera are worth most."
    ]


def _scarce(evaluation: Evaluation) -> list[tuple[str, Share]]:
    return sorted((pair for pair in evaluation.visits.recall.items() if pair[1].n < FEWEST), key=lambda pair: pair[1].n)


def _few(evaluation: Evaluation) -> list[str]:
    scarce = _scarce(evaluation)
    if not scarce:
        return []
    (first, share), *others = scarce
    listed = "".join(f", {label} {one.n}" for label, one in others)
    visits = "visit" if share.n == 1 else "visits"
    return [f"Too few to say: {first} has {share.n} {visits} to be judged by{listed}; {FEWEST} are the least."]


def _rising(evaluation: Evaluation) -> list[str]:
    if len(evaluation.learning_curve) < 2:
        return []
    (before, low), (now, high) = evaluation.learning_curve[-2:]
    if high - low < _STILL_RISING:
        return []
    return [
        f"More pictures would still help: from {before} to {now} visits the balanced accuracy rose "
        f"from {_percent(low)} to {_percent(high)}."
    ]


def _enough(evaluation: Evaluation) -> str:
    right = evaluation.visits.right
    low, high = right.interval
    text = f"Enough: {right.hits} of {right.n} visits named rightly ({100 * low:.0f} to {_percent(high)})"
    if evaluation.acting:
        scares, misses = evaluation.acting.chosen.scares, evaluation.acting.chosen.misses
        text += f", {misses.hits} of {misses.n} threats missed, {scares.hits} of {scares.n} friends scared"
    return text + "."


def _percent(value: float) -> str:
    return f"{100 * value:.0f} %"
