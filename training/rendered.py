"""Crops of rendered scenes as the appliance would cut them, each with the name of what it shows."""

from __future__ import annotations

import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import islice

import numpy as np
from numpy.typing import NDArray

from edge.config import CameraConfig, MotionConfig
from edge.frames.synthetic import SyntheticSource
from edge.motion import MotionDetector
from edge.preprocess import InputSpec, crop_box, prepare, square_crop
from edge.values import Box, Frame
from edge.visits import join

NOTHING = "nothing"
LABELS = ("jay", "hen", "person", NOTHING)
Truth = Sequence[tuple[str, Box]]
"""What is in a picture, and where; see `SyntheticSource.truth`."""

_MATTERS = ("person", "jay", "hen")
_MEANT = 0.5  # a box shows a thing when it covers this much of the thing, or the thing this much of the box
_SMALL = 0.08  # a thing that is less of the box than this is hardly to be seen in it
_TINY = 0.08  # a part of a person that is less of him than this is a shoe, and blown up not unlike a hen
_ABSENT = 0.1  # a thing that is in the box by no more than this part is not in it
_START = datetime(2026, 1, 1, 12, tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class Crops:
    """Pictures uint8[n, side, side, 3] RGB, which of `LABELS` each shows int64[n], and the scene of each, str[n]."""

    pictures: NDArray[np.uint8]
    labels: NDArray[np.int64]
    scenes: NDArray[np.str_]

    def __len__(self) -> int:
        return len(self.labels)


@dataclass(frozen=True, slots=True)
class Take:
    """What to render: a scene with its seed, for so many seconds, so many pictures a second."""

    scene: str
    seed: int
    seconds: float = 66.0  # one chapter of the story: two jays and a person come by
    fps: float = 5.0
    size: tuple[int, int] = (1280, 720)


def name(box: Box, view: Box, truth: Truth) -> str | None:
    """Which of `LABELS` is in the box, of which the model is shown `view` (see `crop_box`).

    Among several the one that matters most: a person, then a jay, however many hens are round it. None where it cannot
    be said: somebody is half there, hardly to be seen, or in full view beside the box.
    """
    whole, part, doubtful = set[str](), set[str](), set[str]()
    for label, thing in truth:
        shared = box.overlap(thing)
        if label not in LABELS:
            continue  # an insect is nothing
        if shared >= _MEANT * thing.area and thing.area >= _SMALL * box.area:
            whole.add(label)
        elif shared >= _MEANT * box.area and (label != "person" or box.area >= _TINY * thing.area):
            part.add(label)
        elif shared > _ABSENT * min(box.area, thing.area) or view.overlap(thing) >= _MEANT * thing.area:
            doubtful.add(label)
    found = sorted(whole or part, key=_MATTERS.index)
    best = found[0] if found else NOTHING
    lesser = _MATTERS[_MATTERS.index(best) :] if whole else ()
    return best if doubtful | part <= {best, *lesser} else None


def play(take: Take) -> Iterator[tuple[Frame, Truth]]:
    """The take's frames, and what is to be seen in each."""
    source = SyntheticSource(take.scene, take.seed, take.fps, take.size)
    for seq, shot in enumerate(islice(source.shots(), round(take.seconds * take.fps))):
        yield Frame("rendered", seq, 0, shot.media_time, _START, shot.image, shot.luma), source.truth(shot.media_time)


def cut(take: Take, spec: InputSpec) -> Crops:
    """Crops of what moves, and beside those what motion might also have given; see `_others`."""
    random = np.random.default_rng([take.seed, zlib.crc32(take.scene.encode())])
    detector = MotionDetector(MotionConfig(), CameraConfig())
    pictures: list[NDArray[np.generic]] = []
    labels: list[int] = []
    for frame, truth in play(take):
        for box in (*join(detector.look(frame).boxes), *_others(truth, random)):
            label = name(box, crop_box(frame.image, box, spec.crop.margin), truth)
            # Hens are there all day, jays for seconds.
            if label is None or (label == "hen" and random.random() < 0.6):
                continue
            labels.append(LABELS.index(label))
            pictures.append(prepare(square_crop(frame.image, box, spec.crop.margin), spec)[0])
    shown = np.stack(pictures).astype(np.uint8) if pictures else np.empty((0, *spec.shape[1:]), np.uint8)
    return Crops(shown, np.array(labels, np.int64), np.full(len(labels), take.scene))


def gather(parts: Sequence[Crops]) -> Crops:
    """All of them as one."""
    return Crops(
        np.concatenate([part.pictures for part in parts]),
        np.concatenate([part.labels for part in parts]),
        np.concatenate([part.scenes for part in parts]),
    )


def _others(truth: Truth, random: np.random.Generator) -> Iterator[Box]:
    """Boxes of everybody there, or of a part of them; of two hens at once; of any small place; and a wide view.

    Without the wide views a person would be whatever is seen from afar.
    """
    hens = [thing for label, thing in truth if label == "hen"]
    for label, thing in truth:
        if label in LABELS and random.random() < (0.5 if label == "hen" else 0.8):
            yield _jittered(thing, random)
    if len(hens) >= 2 and random.random() < 0.8:
        one, other = random.choice(len(hens), 2, replace=False)
        yield hens[one].union(hens[other])
    if random.random() < 0.4:
        yield _anywhere(np.exp(random.uniform(np.log(0.02), np.log(0.3), 2)), random)
    if random.random() < 0.6:
        yield _anywhere(random.uniform((0.08, 0.25), (0.5, 0.7)), random)


def _anywhere(size: NDArray[np.floating], random: np.random.Generator) -> Box:
    return Box(*random.uniform(0.0, 1.0 - size).tolist(), *size.tolist())


def _jittered(thing: Box, random: np.random.Generator) -> Box:
    """About this box, inside the picture: a part of it that moves, or more than it when its shadow does too."""
    (x, y), (w, h) = thing.centre, np.exp(random.uniform(np.log(0.2), np.log(1.5), 2)) * (thing.w, thing.h)
    x, y = x + 0.25 * thing.w * random.uniform(-1.0, 1.0), y + 0.25 * thing.h * random.uniform(-1.0, 1.0)
    left, top = min(max(x - w / 2, 0.0), 0.999), min(max(y - h / 2, 0.0), 0.999)
    right, bottom = min(max(x + w / 2, left + 0.001), 1.0), min(max(y + h / 2, top + 0.001), 1.0)
    return Box(float(left), float(top), float(right - left), float(bottom - top))
