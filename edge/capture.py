"""Pulls one source at its pace: stamps the clocks, paints the privacy masks, hands out the newest picture."""

from __future__ import annotations

import logging
import sys
import threading
import time
from collections.abc import Generator, Iterator, Sequence
from contextlib import closing
from types import TracebackType
from typing import Any, Literal

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
    so a gap shows a drop. `Cameras` hands them out.
    """

    def __init__(
        self,
        source: FrameSource,
        camera: CameraConfig,
        clock: Clock,
        speed: Speed = "real",
        turn: threading.Condition | None = None,
        began_ns: int | None = None,
    ) -> None:
        """`turn` is told of each new frame. A live camera's media time counts from `began_ns`, monotonic (now)."""
        self._source, self._clock, self.speed = source, clock, speed
        self.camera = camera
        self._masks = [np.array(mask, np.float64) for mask in camera.masks]
        self._turned = _TURNS.get(camera.rotate)
        self._turn = turn or threading.Condition()  # guards the slot, and what follows it here
        self._slot: Frame | None = None
        self._ended = False
        self._error: BaseException | None = None
        self._stopping = threading.Event()
        self._thread: threading.Thread | None = None
        self._pace = _Pace(1.0 / source.fps)
        self._began_ns = time.monotonic_ns() if began_ns is None else began_ns
        self._delivered_ns = self._began_ns
        self._seq = 0
        self._overwritten = 0
        self.delivered = 0
        self.newest: Frame | None = None  # taken last, for whoever looks now and then

    @property
    def dropped(self) -> int:
        """Frames whose time came and that nobody was ready for."""
        return self._overwritten + self._pace.refused

    @property
    def skipped(self) -> int:
        """Pictures that could not be read."""
        return self._source.skipped

    @property
    def stopping(self) -> bool:
        return self._stopping.is_set()

    def status(self) -> dict[str, Any]:
        """How the camera is, for `gander status`. `silent_s`: seconds since its last frame was taken up."""
        return {
            "id": self.camera.id,
            "source": self.camera.shown,
            "trouble": self._source.trouble,
            "reopened": self._source.reopened,
            "frames": self.delivered,
            "dropped": self.dropped,
            "skipped": self.skipped,
            "silent_s": round((time.monotonic_ns() - self._delivered_ns) / 1e9, 1),
        }

    def stop(self) -> None:
        """Any thread or signal handler: no more frames, also while a read blocks."""
        self._stopping.set()

    def join(self) -> None:
        """Give the reader a moment to let go of the source."""
        if self._thread and self._thread is not threading.current_thread():
            self._thread.join(PATIENCE_S)

    def start(self) -> None:
        """Begin to read, in a thread."""
        if self._thread is None:
            # A daemon: a driver stuck in a read must not keep the process from ending.
            self._thread = threading.Thread(target=self._read, name=f"capture-{self.camera.id}", daemon=True)
            self._thread.start()

    def at_once(self) -> Generator[Frame, None, None]:
        """Every picture, as fast as it is taken; it counts as taken when it is handed out."""
        with closing(self._source.shots()) as shots:
            for shot in shots:
                if self.stopping:
                    return
                self.delivered += 1
                yield self._frame(shot, time.monotonic_ns())

    # Under the turn's lock

    @property
    def waiting(self) -> bool:
        """A frame lies ready."""
        return self._slot is not None

    @property
    def over(self) -> bool:
        """Nothing more will come. Raises what ended the source, if that was an error."""
        if not self._ended or self._slot:
            return False
        if self._error is not None:
            raise self._error
        return True

    def take(self) -> Frame | None:
        """The frame that lies ready."""
        frame, self._slot = self._slot, None
        self.newest = frame or self.newest
        self.delivered += frame is not None
        self._delivered_ns = time.monotonic_ns()
        return frame

    # The thread

    def _read(self) -> None:
        """From shots to the slot. Whatever ends it reaches the loop, which must not wait for ever."""
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
        image, luma = shot.image, shot.luma
        if self._turned is not None:
            image = np.asarray(cv2.rotate(image, self._turned), np.uint8)
            luma = np.asarray(cv2.rotate(luma, self._turned), np.uint8)
        for mask in self._masks:
            _black(image, mask)
            _black(luma, mask)
        seq = self._seq + self._pace.refused
        self._seq += 1
        media_time = (taken_at_ns - self._began_ns) / 1e9 if self._source.live else shot.media_time
        wall = self._clock.wall(media_time)
        return Frame(
            *(self.camera.id, seq, taken_at_ns, media_time, wall, image, luma),
            exposure_ms=shot.exposure_ms,
            gain=shot.gain,
        )


class Cameras:
    """The frames of all cameras, to one reader. Iterating ends when every source has, or `stop` is called.

    Where several have a frame, who was served longest ago is next: a busy camera does not starve a quiet one. Raises
    a source's own error.
    """

    def __init__(self, captures: Sequence[Capture], turn: threading.Condition) -> None:
        """All captures share `turn`. Several go at real pace only."""
        self.captures, self._turn = tuple(captures), turn

    def __iter__(self) -> Iterator[Frame | None]:
        """Frames; None where no new one came within `TICK_S`, so that the loop can go on beating."""
        first = self.captures[0]
        with closing(first.at_once() if first.speed == "max" else self._newest()) as frames:
            yield from frames

    def __enter__(self) -> Cameras:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()
        for capture in self.captures:
            capture.join()

    @property
    def delivered(self) -> int:
        return sum(capture.delivered for capture in self.captures)

    @property
    def dropped(self) -> int:
        return sum(capture.dropped for capture in self.captures)

    @property
    def skipped(self) -> int:
        return sum(capture.skipped for capture in self.captures)

    def stop(self) -> None:
        """Any thread or signal handler: end the iteration soon."""
        for capture in self.captures:
            capture.stop()

    def _newest(self) -> Generator[Frame | None, None, None]:
        order = list(self.captures)  # who was served longest ago comes first
        for capture in order:
            capture.start()
        while not order[0].stopping:
            with self._turn:
                self._turn.wait_for(self._something, TICK_S)
                ready = next((capture for capture in order if capture.waiting), None)
                over = [capture.over for capture in order]
                if ready is None and all(over):
                    return
                frame = ready.take() if ready else None
            if ready:
                order.remove(ready)
                order.append(ready)
            if order[0].stopping:
                return
            yield frame

    def _something(self) -> bool:
        return any(capture.waiting for capture in self.captures) or all(capture.over for capture in self.captures)


_TURNS = {90: cv2.ROTATE_90_CLOCKWISE, 180: cv2.ROTATE_180, 270: cv2.ROTATE_90_COUNTERCLOCKWISE}


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
