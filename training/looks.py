"""Other looks at a training picture: what the appliance might have cut out instead, in another light."""

from __future__ import annotations

import cv2
import numpy as np

from edge.preprocess import MARGIN, square_crop
from edge.values import Box, Image
from training.dataset import Picture
from training.recipe import LooksRecipe

_OF_A_CROP = 0.7  # of what the appliance cut out no smaller part is taken: it is as near as it will ever be


def look(image: Image, picture: Picture, recipe: LooksRecipe, number: int, seed: str) -> Image:
    """The look of this number at a whole picture uint8[H, W, 3]; number 0 is the picture as it is.

    The same picture, number and `seed` (the picture's hash) give the same look, whenever it is made.
    """
    if number == 0:
        return square_crop(image, picture.box) if picture.box else image
    random = np.random.default_rng([number, *bytes.fromhex(seed[:32])])
    box = _moved(picture.box, random) if picture.box else None
    least = max(recipe.least_area, _OF_A_CROP) if picture.crop else recipe.least_area
    crop = square_crop(image, box, MARGIN * random.uniform(0.5, 1.5)) if box else _part(image, least, random)
    return _lit(np.asarray(cv2.flip(crop, 1)) if random.random() < 0.5 else crop, recipe, random)


def _part(image: Image, least: float, random: np.random.Generator) -> Image:
    """A part of a picture at a random scale: what fills it is rarely at its border, so the middle is likelier."""
    height, width = image.shape[:2]
    area = random.uniform(least, 1.0)
    aspect = np.exp(random.uniform(-0.25, 0.25))
    w, h = min(np.sqrt(area * aspect), 1.0), min(np.sqrt(area / aspect), 1.0)
    left, top = (random.beta(2.0, 2.0, 2) * (1.0 - w, 1.0 - h)).tolist()
    x, y = round(left * width), round(top * height)
    return image[y : y + max(round(h * height), 1), x : x + max(round(w * width), 1)]


def _moved(box: Box, random: np.random.Generator) -> Box:
    """About this box: motion never cuts exactly."""
    scale = np.exp(random.uniform(-0.2, 0.3))
    w, h = min(box.w * scale, 1.0), min(box.h * scale, 1.0)
    x, y = box.centre
    x, y = x + box.w * random.uniform(-0.1, 0.1), y + box.h * random.uniform(-0.1, 0.1)
    return Box(float(np.clip(x - w / 2, 0.0, 1.0 - w)), float(np.clip(y - h / 2, 0.0, 1.0 - h)), float(w), float(h))


def _lit(image: Image, recipe: LooksRecipe, random: np.random.Generator) -> Image:
    """In another light; some as by infrared."""
    grey = random.random() < recipe.grey
    gain = random.uniform(0.35, 1.0) if grey else random.uniform(0.7, 1.3)
    warmth = np.ones(3) if grey else random.uniform(0.9, 1.1, 3)
    light = np.clip(np.linspace(0.0, 1.0, 256)[:, None] * warmth * gain, 0.0, 1.0) ** random.uniform(0.75, 1.3)
    lit = cv2.cvtColor(cv2.cvtColor(image, cv2.COLOR_RGB2GRAY), cv2.COLOR_GRAY2RGB) if grey else image
    lit = cv2.LUT(lit, (light[None] * 255.0).astype(np.uint8))
    if random.random() < 0.2:  # by up to half a percent of its side
        lit = cv2.GaussianBlur(lit, (0, 0), random.uniform(0.001, 0.005) * max(image.shape[:2]))
    if grey or random.random() < 0.2:
        noise = random.standard_normal((*image.shape[:2], 1 if grey else 3), np.float32)
        lit = np.clip(lit + noise * np.float32(random.uniform(2.0, 14.0 if grey else 8.0)), 0.0, 255.0)
    return np.asarray(lit, np.uint8)
