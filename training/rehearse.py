"""Plays rendered scenes to a bundle and compares what the rule would have done with what was really there."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from edge.bundle import Bundle
from edge.clock import Ids
from edge.config import CameraConfig, EvidenceConfig, MotionConfig, VisitConfig
from edge.evidence import Kinds, is_threat
from edge.motion import MotionDetector
from edge.preprocess import crop_box, prepare, square_crop
from edge.runtimes.tflite import TfliteRuntime
from edge.values import Image, Kind
from edge.visits import Visits
from training.rendered import Take, Truth, name, play

_AWAY_S = 3.0  # who was out of sight for less, at the border of the picture, has not come anew
DOUBTFUL = "doubtful"
"""Somebody half hidden, or two kinds at once."""


@dataclass(frozen=True, slots=True)
class Seen:
    """One visit: what most of its crops showed, and what the one showed at which the rule would first have acted.

    `began` and `acted_at` are media seconds.
    """

    label: str
    began: float
    answers: int
    acted_at: float | None
    acted_on: str | None


@dataclass(frozen=True, slots=True)
class Rehearsal:
    """`jays`: for each that came, seconds from its first pixel in the picture to the act; None: no act.

    `people`: for each that came, seconds until a person was seen. `phantoms`: media seconds at which a person was
    seen though none was in the picture; each holds the deterrents for a minute.
    """

    take: Take
    seen: tuple[Seen, ...]
    jays: tuple[float | None, ...]
    people: tuple[float | None, ...]
    phantoms: tuple[float, ...]


class Asker:
    """A bundle's model, asked directly: no process of its own and no deadline."""

    def __init__(self, bundle: Bundle) -> None:
        self.spec = bundle.manifest.input
        self._runtime = TfliteRuntime(bundle.model, bundle.manifest, threads=1)

    def ask(self, crop: Image) -> NDArray[np.float32]:
        """Probabilities float32[K] of a picture uint8[h, w, 3]."""
        return self._runtime.invoke(prepare(crop, self.spec))[0]


def rehearse(bundle: Bundle, take: Take) -> Rehearsal:
    """Play `take` through motion, visits and evidence as configured by default."""
    evidence, asker = EvidenceConfig(), Asker(bundle)
    kinds = Kinds(bundle.labels, bundle.manifest.suggested_kinds)
    detector = MotionDetector(MotionConfig(), CameraConfig())
    visits = Visits(VisitConfig(), evidence, kinds, Ids("rehearsal"), "rendered")
    diary = _Diary()
    for frame, truth in play(take):
        diary.look(truth, frame.media_time)
        visits.follow(detector.look(frame))
        visit = visits.question(frame)
        if visit is None:
            continue
        margin = asker.spec.crop.margin
        label_p = asker.ask(square_crop(frame.image, visit.box, margin))
        visit = visits.weigh(visit.id, frame, label_p)
        label = name(visit.box, crop_box(frame.image, visit.box, margin), truth) or DOUBTFUL
        person = kinds.p(label_p)[Kind.PERSON] >= evidence.person_p
        diary.note(visit.id, label, person, is_threat(visit.log_odds, visit.clear, evidence), frame.media_time)
    return diary.close(take)


class _Diary:
    """What happened, while it happens."""

    def __init__(self) -> None:
        self._labels: dict[str, Counter[str]] = {}
        self._began: dict[str, float] = {}
        self._acted: dict[str, tuple[float, str]] = {}
        self._here: set[str] = set()
        self._last: dict[str, float] = {}
        self._came: dict[str, list[float]] = {"jay": [], "person": []}
        self._noticed: dict[str, list[float]] = {"jay": [], "person": []}
        self._phantoms: list[float] = []

    def look(self, truth: Truth, media_time: float) -> None:
        self._here = {label for label, _ in truth}
        for label in self._here & set(self._came):
            if media_time - self._last.get(label, -_AWAY_S) >= _AWAY_S:
                self._came[label].append(media_time)
            self._last[label] = media_time

    def note(self, visit: str, label: str, person: bool, threat: bool, media_time: float) -> None:
        self._began.setdefault(visit, media_time)
        self._labels.setdefault(visit, Counter())[label] += 1
        if threat:
            self._acted.setdefault(visit, (media_time, label))
        if threat and label in ("jay", DOUBTFUL):
            self._noticed["jay"].append(media_time)
        if person:
            self._noticed["person"].append(media_time)
        if person and "person" not in self._here:
            self._phantoms.append(media_time)

    def close(self, take: Take) -> Rehearsal:
        seen = tuple(
            Seen(
                labels.most_common(1)[0][0],
                self._began[visit],
                labels.total(),
                *self._acted.get(visit, (None, None)),
            )
            for visit, labels in self._labels.items()
        )
        return Rehearsal(take, seen, self._delays("jay"), self._delays("person"), tuple(self._phantoms))

    def _delays(self, label: str) -> tuple[float | None, ...]:
        return tuple(
            next((at - came for at in self._noticed[label] if came <= at < end), None)
            for came, end in pairwise([*self._came[label], float("inf")])
        )
