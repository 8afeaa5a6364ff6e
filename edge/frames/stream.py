"""Live cameras through OpenCV: V4L2, RTSP and MJPEG over HTTP."""

from __future__ import annotations

import logging
import math
import os
import time
from pathlib import Path

import cv2
import numpy as np

from edge.config import CameraConfig
from edge.errors import SourceError
from edge.frames import Shot
from edge.frames.address import checked, place, why_not, with_credentials
from edge.frames.live import LiveSource, Unreadable
from edge.frames.luma import luma_of
from edge.frames.opencv import quietly
from edge.frames.picture import picture_of
from edge.values import Image

log = logging.getLogger(__name__)

OPENING = 3.0  # times stale_s: a stream opens at its next key picture, which some send every ten seconds
ASKING_S = 3.0
WAITED_S = 0.004  # a read that took this long, beside its own work, had nothing to read when it began
OLDEST_S = 0.2  # so long after that moment a picture may still count as just taken
BEHIND_S = 1.0  # without any such moment for so long a late picture is better than none
BROKEN_READS = 3  # in a row and at once: nothing more will come
END_OF_IMAGE = b"\xff\xd9"  # the last bytes of a JPEG (ITU T.81, table B.1)
MJPG = cv2.VideoWriter.fourcc(*"MJPG")


def open_stream(camera: CameraConfig) -> LiveSource:
    """A device node, a bare number, or an rtsp, rtsps, http or https address.

    Raises `SourceError` for what is no address. A file of credentials that cannot be used is the source's trouble: it
    is read anew at each opening, so that mending it is enough.
    """
    # For the whole process, so what holds for each camera: a lost packet over UDP smears the picture, and the select
    # of a USB camera must end. Who knows better sets them.
    os.environ.setdefault("OPENCV_FFMPEG_CAPTURE_OPTIONS", "rtsp_transport;tcp")
    os.environ.setdefault("OPENCV_VIDEOIO_V4L_SELECT_TIMEOUT", str(math.ceil(camera.stale_s)))
    if "://" not in camera.source:
        return LiveSource(camera.id, lambda: StreamDevice(_open_local(camera), camera), camera)
    checked(camera.source)
    return LiveSource(camera.id, lambda: StreamDevice(_open_network(camera), camera, packets=True), camera)


class StreamDevice:
    """One opened capture. Each picture is read, as many are handed over as `camera.fps` asks for.

    `taken_at_ns` is when the picture had arrived. It was exposed earlier, by what the camera and the network take:
    that cannot be known here. What lay in a buffer while nobody read is older than that, so it is thrown away: a
    picture counts only if the buffer was empty at most `OLDEST_S` before. (A machine so busy that it takes the
    processor away in the middle of a read may be fooled once.)
    """

    def __init__(self, capture: cv2.VideoCapture, camera: CameraConfig, packets: bool = False) -> None:
        """`packets`: where the stream is MJPEG, take its pictures undecoded, and decode only those handed over.

        OpenCV 4.11 goes on showing the last picture when an MJPEG stream changes its size or turns grey.
        """
        self._capture = capture
        self._stale_s = camera.stale_s
        self._where = place(checked(camera.source)) if "://" in camera.source else _node(camera.source)
        mjpeg = int(capture.get(cv2.CAP_PROP_FOURCC)) == MJPG
        self._packets = packets and mjpeg and capture.set(cv2.CAP_PROP_FORMAT, -1)
        self._interval_ns = int(1e9 / camera.fps)
        self._due_ns = 0
        self._empty_ns = 0
        self._behind_ns = 0  # since when one old picture after the other is read
        self._broken = 0
        self._late = False

    def shot(self) -> Shot:
        """The next picture that is due and has just arrived."""
        while True:
            waited = self._grab()
            now_ns = time.monotonic_ns()
            if self._fresh(now_ns, waited) and now_ns >= self._due_ns - self._interval_ns // 2:
                break
        # At the camera's pace on average: one that is a little late does not move all after it.
        self._due_ns = max(self._due_ns, now_ns - self._interval_ns) + self._interval_ns
        image = self._retrieve()
        return Shot(image, luma_of(image), media_time=0.0, taken_at_ns=now_ns)

    def close(self) -> None:
        """Let go of the camera."""
        self._capture.release()

    def _grab(self) -> bool:
        """Read the next picture. Returns whether it had to be waited for. Raises `SourceError`, `Unreadable`."""
        began, worked = time.monotonic(), time.thread_time()
        good = self._capture.grab()
        took = time.monotonic() - began
        if good:
            self._broken = 0
            return took - (time.thread_time() - worked) >= WAITED_S
        if took > 0.9 * self._stale_s:
            raise SourceError(
                f"{self._where}: no picture for {self._stale_s:g} s; is the camera busy, or out of reach?"
            )
        self._broken += 1
        if self._broken >= BROKEN_READS:
            raise SourceError(f"{self._where}: the camera stopped sending")
        raise Unreadable(f"{self._where}: sends what is no picture")

    def _fresh(self, now_ns: int, waited: bool) -> bool:
        """Whether the picture just read has just arrived, or nothing better is to be had."""
        if waited:
            self._empty_ns = now_ns
        if now_ns - self._empty_ns <= OLDEST_S * 1e9:
            self._behind_ns = 0
            return True
        self._behind_ns = self._behind_ns or now_ns
        if now_ns - self._behind_ns < BEHIND_S * 1e9:
            return False
        self._behind_ns = now_ns
        if not self._late:
            log.warning("%s: more than this machine can read, pictures are late; choose a smaller stream", self._where)
        self._late = True
        return True

    def _retrieve(self) -> Image:
        """The picture read last, uint8[H, W, 3] RGB. Raises `Unreadable`."""
        try:
            good, picture = self._capture.retrieve()
            if good and picture is not None:
                if self._packets:
                    return _decoded(picture.tobytes(), self._where)
                code = cv2.COLOR_GRAY2RGB if picture.ndim == 2 else cv2.COLOR_BGR2RGB
                return np.asarray(cv2.cvtColor(picture, code), np.uint8)
        except (cv2.error, SourceError):
            pass
        raise Unreadable(f"{self._where}: sends what is no picture")


def _decoded(data: bytes, where: str) -> Image:
    """One JPEG of a stream. Raises `SourceError`, also for one cut short: its lower half would be grey, and move."""
    if not data.rstrip(b"\0\r\n").endswith(END_OF_IMAGE):
        raise SourceError(f"{where}: sent a picture that is cut short")
    return picture_of(data, where)


def _open_network(camera: CameraConfig) -> cv2.VideoCapture:
    """Raises `SourceError` with what the camera says when asked by hand."""
    address = with_credentials(camera.source, camera.credentials)
    silence_ms = int(1000 * camera.stale_s)
    # One thread: FFmpeg's others would each hold back one picture.
    settings = (
        *(cv2.CAP_PROP_OPEN_TIMEOUT_MSEC, int(OPENING * silence_ms)),
        *(cv2.CAP_PROP_READ_TIMEOUT_MSEC, silence_ms),
        *(cv2.CAP_PROP_N_THREADS, 1),
    )
    capture = quietly(address, cv2.CAP_FFMPEG, settings)
    if not capture.isOpened():
        capture.release()
        raise SourceError(why_not(camera.source, bool(camera.credentials), min(camera.stale_s, ASKING_S)))
    return capture


def _open_local(camera: CameraConfig) -> cv2.VideoCapture:
    """A V4L2 camera, asked for MJPEG, size and pace; it may choose others. Raises `SourceError`."""
    node = _node(camera.source)
    if not Path(node).exists():
        raise SourceError(f"{node}: no such device; is the camera plugged in? (ls /dev/v4l/by-id)")
    if not os.access(node, os.R_OK | os.W_OK):
        raise SourceError(f"{node}: not allowed; add this user to the group video")
    capture = quietly(node, cv2.CAP_V4L2)
    if not capture.isOpened():
        capture.release()
        raise SourceError(f"{node}: does not open; another program uses it, or it is not the camera's picture node")
    wishes = (
        (cv2.CAP_PROP_FOURCC, MJPG),  # first: uncompressed, USB 2 has no room for more than a few pictures a second
        (cv2.CAP_PROP_FRAME_WIDTH, camera.size[0]),
        (cv2.CAP_PROP_FRAME_HEIGHT, camera.size[1]),
        (cv2.CAP_PROP_FPS, camera.fps),
        (cv2.CAP_PROP_BUFFERSIZE, 2),
    )
    for what, value in wishes:
        capture.set(what, value)
    return capture


def _node(source: str) -> str:
    return f"/dev/video{source}" if source.isdecimal() else source
