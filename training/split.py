"""Who teaches, who judges, who tests: by groups, and so that a picture never changes sides as more are added."""

from __future__ import annotations

import csv
import hashlib
import io
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from enum import StrEnum
from pathlib import Path

from edge.atomic import write_atomically
from edge.errors import Refused
from training.dataset import Dataset

_TIMED = 0.95  # share of a source's pictures whose time must be known for its newest days to be the test


class Part(StrEnum):
    TRAIN = "train"
    VALIDATION = "validation"
    TEST = "test"


def split(
    dataset: Dataset, alike: Sequence[tuple[int, int]], validation: float = 0.1, test: float = 0.15
) -> tuple[Part, ...]:
    """The part of each picture. `alike`: pairs of near-duplicates, whose groups stay together.

    Where the times of a source are known its newest days are the test; else, and for the rest, the hash of a group's
    name decides. So what is added later moves nothing from one side to the other, but where a label of a source came
    off badly by chance: of its groups the first by hash are then tested with, the next judge.
    """
    families = _families(dataset, alike)
    members: dict[str, list[int]] = defaultdict(list)
    for place, family in enumerate(families):
        members[family].append(place)
    parts = {family: _by_hash(family, validation, test) for family in members}
    for family in _newest(dataset, families, test):
        parts[family] = Part.TEST
    _represent(dataset, families, parts, {Part.TEST: test, Part.VALIDATION: validation})
    return tuple(parts[family] for family in families)


def leaks(parts: Sequence[Part], alike: Sequence[tuple[int, int]]) -> list[tuple[int, int]]:
    """Near-duplicates on different sides."""
    return [(one, other) for one, other in alike if parts[one] is not parts[other]]


def check(dataset: Dataset, parts: Sequence[Part], alike: Sequence[tuple[int, int]]) -> None:
    """Raises `Refused` for pictures that cannot teach anything, or would flatter."""
    where, labels = dataset.where, dataset.labels
    if len(labels) < 2:
        raise Refused(f"{where}: every picture is labelled {labels[0] if labels else 'nothing'!r}; two labels at least")
    groups = defaultdict(set)
    for picture in dataset.pictures:
        groups[picture.label].add(picture.group)
    for label, names in groups.items():
        if len(names) < 2:
            raise Refused(
                f"{where}: all pictures of {label!r} are of one visit ({next(iter(names))}): nothing would be left to "
                "test with; add another visit, or leave the label out"
            )
    for part in Part:
        there = {picture.label for picture, of in zip(dataset.pictures, parts, strict=True) if of is part}
        if len(there) < 2:
            what = f"only {next(iter(there))!r}" if there else "nothing"
            raise Refused(f"{where}: the {part} set would hold {what}; more visits of each label are needed")
    if leaked := leaks(parts, alike):
        one, other = (dataset.pictures[place].path for place in leaked[0])
        raise Refused(
            f"{where}: {one} and {other} are nearly the same picture on both sides of the split (and {len(leaked) - 1} "
            "more); give them the same seq_id, or remove one"
        )


def counts(dataset: Dataset, parts: Sequence[Part]) -> dict[str, dict[str, int]]:
    """Pictures by label and part."""
    found = Counter((picture.label, part) for picture, part in zip(dataset.pictures, parts, strict=True))
    return {label: {part.value: found[label, part] for part in Part} for label in dataset.labels}


def _families(dataset: Dataset, alike: Sequence[tuple[int, int]]) -> list[str]:
    """Groups that share near-duplicates, under the name of the first of them."""
    above: dict[str, str] = {}

    def top(name: str) -> str:
        while name in above:
            name = above[name]
        return name

    names = [picture.group for picture in dataset.pictures]
    for one, other in alike:
        first, second = sorted((top(names[one]), top(names[other])))
        if first != second:
            above[second] = first
    return [top(name) for name in names]


def _number(family: str) -> float:
    """0 to 1, the same for ever."""
    return int.from_bytes(hashlib.sha256(family.encode()).digest()[:8]) / 2**64


def _by_hash(family: str, validation: float, test: float) -> Part:
    number = _number(family)
    return Part.TEST if number < test else Part.VALIDATION if number < test + validation else Part.TRAIN


def _newest(dataset: Dataset, families: Sequence[str], test: float) -> set[str]:
    """Families of the newest days of each source whose times are known."""
    days: dict[str, dict[str, set[str]]] = defaultdict(lambda: defaultdict(set))
    sizes, timed = Counter[str](), Counter[str]()
    pictures = Counter[tuple[str, str]]()
    for picture, family in zip(dataset.pictures, families, strict=True):
        sizes[picture.source] += 1
        if picture.wall:
            day = picture.wall.date().isoformat()
            timed[picture.source] += 1
            days[picture.source][day].add(family)
            pictures[picture.source, day] += 1
    found: set[str] = set()
    for source, by_day in days.items():
        if timed[source] < _TIMED * sizes[source] or len(by_day) < 3:
            continue
        taken = 0
        for day in sorted(by_day, reverse=True)[:-1]:
            if taken >= test * sizes[source]:
                break
            found |= by_day[day]
            taken += pictures[source, day]
    return found


def _represent(dataset: Dataset, families: Sequence[str], parts: dict[str, Part], shares: Mapping[Part, float]) -> None:
    """Every label of every source has at least half its share in each part, as far as it has the groups for that."""
    sizes, strata = Counter(families), defaultdict[tuple[str, str], set[str]](set)
    for picture, family in zip(dataset.pictures, families, strict=True):
        strata[picture.source, picture.label].add(family)
        strata["", picture.label].add(family)  # and of all sources together
    for _, names in sorted(strata.items(), reverse=True):
        total = sum(sizes[name] for name in names)
        for part, share in shares.items():
            held = sum(sizes[name] for name in names if parts[name] is part)
            for name in sorted(names, key=_number):
                if held >= max(share * total / 2, 1) or sum(parts[other] is parts[name] for other in names) < 2:
                    continue
                if parts[name] is not part:
                    parts[name], held = part, held + sizes[name]


def write(path: Path, dataset: Dataset, parts: Sequence[Part]) -> None:
    """`split.csv`: which picture was on which side, for whoever wants to look."""
    text = io.StringIO()
    table = csv.writer(text, lineterminator="\n")
    table.writerow(("path", "label", "seq_id", "part"))
    for picture, part in zip(dataset.pictures, parts, strict=True):
        table.writerow((picture.path, picture.label, picture.group, part.value))
    write_atomically(path, text.getvalue().encode())
