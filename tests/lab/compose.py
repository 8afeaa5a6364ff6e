"""Makes a positive clip: a real crow, cut out of a picture of the crow camera, walks over an empty frame of it."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

CAMERA = "crowcam_traumverloren"
CROW, AROUND = f"{CAMERA}/crow/image_47671.jpg", (0.36, 0.02, 0.46, 0.76)  # left, top, width, height of the crow in it
EMPTY = f"{CAMERA}/no_crow/image_1.jpg"
FPS, SECONDS, SIZE = 15, 12, 720
COMES, GOES = 3.0, 8.0


def cut_out(picture: NDArray[np.uint8]) -> tuple[NDArray[np.uint8], NDArray[np.float32]]:
    """The crow's rectangle and how much of each of its pixels is crow, 0..1."""
    height, width = picture.shape[:2]
    left, top = round(AROUND[0] * width), round(AROUND[1] * height)
    w, h = round(AROUND[2] * width), round(AROUND[3] * height)
    mask = np.zeros((height, width), np.uint8)
    cv2.grabCut(picture, mask, (left, top, w, h), np.zeros((1, 65)), np.zeros((1, 65)), 8, cv2.GC_INIT_WITH_RECT)
    crow = np.isin(mask, (cv2.GC_FGD, cv2.GC_PR_FGD)).astype(np.uint8)
    crow = cv2.morphologyEx(crow, cv2.MORPH_CLOSE, np.ones((5, 5), np.uint8))
    alpha = cv2.GaussianBlur(crow.astype(np.float32), (3, 3), 0)
    return picture[top : top + h, left : left + w], alpha[top : top + h, left : left + w]


def crow_clip(images: Path, out: Path) -> Path:
    """Write OUT: empty for three seconds, then the crow walks in from the right, stays, and walks out again."""
    crow, alpha = cut_out(cv2.imread(str(images / CROW)))
    yard = cv2.resize(cv2.imread(str(images / EMPTY)), (SIZE, SIZE), interpolation=cv2.INTER_CUBIC)
    scale = SIZE / 360
    crow = cv2.resize(crow, None, fx=scale, fy=scale, interpolation=cv2.INTER_CUBIC)
    alpha = cv2.resize(alpha, (crow.shape[1], crow.shape[0]))[..., None]
    top = SIZE - crow.shape[0] - 60
    noise = np.random.default_rng(3)
    writer = cv2.VideoWriter(str(out), cv2.VideoWriter.fourcc(*"MJPG"), FPS, (SIZE, SIZE))
    assert writer.isOpened()
    for number in range(FPS * SECONDS):
        now = number / FPS
        picture = yard.astype(np.float32)
        if COMES <= now < GOES:
            steps = min(now - COMES, GOES - now)  # in, a rest, and out the same way
            left = round(max(SIZE - 380 * steps, SIZE * 0.4))
            width = min(crow.shape[1], SIZE - left)
            if width > 0:
                place = picture[top : top + crow.shape[0], left : left + width]
                place += alpha[:, :width] * (crow[:, :width] - place)
        picture += noise.normal(0, 1.5, picture.shape[:2])[..., None]
        writer.write(np.clip(picture, 0, 255).astype(np.uint8))
    writer.release()
    return out
