"""Pictures in folders and tables: camera traps, bursts, anything already cut into single files."""

from __future__ import annotations

import csv
import logging
import re
from collections.abc import Generator, Iterator
from collections.abc import Sequence as Ordered
from dataclasses import dataclass
from pathlib import Path

from edge.errors import SourceError
from edge.frames import Shot, Wanted, always
from edge.frames.luma import luma_of
from edge.frames.picture import read_picture

log = logging.getLogger(__name__)

PICTURES = frozenset({".jpg", ".jpeg", ".png", ".bmp", ".webp", ".tif", ".tiff", ".ppm", ".pgm", ".gif", ".avif"})
COLUMNS = ("path", "label", "seq_id")


class FolderSource:
    """Single pictures, played in the order given, 1/fps apart. Raises `SourceError` where there is none."""

    live = False
    reopened = 0
    trouble = ""

    def __init__(self, paths: Ordered[Path], fps: float = 15.0) -> None:
        if not paths:
            raise SourceError("no picture to play; give a folder or table with at least one")
        self.fps = fps
        self.skipped = 0
        self._paths = tuple(paths)
        self._bad: set[Path] = set()

    def shots(self, wanted: Wanted = always) -> Generator[Shot, None, None]:
        """Every readable picture; an unreadable one keeps its place in time, so that nothing after it moves."""
        for index, path in enumerate(self._paths):
            media_time = index / self.fps
            if not wanted(media_time):
                continue
            try:
                image = read_picture(path)
            except SourceError as error:
                self.skipped += 1
                if path not in self._bad:
                    self._bad.add(path)
                    log.warning("skipped %s", error)
                continue
            yield Shot(image, luma_of(image), media_time)


@dataclass(frozen=True, slots=True)
class Sequence:
    """The pictures of one burst, in natural order, and what they show."""

    label: str
    seq_id: str
    paths: tuple[Path, ...]


def natural(path: Path) -> tuple[tuple[int, int | str], ...]:
    """Sort key by which `image_2` comes before `image_10`."""
    parts = re.split(r"(\d+)", path.name)
    return tuple((0, int(part)) if part.isdecimal() else (1, part) for part in parts if part)


def pictures(folder: Path) -> list[Path]:
    """The picture files of `folder` in natural order; other files and subfolders are left alone."""
    try:
        found = [path for path in folder.iterdir() if path.suffix.lower() in PICTURES and path.is_file()]
    except OSError as error:
        raise SourceError(f"{folder}: {error.strerror}; give a folder of pictures") from None
    if not found:
        raise SourceError(f"{folder}: no picture in this folder; give one with {', '.join(sorted(PICTURES))} files")
    return sorted(found, key=natural)


def sequences(table: Path) -> list[Sequence]:
    """Read a CSV with columns `path,label,seq_id`; paths are relative to its folder, further columns are ignored.

    Groups come in the order in which the table first names them. Raises `SourceError` naming the row to mend.
    """
    groups: dict[tuple[str, str], list[Path]] = {}
    for row, label, seq_id, text in _rows(table):
        path = table.parent / text
        if not text or not path.is_file():
            raise SourceError(f"{table}: row {row}: no file {text!r}; paths are absolute or relative to {table.parent}")
        groups.setdefault((label, seq_id), []).append(path)
    if not groups:
        raise SourceError(f"{table}: no row below the heading; each names a picture: {','.join(COLUMNS)}")
    return [Sequence(label, seq_id, tuple(sorted(paths, key=natural))) for (label, seq_id), paths in groups.items()]


def _rows(table: Path) -> Iterator[tuple[int, str, str, str]]:
    """(line number, label, seq_id, path) of every row."""
    try:
        with table.open(encoding="utf-8-sig", newline="") as file:
            reader = csv.DictReader(file, restval="")
            missing = [column for column in COLUMNS if column not in (reader.fieldnames or ())]
            if missing:
                raise SourceError(
                    f"{table}: row 1: no column {' or '.join(missing)}; the heading must have {','.join(COLUMNS)}"
                )
            for row in reader:
                label, seq_id = row["label"].strip(), row["seq_id"].strip()
                if not label or not seq_id:
                    raise SourceError(f"{table}: row {reader.line_num}: label and seq_id must both be given")
                yield reader.line_num, label, seq_id, row["path"].strip()
    except OSError as error:
        raise SourceError(f"{table}: {error.strerror}; give a CSV with {','.join(COLUMNS)}") from None
    except (UnicodeDecodeError, csv.Error) as error:
        raise SourceError(f"{table}: not a CSV in UTF-8: {error}") from None
