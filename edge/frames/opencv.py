"""Pictures through OpenCV: recorded clips of any container and codec its FFmpeg reads."""

from __future__ import annotations

import logging
import math
import os
from collections.abc import Generator, Sequence
from pathlib import Path

import cv2
import numpy as np

from edge.errors import SourceError
from edge.frames import Shot, Wanted, always
from edge.frames.luma import luma_of

log = logging.getLogger(__name__)

STEP_S = 0.001  # less between two pictures is a container's mistake, not a fast camera
LEAP_S = 10.0  # a pause between two pictures longer than this is a container's mistake, not a pause
DEFAULT_FPS = 15.0


class ClipSource:
    """A recorded clip, in its own time.

    Raises `SourceError` where there is no picture to be had. One that breaks off plays as far as it goes; the
    pictures its header promised beyond that are counted in `skipped`.
    """

    live = False
    reopened = 0
    trouble = ""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.skipped = 0
        capture = self._open()
        try:
            self.fps = _plausible_fps(capture.get(cv2.CAP_PROP_FPS))
            if not capture.read()[0]:
                raise SourceError(f"{path}: no picture in it can be read; give a clip that plays to at least one")
        finally:
            capture.release()

    def shots(self, wanted: Wanted = always) -> Generator[Shot, None, None]:
        """Pictures in order with the clip's own times, from the beginning at each call."""
        capture = self._open()
        time = ClipTime(self.fps)
        count = 0
        try:
            while capture.grab():
                count += 1
                media_time = time.of(capture.get(cv2.CAP_PROP_POS_MSEC) / 1000.0)
                if not wanted(media_time):
                    continue
                good, picture = capture.retrieve()
                if not good:
                    self._skip(1, "cannot be decoded")
                    continue
                image = np.asarray(cv2.cvtColor(picture, cv2.COLOR_BGR2RGB), np.uint8)
                yield Shot(image, luma_of(image), media_time)
            missing = capture.get(cv2.CAP_PROP_FRAME_COUNT) - count
            if 1 < missing < 1e9:  # some containers only estimate: one picture too few is no damage
                self._skip(int(missing), "are missing at its end")
        finally:
            capture.release()

    def _skip(self, count: int, why: str) -> None:
        if not self.skipped:
            log.warning("%s: pictures %s (%d so far); playing on without them", self.path, why, count)
        self.skipped += count

    def _open(self) -> cv2.VideoCapture:
        try:
            size = self.path.stat().st_size
        except OSError as error:
            raise SourceError(f"{self.path}: {error.strerror}; give a clip, a folder or synthetic:day") from None
        if not size:
            raise SourceError(f"{self.path}: is empty (0 bytes); give a clip that plays")
        capture = quietly(str(self.path), cv2.CAP_FFMPEG)
        if not capture.isOpened():
            raise SourceError(f"{self.path}: cannot be played as a clip (damaged, cut short, or another kind of file)")
        return capture


class ClipTime:
    """Turns a container's frame times into times that start at 0 and always rise, by 1/fps where they do not."""

    def __init__(self, fps: float) -> None:
        self._step = 1.0 / fps
        self._given: float | None = None
        self._last = 0.0

    def of(self, given: float) -> float:
        """Seconds since the beginning of the frame whose container says `given` seconds."""
        if self._given is None:
            self._given = given
            return 0.0
        step = given - self._given
        self._last += step if STEP_S <= step <= LEAP_S else self._step
        self._given = given
        return self._last


def _plausible_fps(fps: float) -> float:
    return fps if math.isfinite(fps) and 0.1 <= fps <= 240.0 else DEFAULT_FPS


def quietly(source: str, backend: int, parameters: Sequence[int] = ()) -> cv2.VideoCapture:
    """Open without the libraries' own chatter: what is wrong is said once, in our words.

    They stay silent, in all threads: also what they say while reading would repeat an address with its password.
    """
    os.environ.setdefault("OPENCV_FFMPEG_LOGLEVEL", "-8")  # AV_LOG_QUIET
    chatter = getattr(cv2.utils, "logging", cv2)  # OpenCV 5 moved it there
    chatter.setLogLevel(0)
    return cv2.VideoCapture(source, backend, parameters)
