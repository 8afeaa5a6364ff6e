"""Pictures of visits and what the models were shown, written by a thread of its own: a slow card delays nobody."""

from __future__ import annotations

import contextlib
import errno
import hashlib
import logging
import os
import queue
import threading
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any

import cv2

from edge.atomic import make_folder, write_atomically
from edge.books import open_books
from edge.clock import Clock, Ids, LiveClock, iso
from edge.config import MediaConfig
from edge.decoy import ROLE, Decoys, content
from edge.errors import GanderError, StateError
from edge.journal import Journal
from edge.marking import mark
from edge.people import People, Stay
from edge.preprocess import square_crop
from edge.retention import FOLDER, INSERT, Retention
from edge.values import Fate, Frame, Image, Visit

log = logging.getLogger(__name__)

_PASS_S = 600.0  # between two passes that delete what is due
_PAUSE_S = 5.0  # after a picture could not be kept, before the next is tried
_NICE = 10  # of the writing thread: on Linux each thread has its own
_COMMAND_S = 30.0  # that one `prune` may take; more goes on by itself


@dataclass(frozen=True, slots=True)
class _Moment:
    """One moment of a visit and the ids of its three pictures."""

    frame: Frame
    visit: Visit
    margin: float
    frame_id: str
    crop_id: str
    marked_id: str


@dataclass(frozen=True, slots=True)
class _Shown:
    """What the models were shown at one question."""

    crop: Image
    visit_id: str
    seq: int


class _Full(StateError):
    """There is no room for a picture; the text says why, and what to do."""


class Media:
    """Keeps pictures under `state/pictures/DAY/` and decoys under `state/decoy/`, within their limits.

    Never slows the loop: what cannot wait is dropped and counted.
    """

    def __init__(
        self,
        state: Path,
        config: MediaConfig,
        journal: Journal,
        ids: Ids,
        patient: bool = False,
        *,
        person_hold_s: float = 60.0,
        journal_days: int = 400,
        clock: Clock | None = None,
    ) -> None:
        """`patient` (a replay as fast as it can): who keeps waits for room instead of dropping.

        Pictures up to `person_hold_s` after a person was seen are pictures with a person. `journal_days`: how long
        visits and events are kept. `clock` tells what is too old.
        """
        self._state, self._folder, self._config, self._journal = state, state / FOLDER, config, journal
        self._ids, self._patient, self._clock = ids, patient, clock or LiveClock()
        self._kept: dict[str, int] = {}
        self._people, self._begun = People(person_hold_s), deque[Stay](maxlen=64)
        self._decoys = Decoys(state, config.decoy_mb * 10**6)
        self._retention = Retention(state, config, journal_days, journal, self._decoys, self._clock)
        self._turn = threading.Lock()  # of the card: the thread's, or a command's
        self._resume_at = 0.0  # monotonic seconds
        self._problem = ""
        self._size = 0  # bytes of the last moment
        self._pass_at = 0.0  # monotonic seconds; the first is due at once
        self.dropped = 0
        self._queue: queue.Queue[_Moment | _Shown | Stay | None] = queue.Queue(config.queue)
        self._closing = False
        self._thread = threading.Thread(target=self._write, name="media", daemon=True)
        self._thread.start()

    def keep(self, frame: Frame, visit: Visit, margin: float) -> str | None:
        """Keep this moment of a visit, cropped with this margin. Returns its marked picture's id, None if not kept."""
        if self._kept.get(visit.id, 0) >= self._config.per_visit:
            return None
        frame_id, crop_id, marked_id = (self._ids.new(frame.wall) for _ in range(3))
        if not self._put(_Moment(frame, visit, margin, frame_id, crop_id, marked_id), self._config.queue):
            return None
        self._kept[visit.id] = self._kept.get(visit.id, 0) + 1
        return marked_id

    def decoy(self, crop: Image, visit_id: str, seq: int) -> None:
        """Keep exactly what the models were shown, uint8[h, w, 3] RGB. Pictures go first where the card is slow."""
        if self._config.decoy_mb:
            self._put(_Shown(crop, visit_id, seq), self._config.queue // 2)

    def person(self, frame: Frame) -> None:
        """A person is seen in this frame, or in a crop of it."""
        if stay := self._people.see(frame.camera, frame.wall):
            self._flag_stay(stay)  # a card that stalls holds the thread up for long, and posts do not wait
            self._begun.append(stay)
            with contextlib.suppress(queue.Full):  # the thread is awake, then
                self._queue.put_nowait(stay)

    def forget(self, visit_id: str) -> None:
        """The visit has ended."""
        self._kept.pop(visit_id, None)

    def facts(self) -> dict[str, Any]:
        """For `gander status`; `problem` says what to do, and is empty where all is well."""
        stock = self._retention.stock
        return {
            "bytes": stock.bytes,
            "pictures": stock.pictures,
            "labelled_bytes": stock.labelled_bytes,
            "decoy_bytes": self._decoys.kept_bytes,
            "written_today": self._retention.written,
            "dropped": self.dropped,
            "problem": self._problem,
        }

    def check(self) -> None:
        """Raises `GanderError` when the thread is gone: no picture would be kept any more, nor deleted."""
        if not self._thread.is_alive() and not self._closing:
            raise GanderError(f"{self._folder}: pictures are no longer looked after; see the log above")

    def prune(self) -> str:
        """Any thread but the loop's: delete what is due now, and say what went. Raises `StateError`.

        Pictures are saved between the slices.
        """
        if not self._turn.acquire(timeout=_COMMAND_S):
            raise StateError(f"{self._folder}: the card does not answer; try again later")
        self._turn.release()
        try:
            return str(self._retention.prune(_COMMAND_S, self._turn))
        except OSError as error:
            raise StateError(f"{self._folder}: {error.strerror}") from None
        finally:
            self._pass_at = 0.0

    def close(self, timeout_s: float = 10.0) -> None:
        """Write what waits, for as long as that."""
        end = time.monotonic() + timeout_s
        with contextlib.suppress(queue.Full):
            self._queue.put(None, timeout=timeout_s)
        self._thread.join(max(end - time.monotonic(), 0.0))
        self._closing = True

    def _put(self, what: _Moment | _Shown, room: int) -> bool:
        """Hand over to the thread, where it has room and the card is well."""
        try:
            if not self._patient and (time.monotonic() < self._resume_at or self._queue.qsize() >= max(room, 1)):
                raise queue.Full
            self._queue.put(what, block=self._patient)
        except queue.Full:
            self.dropped += 1
            return False
        return True

    def _write(self) -> None:
        """The thread: keep what is handed over; between, delete what is due and mark pictures with people."""
        nice = max(_NICE, os.getpriority(os.PRIO_PROCESS, 0))  # going back up takes a right
        os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), nice)
        with self._turn:
            self._attempt(self._recall)
        while not self._closing:
            try:
                item = self._queue.get(timeout=self._idle_s())
            except queue.Empty:
                work = self._tidy
            else:
                if item is None:
                    return
                work = partial(self._carry_out, item)
            with self._turn:
                self._attempt(work)
            self._flag()

    def _idle_s(self) -> float:
        """How long nothing is to be done, if nothing comes."""
        return 1.0 if self._begun else max(self._pass_at - time.monotonic(), 0.0)

    def _attempt(self, work: Callable[[], None]) -> None:
        """Whatever the card does, events go on; pictures do not for a while. Said once, not for every picture."""
        before = self._problem
        try:
            work()
        except (OSError, StateError, cv2.error) as error:
            self._problem = self._say(error)
            self._resume_at = time.monotonic() + _PAUSE_S
            if work != self._tidy or not isinstance(error, _Full):  # it may be that a pass makes room
                self._pass_at = self._resume_at
        if self._problem != before:
            log.warning("%s", self._problem or f"{self._folder}: pictures are kept again")

    def _say(self, error: OSError | StateError | cv2.error) -> str:
        """What is wrong, in the same words each time."""
        if isinstance(error, _Full):
            return str(error)
        if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
            return self._retention.disk_full
        why = error.strerror if isinstance(error, OSError) else str(error)
        return f"{self._folder}: no picture is kept: {why}"

    def _carry_out(self, item: _Moment | _Shown | Stay) -> None:
        try:
            if isinstance(item, _Moment):
                self._save(item)
            elif isinstance(item, _Shown):
                self._show(item)
        except BaseException:
            self.dropped += 1
            raise

    def _recall(self) -> None:
        """People seen shortly before a restart may still be there."""
        with open_books(self._state) as books:
            for camera, ended in books.people_seen(iso(self._clock.wall(0.0) - timedelta(hours=1))):
                with contextlib.suppress(ValueError, TypeError):  # a damaged row
                    self._people.see(camera, datetime.fromisoformat(ended))

    def _flag(self) -> None:
        """Pictures taken shortly before a person was seen are pictures with a person, too."""
        while self._begun and self._flag_stay(self._begun[0]):  # the journal is full: later
            self._begun.popleft()

    def _flag_stay(self, stay: Stay) -> bool:
        """Any thread. Returns whether there was room. What the thread is at now gets its row only after this."""
        first, last = self._people.span(stay)
        sql = "UPDATE picture SET person = 1 WHERE camera = ? AND wall BETWEEN ? AND ?"
        return self._journal.write(sql, stay.camera, iso(first), iso(last), precious=True)

    def _tidy(self) -> None:
        """One slice of what is due. When all is done, see whether there is room for the next picture."""
        if self._retention.turn():
            return
        self._retention.begin()
        self._pass_at = time.monotonic() + _PASS_S
        if why := self._retention.room(self._size, self._clock.wall(0.0)):
            raise _Full(why)
        if self._problem:  # does the card take as much as a picture again?
            make_folder(self._folder)
            probe = self._folder / ".probe"
            try:
                write_atomically(probe, bytes(self._size))
            finally:
                probe.unlink(missing_ok=True)
        self._problem = ""

    def _save(self, moment: _Moment) -> None:
        frame, visit = moment.frame, moment.visit
        images = {
            "frame": (moment.frame_id, None, frame.image),
            "crop": (moment.crop_id, moment.frame_id, square_crop(frame.image, visit.box, moment.margin)),
            "marked": (moment.marked_id, moment.frame_id, mark(frame.image, visit)),
        }
        coded = {kind: self._jpeg(image) for kind, (_, _, image) in images.items()}
        self._size = sum(map(len, coded.values()))
        if why := self._retention.room(self._size, frame.wall):
            raise _Full(why)
        folder = self._folder / frame.wall.strftime("%Y-%m-%d")
        make_folder(folder)
        rows: list[tuple[Any, ...]] = []
        wall = iso(self._retention.dating.right(frame.wall, time.monotonic() - frame.taken_at_ns / 1e9))
        for kind, (id_, of, _) in images.items():
            path, data = folder / f"{id_}.jpg", coded[kind]
            try:
                write_atomically(path, data, 0o660)
            except OSError:  # a moment is kept whole or not at all
                self._take_back(rows)
                raise
            where, sha256 = str(path.relative_to(self._folder)), hashlib.sha256(data).hexdigest()
            rows.append((id_, where, sha256, len(data), kind, visit.id, of, wall, frame.camera))
        person = int(self._people.near(frame.camera, frame.wall))
        while rows:  # together, so that the journal writes them at once
            if not self._journal.write(INSERT, *rows[0], person):
                self._take_back(rows)
                raise StateError("the journal has no room for it (card too slow or full)")
            del rows[0]
        self._retention.saved(self._size, pictures=len(images))
        self._problem = ""

    def _take_back(self, rows: list[tuple[Any, ...]]) -> None:
        for row in rows:
            (self._folder / row[1]).unlink(missing_ok=True)

    def _show(self, shown: _Shown) -> None:
        """Keep a decoy, where there is room. It names its question, so that other models can be asked the same."""
        if not self._retention.spare():
            return
        name = content(shown.crop)
        self._retention.saved(self._decoys.keep(shown.crop, name))
        self._journal.write(
            "INSERT INTO prediction (visit_id, seq, model, role, fate, picture) VALUES (?, ?, ?, ?, ?, ?)",
            *(shown.visit_id, shown.seq, ROLE, ROLE, Fate.ANSWERED.value, name),
        )

    def _jpeg(self, image: Image) -> bytes:
        """Pixels and nothing else: no EXIF, no place, no time."""
        _, data = cv2.imencode(
            ".jpg", cv2.cvtColor(image, cv2.COLOR_RGB2BGR), (cv2.IMWRITE_JPEG_QUALITY, self._config.quality)
        )
        return data.tobytes()
