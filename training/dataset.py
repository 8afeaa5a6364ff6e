"""The owner's pictures and what they show: read from a folder per class, a table, or a camera trap's JSON."""

from __future__ import annotations

import unicodedata
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path

from edge.errors import Refused
from edge.frames.picture import read_picture
from edge.preprocess import MARGIN, square_crop
from edge.values import Box, Image
from training.formats import Row, camera_traps, folders, table
from training.groups import derive
from training.likeness import Print, near, prints

Progress = Callable[[str, int, int], None]
_NAMED = 3  # files that a note names


@dataclass(frozen=True, slots=True)
class Picture:
    """One picture, or one animal on it.

    `group` is its burst or visit, which is never split. `box` is what is meant, in fractions of the picture; None: all
    of it, as with the crops that the appliance kept. `said` is where its label stands, for messages.
    """

    path: Path
    label: str
    group: str
    source: str = ""
    camera: str = ""
    wall: datetime | None = None
    box: Box | None = None
    sublabel: str = ""
    said: str = ""
    crop: bool = False


@dataclass(frozen=True, slots=True)
class Dataset:
    """Everything that was read, with what each file is known by and which are nearly the same (places in `pictures`).

    `derived`: nobody said which pictures belong together, it was found out. `notes` are for the report.
    """

    where: Path
    format: str
    pictures: tuple[Picture, ...]
    prints: tuple[Print, ...] = ()
    alike: tuple[tuple[int, int], ...] = ()
    derived: bool = False
    notes: tuple[str, ...] = ()

    @property
    def labels(self) -> tuple[str, ...]:
        """Each label once, sorted."""
        return tuple(sorted({picture.label for picture in self.pictures}))


def read(data: Path, progress: Progress = lambda *_: None) -> Dataset:
    """Read pictures and labels in whichever of the three forms they are.

    Files that are no pictures are left out, and named in the notes. Raises `Refused` for what cannot be meant: files
    that are not there, one file under two labels, labels that differ only in case or spaces.
    """
    kind, rows = _rows(data)
    _spelling(data, rows)
    found = prints([row.path for row in rows], progress)
    _two_labels(data, rows, found)
    read_ones = [(row, one) for row, one in zip(rows, found, strict=True) if one]
    if not read_ones:
        raise Refused(f"{data}: none of {len(rows)} files is a picture that can be read, {rows[0].path} for one")
    kept = [one for _, one in read_ones]
    good = [replace(row, wall=row.wall or one.taken) for row, one in read_ones]
    alike = tuple(near(kept))
    groups = derive(good, data if data.is_dir() else data.parent, alike)
    derived = any(not row.group for row in good)
    notes = [*_left_out(rows, found), *([_derivation(good, groups)] if derived else [])]
    pictures = tuple(
        Picture(r.path, r.label.strip(), group, r.source, r.camera, r.wall, r.box, r.sublabel, r.said, r.crop)
        for r, group in zip(good, groups, strict=True)
    )
    return Dataset(data, kind, pictures, tuple(kept), alike, derived, tuple(notes))


def _left_out(rows: Sequence[Row], found: Sequence[Print | None]) -> Iterator[str]:
    bad = [row for row, one in zip(rows, found, strict=True) if one is None]
    if bad:
        names = ", ".join(str(row.path) for row in bad[:_NAMED]) + (", …" if len(bad) > _NAMED else "")
        what = "files are no pictures and were" if len(bad) > 1 else "file is no picture and was"
        yield f"{len(bad)} {what} left out: {names}"
    gone = {row.label for row in bad} - {row.label for row, one in zip(rows, found, strict=True) if one}
    if gone:
        yield f"not one picture of {', '.join(sorted(gone))} can be read: a model will not know of it"


def _derivation(rows: Sequence[Row], groups: Sequence[str]) -> str:
    own = [(row, group) for row, group in zip(rows, groups, strict=True) if not row.group]
    timed = sum(row.wall is not None for row, _ in own)
    return (
        f"nobody said which pictures belong together (seq_id): {len({group for _, group in own})} groups of {len(own)} "
        f"pictures were found by their times ({timed} have one), and where they are nearly the same"
    )


def _rows(data: Path) -> tuple[str, list[Row]]:
    if data.is_dir():
        table_file = data / "labels.csv"
        return ("table", list(table.read(table_file))) if table_file.exists() else ("folders", list(folders.read(data)))
    if data.suffix.lower() == ".json":
        return "camera traps", list(camera_traps.read(data))
    if data.suffix.lower() == ".csv":
        return "table", list(table.read(data))
    what = "no such file or folder" if not data.exists() else "neither a folder, a .csv nor a .json"
    raise Refused(f"{data}: {what}; give a folder per class, a CSV path,label,seq_id, or a COCO Camera Traps JSON")


def _spelling(data: Path, rows: Sequence[Row]) -> None:
    spelt: dict[str, Row] = {}
    for row in rows:
        if not row.label.strip():
            raise Refused(f"{data}: {row.said}: its label is empty")
        first = spelt.setdefault(plain(row.label), row)
        if first.label != row.label:
            raise Refused(
                f"{data}: {first.label!r} ({first.said}) and {row.label!r} ({row.said}) are one label or two?"
            )
    if not rows:
        raise Refused(f"{data}: no picture is named there")


def plain(label: str) -> str:
    """The label without what is easily written differently: case, spaces, and how its letters are encoded."""
    return "".join(unicodedata.normalize("NFKC", label).casefold().split())


def _two_labels(data: Path, rows: Sequence[Row], found: Sequence[Print | None]) -> None:
    """The same file twice, or a copy of it. Two animals on one picture have boxes."""
    seen: dict[str, Row] = {}
    for row, one in zip(rows, found, strict=True):
        if one is None or row.box:
            continue
        first = seen.setdefault(one.sha256, row)
        if first.label != row.label:
            raise Refused(
                f"{data}: the same picture is {first.label!r} ({first.path}) and {row.label!r} ({row.path}); "
                "remove the one that is wrong; two animals on one picture need boxes"
            )


def load(picture: Picture, margin: float = MARGIN) -> Image:
    """The picture as the model is to see it, uint8[h, w, 3] RGB: whole, or cut as the appliance cuts.

    Raises `SourceError` where the file is none.
    """
    image = read_picture(picture.path)
    return square_crop(image, picture.box, margin) if picture.box else image
