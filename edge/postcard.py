"""A picture as the world may have it: pixels and nothing else, and no larger than a sink takes."""

from __future__ import annotations

import logging
import struct
from collections.abc import Iterator

import cv2
import numpy as np

from edge.values import Image

log = logging.getLogger(__name__)

_MOST_PIXELS = 25_000_000  # a progressive JPEG takes six bytes of memory for each, however small it is wanted
_LEAST_SIDE = 160  # smaller shows nobody which animal it was
_QUALITIES = (86, 72, 58)
_SHRINK = 0.75
_REDUCED = {1: cv2.IMREAD_COLOR, 2: cv2.IMREAD_REDUCED_COLOR_2, 4: cv2.IMREAD_REDUCED_COLOR_4}
_FRAMES = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}  # markers of a frame header: they tell the size
_ALONE = frozenset(range(0xD0, 0xDA)) | {0x00, 0x01}  # markers without a length
_SCAN = 0xDA


def postcard(jpeg: bytes, most_bytes: int, most_side: int = 1280) -> bytes | None:
    """Decode a JPEG, turn it upright, and encode it anew with at most so many bytes and pixels a side.

    Metadata (EXIF, position, comments, thumbnails, what hangs on behind the end) is gone. None for what is no JPEG, is
    damaged or cut short, is larger than 25 million pixels, or cannot be made to fit.
    """
    size = _size(jpeg)
    if size is None:
        log.debug("no picture: it is no whole JPEG")
        return None
    if not 0 < size[0] * size[1] <= _MOST_PIXELS:
        log.debug("no picture: its header says %d × %d pixels", *size)
        return None
    image = _decode(jpeg, max(size), most_side)
    if image is None:
        log.debug("no picture: it cannot be decoded")
        return None
    for smaller in _sizes(image, most_side):
        for quality in _QUALITIES:
            done, data = cv2.imencode(".jpg", smaller, (cv2.IMWRITE_JPEG_QUALITY, quality))
            if done and data.size <= most_bytes:
                return data.tobytes()
    log.debug("no picture: it does not fit into %d bytes", most_bytes)
    return None


def _size(jpeg: bytes) -> tuple[int, int] | None:
    """Width and height as the first frame header has them, walked as a decoder walks; None where it is not whole.

    The header is asked before anything is decoded: some bytes can promise 65,535 × 65,535 pixels.
    """
    if jpeg[:3] != b"\xff\xd8\xff":
        return None
    size, at = None, 2
    while (at := jpeg.find(b"\xff", at)) >= 0 and at + 9 <= len(jpeg):
        marker, (length,) = jpeg[at + 1], struct.unpack_from(">H", jpeg, at + 2)
        if marker in _FRAMES and size is None:
            height, width = struct.unpack_from(">HH", jpeg, at + 5)
            size = width, height
        if marker == _SCAN:  # a thumbnail's end comes before it
            return size if jpeg.find(b"\xff\xd9", at) > 0 else None
        if marker == 0xFF:  # filling
            at += 1
        else:
            at += 2 if marker in _ALONE else 2 + max(length, 2)
    return None


def _decode(jpeg: bytes, side: int, most_side: int) -> Image | None:
    """uint8[h, w, 3] BGR, upright; no larger than needed where halving is enough."""
    times = max(n for n in _REDUCED if n == 1 or side >= n * most_side)
    try:
        image = cv2.imdecode(np.frombuffer(jpeg, np.uint8), _REDUCED[times])
    except cv2.error:
        return None
    return None if image is None else np.asarray(image, np.uint8)


def _sizes(image: Image, most_side: int) -> Iterator[Image]:
    """The picture in the largest size allowed, then ever smaller."""
    longest = max(image.shape[:2])
    side = float(min(longest, most_side))
    while True:
        height, width = (max(round(n * side / longest), 1) for n in image.shape[:2])
        yield np.asarray(cv2.resize(image, (width, height), interpolation=cv2.INTER_AREA), np.uint8)
        if side * _SHRINK < _LEAST_SIDE:
            return
        side *= _SHRINK
