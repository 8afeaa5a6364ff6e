"""Pictures that belong together as visits, and what visits have in common: light, hour, camera."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edge.frames.folder import natural
from training.dataset import Picture
from training.measures import Places, Share

GREY = 0.015
"""Saturation (0..1) below which a picture was taken by infrared; overexposed daylight has twice that or more."""
DARK = 45.0
"""Mean brightness (of 255) below which it is night."""
NIGHT = "night"
_HOURS = 3
_ORDER = ("light", "colours", "hour", "camera")


@dataclass(frozen=True, slots=True)
class Slice:
    """Visits that have something in common: `of` what (light, hour, camera), `value` which. `recall` by label."""

    of: str
    value: str
    visits: Share
    recall: dict[str, Share]

    def json(self) -> dict[str, Any]:
        recall = {label: share.json() for label, share in self.recall.items()}
        return {"of": self.of, "value": self.value, "visits": self.visits.json(), "recall": recall}


@dataclass(frozen=True, slots=True)
class Visit:
    """Pictures of one label and group, in the order taken: their places among all, int64[m]."""

    label: str
    places: Places
    first: Picture


def visits_of(pictures: Sequence[Picture], read: NDArray[np.bool_]) -> list[Visit]:
    """The pictures that were read, by label and group, each group in the order taken."""
    found: dict[tuple[str, str], list[int]] = {}
    for place, picture in enumerate(pictures):
        if read[place]:
            found.setdefault((picture.label, picture.group), []).append(place)
    visits = []
    for (label, _), inside in found.items():
        moments = {place: wall for place in inside if (wall := pictures[place].wall)}
        if len(moments) == len(inside):
            inside = sorted(inside, key=moments.__getitem__)
        else:
            inside = sorted(inside, key=lambda place: natural(pictures[place].path))
        visits.append(Visit(label, np.array(inside, np.int64), pictures[inside[0]]))
    return visits


def slices_of(visits: Sequence[Visit], hit: NDArray[np.bool_], facts: NDArray[np.float32]) -> tuple[Slice, ...]:
    """By light, hour and camera, as far as known."""
    inside: dict[tuple[str, str], list[int]] = {}
    for number, visit in enumerate(visits):
        for common in _common(visit, facts):
            inside.setdefault(common, []).append(number)
    found = []
    for (of, value), numbers in sorted(inside.items(), key=lambda item: (_ORDER.index(item[0][0]), item[0][1])):
        recall = {}
        for label in sorted({visits[number].label for number in numbers}):
            ours = [bool(hit[number]) for number in numbers if visits[number].label == label]
            recall[label] = Share(sum(ours), len(ours))
        found.append(Slice(of, value, Share(int(hit[numbers].sum()), len(numbers)), recall))
    return tuple(found)


def _common(visit: Visit, facts: NDArray[np.float32]) -> Iterable[tuple[str, str]]:
    """(of what, which) of one visit."""
    luma, saturation = (float(mean) for mean in facts[visit.places].mean(axis=0))
    if np.isfinite(luma + saturation):
        yield "light", NIGHT if luma < DARK or saturation < GREY else "day"
        yield "colours", "grey" if saturation < GREY else "coloured"
    if visit.first.wall:
        hour = visit.first.wall.hour // _HOURS * _HOURS
        yield "hour", f"from {hour:02d} to {hour + _HOURS:02d}"
    if visit.first.camera:
        yield "camera", visit.first.camera
