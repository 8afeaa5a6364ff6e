"""What the hour and the weather do to the yard's colours, once for all that is painted."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from edge.frames.scenery.brush import Colour, Floats, Sprite


@dataclass(frozen=True, slots=True)
class Look:
    """How a scene is lit. `lamp`: only what an infrared lamp beside the lens reaches is seen."""

    colour: float  # 1 as painted, 0 grey
    tint: Colour
    haze: float  # brightness the air adds
    shadow: float  # depth of the shadows under the figures
    noise: float  # spread of the sensor's noise, of 255
    lamp: bool = False


DAY = Look(0.95, (1.03, 1.0, 0.93), 0.0, 0.42, 1.8)
DULL = Look(0.42, (0.72, 0.75, 0.78), 0.06, 0.15, 2.5)
DUSK = Look(0.70, (0.50, 0.41, 0.46), 0.015, 0.16, 3.5)
NIGHT = Look(0.0, (1.05, 1.05, 1.05), 0.02, 0.0, 5.0, lamp=True)

_INFRARED = np.array((0.42, 0.50, 0.12), np.float32)  # grass is bright to it, blue is not black


def lit_yard(picture: Floats, look: Look) -> NDArray[np.uint8]:
    """The background in this light: float32[H, W, 3] 0..1 -> uint8[H, W, 3]."""
    graded = _graded(picture, look) + look.haze
    if look.lamp:
        graded = graded * reach(picture.shape[0], picture.shape[1])[..., None] + 0.015
    elif look is DUSK:
        height = picture.shape[0]
        glow = np.exp(-(((np.arange(height, dtype=np.float32) / height - 0.24) / 0.13) ** 2))[:, None, None]
        sky = np.clip(picture[..., 2:] * 1.6 - 0.75, 0, 1)  # only the sky is that blue and bright
        graded = graded + glow * sky * np.array((0.42, 0.16, 0.02), np.float32)
    return np.asarray(np.rint(np.clip(graded, 0.0, 1.0) * 255.0), np.uint8)


def lit_sprite(sprite: Sprite, look: Look) -> Sprite:
    """The same figure in this light."""
    rgb, alpha = sprite.rgba[..., :3].astype(np.float32) / 255.0, sprite.rgba[..., 3:].astype(np.float32) / 255.0
    graded = np.clip(_graded(rgb, look) + look.haze * alpha, 0.0, 1.0)
    pixels = np.rint(np.dstack([graded, alpha]) * 255.0).astype(np.uint8)
    return Sprite(pixels, sprite.anchor, sprite.unit)


def reach(height: int, width: int) -> Floats:
    """How much of an infrared lamp's light comes back from each place, float32[H, W] 0..1."""
    y, x = np.mgrid[0:height, 0:width].astype(np.float32)
    spot = np.exp(-(((x / width - 0.52) / 0.42) ** 2) - ((y / height - 0.68) / 0.36) ** 2)
    return np.asarray(0.10 + 0.90 * spot, np.float32)


def lamplight(height: int, width: int, at: tuple[float, float]) -> NDArray[np.uint8]:
    """A warm lamp at `at`: uint8[H, W, 3], the factor in 64ths by which each place becomes brighter."""
    y, x = np.mgrid[0:height, 0:width].astype(np.float32)
    away = np.hypot((x / width - at[0]) * width / height, y / height - at[1])
    glow = 1.0 / (1.0 + (away / 0.28) ** 2)
    factors = 64.0 * (1.0 + glow[..., None] * np.array((2.4, 1.9, 1.1), np.float32))
    return np.asarray(np.clip(factors, 0, 255), np.uint8)


def _graded(rgb: Floats, look: Look) -> Floats:
    weights = _INFRARED if look.lamp else np.array((0.299, 0.587, 0.114), np.float32)
    grey = cv2.transform(rgb, weights[None])[..., None]
    return np.asarray((grey + (rgb - grey) * look.colour) * np.array(look.tint, np.float32), np.float32)
