"""Which picture files are alike, to the byte or nearly so."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

_SIDE = 16
_THUMB = 32
_MOST_BITS = 12  # of 256: where the hash differs by more, nobody would say it was the same picture
_MOST_APART = 12  # of 255, in any cell of the thumbnail: less than a bird makes that comes to a fixed camera

Progress = Callable[[str, int, int], None]


@dataclass(frozen=True, slots=True)
class Print:
    """What a picture is known by: the hash of its bytes, where it gets brighter from left to right (32 bytes), and a
    grey thumbnail of 32 by 32 bytes.

    `light`, `colour`: mean brightness and saturation, 0..1; `size`: width and height in pixels.
    """

    sha256: str
    gradient: bytes
    thumb: bytes
    light: float
    colour: float
    size: tuple[int, int]


def prints(paths: Sequence[Path], progress: Progress = lambda *_: None) -> list[Print | None]:
    """One for each file, in order; None for what is no picture."""
    with ThreadPoolExecutor(len(os.sched_getaffinity(0))) as pool:
        found = []
        for number, one in enumerate(pool.map(_print, paths), 1):
            found.append(one)
            if number % 50 == 0 or number == len(paths):
                progress("looking at pictures", number, len(paths))
        return found


def near(found: Sequence[Print | None]) -> list[tuple[int, int]]:
    """Pairs of places, the lesser first, of pictures that are the same but for size, compression or a little noise.

    A gradient hash (dHash, 256 bits) finds them, a thumbnail confirms: to a fixed camera everything looks alike, and a
    bird that has come changes a part of it.
    """
    places = [place for place, one in enumerate(found) if one]
    bits = np.array([np.frombuffer(one.gradient, np.uint64) for one in found if one]).reshape(-1, 4)
    thumbs = np.array([np.frombuffer(one.thumb, np.uint8) for one in found if one], np.int16)
    pairs = []
    for row, place in enumerate(places):
        alike = row + 1 + np.flatnonzero(np.bitwise_count(bits[row + 1 :] ^ bits[row]).sum(1) <= _MOST_BITS)
        apart = np.abs(thumbs[alike] - thumbs[row]).max(1, initial=0)
        pairs += [(place, places[int(other)]) for other in alike[apart <= _MOST_APART]]
    return pairs


def _print(path: Path) -> Print | None:
    try:
        data = path.read_bytes()
    except OSError:
        return None
    image = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR) if data else None
    if image is None:
        return None
    small = cv2.resize(image, (_THUMB, _THUMB), interpolation=cv2.INTER_AREA)
    thumb = cv2.cvtColor(small, cv2.COLOR_BGR2GRAY)
    row = cv2.cvtColor(cv2.resize(image, (_SIDE + 1, _SIDE), interpolation=cv2.INTER_AREA), cv2.COLOR_BGR2GRAY)
    brighter = np.packbits(row[:, 1:] > row[:, :-1]).tobytes()
    colour = float(cv2.cvtColor(small, cv2.COLOR_BGR2HSV)[..., 1].mean()) / 255
    height, width = image.shape[:2]
    digest = hashlib.sha256(data).hexdigest()
    return Print(digest, brighter, thumb.tobytes(), float(thumb.mean()) / 255, colour, (width, height))
