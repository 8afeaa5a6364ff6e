"""Pulls one source at its pace: stamps the clocks, paints the privacy masks, hands out the newest picture."""

from __future__ import annotations

import logging
import sys
import threading
import time
from collections.abc import Generator, Iterator
from contextlib import closing
from types import TracebackType
from typing import Literal

import cv2
import numpy as np
from numpy.typing import NDArray

from edge.clock import Clock
from edge.config import CameraConfig
from edge.errors import SourceError
from edge.frames import FrameSource, Shot
from edge.values import Frame

log = logging.getLogger(__name__)

Speed = Literal["real", "max"]

TICK_S = 0.2  # the loop gets its turn this often, picture or not: a controller must hear from it
GIVE_UP_S = 3.0  # skipping for this long and still behind: the machine cannot keep the clip's pace at all
PATIENCE_S = 0.2  # how long a stop waits for a reader that may be stuck in a read


class Capture:
    """One camera's frames, each once, in order.

    `real`: a thread decodes one picture ahead and waits until it is due; the newest wins, and what nobody took in
    time is counted in `dropped`. `max`: no thread, nothing dropped. `seq` counts delivered and dropped frames alike,
    so a gap shows a drop. Iterating ends when the source does or `stop` is called, and raises the source's own error.
    """

    def __init__(self, source: FrameSource, camera: CameraConfig, clock: Clock, speed: Speed = "real") -> None:
        self._source, self._camera, self._clock, self._speed = source, camera, clock, speed
        self._masks = [np.array(mask, np.float64) for mask in camera.masks]
        self._turn = threading.Condition()  # guards the slot, and what follows it here
        self._slot: Frame | None = None
        self._ended = False
        self._error: BaseException | None = None
        self._stopping = threading.Event()
        self._thread: threading.Thread | None = None
        self._pace = _Pace(1.0 / source.fps)
        self._seq = 0
        self._overwritten = 0
        self.delivered = 0

    @property
    def dropped(self) -> int:
        """Frames whose time came and that nobody was ready for."""
        return self._overwritten + self._pace.refused

    @property
    def skipped(self) -> int:
        """Pictures that could not be read."""
        return self._source.skipped

    def __iter__(self) -> Iterator[Frame | None]:
        """Frames; None where no new one came within `TICK_S`, so that the loop can go on beating."""
        with closing(self._at_once() if self._speed == "max" else self._newest()) as frames:
            for frame in frames:
                if self._stopping.is_set():
                    return
                self.delivered += frame is not None
                yield frame

    def stop(self) -> None:
        """Any thread or signal handler: end the iteration soon, also while a read blocks."""
        self._stopping.set()
        with self._turn:
            self._turn.notify_all()
        if self._thread and self._thread is not threading.current_thread():
            self._thread.join(PATIENCE_S)

    def __enter__(self) -> Capture:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def _at_once(self) -> Generator[Frame | None, None, None]:
        """Every picture, as fast as it is taken; it counts as taken when it is handed out."""
        with closing(self._source.shots()) as shots:
            for shot in shots:
                yield self._frame(shot, time.monotonic_ns())

    def _newest(self) -> Generator[Frame | None, None, None]:
        """What the thread puts into the slot, until it ends."""
        if self._thread is None:
            # A daemon: a driver stuck in a read must not keep the process from ending.
            self._thread = threading.Thread(target=self._read, name=f"capture-{self._camera.id}", daemon=True)
            self._thread.start()
        while True:
            with self._turn:
                self._turn.wait_for(self._something, TICK_S)
                frame, self._slot = self._slot, None
                ended, error = self._ended, self._error
            if frame is None and error is not None:
                raise error
            if frame is None and ended:
                return
            yield frame

    def _something(self) -> bool:
        return self._slot is not None or self._ended or self._stopping.is_set()

    def _read(self) -> None:
        """The thread: from shots to the slot. Whatever ends it reaches the loop, which must not wait for ever."""
        error: BaseException | None = None
        try:
            self._pull()
        except SourceError as refused:
            error = refused
        finally:
            with self._turn:
                self._ended, self._error = True, error or sys.exception()
                self._turn.notify_all()

    def _pull(self) -> None:
        pace = self._pace
        live = self._source.live
        shots = self._source.shots() if live else self._source.shots(pace.wanted)
        with closing(shots) as pictures:
            for shot in pictures:
                if live:
                    taken_at_ns = shot.taken_at_ns or time.monotonic_ns()
                else:
                    taken_at_ns = pace.due(shot.media_time)
                    # Taken in the past where decoding took longer than the picture's turn: the delay is real.
                    self._stopping.wait(max(taken_at_ns - time.monotonic_ns(), 0) / 1e9)
                if self._stopping.is_set():
                    return
                self._put(self._frame(shot, taken_at_ns))

    def _put(self, frame: Frame) -> None:
        with self._turn:
            self._overwritten += self._slot is not None
            self._slot = frame
            self._turn.notify_all()

    def _frame(self, shot: Shot, taken_at_ns: int) -> Frame:
        """Masked and stamped. Refused pictures have taken their number too."""
        for mask in self._masks:
            _black(shot.image, mask)
            _black(shot.luma, mask)
        seq = self._seq + self._pace.refused
        self._seq += 1
        wall = self._clock.wall(shot.media_time)
        return Frame(self._camera.id, seq, taken_at_ns, shot.media_time, wall, shot.image, shot.luma)


class _Pace:
    """A recorded source's own time, tied to the monotonic clock at its first picture."""

    def __init__(self, interval_s: float) -> None:
        self._interval_ns = int(interval_s * 1e9)
        self._start_ns: int | None = None
        self._behind_since_ns: int | None = None
        self._slipped = False
        self.refused = 0

    def due(self, media_time: float) -> int:
        """Monotonic ns at which a camera would have taken the picture of `media_time`."""
        offset_ns = int(media_time * 1e9)
        if self._start_ns is None:
            self._start_ns = time.monotonic_ns() - offset_ns
        return self._start_ns + offset_ns

    def wanted(self, media_time: float) -> bool:
        """Whether decoding is worth it: not where the next picture's turn has already come. Counts the refused."""
        now = time.monotonic_ns()
        if now - self.due(media_time) <= self._interval_ns:
            self._behind_since_ns = None
            return True
        self._behind_since_ns = self._behind_since_ns or now
        if self._slipped or now - self._behind_since_ns > GIVE_UP_S * 1e9:
            self._slip(now, media_time)
            return True
        self.refused += 1
        return False

    def _slip(self, now_ns: int, media_time: float) -> None:
        """Go on from here at the normal pace, later than the clip's own time: late pictures beat none."""
        if not self._slipped:
            log.warning("the pictures cannot be read at their own pace: playing slower from %.1f s on", media_time)
        self._slipped = True
        self._start_ns = now_ns - int(media_time * 1e9)
        self._behind_since_ns = None


def _black(picture: NDArray[np.uint8], mask: NDArray[np.float64]) -> None:
    """Paint one polygon (fractions) black in place, with its edge: no pixel that saw a part of it stays."""
    height, width = picture.shape[:2]
    corners = np.rint(mask * (width, height)).astype(np.int32)
    cv2.fillPoly(picture, [corners], 0)
    cv2.polylines(picture, [corners], True, 0, thickness=3)
