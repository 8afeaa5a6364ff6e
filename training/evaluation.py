"""How good a model is, of answers already given: per visit, and per picture beside it. No files, no clock."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edge.config import EvidenceConfig
from edge.evidence import Kinds, line
from training.acting import Acting, acting, course
from training.dataset import Picture
from training.measures import (
    Confusion,
    Figures,
    Paired,
    Places,
    Reliability,
    Share,
    auroc,
    confusion,
    figures,
    histogram,
    reliability,
    rounded,
)
from training.scoring import Scored
from training.verdict import Verdict, verdict
from training.visits import Slice, Visit, slices_of, visits_of

_MOST_MISTAKES = 60


@dataclass(frozen=True, slots=True)
class Source:
    """One source's figures."""

    pictures: Figures
    visits: Figures

    def json(self) -> dict[str, Any]:
        return {
            "n": self.pictures.n,
            "accuracy": rounded(self.pictures.accuracy),
            "balanced_accuracy": rounded(self.pictures.balanced),
            "visits": self.visits.n,
            "visit_accuracy": rounded(self.visits.accuracy),
            "recall": {label: rounded(share.value) for label, share in self.pictures.recall.items()},
        }


@dataclass(frozen=True, slots=True)
class Unknown:
    """Pictures of what the model has no label for. `acted`: visits of each label that would be acted on.

    `surest` and `surest_known`: how many pictures had their likeliest label in each tenth of probability, unknown and
    known; `auroc`: how often a known one is surer than an unknown one.
    """

    pictures: int
    acted: dict[str, Share]
    surest: tuple[int, ...]
    surest_known: tuple[int, ...]
    auroc: float | None

    def json(self) -> dict[str, Any]:
        return {
            "pictures": self.pictures,
            "acted": {label: share.json() for label, share in self.acted.items()},
            "surest": list(self.surest),
            "surest_known": list(self.surest_known),
            "auroc": rounded(self.auroc),
        }


@dataclass(frozen=True, slots=True)
class Mistake:
    """A picture that went wrong: its place among the pictures, what it was called, and how sure each label was."""

    place: int
    said: str
    p_said: float
    p_label: float


@dataclass(frozen=True, slots=True)
class Evaluation:
    """Everything that was found. `unread`: pictures without an answer, counted nowhere else."""

    pictures: Figures
    visits: Figures
    visit_confusion: Confusion
    picture_confusion: Confusion
    by_source: dict[str, Source]
    slices: tuple[Slice, ...]
    reliability: Reliability
    acting: Acting | None
    unknown: Unknown | None
    rival: Paired | None
    learning_curve: tuple[tuple[int, float], ...]
    without_source: dict[str, dict[str, float]]
    mistakes: tuple[Mistake, ...]
    unread: int

    @property
    def verdict(self) -> Verdict:
        return verdict(self)

    def summary(self) -> dict[str, Any]:
        """The few figures of `gander-train evaluate --json`."""
        return {
            "n": self.pictures.n,
            "accuracy": rounded(self.pictures.accuracy),
            "balanced_accuracy": rounded(self.pictures.balanced),
            "recall": {label: rounded(share.value) for label, share in self.pictures.recall.items()},
            "visits": self.visits.n,
            "visit_accuracy": rounded(self.visits.accuracy),
            "visit_balanced_accuracy": rounded(self.visits.balanced),
            "by_source": {name: source.json() for name, source in self.by_source.items()},
            "unknown": self.unknown.pictures if self.unknown else 0,
            "unread": self.unread,
            "verdict": self.verdict.text,
        }

    def json(self) -> dict[str, Any]:
        """All of it but the mistakes, which name files."""
        return self.summary() | {
            "verdict": self.verdict.json(),
            "pictures": self.pictures.json() | {"confusion": self.picture_confusion.json()},
            "per_visit": self.visits.json() | {"confusion": self.visit_confusion.json()},
            "slices": [one.json() for one in self.slices],
            "reliability": self.reliability.json(),
            "acting": self.acting.json() if self.acting else None,
            "out_of_distribution": self.unknown.json() if self.unknown else None,
            "rival": self.rival.json() if self.rival else None,
            "learning_curve": [[groups, rounded(value)] for groups, value in self.learning_curve],
            "without_source": {
                source: {label: rounded(value) for label, value in recall.items()}
                for source, recall in self.without_source.items()
            },
        }


def evaluate(
    pictures: Sequence[Picture],
    scored: Scored,
    labels: Sequence[str],
    kinds: Kinds,
    evidence: EvidenceConfig,
    *,
    learning_curve: Sequence[tuple[int, float]] = (),
    without_source: Mapping[str, Mapping[str, float]] | None = None,
    rival: tuple[Scored, Sequence[str]] | None = None,
) -> Evaluation:
    """Weigh the answers `scored.p`, float32[n, K] over `labels`, to n pictures; rows of NaN are counted as unread.

    `rival`: another model's answers to the same pictures, NaN where they do not count, and its labels.
    `learning_curve`: (training groups, balanced accuracy per picture); `without_source`: recall of each source's labels
    by a model that never saw that source.
    """
    read = np.asarray(np.isfinite(scored.p).all(axis=1))
    places = {label: number for number, label in enumerate(labels)}
    known = read & np.array([picture.label in places for picture in pictures], dtype=bool)
    every = visits_of(pictures, read)
    visits = [visit for visit in every if visit.label in places]
    right = np.array([places.get(picture.label, -1) for picture in pictures], np.int64)
    said = np.where(known, _likeliest(scored.p), -1)
    visit_right = np.array([places[visit.label] for visit in visits], np.int64)
    visit_said = _said(visits, scored.p)
    surest = np.where(read, np.nan_to_num(scored.p).max(axis=1, initial=0.0), 0.0)
    return Evaluation(
        pictures=figures(right[known], said[known], labels),
        visits=figures(visit_right, visit_said, labels),
        visit_confusion=confusion(visit_right, visit_said, labels),
        picture_confusion=confusion(right[known], said[known], labels),
        by_source=_by_source(pictures, right, said, known, (visits, visit_right, visit_said), labels),
        slices=slices_of(visits, visit_right == visit_said, scored.facts),
        reliability=reliability(surest[known], (right == said)[known]),
        acting=acting([(visit.label, scored.p[visit.places]) for visit in visits], kinds, evidence),
        unknown=_unknown([v for v in every if v.label not in places], scored.p, surest, known, kinds, evidence),
        rival=_against(visits, visit_right == visit_said, rival) if rival else None,
        learning_curve=tuple((int(groups), float(value)) for groups, value in learning_curve),
        without_source={source: dict(recall) for source, recall in (without_source or {}).items()},
        mistakes=_mistakes(pictures, scored.p, right, said, labels),
        unread=int((~read).sum()),
    )


def _likeliest(p: NDArray[np.float32]) -> Places:
    return np.asarray(np.nan_to_num(p, nan=-1.0).argmax(axis=1), np.int64)


def _said(visits: Sequence[Visit], p: NDArray[np.float32]) -> Places:
    """What each visit is called: the label with the largest mean, as the appliance names its visits."""
    return np.array([p[visit.places].mean(axis=0).argmax() for visit in visits], np.int64)


def _by_source(
    pictures: Sequence[Picture],
    right: Places,
    said: Places,
    known: NDArray[np.bool_],
    of_visits: tuple[Sequence[Visit], Places, Places],
    labels: Sequence[str],
) -> dict[str, Source]:
    visits, visit_right, visit_said = of_visits
    sources = np.array([picture.source for picture in pictures], dtype=object)
    visit_sources = np.array([visit.first.source for visit in visits], dtype=object)
    found = {}
    for name in sorted({source for source in sources[known] if source}):
        inside, ours = known & (sources == name), visit_sources == name
        found[name] = Source(
            figures(right[inside], said[inside], labels), figures(visit_right[ours], visit_said[ours], labels)
        )
    return found


def _unknown(
    visits: Sequence[Visit],
    p: NDArray[np.float32],
    surest: NDArray[np.float32],
    known: NDArray[np.bool_],
    kinds: Kinds,
    evidence: EvidenceConfig,
) -> Unknown | None:
    if not visits:
        return None
    acted: dict[str, list[bool]] = {}
    for visit in visits:
        played = course(visit.label, p[visit.places], kinds, evidence)
        acted.setdefault(visit.label, []).append(played.acted(line(evidence)))
    strange = surest[np.concatenate([visit.places for visit in visits])]
    return Unknown(
        pictures=len(strange),
        acted={label: Share(sum(each), len(each)) for label, each in sorted(acted.items())},
        surest=histogram(strange),
        surest_known=histogram(surest[known]),
        auroc=auroc(surest[known], strange),
    )


def _against(visits: Sequence[Visit], hit: NDArray[np.bool_], rival: tuple[Scored, Sequence[str]]) -> Paired | None:
    """On visits of labels that both know, of which the other has an answer to all; None where there is none."""
    scored, labels = rival
    places = {label: number for number, label in enumerate(labels)}
    both = [n for n, v in enumerate(visits) if v.label in places and np.isfinite(scored.p[v.places]).all()]
    if not both:
        return None
    ours = hit[both]
    theirs = _said([visits[n] for n in both], scored.p) == [places[visits[n].label] for n in both]
    wins, losses = int((ours & ~theirs).sum()), int((theirs & ~ours).sum())
    return Paired(len(both), wins, losses, int(ours.sum()), int(theirs.sum()))


def _mistakes(
    pictures: Sequence[Picture], p: NDArray[np.float32], right: Places, said: Places, labels: Sequence[str]
) -> tuple[Mistake, ...]:
    """The worst first, one of each visit."""
    wrong = [int(place) for place in np.flatnonzero((said >= 0) & (said != right))]
    found: dict[tuple[str, str], Mistake] = {}
    for place in sorted(wrong, key=lambda n: float(p[n, right[n]] - p[n, said[n]])):
        mistake = Mistake(place, labels[said[place]], float(p[place, said[place]]), float(p[place, right[place]]))
        found.setdefault((pictures[place].label, pictures[place].group), mistake)
    return tuple(found.values())[:_MOST_MISTAKES]
