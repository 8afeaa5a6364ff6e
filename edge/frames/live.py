"""A camera that is opened again and again, for as long as it takes."""

from __future__ import annotations

import logging
import random
import time
from collections.abc import Callable, Generator
from dataclasses import replace
from typing import Protocol

from edge.config import CameraConfig
from edge.errors import SourceError
from edge.frames import Shot, Wanted, always

log = logging.getLogger(__name__)

FIRST_WAIT_S, LONGEST_WAIT_S = 0.5, 30.0
JITTER = 0.2  # several cameras behind one switch that came back are not opened all at once
MOST_SAID = 8  # different reasons logged for one loss: a card wears out by writing
STEADY_S = 10.0  # delivering for so long, it counts as mended; one that comes and goes is not


class Unreadable(SourceError):
    """One picture that cannot be read; the next may be."""


class Device(Protocol):
    """An open camera. Constructing it opens it, or raises `SourceError` with the reason; it is used by one thread."""

    def shot(self) -> Shot:
        """The next picture that is wanted, as new as can be; `media_time` is left at 0, the source stamps it.

        Raises `SourceError` with the reason, never with a password, when none comes within `stale_s` or the camera is
        lost; `Unreadable` when this one came damaged. Waits, but never much longer than `stale_s`.
        """
        ...

    def close(self) -> None:
        """Let go of the camera, whatever state it is in; does not raise, does not wait long."""
        ...


class LiveSource:
    """A `FrameSource` over a device that may be lost: closed, then opened again with back-off, for ever.

    `trouble` is "" while pictures come, else why not. `reopened` counts how often pictures came again after a loss,
    `skipped` those that came damaged.
    """

    live = True

    def __init__(self, name: str, open_device: Callable[[], Device], camera: CameraConfig) -> None:
        """`name` is for the log. Opens nothing yet: that belongs to the thread that iterates `shots`."""
        self.fps = camera.fps
        self.skipped = 0
        self.reopened = 0
        self.trouble = "no picture yet"
        self._name, self._open, self._stale_s = name, open_device, camera.stale_s
        self._began_ns = time.monotonic_ns()
        self._delivered = False  # whether there ever was a picture
        self._said: set[str] = set()  # the reasons logged since it last ran steadily
        self._wait_s = FIRST_WAIT_S

    def shots(self, wanted: Wanted = always) -> Generator[Shot, None, None]:
        """Pictures without end. Closing the iterator releases the camera."""
        while True:
            try:
                device = self._open()
            except SourceError as refused:
                self._lost(str(refused))
            else:
                try:
                    yield from self._while_it_lasts(device, wanted)
                except SourceError as lost:
                    self._lost(str(lost))
                finally:
                    device.close()
            time.sleep(self._wait_s * random.uniform(1.0 - JITTER, 1.0 + JITTER))
            self._wait_s = min(2.0 * self._wait_s, LONGEST_WAIT_S)

    def _while_it_lasts(self, device: Device, wanted: Wanted) -> Generator[Shot, None, None]:
        """The pictures of one opening. Raises `SourceError` when it has come to an end."""
        good_ns = time.monotonic_ns()
        first_ns: int | None = None
        damaged = 0  # not yet counted as skipped: when the camera is lost, the last reads fail too
        while True:
            try:
                shot = device.shot()
            except Unreadable as error:
                damaged += 1
                if time.monotonic_ns() - good_ns > self._stale_s * 1e9:
                    raise SourceError(str(error)) from None
                continue
            good_ns = time.monotonic_ns()
            self.skipped, damaged = self.skipped + damaged, 0
            if first_ns is None:
                first_ns = good_ns
                self._found()
            elif good_ns - first_ns > STEADY_S * 1e9:
                self._steady()
            taken_at_ns = shot.taken_at_ns or good_ns
            media_time = (taken_at_ns - self._began_ns) / 1e9
            if wanted(media_time):
                yield replace(shot, taken_at_ns=taken_at_ns, media_time=media_time)

    def _found(self) -> None:
        self.reopened += self._delivered
        self._delivered, self.trouble = True, ""

    def _steady(self) -> None:
        """It has delivered for a while: the next loss is news, and is met without delay."""
        self._wait_s = FIRST_WAIT_S
        if self._said:
            log.info("camera %s: delivers again", self._name)
            self._said.clear()

    def _lost(self, why: str) -> None:
        self.trouble = why
        if why not in self._said and len(self._said) < MOST_SAID:
            self._said.add(why)
            log.warning("camera %s: %s; opening it again until it delivers", self._name, why)
