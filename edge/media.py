"""Pictures of visits: what the model saw, and the whole view with the visitor marked; written by its own thread."""

from __future__ import annotations

import contextlib
import hashlib
import logging
import queue
import shutil
import threading
from dataclasses import dataclass
from pathlib import Path

import cv2

from edge.atomic import write_atomically
from edge.clock import Ids
from edge.config import MediaConfig
from edge.journal import Journal
from edge.preprocess import crop_box, square_crop
from edge.values import Box, Frame, Image, Kind, Visit

log = logging.getLogger(__name__)

_COLOURS = {
    Kind.THREAT: (225, 64, 48),
    Kind.RESIDENT: (72, 168, 84),
    Kind.PERSON: (64, 120, 220),
    Kind.OTHER: (110, 110, 110),
}


@dataclass(frozen=True, slots=True)
class _Moment:
    frame: Frame
    visit: Visit
    margin: float
    crop_id: str
    frame_id: str


class Media:
    """Keeps pictures under `state/pictures/DAY/`. Never slows the loop: what cannot wait is dropped and counted."""

    def __init__(self, state: Path, config: MediaConfig, journal: Journal, ids: Ids, patient: bool = False) -> None:
        """`patient` (a replay as fast as it can): who keeps waits for room instead of dropping."""
        self._folder = state / "pictures"
        self._config, self._journal, self._ids, self._patient = config, journal, ids, patient
        self._kept: dict[str, int] = {}
        self._trouble = ""
        self.dropped = 0
        self._queue: queue.Queue[_Moment | None] = queue.Queue(config.queue)
        self._thread = threading.Thread(target=self._write, name="media", daemon=True)
        self._thread.start()

    def keep(self, frame: Frame, visit: Visit, margin: float) -> str | None:
        """Keep this moment of a visit, cropped with this margin. Returns its marked view's id, or None if not kept."""
        if self._kept.get(visit.id, 0) >= self._config.per_visit:
            return None
        moment = _Moment(frame, visit, margin, self._ids.new(frame.wall), self._ids.new(frame.wall))
        try:
            self._queue.put(moment, block=self._patient)
        except queue.Full:
            self.dropped += 1
            return None
        self._kept[visit.id] = self._kept.get(visit.id, 0) + 1
        return moment.frame_id

    def forget(self, visit_id: str) -> None:
        """The visit has ended."""
        self._kept.pop(visit_id, None)

    def close(self, timeout_s: float = 10.0) -> None:
        with contextlib.suppress(queue.Full):
            self._queue.put(None, timeout=timeout_s)
        self._thread.join(timeout_s)

    def _write(self) -> None:
        while moment := self._queue.get():
            trouble = ""
            try:
                self._save(moment)
            except (OSError, cv2.error) as error:  # full, read-only, gone: events go on, pictures do not
                self.dropped += 1
                trouble = str(error)
            if trouble and trouble.split(":")[0] != self._trouble:  # said once, not for every picture
                log.warning("%s: pictures are not kept: %s", self._folder, trouble)
            self._trouble = trouble.split(":")[0]

    def _save(self, moment: _Moment) -> None:
        folder = self._folder / moment.frame.wall.strftime("%Y-%m-%d")
        folder.mkdir(parents=True, exist_ok=True)
        disk = shutil.disk_usage(folder)
        if disk.free < self._config.min_free * disk.total:
            raise OSError(f"less than {self._config.min_free:.0%} of the disk is free (media.min_free)")
        crop = square_crop(moment.frame.image, moment.visit.box, moment.margin)
        self._picture(folder, moment.crop_id, crop, "crop", moment, moment.frame_id)
        self._picture(
            folder, moment.frame_id, mark(moment.frame.image, moment.visit, moment.margin), "frame", moment, None
        )

    def _picture(self, folder: Path, id_: str, image: Image, kind: str, moment: _Moment, crop_of: str | None) -> None:
        _, data = cv2.imencode(
            ".jpg", cv2.cvtColor(image, cv2.COLOR_RGB2BGR), (cv2.IMWRITE_JPEG_QUALITY, self._config.quality)
        )
        path = folder / f"{id_}.jpg"
        write_atomically(path, data.tobytes(), 0o660)
        sha256 = hashlib.sha256(data.tobytes()).hexdigest()
        relative = str(path.relative_to(self._folder))
        self._journal.write(
            "INSERT OR IGNORE INTO picture VALUES (?, ?, ?, ?, ?, ?, ?)",
            *(id_, relative, sha256, len(data), kind, moment.visit.id, crop_of),
        )


def mark(image: Image, visit: Visit, margin: float) -> Image:
    """A copy of the picture, uint8[H, W, 3] RGB, with the visitor's box, label and probability drawn in."""
    height, width = image.shape[:2]
    marked = image.copy()
    colour, scale = _COLOURS[visit.kind], max(width / 1280, 0.4)
    box = visit.box
    left, top = round(box.x * width), round(box.y * height)
    right, bottom = round((box.x + box.w) * width), round((box.y + box.h) * height)
    cv2.rectangle(marked, (left, top), (right, bottom), colour, max(round(3 * scale), 1))
    _outline(marked, crop_box(image, box, margin), colour)
    text = f"{visit.label or 'unknown'} {visit.label_p:.0%}" if visit.answers else "not asked"
    (text_width, text_height), base = cv2.getTextSize(
        text, cv2.FONT_HERSHEY_SIMPLEX, 0.8 * scale, max(round(2 * scale), 1)
    )
    y = top - round(6 * scale) if top > text_height * 2 else bottom + text_height + base + round(6 * scale)
    left = max(min(left, width - text_width - base), 0)
    cv2.rectangle(marked, (left, y - text_height - base), (left + text_width + base, y + base), colour, cv2.FILLED)
    white = (255, 255, 255)
    thickness = max(round(2 * scale), 1)
    cv2.putText(
        marked, text, (left + base // 2, y), cv2.FONT_HERSHEY_SIMPLEX, 0.8 * scale, white, thickness, cv2.LINE_AA
    )
    return marked


def _outline(image: Image, box: Box, colour: tuple[int, int, int]) -> None:
    """A thin line around what the model saw."""
    height, width = image.shape[:2]
    start = round(box.x * width), round(box.y * height)
    end = round((box.x + box.w) * width) - 1, round((box.y + box.h) * height) - 1
    cv2.rectangle(image, start, end, colour, 1)
