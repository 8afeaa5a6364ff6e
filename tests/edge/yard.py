"""A yard as a camera sees it over simulated days, what can be wrong with the camera, and a lens that watches."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta

import cv2
import numpy as np

from edge.frames.luma import luma_of
from edge.frames.synthetic import SyntheticSource
from edge.lens import TROUBLES, Lens
from edge.values import Frame, Image

SIZE = 192, 108
TURN_S = 60.0
HOUR_S, DAY_S = 3600.0, 24 * 3600.0
DAYS_S = 3 * DAY_S
MIDNIGHT = datetime(2026, 6, 1, tzinfo=UTC)
AFTER_S = {trouble.name: trouble.after_s for trouble in TROUBLES}

Change = Callable[[Image], Image]


class Yard:
    """A yard with hens through day, dusk, infrared night, rain and snow: the picture of any second."""

    def __init__(self) -> None:
        rng = np.random.default_rng(3)
        self._grains = [rng.integers(0, 100, (SIZE[1], SIZE[0]), np.uint8) for _ in range(16)]
        self._scenes = {
            scene: [source.render(7.3 * turn) for turn in range(8)]
            for scene in ("day", "dusk", "rain", "infrared", "drizzle", "swarm")
            for source in [SyntheticSource(scene, 3, size=SIZE)]
        }

    def picture(self, at_s: float) -> tuple[Image, float]:
        """The picture, and exposure times gain in ms."""
        hour = at_s % DAY_S / HOUR_S
        number = int(at_s / TURN_S)
        turn = number % 8
        if not 5.0 <= hour < 20.0:
            scene = "swarm" if 22 <= hour < 23 else "drizzle" if 2 <= hour < 3 else "infrared"
            return self._noisy(self._scenes[scene][turn], 5, number), 60.0
        light = min((hour - 5.0) / 1.5, (20.0 - hour) / 1.5, 1.0)  # dawn and dusk take an hour and a half
        under = self._scenes["rain" if 10 <= hour < 12 else "day"][turn]
        mixed = cv2.addWeighted(under, light, self._scenes["dusk"][turn], 1.0 - light, 0.0)
        dim = min(light * 3.0 + 0.05, 1.0)  # at last the exposure can go no further
        noise = 40 if 14 <= hour < 15 else 3 if light == 1.0 else 9
        return self._noisy(cv2.convertScaleAbs(mixed, alpha=dim), noise, number), 5.0 / max(light, 0.08)

    def _noisy(self, picture: Image, noise: int, turn: int) -> Image:
        """With a noise of its own for each turn, up to so much."""
        grains = cv2.convertScaleAbs(self._grains[turn % 16], alpha=noise / 100)
        return np.asarray(cv2.add(picture, cv2.cvtColor(grains, cv2.COLOR_GRAY2RGB)), np.uint8)


class Unlit(Yard):
    """The same without a lamp."""

    def __init__(self, yard: Yard) -> None:
        self._yard = yard

    def picture(self, at_s: float) -> tuple[Image, float]:
        image, light = self._yard.picture(at_s)
        return (image if 5.0 <= at_s % DAY_S / HOUR_S < 20.0 else covered(image)), light


def frame(image: Image, at_s: float, light: float | None = None) -> Frame:
    wall = MIDNIGHT + timedelta(seconds=at_s)
    return Frame("nest", int(at_s), int(at_s * 1e9), at_s, wall, image, luma_of(image), exposure_ms=light, gain=1.0)


def told(lens: Lens) -> list[str]:
    return [name for name, evidence in lens.evidence.items() if evidence.told]


def watch(lens: Lens, yard: Yard, begin_s: float, lasts_s: float, change: Change = lambda image: image,
          hours: bool = True, light: float | None = None) -> Iterator[tuple[float, list[str]]]:  # fmt: skip
    """Have it look once a minute; after each look the time passed, and what is told."""
    at_s = begin_s
    while at_s < begin_s + lasts_s:
        at_s += TURN_S
        image, own = yard.picture(at_s)
        lens.look(frame(change(image.copy()), at_s, light or own), int(at_s % DAY_S / HOUR_S) if hours else None)
        yield at_s - begin_s, told(lens)


def covered(image: Image) -> Image:
    rng = np.random.default_rng(int(image[0, 0, 0]))
    return np.asarray(np.full_like(image, 5) + rng.integers(0, 4, image.shape, np.uint8), np.uint8)


def cloth(image: Image) -> Image:
    noise = np.random.default_rng().integers(0, 4, image.shape[:2], np.uint8)
    return np.asarray(np.full_like(image, (130, 110, 90)) + noise[..., None], np.uint8)


def out_of_focus(image: Image) -> Image:
    return np.asarray(cv2.GaussianBlur(image, (0, 0), 1.6), np.uint8)


def white(image: Image) -> Image:
    return np.full_like(image, 255)


def dim(image: Image) -> Image:
    return np.asarray(cv2.convertScaleAbs(image, alpha=0.2), np.uint8)


def without_colour(image: Image) -> Image:
    return np.asarray(cv2.cvtColor(cv2.cvtColor(image, cv2.COLOR_RGB2GRAY), cv2.COLOR_GRAY2RGB), np.uint8)


def turned(image: Image) -> Image:
    matrix = np.array([[1.0, 0.0, 0.09 * SIZE[0]], [0.0, 1.0, 0.03 * SIZE[0]]])
    return np.asarray(cv2.warpAffine(image, matrix, SIZE, borderMode=cv2.BORDER_REFLECT), np.uint8)


class Stuck:
    """Always the first picture."""

    def __init__(self) -> None:
        self._first: Image | None = None

    def __call__(self, image: Image) -> Image:
        self._first = image if self._first is None else self._first
        return self._first


FAULTS: dict[str, tuple[Change, float | None]] = {
    "dark": (covered, 60.0),
    "covered": (cloth, None),
    "blurred": (out_of_focus, None),
    "white": (white, None),
    "exposure": (dim, 1.0),
    "frozen": (Stuck(), None),
    "grey": (without_colour, None),
    "moved": (turned, None),
}
