"""When a picture was taken: as the camera wrote it into the file, else as it named the file."""

from __future__ import annotations

import re
import struct
from contextlib import suppress
from datetime import UTC, datetime

_START = b"Exif\0\0"
_NEAR_THE_START = 1 << 16  # an EXIF block is one JPEG segment, and comes first
_EXIF_PART, _ORIGINAL, _OFFSET = 0x8769, 0x9003, 0x9011  # tags of EXIF 2.31
_NAMED = re.compile(r"(?<!\d)(20\d\d)[-_.]?([01]\d)[-_.]?([0-3]\d)[-_.T ]?([0-2]\d)[-_.:]?([0-5]\d)[-_.:]?([0-5]\d)")


def taken(data: bytes, name: str) -> datetime | None:
    """The moment, or None; a time without a zone, as most cameras write it, is taken for UTC.

    A file's own time is not asked: after a copy it is the copy's.
    """
    return _written(data[:_NEAR_THE_START]) or _named(name)


def _written(data: bytes) -> datetime | None:
    """EXIF's DateTimeOriginal."""
    start = data.find(_START)
    if start < 0:
        return None
    tiff = data[start + len(_START) :]
    order = {b"II": "<", b"MM": ">"}.get(tiff[:2])
    if order is None:
        return None
    try:
        (first,) = struct.unpack_from(order + "I", tiff, 4)
        part = _entries(tiff, order, first).get(_EXIF_PART)
        found = _entries(tiff, order, part[1]) if part else {}
    except struct.error:  # cut short, or made up
        return None
    text, zone = (_text(tiff, found.get(tag)) for tag in (_ORIGINAL, _OFFSET))
    for offset in (zone, "+00:00"):
        with suppress(ValueError):
            return datetime.strptime(f"{text} {offset}", "%Y:%m:%d %H:%M:%S %z")
    return None


def _entries(tiff: bytes, order: str, at: int) -> dict[int, tuple[int, int]]:
    """Tag to (count, value or where it is) of one directory."""
    (count,) = struct.unpack_from(order + "H", tiff, at)
    rows = (struct.unpack_from(order + "HHII", tiff, at + 2 + 12 * number) for number in range(count))
    return {tag: (length, value) for tag, _, length, value in rows}


def _text(tiff: bytes, entry: tuple[int, int] | None) -> str:
    if entry is None:
        return ""
    length, at = entry
    return tiff[at : at + length].split(b"\0")[0].decode("ascii", "replace").strip()


def _named(name: str) -> datetime | None:
    if found := _NAMED.search(name):
        with suppress(ValueError):
            year, month, day, hour, minute, second = map(int, found.groups())
            return datetime(year, month, day, hour, minute, second, tzinfo=UTC)
    return None
