"""The owner's pictures and what they show: read from a folder per class, a table, or a camera trap's JSON."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from edge.errors import Refused
from edge.frames.picture import read_picture
from edge.preprocess import MARGIN, square_crop
from edge.values import Box, Image
from training.formats import Row, camera_traps, folders, table
from training.likeness import Print, near, prints

Progress = Callable[[str, int, int], None]
_BURST_S = 60.0


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
    notes = []
    if bad := [row.path for row, one in zip(rows, found, strict=True) if one is None]:
        notes.append(f"{len(bad)} files are no pictures and were left out, the first is {bad[0]}")
    good = [(row, one) for row, one in zip(rows, found, strict=True) if one]
    if not good:
        raise Refused(f"{data}: no picture that can be read")
    kept = [one for _, one in good]
    alike = tuple(near(kept))
    groups = _groups([row for row, _ in good], alike)
    derived = any(not row.group for row, _ in good)
    if derived:
        notes.append(
            f"nobody said which pictures belong together (seq_id): {len(set(groups))} groups of {len(good)} pictures "
            "were found by their times, and where they are nearly the same"
        )
    pictures = tuple(
        Picture(r.path, r.label, group, r.source, r.camera, r.wall, r.box, r.sublabel, r.said, r.crop)
        for (r, _), group in zip(good, groups, strict=True)
    )
    return Dataset(data, kind, pictures, tuple(kept), alike, derived, tuple(notes))


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
        first = spelt.setdefault(" ".join(row.label.casefold().split()), row)
        if first.label != row.label:
            raise Refused(
                f"{data}: {first.label!r} ({first.said}) and {row.label!r} ({row.said}) are one label or two?"
            )
    if not rows:
        raise Refused(f"{data}: no picture is named there")


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
                "remove the one that is wrong"
            )


def _groups(rows: Sequence[Row], alike: Iterable[tuple[int, int]]) -> list[str]:
    """Said, or derived: pictures of one source within a minute of each other, or nearly the same, belong together."""
    names = [row.group for row in rows]
    timed = sorted(
        (place for place, row in enumerate(rows) if not row.group and row.wall),
        key=lambda place: (rows[place].source, rows[place].label, rows[place].wall),
    )
    for before, place in zip([-1, *timed], timed, strict=False):
        row, last = rows[place], rows[before] if before >= 0 else None
        near_by = last and last.wall and row.wall and (row.wall - last.wall).total_seconds() <= _BURST_S
        same = last and (last.source, last.label) == (row.source, row.label)
        names[place] = names[before] if near_by and same else f"{row.source}-{row.label}-{row.wall:%Y%m%dT%H%M%S}"
    names = [name or _own_name(row) for name, row in zip(names, rows, strict=True)]
    for one, other in alike:
        if not rows[one].group and not rows[other].group and rows[one].label == rows[other].label:
            old, new = names[other], names[one]
            names = [new if name == old else name for name in names]
    return names


def _own_name(row: Row) -> str:
    """A picture by itself. By its names, not its place on this machine: groups must stay what they are."""
    return f"{row.label}/{row.sublabel}/{row.path.name}" if row.sublabel else f"{row.label}/{row.path.name}"


def load(picture: Picture, margin: float = MARGIN) -> Image:
    """The picture as the model is to see it, uint8[h, w, 3] RGB: whole, or cut as the appliance cuts.

    Raises `SourceError` where the file is none.
    """
    image = read_picture(picture.path)
    return square_crop(image, picture.box, margin) if picture.box else image
