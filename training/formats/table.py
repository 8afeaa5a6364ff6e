"""A CSV: path, label, and if possible seq_id; what `gander export` writes is one."""

from __future__ import annotations

import csv
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

from edge.errors import Refused
from training.formats import Row

NEEDED = ("path", "label")


def read(table: Path) -> Iterator[Row]:
    """Paths are relative to the table, or absolute. Raises `Refused` for columns or files that are not there."""
    missing: list[str] = []
    try:
        with table.open(encoding="utf-8-sig", newline="") as file:
            rows = csv.DictReader(file, restval="")
            rows.fieldnames = heading = [name.strip() for name in rows.fieldnames or ()]
            if lacking := [column for column in NEEDED if column not in heading]:
                raise Refused(
                    f"{table}: row 1: no column {' or '.join(lacking)} in {','.join(heading)!r}; the heading must have "
                    "path,label and should have seq_id, with commas between"
                )
            for row in rows:
                path = table.parent / row["path"].strip()
                where = f"{table.name} row {rows.line_num}"
                if not row["path"].strip() or not path.is_file():
                    missing.append(f"row {rows.line_num}: no file {row['path'].strip()!r}")
                elif not row["label"].strip():
                    raise Refused(f"{table}: row {rows.line_num}: no label for {row['path'].strip()}")
                else:
                    yield _row(row, path, where)
    except OSError as error:
        raise Refused(f"{table}: {error.strerror}; give a CSV with path,label,seq_id") from None
    except (UnicodeDecodeError, csv.Error) as error:
        raise Refused(f"{table}: not a CSV in UTF-8: {error}") from None
    if missing:
        more = f" (and {len(missing) - 1} more)" if len(missing) > 1 else ""
        raise Refused(f"{table}: {missing[0]}{more}; paths are absolute or relative to {table.parent}")


def _row(row: dict[str, str], path: Path, where: str) -> Row:
    def text(name: str) -> str:
        return (row.get(name) or "").strip()

    return Row(
        path,
        row["label"],
        where,
        group=text("seq_id"),
        source=text("source"),
        camera=text("camera"),
        wall=moment(text("wall")),
        sublabel=text("sublabel"),
        crop=text("kind_of_picture") == "crop",
    )


def moment(text: str) -> datetime | None:
    """An ISO moment, taken for UTC where it does not say; None where it is none."""
    try:
        when = datetime.fromisoformat(text)
    except ValueError:
        return None
    return when if when.tzinfo else when.replace(tzinfo=UTC)
