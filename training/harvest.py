"""The appliance's captures with the owner's labels, gathered into one growing folder to train from."""

from __future__ import annotations

import csv
import fcntl
import io
import os
import shutil
import tarfile
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path, PurePosixPath
from typing import IO

from edge.atomic import write_atomically
from edge.errors import GanderError, Refused, StateError
from edge.export import LABEL_COLUMNS, Wanted, export
from edge.retention import FOLDER
from training.appliance import Appliance, apart

LABELLED, DOUBTFUL = "labels.csv", "unlabelled.csv"
COLUMNS = (*LABEL_COLUMNS, "harvested")
"""Of our tables; `harvested` is the appliance's own word, which tells a label changed there from one changed here."""
_SCRATCH = ".harvest"

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
    with _scratch(out) as scratch:
        export(state, scratch / "export", node, Wanted(since=since, crops=True), progress)
        return merge(scratch / "export", out, progress)


def from_appliance(appliance: Appliance, out: Path, since: str | None, progress: Progress) -> Harvested:
    """From an appliance: it exports, and sends the tables and those pictures that are not here yet.

    Raises `GanderError`; `Refused`, `StateError` as above.
    """
    exports = appliance.verb("export", "--crops", *(("--since", since) if since else ()))
    script = apart(
        f'cat > "$d/here" && {exports} "$d/e" < /dev/null >&2 && cd "$d/e" && find {FOLDER} -type f'
        ' | LC_ALL=C sort | LC_ALL=C comm -13 "$d/here" - > "$d/new"'
        f' && tar -cf - {LABELLED} {DOUBTFUL} -T "$d/new"'
    )
    with _scratch(out) as scratch, tempfile.TemporaryFile() as known:
        here = _here(out)
        known.write(b"".join(sorted(f"{path}\n".encode() for path in here)))
        known.seek(0)
        progress(f"asking {appliance.host}", 0, 1)
        with appliance.answer(script, known) as answer:
            whole = _unpack(answer, scratch, here, progress)
        if not whole:
            raise GanderError(f"{appliance.host}: what it sent is no export; is its gander as new as this one?")
        progress(f"asking {appliance.host}", 1, 1)
        return merge(scratch, out, progress)


def merge(folder: Path, out: Path, progress: Progress = lambda *_: None) -> Harvested:
    """Add an export to `out`. A label changed on the appliance takes the place of the old one; one changed here stays.

    Nothing that was labelled is ever removed, and what was written into the table of the unlabelled is labelled.
    Raises `Refused` for a folder that is no export, `StateError` on a full disk.
    """
    fresh, waiting = (_read(folder / name, LABEL_COLUMNS) for name in (LABELLED, DOUBTFUL))
    try:
        out.mkdir(parents=True, exist_ok=True)
        known, unknown = (_read(out / name) if (out / name).exists() else {} for name in (LABELLED, DOUBTFUL))
        known |= {path: row for path, row in unknown.items() if row["label"].strip() and path not in known}
        done = Harvested()
        for number, path in enumerate((*fresh, *waiting), 1):
            done.new += _copy(folder, out, path)
            progress("harvesting", number, len(fresh) + len(waiting))
        for path, row in fresh.items():
            done.relabelled += _told(known, path, row)
        unknown = {path: row for path, row in (unknown | waiting).items() if path not in known}
        _write(out / LABELLED, known)
        _write(out / DOUBTFUL, dict(sorted(unknown.items(), key=_doubt)))
    except OSError as error:
        raise StateError.of(error, f"{out}: not harvested: {error.strerror}; what was there is as it was") from None
    done.labelled, done.unlabelled = len(known), len(unknown)
    return done


def _told(known: Rows, path: str, row: dict[str, str]) -> bool:
    """Enter what the appliance says of a picture. Whether that changed a label."""
    before = known.get(path)
    known[path] = (before or {}) | row | {"harvested": row["label"]}
    if before is None:
        return False
    if before.get("harvested", before["label"]) == row["label"]:
        known[path]["label"] = before["label"]
    return known[path]["label"] != before["label"]


def _doubt(entry: tuple[str, dict[str, str]]) -> tuple[bool, float, str, str]:
    """Who the model was least sure of comes first, a visit's pictures together, and those it never saw at the end."""
    path, row = entry
    try:
        return False, float(row["p"]), row["seq_id"], path
    except (KeyError, ValueError):
        return True, 0.0, row.get("seq_id", ""), path


def _here(out: Path) -> set[str]:
    """The appliance's pictures that need not come again."""
    tables = (_read(out / name) for name in (LABELLED, DOUBTFUL) if (out / name).exists())
    return {path for rows in tables for path in rows if _inside(path) and _size(out / path)}


def _unpack(stream: IO[bytes], folder: Path, here: set[str], progress: Progress) -> bool:
    """Write what comes into `folder`, first the tables, then pictures. False where it is no export, or cut off."""
    coming = 0
    try:
        with tarfile.open(fileobj=stream, mode="r|") as archive:
            for number, member in enumerate(archive, -1):
                data = archive.extractfile(member)
                if data is None or not (_inside(member.name) or member.name in (LABELLED, DOUBTFUL)):
                    return False
                target = folder / member.name
                target.parent.mkdir(parents=True, exist_ok=True)
                with data, target.open("xb") as file:
                    shutil.copyfileobj(data, file)
                if number == 0:
                    tables = (_read(folder / name, LABEL_COLUMNS) for name in (LABELLED, DOUBTFUL))
                    coming = len({path for rows in tables for path in rows} - here)
                if number > 0:
                    progress("fetching pictures", number, max(number, coming))
    except (tarfile.TarError, FileExistsError):
        return False
    return (folder / DOUBTFUL).exists()


def _inside(path: str) -> bool:
    """Whether it is the path of a picture as an export has it."""
    parts = PurePosixPath(path).parts
    return len(parts) > 1 and parts[0] == FOLDER and ".." not in parts and "\n" not in path


def _copy(folder: Path, out: Path, path: str) -> bool:
    """Whether the picture was not there yet."""
    if not _inside(path):
        raise Refused(f"{folder}: {path!r} lies outside the export")
    target = out / path
    if _size(target):
        return False
    if not (folder / path).is_file():
        raise Refused(f"{folder}: names {path}, which is not in it; harvest again")
    target.parent.mkdir(parents=True, exist_ok=True)
    unfinished = target.with_name(f".{target.name}")
    shutil.copyfile(folder / path, unfinished)
    unfinished.replace(target)
    return True


def _size(path: Path) -> int:
    """Bytes; 0 also for a file that is not there: a power cut leaves empty ones."""
    return path.stat().st_size if path.is_file() else 0


def _read(table: Path, needed: tuple[str, ...] = ("path", "label")) -> Rows:
    try:
        with table.open(encoding="utf-8-sig", newline="") as file:
            rows = csv.DictReader(file, restval="")
            names = [name for name in rows.fieldnames or () if name]
            if missing := [column for column in needed if column not in names]:
                raise Refused(f"{table}: no column {missing[0]}: not of an export by `gander export`")
            return {row["path"]: {name: row[name] for name in names} for row in rows if row["path"]}
    except (UnicodeDecodeError, csv.Error) as error:
        raise Refused(f"{table}: not a CSV in UTF-8: {error}") from None
    except OSError as error:
        raise Refused(f"{table}: {error.strerror}; harvest from a state directory, or user@appliance") from None


def _write(table: Path, rows: Rows) -> None:
    """With the columns that the owner added."""
    added = dict.fromkeys(name for row in rows.values() for name in row if name not in COLUMNS)
    text = io.StringIO()
    writer = csv.DictWriter(text, (*COLUMNS, *added), restval="", lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows.values())
    write_atomically(table, text.getvalue().encode())


@contextmanager
def _scratch(out: Path) -> Iterator[Path]:
    """A folder for what is under way, on the same disk: `/tmp` may be memory. One harvest at a time."""
    try:
        out.mkdir(parents=True, exist_ok=True)
        lock = os.open(out, os.O_RDONLY | os.O_DIRECTORY)
        scratch = out / _SCRATCH
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            shutil.rmtree(scratch, ignore_errors=True)
            scratch.mkdir()
            try:
                yield scratch
            finally:
                shutil.rmtree(scratch, ignore_errors=True)
        finally:
            os.close(lock)
    except BlockingIOError:
        raise Refused(f"{out}: another harvest is under way; let it end") from None
    except OSError as error:
        raise StateError.of(error, f"{out}: not harvested: {error.strerror}; what was there is as it was") from None
