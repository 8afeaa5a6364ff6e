"""Any bundle over an archive of pictures, by the device's code, into one table. An interruption costs little."""

from __future__ import annotations

import csv
import logging
import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

import numpy as np

from edge.bundle import Bundle
from edge.clock import iso
from edge.errors import Refused, StateError
from edge.evidence import Kinds
from edge.values import Kind
from training.archive import pictures
from training.dataset import Picture
from training.scoring import Answer, answers

log = logging.getLogger(__name__)

Progress = Callable[[str, int, int], None]
_TOP = 5
_NUMBERS = ("x", "y", "w", "h", *(f"p{n}" for n in range(1, _TOP + 1)), *(kind.value for kind in Kind))
COLUMNS = (
    *("path", "x", "y", "w", "h", "group", "label", "camera", "wall"),
    *(name for n in range(1, _TOP + 1) for name in (f"label{n}", f"p{n}")),
    *(kind.value for kind in Kind),
    *("model", "version", "bundle"),
)
"""`x` to `h`: the box, in fractions, where a part of the picture is meant. `label`: what the archive says.

`label1` to `p5`: the likeliest labels; then the probability of each kind; the model, and its bundle's sha256.
"""


@dataclass(frozen=True, slots=True)
class Rescored:
    """What was written: `rows` in all, of which `kept` had been computed before; pictures that could not be read."""

    path: Path
    rows: int
    kept: int
    unread: int


def rescore(
    bundle: Bundle, archive: Path, out: Path, processes: int = 0, progress: Progress = lambda *_: None
) -> Rescored:
    """Write one row for each picture of `archive` (see `training.archive`) to `out`, a .csv or .parquet.

    What an interrupted run had computed is in `OUT.part` and not computed again, nor what a CSV of this very bundle
    has already. `out` is there whole or as it was. Raises `Refused`, `BundleError`, and `StateError` on a full disk.
    """
    _check(out)
    every = pictures(archive, progress)
    part = out.with_name(out.name + ".part")
    try:
        done = _begin(part, out, bundle)
        missing = [picture for picture in every if _key(_where(picture)) not in done]
        kept, unread = len(done), 0
        with part.open("a", encoding="utf-8", newline="") as file:
            writer = csv.writer(file, lineterminator="\n")
            with closing(answers(bundle, missing, processes)) as said:
                for number, row in enumerate(_rows(said, bundle), 1):
                    if row:
                        writer.writerow(row)
                        file.flush()
                    unread += not row
                    progress("scoring", len(every) - len(missing) + number, len(every))
            os.fsync(file.fileno())
        _finish(part, out)
    except OSError as error:
        raise StateError.of(
            error, f"{out}: cannot be written: {error.strerror}; what was computed is in {part.name}"
        ) from None
    return Rescored(out, kept + len(missing) - unread, kept, unread)


def _check(out: Path) -> None:
    if out.suffix not in (".csv", ".parquet"):
        raise Refused(f"{out}: neither .csv nor .parquet")
    if out.suffix == ".parquet" and find_spec("pyarrow") is None:
        raise Refused(f"{out}: Parquet needs the package pyarrow, which is not installed here; name a .csv instead")
    if not out.parent.is_dir():
        raise Refused(f"{out.parent}: no such folder")


def _rows(said: Iterator[tuple[Picture, Answer]], bundle: Bundle) -> Iterator[list[str]]:
    """One row for each answer, empty where the picture could not be read."""
    kinds = Kinds(bundle.labels, bundle.manifest.suggested_kinds)
    for picture, answer in said:
        if answer.p is None:
            log.warning("not scored: %s", answer.why)
            yield []
            continue
        best = np.argsort(-answer.p, kind="stable")[:_TOP]
        top = [text for place in best for text in (bundle.labels[place], f"{answer.p[place]:.6f}")]
        of_kind = [f"{p:.6f}" for p in kinds.p(answer.p).values()]
        wall = iso(picture.wall) if picture.wall else ""
        yield [
            *(*_where(picture), picture.group, picture.label, picture.camera, wall),
            *(*top, *[""] * (2 * _TOP - len(top)), *of_kind),
            *(bundle.name, bundle.version, bundle.sha256),
        ]


def _where(picture: Picture) -> list[str]:
    """Path and box: which thing on which picture."""
    box = picture.box
    sides = [f"{side:.6f}" for side in (box.x, box.y, box.w, box.h)] if box else [""] * 4
    return [str(picture.path), *sides]


def _key(row: Sequence[str]) -> tuple[str, ...]:
    return tuple(row[:5])


def _begin(part: Path, out: Path, bundle: Bundle) -> set[tuple[str, ...]]:
    """Leave in `part` the heading and what was computed before, whole rows only; say for which pictures that is."""
    before = next((path for path in (part, out) if path.is_file() and path.suffix != ".parquet"), None)
    fresh = part.with_name(part.name + ".new")
    done: set[tuple[str, ...]] = set()
    try:
        with fresh.open("w", encoding="utf-8", newline="") as file:
            writer = csv.writer(file, lineterminator="\n")
            writer.writerow(COLUMNS)
            for row in _read(before) if before else ():
                if row[-1] != bundle.sha256:
                    raise Refused(f"{before}: holds answers of {row[-3]} {row[-2]}; move it away, or name another file")
                if _key(row) not in done:
                    done.add(_key(row))
                    writer.writerow(row)
        fresh.replace(part)
    finally:
        fresh.unlink(missing_ok=True)
    return done


def _read(path: Path) -> Iterator[list[str]]:
    """The rows of an earlier run, without the last where it was cut short in the middle."""
    with path.open("rb") as file:
        file.seek(max(path.stat().st_size - 1, 0))
        whole = file.read() == b"\n"
    with path.open(encoding="utf-8", errors="replace", newline="") as file:
        rows = csv.reader(file)
        if tuple(next(rows, COLUMNS)) != COLUMNS:
            raise Refused(f"{path}: not a table that this program wrote; move it away, or name another file")
        waiting: list[str] | None = None
        for row in rows:
            if waiting is not None and len(waiting) == len(COLUMNS):
                yield waiting
            waiting = row
        if whole and waiting is not None and len(waiting) == len(COLUMNS):
            yield waiting


def _finish(part: Path, out: Path) -> None:
    if out.suffix == ".parquet":
        fresh = part.with_name(part.name + ".new")
        _parquet(part, fresh)
        fresh.replace(out)
        part.unlink()
    else:
        part.replace(out)


def _parquet(table: Path, out: Path) -> None:
    """The same as Parquet, a block at a time."""
    import pyarrow
    from pyarrow import csv as arrow_csv
    from pyarrow import parquet

    types = {name: pyarrow.float64() if name in _NUMBERS else pyarrow.string() for name in COLUMNS}
    options = arrow_csv.ConvertOptions(column_types=types)
    parse = arrow_csv.ParseOptions(newlines_in_values=True)
    with (
        arrow_csv.open_csv(table, parse_options=parse, convert_options=options) as blocks,
        parquet.ParquetWriter(out, blocks.schema) as writer,
    ):
        for block in blocks:
            writer.write_batch(block)
