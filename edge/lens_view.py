"""Measures what a camera's picture is like: light, colour, detail, sharpness, whether it lives, where it looks."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from edge.values import Image, Luma

Thumb = NDArray[np.float32]
"""float32[54, 96]: edges of the view, small: what it looks at, whatever the light."""

THUMB = 96, 54
_COLOURS = 64, 36
AVERAGE_S = 60.0  # pictures are averaged over so long: hens, leaves and the sensor's noise fade, the yard stays
_FINE, _COARSE = (3, 3), (9, 9)
_WHITE = 250
DARK, LIT = 16.0, 40.0  # brightness: nothing can be seen below the one, detail be judged above the other
_EDGE = 8  # pixels around a privacy mask, whose edge is always sharp


@dataclass(frozen=True, slots=True)
class View:
    """What one camera saw lately. Brightness and colour in 0..255, shares in 0..1.

    `detail`: contrast of things a twentieth of the view wide, relative to the light, in focus or not; `contrast`: of
    things a few pixels wide; `sharpness`: of the finest detail relative to that, the same in any light; `alive`:
    another picture than the one before; `light`: exposure times gain, in milliseconds, where the camera tells.
    """

    brightness: float
    white: float
    colour: float
    contrast: float
    detail: float
    sharpness: float
    alive: bool
    edges: Thumb
    light: float | None = None

    @property
    def shows_colour(self) -> bool:
        """Whether there would be colour to be seen."""
        return self.brightness >= DARK and self.white < 0.5

    @property
    def lit(self) -> bool:
        """Whether there is light to judge detail by."""
        return self.brightness >= LIT and self.white < 0.5


class Gaze:
    """Looks at one camera's pictures of one size; all buffers are made once."""

    def __init__(self, size: tuple[int, ...], masks: Sequence[Sequence[tuple[float, float]]] = ()) -> None:
        """`size`: height and width of the small picture; `masks`: polygons in fractions that are painted black."""
        shape = self.size = size[0], size[1]
        self._mean, self._near, self._far = (np.zeros(shape, np.float32) for _ in range(3))
        self._before, self._whites = np.zeros(shape, np.uint8), np.zeros(shape, np.uint8)
        self._colours = np.zeros((_COLOURS[1], _COLOURS[0], 3), np.uint8)
        self._small = np.zeros((THUMB[1], THUMB[0]), np.float32)
        self._open = np.full(shape, 255, np.uint8)
        for mask in masks:
            corners = np.rint(np.array(mask, np.float64) * (shape[1], shape[0])).astype(np.int32)
            cv2.fillPoly(self._open, [corners], 0)
            cv2.polylines(self._open, [corners], True, 0, thickness=2 * _EDGE)
        self._seen = max(cv2.countNonZero(self._open), 1)
        self._coloured, self._thumbed = self._whole(_COLOURS), self._whole(THUMB)
        self._begun = False

    def look(self, luma: Luma, image: Image, since_s: float) -> View:
        """Measure the next picture, `since_s` after the one before. Reads both, keeps neither."""
        alive = not self._begun or cv2.norm(luma, self._before, cv2.NORM_INF) > 0.0
        np.copyto(self._before, luma)
        weight = 1.0 - math.exp(-since_s / AVERAGE_S) if self._begun else 1.0
        cv2.accumulateWeighted(luma, self._mean, weight)
        self._begun = True
        cv2.blur(self._mean, _FINE, dst=self._near)
        cv2.blur(self._mean, _COARSE, dst=self._far)
        fine, middle = self._rms(self._mean, self._near), self._rms(self._near, self._far)
        brightness = cv2.mean(luma, self._open)[0]
        cv2.inRange(luma, _WHITE, 255, dst=self._whites)
        cv2.bitwise_and(self._whites, self._open, dst=self._whites)
        white = cv2.countNonZero(self._whites) / self._seen
        sharpness = fine / middle if middle > 0.05 else 0.0
        cv2.resize(self._near, THUMB, dst=self._small, interpolation=cv2.INTER_AREA)
        detail = self._things() / (brightness + 8.0)
        return View(brightness, white, self._colour(image), middle, detail, sharpness, alive, self._edges())

    def _whole(self, size: tuple[int, int]) -> NDArray[np.uint8]:
        """Which pixels of a smaller picture show nothing masked; all, where there is none such."""
        small = cv2.resize(self._open, size, interpolation=cv2.INTER_AREA)
        return np.where(small == 255, 255, 0 if (small == 255).any() else 255).astype(np.uint8)

    def _things(self) -> float:
        around = cv2.blur(self._small, _COARSE)
        return cv2.norm(self._small, around, cv2.NORM_L2, self._thumbed) / math.sqrt(cv2.countNonZero(self._thumbed))

    def _rms(self, one: NDArray[np.float32], other: NDArray[np.float32]) -> float:
        return cv2.norm(one, other, cv2.NORM_L2, self._open) / math.sqrt(self._seen)

    def _colour(self, image: Image) -> float:
        cv2.resize(image, _COLOURS, dst=self._colours, interpolation=cv2.INTER_AREA)
        red, green, blue = cv2.split(self._colours)
        spread = cv2.subtract(cv2.max(cv2.max(red, green), blue), cv2.min(cv2.min(red, green), blue))
        return cv2.mean(spread, self._coloured)[0]

    def _edges(self) -> Thumb:
        across, down = cv2.Sobel(self._small, cv2.CV_32F, 1, 0), cv2.Sobel(self._small, cv2.CV_32F, 0, 1)
        edges = cv2.magnitude(across, down)
        return np.asarray(edges / (float(edges.mean()) + 1.0), np.float32)


def shift(usual: Thumb, now: Thumb) -> tuple[float, float]:
    """How far the view has moved (share of the picture's width), and how sure that is (0..1)."""
    window = cv2.createHanningWindow(THUMB, cv2.CV_32F)
    (across, down), sure = cv2.phaseCorrelate(usual.astype(np.float32), now, window)
    return math.hypot(across / THUMB[0], down / THUMB[0]), sure
