"""The small grey picture that motion is looked for in."""

from __future__ import annotations

import cv2
import numpy as np

from edge.values import Image, Luma

LUMA_WIDTH, LUMA_HEIGHT = 640, 480


def luma_of(image: Image) -> Luma:
    """Brightness of `image` uint8[H, W, 3] RGB as uint8[h, w]: same view, at most 640x480, never enlarged."""
    grey = np.asarray(cv2.cvtColor(image, cv2.COLOR_RGB2GRAY), np.uint8)  # first grey: a third of the pixels to shrink
    height, width = grey.shape
    scale = min(LUMA_WIDTH / width, LUMA_HEIGHT / height)
    if scale >= 1.0:
        return grey
    size = max(1, round(width * scale)), max(1, round(height * scale))
    return np.asarray(cv2.resize(grey, size, interpolation=cv2.INTER_AREA), np.uint8)
