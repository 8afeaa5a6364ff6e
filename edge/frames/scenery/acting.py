"""What a deterrent does to the picture while it acts and after: a lamp, a strobe, a jet of water."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import cv2
import numpy as np
from numpy.typing import NDArray

from edge.frames.scenery.light import lamplight
from edge.values import Image

Pulse = tuple[float, float]
"""Seconds at which a deterrent went on and off again."""
Show = Callable[[Image, float, Sequence[Pulse], int], Image]
"""(picture uint8[H, W, 3], seconds, pulses so far in order, seed) -> the picture as it is with them, new."""

_GLOW_S = 0.15  # a filament glows on; an LED's supply drains
_EXPOSED_S = 0.4  # a camera's exposure follows the light
_FLASHES_HZ, _ROWS = 12.0, 0.45  # of a strobe; share of the rows that a rolling shutter catches of one flash
_REACH_S = 0.3  # a jet needs so long to arrive, and to break off
_DRIES_S = 60.0
_SWAY_S, _SWAY = 1.2, 0.010  # how long twigs move after a jet, and how far, of the picture's height
_DRIP_S = 1.5


def lamp(picture: Image, time: float, pulses: Sequence[Pulse], seed: int) -> Image:
    """A floodlight beside the camera: bright in the middle, it glows on, and the camera's exposure follows it."""
    height, width = picture.shape[:2]
    light = _level(pulses, time, 0.04, _GLOW_S)
    if light > 0.01:
        factors = lamplight(height, width, (0.60, 0.50)).astype(np.float32) / 64.0
        lit = picture * (1.0 + (factors - 1.0) * light) + 24.0 * light
    else:
        lit = picture.astype(np.float32)
    return _clipped(lit * (1.0 - 0.45 * _level(pulses, time, _EXPOSED_S, _EXPOSED_S)))


def steady(picture: Image, time: float, pulses: Sequence[Pulse], seed: int) -> Image:
    """A lamp with a timer of its own: once switched on, it stays on for twenty seconds."""
    return lamp(picture, time, [(start, max(end, start + 20.0)) for start, end in pulses], seed)


def strobe(picture: Image, time: float, pulses: Sequence[Pulse], seed: int) -> Image:
    """A strobe flashes by itself while it is on; a rolling shutter catches each flash in some of its rows."""
    exposed = 1.0 - 0.3 * _level(pulses, time, _EXPOSED_S, _EXPOSED_S)
    if not any(start <= time < end for start, end in pulses):
        return picture.copy() if exposed > 0.995 else _clipped(picture * exposed)
    height, width = picture.shape[:2]
    caught = (np.arange(height, dtype=np.float32)[:, None] / height - time * _FLASHES_HZ) % 1.0 < _ROWS
    factors = lamplight(height, width, (0.35, 0.45)).astype(np.float32) / 64.0
    return _clipped(np.where(caught[:, :, None], picture * (0.6 + 0.9 * factors) + 40.0, picture) * exposed)


def jet(picture: Image, time: float, pulses: Sequence[Pulse], seed: int) -> Image:
    """Water from the left edge onto the nest box: a moving stream and its spray; twigs sway, it drips, all is wet."""
    wet = _level(pulses, time, 1.0, _DRIES_S)
    spoilt = _soaked(picture, wet, seed) if wet > 0.02 else picture.copy()
    swaying = _level(pulses, time, 0.3, _SWAY_S)
    if swaying > 0.02:
        _sway(spoilt, time, swaying, seed)
    random = np.random.default_rng([seed, 9, round(time * 1000)])
    flying = _level(pulses, time, _REACH_S / 3, _REACH_S / 3)
    if flying > 0.1:
        _stream(spoilt, flying, time, random)
    dripping = _level(pulses, time, 0.2, _DRIP_S)
    if dripping > 0.05:
        _drip(spoilt, dripping, random)
    return spoilt


def unseen(picture: Image, time: float, pulses: Sequence[Pulse], seed: int) -> Image:
    """What a siren does to a picture."""
    return picture.copy()


def _level(pulses: Sequence[Pulse], time: float, rise_s: float, fall_s: float) -> float:
    """How far something that follows a deterrent has come, 0 to 1: it rises and falls with these time constants."""
    level, at = 0.0, -math.inf
    for start, end in pulses:
        if start >= time:
            break
        level *= math.exp(-(start - at) / fall_s) if level else 0.0
        at = min(end, time)
        level = 1.0 - (1.0 - level) * math.exp(-(at - start) / rise_s)
    return level * math.exp(-(time - at) / fall_s) if level else 0.0


def _clipped(picture: NDArray[np.floating]) -> Image:
    return np.asarray(np.clip(picture, 0, 255), np.uint8)


def _soaked(picture: Image, wet: float, seed: int) -> Image:
    """Ground and wood where the water falls are darker, with drops on them."""
    height, width = picture.shape[:2]
    cover = np.zeros((height, width), np.float32)
    own = np.random.default_rng([seed, 10])
    for x, y, w, h in ((0.68, 0.74, 0.13, 0.06), (0.62, 0.58, 0.07, 0.08), (0.45, 0.80, 0.10, 0.03)):
        at = round((x + own.uniform(-0.03, 0.03)) * width), round(y * height)
        cv2.ellipse(cover, at, (round(w * width), round(h * height)), 0, 0, 360, 1.0, cv2.FILLED)
    soft = cv2.GaussianBlur(cover, (0, 0), height / 90)
    return _clipped(picture * (1.0 - 0.35 * wet * soft[:, :, None]))


def _sway(picture: Image, time: float, strength: float, seed: int) -> None:
    """Leaves that were hit: two patches shake in place."""
    height, width = picture.shape[:2]
    for number, (x, y) in enumerate(((0.50, 0.30), (0.86, 0.36))):
        side = round(0.09 * height)
        top, left = round(y * height) - side, round(x * width) - side
        rows, columns = np.mgrid[0 : 2 * side, 0 : 2 * side].astype(np.float32)
        inside = np.clip(1.3 - np.hypot(rows - side, columns - side) / side, 0.0, 1.0)
        far = _SWAY * height * strength * inside
        across = columns + far * np.float32(math.sin(13.0 * time + seed + number))
        down = rows + far * np.float32(0.6 * math.sin(17.0 * time + 2.0 * number))
        patch = picture[top : top + 2 * side, left : left + 2 * side]
        patch[:] = cv2.remap(patch, across, down, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REFLECT)


def _stream(picture: Image, flying: float, time: float, random: np.random.Generator) -> None:
    """The arc of the stream in its moment, and the spray where it ends. It wanders to and fro over the box."""
    height, width = picture.shape[:2]
    end = 0.66 + 0.06 * math.sin(2.3 * time)
    along = np.linspace(0.0, flying, 24)
    x, y = along * end, 0.62 - 0.55 * along + 0.52 * along**2
    water = np.zeros((height, width), np.uint8)
    for thick, light in ((0.030, 70), (0.014, 110)):
        jitter = random.normal(0.0, 0.004, (2, 24)) * along
        points = np.stack([(x + jitter[0]) * width, (y + jitter[1]) * height], 1)
        cv2.polylines(water, [np.rint(points).astype(np.int32)], False, light, max(round(thick * height), 1))
    if flying > 0.8:
        away = random.normal(0.0, 1.0, (140, 2)) * (0.06, 0.07)
        for (dx, dy), light in zip(away, random.integers(40, 150, 140), strict=True):
            at = round((x[-1] + dx) * width), round((y[-1] + dy) * height)
            cv2.line(water, at, (at[0] + round(dx * 0.2 * width), at[1] + round(0.02 * height)), int(light), 1)
    _shine(picture, np.asarray(cv2.GaussianBlur(water, (0, 0), height / 360), np.uint8))


def _drip(picture: Image, dripping: float, random: np.random.Generator) -> None:
    """Drops that fall from the roof and the perch."""
    height, width = picture.shape[:2]
    water = np.zeros((height, width), np.uint8)
    for x, y, length in random.uniform(0.0, 1.0, (round(12 * dripping), 3)):
        start = round((0.56 + 0.28 * x) * width), round((0.44 + 0.35 * y) * height)
        cv2.line(water, start, (start[0], start[1] + round((0.01 + 0.03 * length) * height)), 120, 1)
    _shine(picture, water)


def _shine(picture: Image, water: Image) -> None:
    cv2.add(picture, cv2.cvtColor(water, cv2.COLOR_GRAY2RGB), dst=picture)
