"""One picture file, whatever it holds, as sane RGB."""

from __future__ import annotations

import struct
from pathlib import Path

import cv2
import numpy as np

from edge.errors import SourceError
from edge.values import Image

LARGEST_SIDE = 4096  # nothing more is seen beyond it, and one picture would fill the memory of a small machine
LARGEST_BYTES = 200_000_000
LARGEST_PIXELS = 250_000_000
_SHRINKING = ((8, cv2.IMREAD_REDUCED_COLOR_8), (4, cv2.IMREAD_REDUCED_COLOR_4), (2, cv2.IMREAD_REDUCED_COLOR_2))


def read_picture(path: Path) -> Image:
    """Any picture file as uint8[H, W, 3] RGB, upright, its larger side at most 4096.

    Grey, 16-bit, palette, CMYK and transparent pictures are converted. Raises `SourceError` when it is none.
    """
    try:
        size = path.stat().st_size
        if size > LARGEST_BYTES:
            raise SourceError(f"{path}: {size:,} bytes are too many for a picture; at most {LARGEST_BYTES:,}")
        data = path.read_bytes()
    except OSError as error:
        raise SourceError(f"{path}: {error.strerror}") from None
    return picture_of(data, str(path))


def picture_of(data: bytes, where: str) -> Image:
    """The same for the bytes of a picture file; `where` names it in errors."""
    if not data:
        raise SourceError(f"{where}: is empty (0 bytes)")
    width, height = said_size(data)
    if width * height > LARGEST_PIXELS:
        raise SourceError(f"{where}: {width} x {height} pixels are too many; at most {LARGEST_PIXELS:,}")
    decoded = _decode(data, max(width, height))
    if decoded is None:
        raise SourceError(f"{where}: is not a picture that can be read (damaged, cut short, or another kind of file)")
    return _capped(decoded)


def _decode(data: bytes, largest: int) -> Image | None:
    """RGB, upright; a JPEG far too large is shrunk while it is decoded, which takes a fraction of the time."""
    flag = next((flag for factor, flag in _SHRINKING if largest >= LARGEST_SIDE * factor), None)
    try:
        decoded = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR_BGR if flag is None else flag)
    except cv2.error:
        return None
    return None if decoded is None else np.asarray(cv2.cvtColor(decoded, cv2.COLOR_BGR2RGB), np.uint8)


def _capped(image: Image) -> Image:
    scale = LARGEST_SIDE / max(image.shape[:2])
    if scale >= 1.0:
        return image
    height, width = (max(1, round(side * scale)) for side in image.shape[:2])
    return np.asarray(cv2.resize(image, (width, height), interpolation=cv2.INTER_AREA), np.uint8)


def said_size(data: bytes) -> tuple[int, int]:
    """Width and height as a PNG's or JPEG's header says, before anything is unpacked; (0, 0) where it does not."""
    if data.startswith(b"\x89PNG\r\n\x1a\n") and len(data) >= 24:
        width, height = struct.unpack(">II", data[16:24])
        return width, height
    if not data.startswith(b"\xff\xd8"):
        return 0, 0
    at = 2
    while at + 9 <= len(data) and data[at] == 0xFF:
        marker, length = data[at + 1], int.from_bytes(data[at + 2 : at + 4], "big")
        if 0xC0 <= marker <= 0xCF and marker not in (0xC4, 0xC8, 0xCC):  # start of frame (ITU T.81, table B.1)
            height, width = struct.unpack(">HH", data[at + 5 : at + 9])
            return width, height
        at += 1 if marker == 0xFF else 2 + length
    return 0, 0
