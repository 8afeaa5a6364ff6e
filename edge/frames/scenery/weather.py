"""What makes nights hard, drawn over a scene: infrared, swarms near the lens, lit rain, headlights, falling dusk."""

from __future__ import annotations

import math
from collections.abc import Callable

import cv2
import numpy as np

from edge.values import Image

Rng = np.random.Generator
Weather = Callable[[Image, float, Rng], Image]
"""(picture uint8[H, W, 3], seconds, random numbers of this moment) -> the picture as the weather leaves it."""

_SWARM, _DROPS = 14, 60


def infrared(picture: Image, time: float, rng: Rng) -> Image:
    """One colour for all, and the coarse noise of a sensor at full gain."""
    grey = cv2.cvtColor(picture, cv2.COLOR_RGB2GRAY)
    height, width = grey.shape
    noise = rng.normal(0.0, 6.0, (height // 2, width // 2)).astype(np.float32)
    grey = np.clip(grey + cv2.resize(noise, (width, height), interpolation=cv2.INTER_LINEAR), 0, 255).astype(np.uint8)
    return np.asarray(cv2.cvtColor(grey, cv2.COLOR_GRAY2RGB), np.uint8)


def swarm(picture: Image, time: float, rng: Rng) -> Image:
    """Insects in the lamp's light near the lens: bright streaks across the whole picture, each here for a moment."""
    height, width = picture.shape[:2]
    glow = np.zeros((height, width), np.uint8)
    for one in range(_SWARM):
        turn = 0.4 + 0.17 * one
        phase, since = divmod(time / turn + 0.37 * one, 1.0)
        own = np.random.default_rng([one, int(phase)])
        start, way = own.uniform(0.0, 1.0, 2), own.uniform(-0.8, 0.8, 2)
        here, before = start + way * since, start + way * max(since - 0.05 / turn, 0.0)
        ends = [(round(x * width), round(y * height)) for x, y in (before, here)]
        cv2.line(glow, ends[0], ends[1], int(own.integers(90, 220)), max(round(height * own.uniform(0.004, 0.02)), 1))
    return np.asarray(cv2.add(infrared(picture, time, rng), _soft(glow, height / 180)), np.uint8)


def drizzle(picture: Image, time: float, rng: Rng) -> Image:
    """Drops that fall through the lamp's light, others in every picture."""
    height, width = picture.shape[:2]
    glow = np.zeros((height, width), np.uint8)
    for x, y, length in rng.uniform(0.0, 1.0, (_DROPS, 3)):
        start = round(x * width), round(y * height)
        end = round(x * width + 0.01 * height), round(y * height + (0.03 + 0.07 * length) * height)
        cv2.line(glow, start, end, 150, 1 + round(2 * length * height / 720))
    return np.asarray(cv2.add(infrared(picture, time, rng), _soft(glow, height / 720)), np.uint8)


def headlights(picture: Image, time: float, rng: Rng) -> Image:
    """A car passes every fifteen seconds: its beam sweeps over the yard in two."""
    since = time % 15.0
    if since > 2.0:
        return infrared(picture, time, rng)
    height, width = picture.shape[:2]
    across = np.linspace(0.0, 1.0, width, dtype=np.float32) - np.float32(1.4 * since / 2.0 - 0.2)
    down = np.linspace(0.0, 1.0, height, dtype=np.float32)[:, None]
    beam = 150.0 * np.exp(-((across / 0.13) ** 2)) * (0.4 + 0.6 * down) * math.sin(math.pi * since / 2.0)
    lit = np.clip(infrared(picture, time, rng) + beam[:, :, None], 0, 255)
    return np.asarray(lit, np.uint8)


def falling(picture: Image, time: float, rng: Rng) -> Image:
    """Dusk falls within two minutes, and begins again: darker, greyer, noisier."""
    night = 0.5 - 0.5 * math.cos(math.pi * min(time % 120.0, 110.0) / 110.0)
    grey = cv2.cvtColor(cv2.cvtColor(picture, cv2.COLOR_RGB2GRAY), cv2.COLOR_GRAY2RGB)
    mixed = cv2.addWeighted(picture, (1 - night) * (1 - 0.75 * night), grey, night * (1 - 0.75 * night), 0.0)
    noise = rng.normal(0.0, 1.0 + 4.0 * night, picture.shape[:2]).astype(np.float32)
    return np.asarray(np.clip(mixed + noise[:, :, None], 0, 255), np.uint8)


def _soft(glow: Image, blur: float) -> Image:
    """Out of focus, in three colours."""
    return np.asarray(cv2.cvtColor(cv2.GaussianBlur(glow, (0, 0), max(blur, 0.6)), cv2.COLOR_GRAY2RGB), np.uint8)


WEATHER: dict[str, tuple[str, Weather]] = {
    "infrared": ("night", infrared),
    "swarm": ("night", swarm),
    "drizzle": ("night", drizzle),
    "headlights": ("night", headlights),
    "falling": ("day", falling),
}
"""Further scenes: the scene each is drawn over, and with what. The starter was not trained on them."""
