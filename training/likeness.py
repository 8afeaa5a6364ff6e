"""Which picture files are alike, to the byte or nearly so."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

import cv2
import numpy as np

from edge.frames.picture import LARGEST_BYTES, LARGEST_PIXELS, said_size
from edge.values import Image
from training.taken import taken

_SIDE = 16
_MOST_BITS = 24  # of 256
_MOST_APART = 10  # of 255, in any of 256 cells
_PAIRS = 8  # told of each picture, of those that others link to it anyway: a thousand black nights are no million pairs
_ENOUGH = 256  # pixels; a photograph is decoded at a fraction of its size, in a fraction of the time
_SHRINKING = ((8, cv2.IMREAD_REDUCED_COLOR_8), (4, cv2.IMREAD_REDUCED_COLOR_4), (2, cv2.IMREAD_REDUCED_COLOR_2))

Progress = Callable[[str, int, int], None]


@dataclass(frozen=True, slots=True)
class Print:
    """What a picture is known by: the hash of its bytes, where it gets brighter from left to right (256 bits), and a
    grey thumbnail of 16 by 16 bytes.

    `light`, `colour`: mean brightness and saturation, 0..1; `size`: width and height in pixels; `taken`: as the camera
    wrote it into the file or its name.
    """

    sha256: str
    gradient: bytes
    thumb: bytes
    light: float
    colour: float
    size: tuple[int, int]
    taken: datetime | None = None


def prints(paths: Sequence[Path], progress: Progress = lambda *_: None) -> list[Print | None]:
    """One for each file, in order; None for what is no picture."""
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        found = []
        for number, one in enumerate(pool.map(_print, paths), 1):
            found.append(one)
            if number % 50 == 0 or number == len(paths):
                progress("looking at pictures", number, len(paths))
        return found


def near(found: Sequence[Print | None]) -> list[tuple[int, int]]:
    """Pairs of places, the lesser first, of pictures that are the same but for size, compression or a little noise.

    A gradient hash (dHash) finds them, a thumbnail confirms: to a fixed camera everything looks alike, and a bird that
    has come changes a part of it. Of 3,318 real pictures no two that show different things came as near as this, and
    outside of one fixed camera none within twice the distances. Where very many are alike not all pairs are given, but
    always enough to link them.
    """
    places = [place for place, one in enumerate(found) if one]
    bits = np.array([np.frombuffer(one.gradient, np.uint64) for one in found if one]).reshape(-1, 4)
    thumbs = np.array([np.frombuffer(one.thumb, np.uint8) for one in found if one], np.int16)
    kin = np.arange(len(places))
    pairs = []
    for row, place in enumerate(places):
        alike = row + 1 + np.flatnonzero(np.bitwise_count(bits[row + 1 :] ^ bits[row]).sum(1) <= _MOST_BITS)
        alike = alike[np.abs(thumbs[alike] - thumbs[row]).max(1, initial=0) <= _MOST_APART]
        others, first = np.unique(kin[alike], return_index=True)
        told = np.union1d(alike[first[others != kin[row]]], alike[:_PAIRS])
        kin[np.isin(kin, others)] = kin[row]
        pairs += [(place, places[int(other)]) for other in told]
    return pairs


def _print(path: Path) -> Print | None:
    try:
        data = path.read_bytes() if path.stat().st_size <= LARGEST_BYTES else b""
    except OSError:
        return None
    said = said_size(data)
    image = _decode(data, min(said)) if data and said[0] * said[1] <= LARGEST_PIXELS else None
    if image is None:
        return None
    small = cv2.resize(image, (_SIDE * 2, _SIDE * 2), interpolation=cv2.INTER_AREA)
    thumb = cv2.resize(cv2.cvtColor(small, cv2.COLOR_BGR2GRAY), (_SIDE, _SIDE), interpolation=cv2.INTER_AREA)
    row = cv2.cvtColor(cv2.resize(image, (_SIDE + 1, _SIDE), interpolation=cv2.INTER_AREA), cv2.COLOR_BGR2GRAY)
    return Print(
        sha256=hashlib.sha256(data).hexdigest(),
        gradient=np.packbits(row[:, 1:] > row[:, :-1]).tobytes(),
        thumb=thumb.tobytes(),
        light=float(thumb.mean()) / 255,
        colour=float(cv2.cvtColor(small, cv2.COLOR_BGR2HSV)[..., 1].mean()) / 255,
        size=said if all(said) else (image.shape[1], image.shape[0]),
        taken=taken(data, path.name),
    )


def _decode(data: bytes, shorter: int) -> Image | None:
    flag = next((flag for factor, flag in _SHRINKING if shorter >= _ENOUGH * factor), cv2.IMREAD_COLOR)
    try:
        image = cv2.imdecode(np.frombuffer(data, np.uint8), flag)
    except cv2.error:  # more than OpenCV is willing to unpack
        return None
    return None if image is None else np.asarray(image, np.uint8)
