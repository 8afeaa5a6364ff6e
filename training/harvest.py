"""The appliance's captures with the owner's labels, gathered into one growing folder to train from."""

from __future__ import annotations

import csv
import io
import shutil
import tempfile
import zipfile
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path, PurePosixPath

from edge.atomic import write_atomically
from edge.errors import GanderError, Refused, StateError
from edge.export import LABEL_COLUMNS, Wanted, export
from training.appliance import Appliance, apart

LABELLED, DOUBTFUL = "labels.csv", "unlabelled.csv"

Progress = Callable[[str, int, int], None]
Rows = dict[str, dict[str, str]]
"""By path, as in the tables."""


@dataclass(slots=True)
class Harvested:
    """What the folder holds now, and what of it is new."""

    labelled: int = 0
    unlabelled: int = 0
    new: int = 0
    relabelled: int = 0


def from_state(state: Path, node: str, out: Path, since: datetime | None, progress: Progress) -> Harvested:
    """From a state directory on this machine. Raises `Refused`, `StateError`."""
    with tempfile.TemporaryDirectory(prefix="gander-harvest-") as scratch:
        folder = Path(scratch) / "export"
        export(state, folder, node, Wanted(since=since, crops=True), progress)
        return merge(folder, out, progress)


def from_appliance(appliance: Appliance, out: Path, since: str | None, progress: Progress) -> Harvested:
    """From an appliance: it exports, and sends that over the same connection. Raises `GanderError`."""
    span = ("--since", since) if since else ()
    verb = appliance.verb("export", "--crops", *span)
    with tempfile.TemporaryDirectory(prefix="gander-harvest-") as scratch:
        packed = Path(scratch) / "export.zip"
        progress(f"asking {appliance.host}", 0, 1)
        with packed.open("wb") as file:
            appliance.run(apart(f'{verb} "$d/export.zip" >&2 && cat "$d/export.zip"'), out=file)
        progress(f"asking {appliance.host}", 1, 1)
        try:
            with zipfile.ZipFile(packed) as archive:
                archive.extractall(Path(scratch) / "export")
        except zipfile.BadZipFile:
            raise GanderError(
                f"{appliance.host}: what it sent is no export; is its gander as new as this one?"
            ) from None
        return merge(_top(Path(scratch) / "export"), out, progress)


def merge(folder: Path, out: Path, progress: Progress = lambda *_: None) -> Harvested:
    """Add an export to `out`. A new label takes the place of the old; nothing that was labelled is ever removed.

    Raises `Refused` for a folder that is no export, `StateError` on a full disk.
    """
    new = {name: _read(folder / name) for name in (LABELLED, DOUBTFUL)}
    try:
        out.mkdir(parents=True, exist_ok=True)
        known, unknown = (_read(out / name) if (out / name).exists() else {} for name in (LABELLED, DOUBTFUL))
        done = Harvested()
        every = [*new[LABELLED], *new[DOUBTFUL]]
        for number, path in enumerate(every, 1):
            done.new += _copy(folder, out, path)
            progress("harvesting", number, len(every))
        done.relabelled = sum(
            path in known and known[path]["label"] != row["label"] for path, row in new[LABELLED].items()
        )
        known |= new[LABELLED]
        unknown = {path: row for path, row in (unknown | new[DOUBTFUL]).items() if path not in known}
        _write(out / LABELLED, known.values())
        _write(out / DOUBTFUL, sorted(unknown.values(), key=_doubt))
    except OSError as error:
        raise StateError(f"{out}: not harvested: {error.strerror}; what was there is as it was") from None
    done.labelled, done.unlabelled = len(known), len(unknown)
    return done


def _doubt(row: dict[str, str]) -> float:
    """The model's own sureness: who it was least sure of comes first."""
    try:
        return float(row["p"])
    except ValueError:
        return 0.0


def _copy(folder: Path, out: Path, path: str) -> bool:
    """Whether the picture was not there yet."""
    inside = PurePosixPath(path)
    if inside.is_absolute() or ".." in inside.parts:
        raise Refused(f"{folder}: {path!r} lies outside the export")
    target = out / path
    if target.exists():
        return False
    target.parent.mkdir(parents=True, exist_ok=True)
    unfinished = target.with_name(f".{target.name}")
    shutil.copyfile(folder / path, unfinished)
    unfinished.replace(target)
    return True


def _read(table: Path) -> Rows:
    try:
        with table.open(encoding="utf-8-sig", newline="") as file:
            rows = csv.DictReader(file, restval="")
            if missing := [column for column in LABEL_COLUMNS if column not in (rows.fieldnames or ())]:
                raise Refused(f"{table}: no column {missing[0]}: not of an export by `gander export`")
            return {row["path"]: {column: row[column] for column in LABEL_COLUMNS} for row in rows}
    except OSError as error:
        raise Refused(f"{table}: {error.strerror}; harvest from a state directory, or user@appliance") from None


def _write(table: Path, rows: Iterable[dict[str, str]]) -> None:
    text = io.StringIO()
    writer = csv.DictWriter(text, LABEL_COLUMNS, lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    write_atomically(table, text.getvalue().encode())


def _top(folder: Path) -> Path:
    """The folder with the tables: the archive's own, or the only one in it."""
    inner = [path for path in folder.iterdir() if path.is_dir() and (path / LABELLED).exists()]
    return inner[0] if inner and not (folder / LABELLED).exists() else folder
