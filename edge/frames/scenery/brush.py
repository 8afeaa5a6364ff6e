"""A brush: smooth shapes with soft light from the upper left, painted on a transparent sheet."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

Point = tuple[float, float]
Colour = tuple[float, float, float]
"""Red, green, blue, each 0 to 1."""
Floats = NDArray[np.float32]

_FINER, _LARGE = 2, 250  # figures of fewer pixels are painted larger, then shrunk: their edges become smooth
_SHIFT = 4  # sub-pixel bits of OpenCV's fixed-point corners


@dataclass(frozen=True, slots=True)
class Sprite:
    """A painted figure: uint8[h, w, 4] RGBA, colours already multiplied with alpha.

    `anchor` is the pixel that stands on the ground, `unit` the pixels that one unit of its drawing takes.
    """

    rgba: NDArray[np.uint8]
    anchor: Point
    unit: float


class Sheet:
    """A transparent sheet of `width` x `height` units, `unit` pixels each; y grows downwards."""

    def __init__(self, width: float, height: float, unit: int, rng: np.random.Generator) -> None:
        self._unit, self._finer = unit, _FINER if unit < _LARGE else 1
        self._scale = unit * self._finer
        shape = round(height * unit) * self._finer, round(width * unit) * self._finer
        self._rgb = np.zeros((*shape, 3), np.float32)
        self._alpha = np.zeros(shape, np.float32)
        self._grain = grain(shape, rng, 0.045 * self._scale, 0.012 * self._scale)

    def blob(self, points: Sequence[Point], colour: Colour, depth: float = 0.5, texture: float = 0.0) -> None:
        """Fill the smooth closed curve through `points`. `depth`: how round it looks; `texture`: how feathery."""
        self._fill([smooth(points)], colour, depth, texture)

    def sharp(self, points: Sequence[Point], colour: Colour, depth: float = 0.2, texture: float = 0.0) -> None:
        """Fill the polygon with these corners."""
        self._fill([np.array(points, np.float32)], colour, depth, texture)

    def oval(self, centre: Point, radii: Point, colour: Colour, depth: float = 0.4, turn: float = 0.0) -> None:
        """Fill an ellipse; `turn` in degrees, clockwise."""
        at, cos, sin = np.linspace(0, 2 * np.pi, 40)[:-1], math.cos(math.radians(turn)), math.sin(math.radians(turn))
        x, y = radii[0] * np.cos(at), radii[1] * np.sin(at)
        self._fill([np.stack([centre[0] + x * cos - y * sin, centre[1] + x * sin + y * cos], 1)], colour, depth, 0.0)

    def limb(
        self, joints: Sequence[Point], radii: Sequence[float], colour: Colour, depth: float = 0.4, texture: float = 0.0
    ) -> None:
        """A rounded limb through `joints`, as thick at each as `radii` say."""
        ends = zip(joints[:-1], joints[1:], radii[:-1], radii[1:], strict=True)
        parts = [_capsule(start, end, thick, thin) for start, end, thick, thin in ends]
        self._fill(parts, colour, depth, texture)

    def finish(self, anchor: Point) -> Sprite:
        """The sheet at its real size. `anchor` in units."""
        height, width = self._alpha.shape[0] // self._finer, self._alpha.shape[1] // self._finer
        rgba = cv2.resize(np.dstack([self._rgb, self._alpha]), (width, height), interpolation=cv2.INTER_AREA)
        pixels = np.rint(np.clip(rgba, 0.0, 1.0) * 255.0).astype(np.uint8)
        return Sprite(pixels, (anchor[0] * self._unit, anchor[1] * self._unit), self._unit)

    def _fill(self, outlines: Sequence[NDArray[np.floating]], colour: Colour, depth: float, texture: float) -> None:
        """Paint the union of `outlines` (units) over what is there."""
        corners = np.concatenate(outlines) * self._scale
        thickness = min(float(np.ptp(outline, 0).min()) for outline in outlines)
        spread = thickness * self._scale * 0.22 + 1.0
        edge = math.ceil(spread * 2)
        left, top = (max(int(v) - edge, 0) for v in corners.min(0))
        right, bottom = (int(v) + edge + 1 for v in corners.max(0))
        window = np.s_[top:bottom, left:right]
        alpha = self._alpha[window]
        if not alpha.size:
            return
        mask = np.zeros(alpha.shape, np.uint8)
        for outline in outlines:
            fixed = np.rint((outline * self._scale - (left, top)) * (1 << _SHIFT)).astype(np.int32)
            cv2.fillPoly(mask, [fixed], 255, cv2.LINE_AA, _SHIFT)
        cover = mask.astype(np.float32) / 255.0
        light = np.clip(1.0 + depth * _lit(cover, spread) + texture * self._grain[window], 0.15, 1.9)[..., None]
        # A little sky in the lit parts and none in the shaded ones keeps the colours from looking like plastic.
        painted = light * np.array(colour, np.float32) + np.clip(light - 1.15, 0.0, 1.0) * 0.25
        self._rgb[window] += (np.minimum(painted, 1.0) - self._rgb[window]) * cover[..., None]
        self._alpha[window] = alpha + cover * (1.0 - alpha)


def _capsule(start: Point, end: Point, thick: float, thin: float) -> NDArray[np.floating]:
    """Outline of two circles and what lies between them."""
    turn = math.atan2(end[1] - start[1], end[0] - start[0])
    back = np.linspace(turn + np.pi / 2, turn + 1.5 * np.pi, 12)
    front = np.linspace(turn - np.pi / 2, turn + np.pi / 2, 12)
    arcs = [
        np.stack([centre[0] + radius * np.cos(arc), centre[1] + radius * np.sin(arc)], 1)
        for centre, radius, arc in ((start, thick, back), (end, thin, front))
    ]
    return np.concatenate(arcs)


def _lit(cover: Floats, spread: float) -> Floats:
    """-1..1: how much each pixel of a rounded shape faces the light in the upper left."""
    height, width = cover.shape
    coarse = max(1, int(spread / 3.0))  # what is blurred this much needs no more pixels
    small = cv2.resize(cover, (max(2, width // coarse), max(2, height // coarse)), interpolation=cv2.INTER_AREA)
    rounded = cv2.GaussianBlur(small, (0, 0), spread / coarse)
    facing = 0.45 * cv2.Sobel(rounded, cv2.CV_32F, 1, 0, ksize=3) + 0.9 * cv2.Sobel(rounded, cv2.CV_32F, 0, 1, ksize=3)
    return np.asarray(cv2.resize(facing * (spread / coarse * 0.35), (width, height)), np.float32)


def smooth(points: Sequence[Point], steps: int = 10) -> Floats:
    """The closed Catmull-Rom curve through `points`, float32[steps * n, 2]."""
    corners = np.array(points, np.float32)
    before, after, beyond = (np.roll(corners, by, 0) for by in (1, -1, -2))
    t = np.linspace(0, 1, steps, endpoint=False, dtype=np.float32)[None, :, None]
    a, b, c, d = before[:, None], corners[:, None], after[:, None], beyond[:, None]
    curve = 0.5 * (2 * b + (c - a) * t + (2 * a - 5 * b + 4 * c - d) * t**2 + (3 * b - a - 3 * c + d) * t**3)
    return np.asarray(curve.reshape(-1, 2), np.float32)


def grain(shape: tuple[int, int], rng: np.random.Generator, across: float, down: float) -> Floats:
    """Soft noise float32[h, w], mean 0, spread 1; `across` and `down` are the sizes of its spots in pixels."""
    coarse = max(1, int(min(across, down)))
    small = max(2, shape[0] // coarse), max(2, shape[1] // coarse)
    noise: NDArray[np.floating | np.integer] = rng.standard_normal(small, dtype=np.float32)
    noise = cv2.GaussianBlur(noise, (0, 0), max(across / coarse, 0.3), sigmaY=max(down / coarse, 0.3))
    noise = cv2.resize(noise, (shape[1], shape[0]), interpolation=cv2.INTER_CUBIC)
    return np.asarray((noise - noise.mean()) / (noise.std() + 1e-6), np.float32)


def mix(first: Colour, second: Colour, part: float) -> Colour:
    """`first` with `part` of `second` in it."""
    r, g, b = (a + (z - a) * part for a, z in zip(first, second, strict=True))
    return r, g, b


def varied(colour: Colour, rng: np.random.Generator, by: float = 0.06) -> Colour:
    """Nearly the same colour."""
    r, g, b = (float(np.clip(part * rng.uniform(1 - by, 1 + by) + rng.uniform(-by, by) / 3, 0, 1)) for part in colour)
    return r, g, b
