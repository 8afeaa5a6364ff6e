"""The audit as a page to look at, and as a table to correct."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from pathlib import Path

from edge.errors import SourceError, StateError
from training.audit import Audit, Suspect
from training.dataset import Dataset, load
from training.output import put
from training.page import Page, Shown

COLUMNS = ("group", "path", "label", "suggested", "p", "why", "correct")
_MOST = 60  # of each kind on the page; the table has all
_OF_VISIT = 3


def write(folder: Path, found: Audit, dataset: Dataset) -> None:
    """`audit.html` to look at, `audit.csv` to fill in and feed back; what was filled in stays. Raises `StateError`."""
    _page(folder / "audit.html", found, dataset)
    _table(folder / "audit.csv", found, dataset)


def _page(path: Path, found: Audit, dataset: Dataset) -> None:
    page = Page("Audit", f"{len(dataset.pictures)} pictures in {sum(found.visits.values())} visits, {dataset.where}")
    good = not (found.suspects or found.leaks)
    page.verdict("Nothing stands out." if good and not found.advice else " ".join(found.advice[:1]), good)
    for line in (*found.advice[1:], *found.notes):
        page.text(line)
    if found.suspects:
        page.heading("Labels to look at")
        some = found.suspects[:_MOST]
        shown = [shown for suspect in some for shown in _suspect(suspect, dataset)]
        page.sheet(
            shown,
            "The surest first. What others of its kind say against; nothing was changed. Write the right label, or "
            "drop, into the column `correct` of audit.csv, and give it to `gander-train fit --corrections`.",
        )
    if found.alike:
        page.heading("Nearly the same picture")
        across = set(found.leaks)
        pairs = sorted(found.alike, key=lambda pair: (pair not in across, pair))
        other = [pair for pair in pairs if dataset.pictures[pair[0]].group != dataset.pictures[pair[1]].group]
        text = (
            f"{len(found.alike)} pairs, {len(other)} of them of different visits: those are on one side of the split."
        )
        page.sheet(
            [shown for pair in _apart(other, dataset)[: _MOST // 2] for shown in _pair(pair, dataset, pair in across)],
            text,
        )
    page.heading("How much of what")
    rows = [
        (label, visits, found.pictures[label], found.one_source.get(label, "several"))
        for label, visits in sorted(found.visits.items(), key=lambda item: item[1])
    ]
    page.table(("label", "visits", "pictures", "source"), rows, "The rarest first.")
    page.heading("Is the test set like the training set?")
    page.table(
        ("", "training", "test", "distance", ""),
        [
            (one.what, f"{one.train:.2g}", f"{one.test:.2g}", f"{one.distance:.2f}", _word(one.matters))
            for one in found.differences
        ],
        f"Medians, and how far the distributions are apart (0 to 1). By their pictures the sets can be told apart to "
        f"{found.told_apart:.0%}; 50 % is by chance.",
    )
    page.table(
        ("made of", "differs most", "training", "test", "distance", ""),
        [
            (mix.what, mix.most, f"{mix.train:.0%}", f"{mix.test:.0%}", f"{mix.distance:.2f}", _word(mix.matters))
            for mix in found.mixtures
        ],
        "Shares of the visits.",
    )
    page.write(path)


def _word(differs: bool) -> str:
    return "differs" if differs else ""


def _apart(pairs: Sequence[tuple[int, int]], dataset: Dataset) -> list[tuple[int, int]]:
    """Of each visit one pair: a fixed camera's pictures of nobody are all alike, and would fill the page."""
    chosen, shown = [], set[str]()
    for one, other in pairs:
        groups = {dataset.pictures[one].group, dataset.pictures[other].group}
        if not groups & shown:
            shown |= groups
            chosen.append((one, other))
    return chosen


def _suspect(suspect: Suspect, dataset: Dataset) -> list[Shown]:
    lines = (f"{suspect.label} → {suspect.suggested}?", f"{suspect.p_label:.0%} against {suspect.p_suggested:.0%}")
    return [shown for place in suspect.places[:_OF_VISIT] for shown in _one(place, dataset, lines, True)]


def _pair(pair: tuple[int, int], dataset: Dataset, leaks: bool) -> list[Shown]:
    lines = ("on both sides!",) if leaks else ()
    return [shown for place in pair for shown in _one(place, dataset, (dataset.pictures[place].label, *lines), leaks)]


def _one(place: int, dataset: Dataset, lines: tuple[str, ...], bad: bool) -> list[Shown]:
    picture = dataset.pictures[place]
    try:
        return [Shown(load(picture), (*lines, f"{picture.path.parent.name}/{picture.path.name}"), bad)]
    except SourceError:
        return []


def _table(path: Path, found: Audit, dataset: Dataset) -> None:
    text, known = io.StringIO(), _filled_in(path)
    table = csv.writer(text, lineterminator="\n")
    table.writerow(COLUMNS)
    for suspect in found.suspects:
        why = f"others say {suspect.suggested} {suspect.p_suggested:.0%}, {suspect.label} {suspect.p_label:.0%}"
        shown = dataset.pictures[suspect.places[0]].path
        correct = known.pop((suspect.group, suspect.label), {"correct": ""})["correct"]
        p = f"{suspect.p_suggested:.3f}"
        table.writerow((suspect.group, shown, suspect.label, suspect.suggested, p, why, correct))
    table.writerows([row.get(name, "") for name in COLUMNS] for row in known.values())
    put(path, text.getvalue())


def _filled_in(path: Path) -> dict[tuple[str, str], dict[str, str]]:
    """By visit and label, the rows of an earlier table in which the owner wrote what is correct."""
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            rows = list(csv.DictReader(file, restval=""))
    except FileNotFoundError:
        return {}
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise StateError(f"{path}: cannot be read: {error}; move it away, or name another folder") from None
    return {(row.get("group", ""), row.get("label", "")): row for row in rows if row.get("correct", "").strip()}
