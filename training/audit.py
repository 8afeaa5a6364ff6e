"""What may be wrong with the pictures and their labels. It shows and suggests; the owner decides."""

from __future__ import annotations

import warnings
from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from cleanlab.filter import find_label_issues
from numpy.typing import NDArray
from scipy.stats import chi2_contingency, ks_2samp
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score
from sklearn.model_selection import StratifiedGroupKFold
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from training.dataset import Dataset
from training.split import Part

Embeddings = NDArray[np.float32]
"""What a network makes of each picture, float32[n, D]."""

_FOLDS = 5
_SURE = 0.5  # a visit is suspected when the others make another label likelier than that
_ALIKE = 0.15  # two distributions further apart (Kolmogorov-Smirnov) are worth a word
_TOLD_APART = 0.7  # area under the curve from which the sets can be told apart


@dataclass(frozen=True, slots=True)
class Suspect:
    """A visit whose label the other visits speak against: places of its pictures, the worst first."""

    group: str
    places: tuple[int, ...]
    label: str
    suggested: str
    p_label: float
    p_suggested: float

    def json(self) -> dict[str, Any]:
        p = {"p_label": round(self.p_label, 4), "p_suggested": round(self.p_suggested, 4)}
        return {"group": self.group, "label": self.label, "suggested": self.suggested, "pictures": len(self.places)} | p


@dataclass(frozen=True, slots=True)
class Difference:
    """How unlike training and test set are in one respect: Kolmogorov-Smirnov distance, medians, and its p-value."""

    what: str
    distance: float
    train: float
    test: float
    p: float

    @property
    def matters(self) -> bool:
        return self.distance > _ALIKE and self.p < 0.01


@dataclass(frozen=True, slots=True)
class Mixture:
    """How unlike training and test set are in what they are made of: half the sum of the differences of the shares.

    `most` is what differs most, with its share in each.
    """

    what: str
    distance: float
    most: str
    train: float
    test: float
    p: float

    @property
    def matters(self) -> bool:
        return self.distance > _ALIKE and self.p < 0.01


@dataclass(frozen=True, slots=True)
class Audit:
    """Everything that was found. `told_apart`: how well training and test set can be told apart (0.5: not at all)."""

    suspects: tuple[Suspect, ...]
    alike: tuple[tuple[int, int], ...]
    leaks: tuple[tuple[int, int], ...]
    visits: dict[str, int]
    pictures: dict[str, int]
    one_source: dict[str, str]
    differences: tuple[Difference, ...]
    mixtures: tuple[Mixture, ...]
    told_apart: float
    notes: tuple[str, ...]

    @property
    def advice(self) -> tuple[str, ...]:
        """What is worth a word, in words."""
        return tuple(_advice(self))

    def json(self) -> dict[str, Any]:
        return {
            "suspects": [suspect.json() for suspect in self.suspects],
            "near_duplicates": len(self.alike),
            "leaks": len(self.leaks),
            "visits": self.visits,
            "pictures": self.pictures,
            "one_source": self.one_source,
            "differences": {one.what: round(one.distance, 3) for one in self.differences}
            | {mix.what: round(mix.distance, 3) for mix in self.mixtures},
            "told_apart": round(self.told_apart, 3),
            "advice": list(self.advice),
            "notes": list(self.notes),
        }


def audit(dataset: Dataset, embeddings: Embeddings, parts: Sequence[Part], leaks: Sequence[tuple[int, int]]) -> Audit:
    """Look for wrong labels, for pictures that are there twice, and for sets that are not alike."""
    groups = defaultdict(set)
    sources = defaultdict(set)
    for picture in dataset.pictures:
        groups[picture.label].add(picture.group)
        sources[picture.label].add(picture.source)
    one_source = {label: next(iter(names)) for label, names in sorted(sources.items()) if len(names) == 1}
    return Audit(
        suspects=tuple(suspects(dataset, embeddings)),
        alike=dataset.alike,
        leaks=tuple(leaks),
        visits={label: len(groups[label]) for label in dataset.labels},
        pictures=dict(Counter(picture.label for picture in dataset.pictures).most_common()),
        one_source=one_source if any(one_source.values()) else {},
        differences=tuple(_differences(dataset, parts)),
        mixtures=tuple(_mixtures(dataset, parts)),
        told_apart=_told_apart(dataset, embeddings, parts),
        notes=dataset.notes,
    )


def suspects(dataset: Dataset, embeddings: Embeddings) -> list[Suspect]:
    """Visits that are probably labelled wrongly, the surest first.

    Each visit is judged by a classifier that has seen no picture of it, and by the mean over its pictures: frame by
    frame a burst would vouch for itself. Confident learning (Northcutt et al., 2021) then asks which labels are wrong
    given how sure the classifier usually is of each, and the visit must also be another thing more likely than not.
    """
    labels = dataset.labels
    if len(labels) < 2:
        return []
    right = np.array([labels.index(picture.label) for picture in dataset.pictures])
    groups = np.array([picture.group for picture in dataset.pictures])
    p = out_of_fold(embeddings, right, groups, len(labels))
    visits = sorted(set(zip(groups.tolist(), right.tolist(), strict=True)))
    places = defaultdict(list)
    for place, visit in enumerate(zip(groups.tolist(), right.tolist(), strict=True)):
        places[visit].append(place)
    mean = np.array([p[places[visit]].mean(0) for visit in visits])
    label = np.array([number for _, number in visits])
    with warnings.catch_warnings(action="ignore", category=UserWarning):  # of labels with few visits: we say so too
        found = find_label_issues(label, mean, return_indices_ranked_by="self_confidence", n_jobs=1)
    return [
        Suspect(
            group=visits[row][0],
            places=tuple(sorted(places[visits[row]], key=lambda place: p[place, label[row]])),
            label=labels[label[row]],
            suggested=labels[int(mean[row].argmax())],
            p_label=float(mean[row, label[row]]),
            p_suggested=float(mean[row].max()),
        )
        for row in (int(row) for row in found)
        if mean[row].max() > _SURE and mean[row].argmax() != label[row]
    ]


def out_of_fold(
    embeddings: Embeddings, right: NDArray[np.int64], groups: NDArray[np.str_], classes: int
) -> NDArray[np.float64]:
    """Probabilities float64[n, K] by classifiers that saw nothing of the same group; all equal where none can judge."""
    p = np.full((len(right), classes), 1e-6)
    number = min(_FOLDS, len(set(groups.tolist())), int(np.bincount(right).max()))
    if number < 2:
        return np.full_like(p, 1.0 / classes)
    folds = StratifiedGroupKFold(number, shuffle=True, random_state=0)
    with warnings.catch_warnings(action="ignore"):  # of labels with fewer groups than folds: they are judged by few
        sides = list(folds.split(embeddings, right, groups))
    for train, held in sides:
        if len(set(right[train].tolist())) < 2:
            continue
        model = make_pipeline(StandardScaler(), LogisticRegression(C=0.01, max_iter=200))
        model.fit(embeddings[train], right[train])
        p[np.ix_(held, model.classes_)] = model.predict_proba(embeddings[held])
    return np.asarray(p / p.sum(1, keepdims=True))


def _differences(dataset: Dataset, parts: Sequence[Part]) -> list[Difference]:
    facts = {
        "brightness": [one.light for one in dataset.prints],
        "colour": [one.colour for one in dataset.prints],
        "size in pixels": [float(np.prod(one.size)) ** 0.5 for one in dataset.prints],
        "hour of the day": [p.wall.hour + p.wall.minute / 60 if p.wall else np.nan for p in dataset.pictures],
    }
    test = np.array([part is Part.TEST for part in parts])
    found = []
    for what, values in facts.items():
        ours, theirs = (np.array(values)[side] for side in (~test, test))
        ours, theirs = ours[np.isfinite(ours)], theirs[np.isfinite(theirs)]
        if len(ours) and len(theirs):
            result = ks_2samp(ours, theirs)
            medians = float(np.median(ours)), float(np.median(theirs))
            found.append(Difference(what, float(result.statistic), *medians, float(result.pvalue)))
    return found


def _mixtures(dataset: Dataset, parts: Sequence[Part]) -> list[Mixture]:
    """Labels, sources and cameras, counted by visit: the pictures of one are not independent."""
    visits = {
        (picture.group, picture.label): (part is Part.TEST, picture)
        for picture, part in zip(dataset.pictures, parts, strict=True)
    }
    found = []
    for what in ("label", "source", "camera"):
        counts = Counter((getattr(picture, what), test) for test, picture in visits.values())
        names = sorted({name for name, _ in counts})
        table = np.array([[counts[name, side] for name in names] for side in (False, True)])
        if len(names) < 2 or not table.sum(1).all():
            continue
        ours, theirs = table / table.sum(1, keepdims=True)
        worst = int(np.abs(ours - theirs).argmax())
        p = float(chi2_contingency(table).pvalue)
        distance = float(np.abs(ours - theirs).sum() / 2)
        found.append(Mixture(what, distance, names[worst], float(ours[worst]), float(theirs[worst]), p))
    return found


def _told_apart(dataset: Dataset, embeddings: Embeddings, parts: Sequence[Part]) -> float:
    """Area under the curve of a classifier that is to tell the test set from the rest."""
    test = np.array([part is Part.TEST for part in parts], np.int64)
    groups = np.array([picture.group for picture in dataset.pictures])
    if min(len(set(groups[test == side])) for side in (0, 1)) < _FOLDS:
        return 0.5
    return float(roc_auc_score(test, out_of_fold(embeddings, test, groups, 2)[:, 1]))


def _advice(found: Audit) -> list[str]:
    said = []
    if found.suspects:
        said.append(f"{len(found.suspects)} visits look like something else than their label: look at them first.")
    if len(found.visits) < 2:
        said.append("There is one label only: no label can be doubted, and nothing be learnt.")
    few = [label for label, count in found.visits.items() if count < 10]
    if few:
        said.append(f"Fewer than 10 visits of {', '.join(few)}: nothing can be said about them.")
    most, least = max(found.visits.values()), min(found.visits.values())
    if most > 20 * least:
        said.append(f"The commonest label has {most} visits, the rarest {least}: more of the rare ones help most.")
    if found.one_source:
        names = ", ".join(f"{label} ({source})" for label, source in found.one_source.items())
        said.append(f"From one source only, so that a model may learn the place and not the animal: {names}.")
    for one in found.differences:
        if one.matters:
            said.append(
                f"Training and test set differ in {one.what}: {one.train:.2g} and {one.test:.2g} in the middle."
            )
    for mix in found.mixtures:
        if mix.matters:
            shares = f"{mix.train:.0%} and {mix.test:.0%} of the visits"
            said.append(f"Training and test set differ by {mix.what}, most in {mix.most}: {shares}.")
    if found.told_apart > _TOLD_APART:
        said.append(f"Training and test set can be told apart ({found.told_apart:.0%}): figures may not carry over.")
    return said
