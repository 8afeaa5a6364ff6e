"""Draws what a feed shows: the visitor with his surroundings, a frame around him, who he is and how sure that is."""

from __future__ import annotations

import unicodedata

import cv2
import numpy as np

from edge.feed import who
from edge.values import Box, Image, Kind, Visit

SIZE = (800, 600)
"""Width and height in pixels: sharp on a phone, small on the card."""
_BAND, _LETTERS = 54, 1.1  # height of the line of text in pixels, and of its letters as OpenCV counts
_AROUND = 3.0  # sides of the visitor that the picture is wide, at least
_LEAST = 0.4  # of the whole picture, so that one sees where he is
_COLOURS = {
    Kind.THREAT: (214, 54, 40),
    Kind.RESIDENT: (46, 139, 72),
    Kind.PERSON: (44, 104, 214),
    Kind.OTHER: (88, 88, 88),
}
_WHITE, _BLACK = (255, 255, 255), (0, 0, 0)
_FONT = cv2.FONT_HERSHEY_SIMPLEX
_UNICODE = int(cv2.__version__.split(".")[0]) >= 5  # before, only ASCII could be written


def mark(image: Image, visit: Visit) -> Image:
    """A new picture, uint8[h, w, 3] RGB, at most as large as `SIZE` and a line of text, cut from uint8[H, W, 3]."""
    left, top, width, height = _window(image, visit.box)
    scale = min(SIZE[0] / width, SIZE[1] / height)
    size = round(width * scale), round(height * scale)
    how = cv2.INTER_AREA if scale < 1 else cv2.INTER_CUBIC
    marked = np.asarray(cv2.resize(image[top : top + height, left : left + width], size, interpolation=how), np.uint8)
    box, colour = visit.box, _COLOURS[visit.kind]
    start = round((box.x * image.shape[1] - left) * scale), round((box.y * image.shape[0] - top) * scale)
    end = start[0] + round(box.w * image.shape[1] * scale), start[1] + round(box.h * image.shape[0] * scale)
    cv2.rectangle(marked, start, end, _BLACK, 7)  # seen on snow, too
    cv2.rectangle(marked, start, end, _WHITE, 5)
    cv2.rectangle(marked, start, end, colour, 3)
    return np.vstack([marked, _caption(size[0], caption(visit), colour)])


def caption(visit: Visit) -> str:
    """Who it is, in words, and how sure."""
    name = who({"visit": {"label": visit.label}})
    name = name[:1].upper() + name[1:]
    return f"{name} {visit.label_p:.0%}" if visit.answers else f"{name}, not asked yet"


def _window(image: Image, box: Box) -> tuple[int, int, int, int]:
    """Left, top, width, height in pixels of the surroundings: inside the picture, in `SIZE`'s proportions."""
    height, width = image.shape[:2]
    ratio = SIZE[0] / SIZE[1]
    tall = max(box.h * height * _AROUND, box.w * width * _AROUND / ratio, height * _LEAST)
    tall = min(tall, height, max(width / ratio, box.h * height))
    h, w = max(round(tall), 1), max(min(round(max(tall * ratio, box.w * width)), width), 1)
    left = round((box.x + box.w / 2) * width - w / 2)
    top = round((box.y + box.h / 2) * height - h / 2)
    return min(max(left, 0), width - w), min(max(top, 0), height - h), w, h


def _caption(width: int, text: str, colour: tuple[int, int, int]) -> Image:
    """A band to be put below the picture, so that it hides nothing; readable on a small screen."""
    if not _UNICODE:
        text = unicodedata.normalize("NFKD", text).encode("ascii", "ignore").decode()
    band: Image = np.full((_BAND, width, 3), colour, np.uint8)
    (text_width, text_height), _ = cv2.getTextSize(text, _FONT, _LETTERS, 2)
    fitting = min(_LETTERS, _LETTERS * (width - _BAND) / max(text_width, 1))
    cv2.putText(band, text, (_BAND // 2, (_BAND + text_height) // 2), _FONT, fitting, _WHITE, 2, cv2.LINE_AA)
    return band
