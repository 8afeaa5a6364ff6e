"""What `edge.frames.picamera` asks of libcamera, for the stand-in beside this file."""

from __future__ import annotations

from enum import Enum, auto


class StreamRole(Enum):
    Viewfinder = auto()


class ColorSpace:
    @staticmethod
    def Sycc() -> ColorSpace:
        return ColorSpace()
