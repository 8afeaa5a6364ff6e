"""What makes nights hard, drawn over a scene: infrared, swarms and spiders at the lens, lit rain, headlights, dusk."""

from __future__ import annotations

import math
from collections.abc import Callable

import cv2
import numpy as np

from edge.frames.scenery.light import reach
from edge.values import Image

Weather = Callable[[Image, float, int], Image]
"""(picture uint8[H, W, 3], seconds, seed) -> the picture as the weather leaves it, the same for the same three."""

_SWARM, _DROPS = 14, 60
_LEGS = 8


def infrared(picture: Image, time: float, seed: int) -> Image:
    """One colour for all, and the coarse noise of a sensor at full gain."""
    grey = cv2.cvtColor(picture, cv2.COLOR_RGB2GRAY)
    height, width = grey.shape
    noise = _random(seed, time, 5).normal(0.0, 6.0, (height // 2, width // 2)).astype(np.float32)
    grey = np.clip(grey + cv2.resize(noise, (width, height), interpolation=cv2.INTER_LINEAR), 0, 255).astype(np.uint8)
    return np.asarray(cv2.cvtColor(grey, cv2.COLOR_GRAY2RGB), np.uint8)


def by_lamp(picture: Image, time: float, seed: int) -> Image:
    """A picture taken by day as an infrared camera might show it: what the lamp reaches, dark at the edges, grey."""
    height, width = picture.shape[:2]
    light = cv2.resize(reach(36, 64), (width, height), interpolation=cv2.INTER_LINEAR)
    return infrared(np.asarray(picture * light[:, :, None], np.uint8), time, seed)


def swarm(picture: Image, time: float, seed: int) -> Image:
    """Insects in the lamp's light near the lens: bright streaks across the whole picture, each here for a moment."""
    height, width = picture.shape[:2]
    glow = np.zeros((height, width), np.uint8)
    for one in range(_SWARM):
        turn = 0.4 + 0.17 * one
        phase, since = divmod(time / turn + 0.37 * one, 1.0)
        own = np.random.default_rng([seed, one, int(phase)])
        start, way = own.uniform(0.0, 1.0, 2), own.uniform(-0.8, 0.8, 2)
        here, before = start + way * since, start + way * max(since - 0.05 / turn, 0.0)
        ends = [(round(x * width), round(y * height)) for x, y in (before, here)]
        cv2.line(glow, ends[0], ends[1], int(own.integers(90, 220)), max(round(height * own.uniform(0.004, 0.02)), 1))
    return np.asarray(cv2.add(infrared(picture, time, seed), _soft(glow, height / 180)), np.uint8)


def spider(picture: Image, time: float, seed: int) -> Image:
    """A spider on its thread right at the lens: large, bright, out of focus, it sways, climbs and waits."""
    height, width = picture.shape[:2]
    own = np.random.default_rng([seed, 8])
    home, sway, pace = own.uniform(0.25, 0.75), own.uniform(0.0, 6.3), own.uniform(0.15, 0.3)
    climb = math.sin(pace * time + sway) ** 3  # it waits in the middle, and goes up and down
    x = width * (home + 0.02 * math.sin(1.9 * time + sway))
    y, size = height * (0.42 + 0.30 * climb), 0.07 * height
    glow = np.zeros((height, width), np.uint8)
    cv2.line(glow, (round(width * home), 0), (round(x), round(y)), 60, max(round(height / 240), 1))
    for leg in range(_LEGS):
        turn = 2 * math.pi * (leg + 0.5) / _LEGS + 0.15 * math.sin(5.0 * time + 2.4 * leg)
        knee = x + 1.1 * size * math.cos(turn), y + 0.8 * size * math.sin(turn) - 0.5 * size
        foot = x + 1.9 * size * math.cos(turn), y + 1.6 * size * math.sin(turn)
        points = np.rint([(x, y), knee, foot]).astype(np.int32)
        cv2.polylines(glow, [points], False, 120, max(round(0.12 * size), 1))
    cv2.ellipse(glow, ((x, y), (0.9 * size, 1.3 * size), 0.0), 200, cv2.FILLED)
    return np.asarray(cv2.add(infrared(picture, time, seed), _soft(glow, height / 180)), np.uint8)


def drizzle(picture: Image, time: float, seed: int) -> Image:
    """Drops that fall through the lamp's light, others in every picture."""
    height, width = picture.shape[:2]
    glow = np.zeros((height, width), np.uint8)
    for x, y, length in _random(seed, time, 6).uniform(0.0, 1.0, (_DROPS, 3)):
        start = round(x * width), round(y * height)
        end = round(x * width + 0.01 * height), round(y * height + (0.03 + 0.07 * length) * height)
        cv2.line(glow, start, end, 150, 1 + round(2 * length * height / 720))
    return np.asarray(cv2.add(infrared(picture, time, seed), _soft(glow, height / 720)), np.uint8)


def headlights(picture: Image, time: float, seed: int) -> Image:
    """A car passes every fifteen seconds: its beam sweeps over the yard in two."""
    since = (time + 3.7 * seed) % 15.0
    if since > 2.0:
        return infrared(picture, time, seed)
    height, width = picture.shape[:2]
    across = np.linspace(0.0, 1.0, width, dtype=np.float32) - np.float32(1.4 * since / 2.0 - 0.2)
    down = np.linspace(0.0, 1.0, height, dtype=np.float32)[:, None]
    beam = 150.0 * np.exp(-((across / 0.13) ** 2)) * (0.4 + 0.6 * down) * math.sin(math.pi * since / 2.0)
    lit = np.clip(infrared(picture, time, seed) + beam[:, :, None], 0, 255)
    return np.asarray(lit, np.uint8)


def falling(picture: Image, time: float, seed: int) -> Image:
    """Dusk falls within two minutes, and begins again: darker, greyer, noisier."""
    night = 0.5 - 0.5 * math.cos(math.pi * min(time % 120.0, 110.0) / 110.0)
    grey = cv2.cvtColor(cv2.cvtColor(picture, cv2.COLOR_RGB2GRAY), cv2.COLOR_GRAY2RGB)
    mixed = cv2.addWeighted(picture, (1 - night) * (1 - 0.75 * night), grey, night * (1 - 0.75 * night), 0.0)
    noise = _random(seed, time, 5).normal(0.0, 1.0 + 4.0 * night, picture.shape[:2]).astype(np.float32)
    return np.asarray(np.clip(mixed + noise[:, :, None], 0, 255), np.uint8)


def _random(seed: int, time: float, which: int) -> np.random.Generator:
    return np.random.default_rng([seed, which, round(time * 1000)])


def _soft(glow: Image, blur: float) -> Image:
    """Out of focus, in three colours."""
    return np.asarray(cv2.cvtColor(cv2.GaussianBlur(glow, (0, 0), max(blur, 0.6)), cv2.COLOR_GRAY2RGB), np.uint8)


WEATHER: dict[str, tuple[str, Weather]] = {
    "infrared": ("night", infrared),
    "swarm": ("night", swarm),
    "spider": ("night", spider),
    "drizzle": ("night", drizzle),
    "headlights": ("night", headlights),
    "falling": ("day", falling),
}
"""Further scenes: the scene each is drawn over, and with what. The starter was not trained on them."""
