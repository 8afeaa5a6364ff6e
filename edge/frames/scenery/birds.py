"""Hens and a scrub jay, in the poses they take. All look to the right."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from edge.frames.scenery.brush import Colour, Point, Sheet, Sprite, mix, varied

WALK = ("walk0", "walk1", "walk2", "walk3")
FLIGHT = ("fly0", "fly1", "fly2", "fly3")

_RED: Colour = (0.80, 0.10, 0.10)
_HORN: Colour = (0.88, 0.68, 0.28)
_DARK: Colour = (0.07, 0.06, 0.06)


@dataclass(frozen=True, slots=True)
class Plumage:
    """A breed's colours. `specks`: lighter feather tips; `bars`: dark stripes."""

    body: Colour
    neck: Colour
    tail: Colour
    specks: bool = False
    bars: bool = False


BREEDS = (
    Plumage((0.58, 0.27, 0.12), (0.68, 0.34, 0.13), (0.20, 0.12, 0.10)),  # Rhode Island red
    Plumage((0.92, 0.90, 0.85), (0.95, 0.93, 0.88), (0.86, 0.84, 0.79)),  # leghorn
    Plumage((0.80, 0.55, 0.24), (0.86, 0.62, 0.28), (0.62, 0.40, 0.18)),  # buff Orpington
    Plumage((0.13, 0.13, 0.15), (0.17, 0.16, 0.16), (0.09, 0.11, 0.12)),  # Australorp
    Plumage((0.62, 0.62, 0.62), (0.70, 0.70, 0.69), (0.46, 0.46, 0.47), bars=True),  # Plymouth Rock
    Plumage((0.42, 0.24, 0.13), (0.55, 0.30, 0.14), (0.16, 0.12, 0.11), specks=True),  # speckled Sussex
)


def hen(breed: Plumage, pose: str, unit: int, rng: np.random.Generator) -> Sprite:
    """One hen, one unit long. Poses: `walk0`..`walk3`, `stand`, `look` (head turned up), `peck`."""
    sheet = Sheet(1.36, 1.2, unit, rng)
    step = math.sin(WALK.index(pose) * math.pi / 2 + math.pi / 4) * 0.12 if pose in WALK else 0.02
    for hip, swing, tone in ((0.47, -step, 0.75), (0.55, step, 1.0)):
        _leg(sheet, (hip, 0.80), (hip + swing, 1.10), tone)
    body = [(0.07, 0.20), (0.04, 0.36), (0.17, 0.62), (0.40, 0.86), (0.66, 0.84), (0.84, 0.64)]
    body += [(0.84, 0.46), (0.66, 0.40), (0.44, 0.47), (0.29, 0.38), (0.19, 0.17)]
    for index, (x, y) in enumerate(((0.02, 0.30), (0.05, 0.20), (0.12, 0.12), (0.20, 0.10))):
        tip = mix(breed.tail, _DARK, 0.12 * index)
        sheet.limb([(0.26, 0.50), (x + 0.06, y + 0.12), (x, y)], [0.10, 0.055, 0.025], tip, 0.5, 0.05)
    sheet.blob(body, breed.body, 0.75, 0.07)
    wing = [(0.20, 0.58), (0.30, 0.50), (0.52, 0.48), (0.68, 0.55), (0.66, 0.67), (0.48, 0.73), (0.30, 0.70)]
    sheet.blob(wing, mix(breed.body, breed.tail, 0.35), 0.55, 0.09)
    for y in (0.60, 0.655):
        sheet.limb([(0.25, y), (0.46, y + 0.045)], [0.008, 0.014], mix(breed.body, breed.tail, 0.65), 0.2)
    _feathers(sheet, breed, rng)
    _neck_and_head(sheet, breed, pose)
    return sheet.finish((0.52, 1.12))


def _leg(sheet: Sheet, hip: Point, foot: Point, tone: float) -> None:
    r, g, b = (part * tone for part in _HORN)
    knee = (hip[0] + 0.4 * (foot[0] - hip[0]) - 0.02, hip[1] + 0.45 * (foot[1] - hip[1]))
    sheet.limb([hip, knee, foot], [0.05, 0.024, 0.017], (r, g, b), 0.3)
    for x in (-0.05, 0.05, 0.085):
        sheet.limb([foot, (foot[0] + x, foot[1] + 0.025)], [0.015, 0.009], (r, g, b), 0.2)


def _feathers(sheet: Sheet, breed: Plumage, rng: np.random.Generator) -> None:
    """Bars or specks over the body."""
    if not (breed.bars or breed.specks):
        return
    tone = mix(breed.body, _DARK, 0.7) if breed.bars else (0.92, 0.86, 0.76)
    for row in range(7):
        for column in range(9):
            x, y = 0.16 + column * 0.075 + rng.uniform(-0.01, 0.01), 0.48 + row * 0.05 + rng.uniform(-0.008, 0.008)
            inside = ((x - 0.46) / 0.33) ** 2 + ((y - 0.63) / 0.17) ** 2 < 1.0
            if inside and breed.bars:
                sheet.limb([(x - 0.026, y), (x + 0.026, y + 0.012)], [0.009, 0.009], tone, 0.0)
            elif inside:
                sheet.oval((x, y), (0.014, 0.009), tone, 0.0)


def _neck_and_head(sheet: Sheet, breed: Plumage, pose: str) -> None:
    bob = 0.03 if pose in ("walk0", "walk2") else 0.0
    head, turn = {"peck": ((1.06, 0.88), 62.0), "look": ((0.87, 0.17), -14.0)}.get(pose, ((0.90 + bob, 0.185), 2.0))
    bend = (0.90, 0.58) if pose == "peck" else (0.82, 0.34)
    sheet.limb([(0.68, 0.58), bend, head], [0.155, 0.125, 0.075], breed.neck, 0.5, 0.08)
    hackle = [(0.58, 0.45), (0.72, 0.42), (0.84, 0.50), (0.80, 0.66), (0.72, 0.72), (0.64, 0.64)]
    sheet.blob(hackle, breed.neck, 0.08, 0.09)

    def at(x: float, y: float) -> Point:
        cos, sin = math.cos(math.radians(turn)), math.sin(math.radians(turn))
        return head[0] + x * cos - y * sin, head[1] + x * sin + y * cos

    comb = [(-0.06, -0.04), (-0.10, -0.11), (-0.05, -0.10), (-0.03, -0.155), (0.0, -0.105), (0.035, -0.15)]
    comb += [(0.05, -0.10), (0.085, -0.11), (0.085, -0.045), (0.0, -0.02)]
    sheet.sharp([at(x, y) for x, y in comb], _RED, 0.35)
    sheet.oval(head, (0.085, 0.078), breed.neck, 0.45, turn)
    sheet.oval(at(0.035, 0.012), (0.05, 0.045), _RED, 0.3, turn)
    sheet.sharp([at(0.07, -0.03), at(0.155, 0.022), at(0.07, 0.04)], _HORN, 0.3)
    sheet.blob([at(0.045, 0.035), at(0.085, 0.05), at(0.075, 0.12), at(0.04, 0.10)], _RED, 0.35)
    sheet.oval(at(0.03, -0.012), (0.017, 0.017), (0.85, 0.55, 0.15), 0.0)
    sheet.oval(at(0.032, -0.012), (0.010, 0.010), _DARK, 0.0)


@dataclass(frozen=True, slots=True)
class JayColours:
    blue: Colour
    wing: Colour
    back: Colour
    belly: Colour


def jay_colours(rng: np.random.Generator) -> JayColours:
    """One bird's own blue and grey."""
    blue = varied((0.16, 0.36, 0.78), rng)
    return JayColours(blue, mix(blue, _DARK, 0.22), varied((0.50, 0.47, 0.45), rng), varied((0.80, 0.79, 0.77), rng))


def jay(colours: JayColours, pose: str, unit: int, rng: np.random.Generator) -> Sprite:
    """One scrub jay, one unit long. Poses: `fly0`..`fly3` (anchored at its middle), `stand`, `crouch`."""
    return _flying(colours, FLIGHT.index(pose), unit, rng) if pose in FLIGHT else _perched(colours, pose, unit, rng)


def _perched(colours: JayColours, pose: str, unit: int, rng: np.random.Generator) -> Sprite:
    sheet = Sheet(1.24, 1.0, unit, rng)
    low = 0.06 if pose == "crouch" else 0.0
    for hip, tone in ((0.55, 0.7), (0.61, 1.0)):
        leg = (0.22 * tone, 0.20 * tone, 0.20 * tone)
        sheet.limb([(hip, 0.66), (hip + 0.03, 0.92)], [0.024, 0.014], leg, 0.2)
        sheet.limb([(hip - 0.03, 0.94), (hip + 0.09, 0.94)], [0.011, 0.011], leg, 0.1)
    tail = [(0.50, 0.48 + low), (0.02, 0.72), (0.0, 0.80), (0.06, 0.83), (0.52, 0.66 + low)]
    sheet.sharp(tail, colours.wing, 0.4, 0.05)
    sheet.limb([(0.06, 0.775), (0.48, 0.60 + low)], [0.006, 0.01], mix(colours.wing, _DARK, 0.5), 0.1)
    body = [
        (0.42, 0.52),
        (0.58, 0.36),
        (0.74, 0.22),
        (0.92, 0.30),
        (0.90, 0.50),
        (0.76, 0.69),
        (0.56, 0.73),
        (0.42, 0.66),
    ]
    sheet.blob([(x, y + low) for x, y in body], colours.belly, 0.7, 0.04)
    back = [(0.46, 0.52), (0.60, 0.34), (0.76, 0.24), (0.76, 0.40), (0.58, 0.54)]
    sheet.blob([(x, y + low) for x, y in back], colours.back, 0.35, 0.05)
    wing = [(0.77, 0.38), (0.70, 0.36), (0.44, 0.50), (0.20, 0.66), (0.46, 0.66), (0.70, 0.56)]
    sheet.blob([(x, y + low) for x, y in wing], colours.blue, 0.6, 0.06)
    for part in (0.25, 0.5, 0.75):
        start = (0.70 - 0.10 * part, 0.42 + 0.13 * part + low)
        sheet.limb([start, (0.26 + 0.10 * part, 0.645 + low)], [0.012, 0.006], colours.wing, 0.1)
    _jay_head(sheet, colours, (0.88, 0.23 + low), 4.0)
    return sheet.finish((0.60, 0.95))


def _jay_head(sheet: Sheet, colours: JayColours, head: Point, turn: float) -> None:
    def at(x: float, y: float) -> Point:
        cos, sin = math.cos(math.radians(turn)), math.sin(math.radians(turn))
        return head[0] + x * cos - y * sin, head[1] + x * sin + y * cos

    sheet.sharp([at(0.08, -0.035), at(0.26, 0.025), at(0.09, 0.055)], (0.10, 0.10, 0.12), 0.4)
    sheet.oval(head, (0.135, 0.120), colours.blue, 0.6, turn)
    throat = [at(-0.06, 0.05), at(0.06, 0.03), at(0.11, 0.06), at(0.06, 0.13), at(-0.04, 0.16)]
    sheet.blob(throat, (0.90, 0.90, 0.89), 0.2)
    sheet.limb([at(-0.09, 0.13), at(0.0, 0.175), at(0.06, 0.155)], [0.018, 0.024, 0.012], colours.wing, 0.2)
    sheet.oval(at(0.01, 0.012), (0.075, 0.042), mix(colours.blue, _DARK, 0.62), 0.2, turn)
    sheet.limb([at(-0.05, -0.045), at(0.06, -0.048)], [0.008, 0.010], (0.92, 0.93, 0.95), 0.0)
    sheet.oval(at(0.035, -0.005), (0.020, 0.020), _DARK, 0.0)
    sheet.oval(at(0.040, -0.011), (0.007, 0.007), (0.95, 0.95, 0.95), 0.0)


def _flying(colours: JayColours, beat: int, unit: int, rng: np.random.Generator) -> Sprite:
    """Seen from the side: wings up, half, down, half."""
    sheet = Sheet(1.3, 1.4, unit, rng)
    lift = (0.58, 0.30, -0.46, -0.20)[beat]
    _wing(sheet, (0.66, 0.66), lift * 0.85, mix(colours.wing, _DARK, 0.3), lean=0.14)
    fan = [(0.46, 0.66), (0.06, 0.62), (0.0, 0.70), (0.03, 0.79), (0.46, 0.74)]
    sheet.sharp(fan, colours.blue, 0.4, 0.05)
    body = [(0.38, 0.68), (0.58, 0.60), (0.84, 0.58), (0.96, 0.68), (0.84, 0.78), (0.60, 0.80)]
    sheet.blob(body, colours.belly, 0.6, 0.04)
    sheet.blob([(0.40, 0.67), (0.60, 0.59), (0.84, 0.57), (0.80, 0.65), (0.58, 0.68)], colours.back, 0.3, 0.05)
    _jay_head(sheet, colours, (0.98, 0.65), 8.0)
    _wing(sheet, (0.68, 0.67), lift, colours.blue, lean=0.0)
    return sheet.finish((0.62, 0.68))


def _wing(sheet: Sheet, shoulder: Point, lift: float, colour: Colour, lean: float) -> None:
    """One spread wing: `lift` units up (negative: down), with its long feathers."""
    x, y = shoulder
    tip = (x - 0.20 + lean, y - lift)
    wrist = (x + 0.08 + lean * 0.6, y - lift * 0.55)
    trailing = [(x - 0.30 + lean, y - lift * 0.72), (x - 0.27, y - lift * 0.1)]
    sheet.blob([(x + 0.10, y), wrist, tip, *trailing], colour, 0.5, 0.06)
    for part in (0.2, 0.4, 0.6, 0.8):
        root = (x + 0.05 - 0.22 * part, y - lift * 0.25)
        end = (tip[0] - 0.10 * part, tip[1] + lift * 0.24 * part)
        sheet.limb([root, end], [0.006, 0.010], mix(colour, _DARK, 0.4), 0.0)
