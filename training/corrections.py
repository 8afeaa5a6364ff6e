"""The owner's word on what the audit showed: an `audit.csv` with its column `correct` filled in."""

from __future__ import annotations

import csv
from dataclasses import replace
from pathlib import Path

from edge.errors import Refused
from training.dataset import Dataset, plain

DROP = "drop"
_NEEDED = ("group", "label", "correct")


def apply(dataset: Dataset, table: Path) -> Dataset:
    """The dataset with corrected labels, without the visits to be dropped; no file is changed.

    A row counts for all pictures of its visit and label. Raises `Refused` for a visit that is not there, and for a new
    label that differs from another only in case or spaces.
    """
    wanted = _read(table)
    spelt = {DROP: DROP} | {plain(label): label for label in dataset.labels}
    there = {(picture.group, picture.label) for picture in dataset.pictures}
    for (group, label), (row, correct) in wanted.items():
        if (group, label) not in there:
            raise Refused(f"{table}: row {row}: there is no visit {group} labelled {label!r} in {dataset.where}")
        if (known := spelt.setdefault(plain(correct), correct)) != correct:
            raise Refused(f"{table}: row {row}: {correct!r} is written {known!r} elsewhere")
    words = [wanted.get((picture.group, picture.label), (0, picture.label))[1] for picture in dataset.pictures]
    kept = [place for place, word in enumerate(words) if word != DROP]
    place_of = {old: new for new, old in enumerate(kept)}
    dropped = sum(word == DROP for _, word in wanted.values())
    note = f"{len(wanted) - dropped} visits were relabelled and {dropped} left out, as {table.name} says"
    return replace(
        dataset,
        pictures=tuple(replace(dataset.pictures[place], label=words[place]) for place in kept),
        prints=tuple(dataset.prints[place] for place in kept),
        alike=tuple((place_of[a], place_of[b]) for a, b in dataset.alike if a in place_of and b in place_of),
        notes=(*dataset.notes, note),
    )


def _read(table: Path) -> dict[tuple[str, str], tuple[int, str]]:
    """(visit, its label) to (row, what is right), of the rows that say something."""
    try:
        with table.open(encoding="utf-8-sig", newline="") as file:
            rows = csv.DictReader(file, restval="")
            if missing := [column for column in _NEEDED if column not in (rows.fieldnames or ())]:
                raise Refused(
                    f"{table}: row 1: no column {' or '.join(missing)}; `gander-train audit` writes such a table"
                )
            found = [(rows.line_num, row["group"], row["label"], row["correct"].strip()) for row in rows]
    except OSError as error:
        raise Refused(f"{table}: {error.strerror}; `gander-train audit` writes such a table") from None
    except (UnicodeDecodeError, csv.Error) as error:
        raise Refused(f"{table}: not a CSV in UTF-8: {error}") from None
    wanted: dict[tuple[str, str], tuple[int, str]] = {}
    for number, group, label, correct in found:
        if not correct or correct == label:
            continue
        if wanted.setdefault((group, label), (number, correct))[1] != correct:
            raise Refused(f"{table}: row {number}: visit {group} is to be two things; one row a visit will do")
    return wanted
