"""A person who walks by, seen from the side, looking to the right."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from edge.frames.scenery.brush import Colour, Point, Sheet, Sprite, mix, varied

STRIDE = tuple(f"step{phase}" for phase in range(8))

_COATS: tuple[Colour, ...] = (
    (0.72, 0.16, 0.14), (0.20, 0.34, 0.28), (0.86, 0.66, 0.18), (0.24, 0.28, 0.42), (0.46, 0.34, 0.26),
    (0.78, 0.78, 0.74),
)  # fmt: skip
_TROUSERS: tuple[Colour, ...] = ((0.20, 0.25, 0.38), (0.27, 0.25, 0.22), (0.42, 0.38, 0.30), (0.14, 0.14, 0.16))
_SKINS: tuple[Colour, ...] = ((0.86, 0.66, 0.54), (0.72, 0.50, 0.37), (0.50, 0.33, 0.24), (0.33, 0.22, 0.16))
_HAIRS: tuple[Colour, ...] = ((0.15, 0.10, 0.07), (0.40, 0.25, 0.12), (0.70, 0.55, 0.30), (0.60, 0.60, 0.60))
_BOOT: Colour = (0.13, 0.11, 0.09)


@dataclass(frozen=True, slots=True)
class Clothes:
    coat: Colour
    trousers: Colour
    skin: Colour
    hair: Colour
    hat: Colour | None


def clothes(rng: np.random.Generator) -> Clothes:
    """Somebody."""
    every = (_COATS, _TROUSERS, _SKINS, _HAIRS)
    coat, trousers, skin, hair = (varied(some[rng.integers(len(some))], rng) for some in every)
    return Clothes(coat, trousers, skin, hair, varied((0.76, 0.66, 0.44), rng) if rng.random() < 0.5 else None)


def person(worn: Clothes, pose: str, unit: int, rng: np.random.Generator) -> Sprite:
    """One person, one unit tall. Poses: `step0`..`step7`, one whole stride."""
    sheet = Sheet(0.84, 1.06, unit, rng)
    phase = STRIDE.index(pose) / len(STRIDE) * 2 * math.pi
    bounce = 0.008 * math.cos(2 * phase)
    hip, shoulder = (0.42, 0.53 + bounce), (0.43, 0.215 + bounce)
    _arm(sheet, worn, shoulder, phase, 0.72)
    _leg(sheet, worn, hip, phase + math.pi, 0.72)
    _leg(sheet, worn, hip, phase, 1.0)
    torso = [(0.37, 0.17), (0.49, 0.18), (0.515, 0.30), (0.50, 0.44)]
    torso += [(0.505, 0.57), (0.355, 0.57), (0.365, 0.44), (0.345, 0.30)]
    sheet.blob([(x, y + bounce) for x, y in torso], worn.coat, 0.55, 0.04)
    sheet.limb([(0.365, 0.475 + bounce), (0.495, 0.475 + bounce)], [0.010, 0.010], mix(worn.coat, _BOOT, 0.6), 0.1)
    _head(sheet, worn, (0.445, 0.09 + bounce))
    _arm(sheet, worn, shoulder, phase + math.pi, 1.0)
    return sheet.finish((0.42, 1.02))


def _toned(colour: Colour, tone: float) -> Colour:
    return colour[0] * tone, colour[1] * tone, colour[2] * tone


def _along(start: Point, angle: float, length: float) -> Point:
    """The point `length` from `start`; angle 0 hangs down, positive swings forward."""
    return start[0] + length * math.sin(angle), start[1] + length * math.cos(angle)


def _leg(sheet: Sheet, worn: Clothes, hip: Point, phase: float, tone: float) -> None:
    swing = 0.46 * math.sin(phase)
    bend = 0.12 + 0.75 * max(0.0, math.cos(phase)) ** 2
    knee = _along(hip, swing + 0.05, 0.225)
    ankle = _along(knee, swing + 0.05 - bend, 0.225)
    sheet.limb([hip, knee, ankle], [0.068, 0.050, 0.036], _toned(worn.trousers, tone), 0.45, 0.03)
    heel, toe = _along(ankle, -0.3, 0.028), (ankle[0] + 0.075, ankle[1] + 0.030 - 0.03 * swing)
    sheet.limb([heel, toe], [0.032, 0.022], _toned(_BOOT, tone), 0.4)


def _arm(sheet: Sheet, worn: Clothes, shoulder: Point, phase: float, tone: float) -> None:
    swing = 0.50 * math.sin(phase)
    elbow = _along(shoulder, swing - 0.05, 0.155)
    wrist = _along(elbow, swing + 0.30, 0.14)
    sheet.oval(_along(wrist, swing + 0.30, 0.028), (0.024, 0.028), _toned(worn.skin, tone), 0.4)
    sheet.limb([shoulder, elbow, wrist], [0.046, 0.038, 0.028], _toned(worn.coat, tone * 0.93), 0.5, 0.04)


def _head(sheet: Sheet, worn: Clothes, centre: Point) -> None:
    x, y = centre
    sheet.limb([(x - 0.012, y + 0.10), (x - 0.004, y + 0.03)], [0.034, 0.032], _toned(worn.skin, 0.85), 0.3)
    sheet.oval((x - 0.012, y - 0.006), (0.060, 0.066), worn.hair, 0.5)
    face = [(0.005, -0.05), (0.048, -0.035), (0.066, 0.012), (0.050, 0.055), (0.010, 0.062), (-0.012, 0.01)]
    sheet.blob([(x + across, y + down) for across, down in face], worn.skin, 0.45)
    sheet.oval((x - 0.012, y + 0.012), (0.012, 0.018), _toned(worn.skin, 0.86), 0.3)
    sheet.oval((x + 0.043, y - 0.008), (0.006, 0.007), _BOOT, 0.0)
    if worn.hat is not None:
        sheet.oval((x, y - 0.048), (0.062, 0.036), worn.hat, 0.5)
        sheet.oval((x + 0.004, y - 0.030), (0.105, 0.016), _toned(worn.hat, 0.9), 0.4, -3.0)
