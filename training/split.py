"""Who teaches, who judges, who tests: by groups, and so that a picture never changes sides as more are added."""

from __future__ import annotations

import csv
import hashlib
import io
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from enum import StrEnum
from pathlib import Path

from edge.errors import Refused
from training.dataset import Dataset
from training.groups import Pair, join
from training.output import put

_TIMED = 0.95  # share of a source's pictures whose time must be known for its newest days to be the test
_DAYS = 3  # that it must have for that


class Part(StrEnum):
    TRAIN = "train"
    VALIDATION = "validation"
    TEST = "test"


def split(dataset: Dataset, alike: Sequence[Pair], validation: float = 0.1, test: float = 0.15) -> tuple[Part, ...]:
    """The part of each picture. `alike`: pairs of near-duplicates, whose groups stay together.

    Where the times of a source are known its newest days are the test; else, and for the rest, the hash of a group's
    name decides. So what is added later moves nothing from one side to the other, but where a label of a source came
    off badly by chance: of its groups the first by hash are then tested with, the next judge, the last teach.
    """
    families = _families(dataset, alike)
    parts = {family: _by_hash(family, validation, test) for family in families}
    for family, newest in _timed(dataset, families, test).items():
        parts[family] = Part.TEST if newest else _by_hash(family, validation, 0.0)
    shares = {Part.TRAIN: 1.0 - validation - test, Part.TEST: test, Part.VALIDATION: validation}
    _represent(dataset, families, parts, shares)
    return tuple(parts[family] for family in families)


def leaks(parts: Sequence[Part], alike: Sequence[Pair]) -> list[Pair]:
    """Near-duplicates on different sides."""
    return [(one, other) for one, other in alike if parts[one] is not parts[other]]


def check(dataset: Dataset, parts: Sequence[Part], alike: Sequence[Pair]) -> None:
    """Raises `Refused` for pictures that cannot teach anything, or would flatter."""
    where, labels = dataset.where, dataset.labels
    if len(labels) < 2:
        raise Refused(f"{where}: every picture is labelled {labels[0] if labels else 'nothing'!r}; two labels at least")
    visits = defaultdict(set)
    for picture, family in zip(dataset.pictures, _families(dataset, alike), strict=True):
        visits[picture.label].add(family)
    for label, names in visits.items():
        if len(names) < 2:
            raise Refused(
                f"{where}: all pictures of {label!r} are of one visit ({next(iter(names))}), or nearly the same: "
                "nothing would be left to test with; add another visit, or leave the label out"
            )
    taught = {picture.label for picture, part in zip(dataset.pictures, parts, strict=True) if part is Part.TRAIN}
    if untaught := sorted(set(labels) - taught):
        raise Refused(f"{where}: no picture of {untaught[0]!r} is left to train with; more visits of it are needed")
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


def _families(dataset: Dataset, alike: Sequence[Pair]) -> list[str]:
    """Groups that share near-duplicates, under the name of the first of them."""
    return join([picture.group for picture in dataset.pictures], alike)


def _number(family: str) -> float:
    """0 to 1, the same for ever."""
    return int.from_bytes(hashlib.sha256(family.encode()).digest()[:8]) / 2**64


def _by_hash(family: str, validation: float, test: float) -> Part:
    number = _number(family)
    return Part.TEST if number < test else Part.VALIDATION if number < test + validation else Part.TRAIN


def _timed(dataset: Dataset, families: Sequence[str], test: float) -> dict[str, bool]:
    """Families of the sources whose times are known, and whether they are, for the greater part, of the newest days."""
    by_source: dict[str, list[tuple[str, str]]] = defaultdict(list)
    for picture, family in zip(dataset.pictures, families, strict=True):
        by_source[picture.source].append((picture.wall.date().isoformat() if picture.wall else "", family))
    old, new = Counter[str](), Counter[str]()
    for shown in by_source.values():
        days = Counter(day for day, _ in shown)
        if days.pop("", 0) > (1 - _TIMED) * len(shown) or len(days) < _DAYS:
            continue
        newest, taken = set[str](), 0
        for day in sorted(days, reverse=True)[:-1]:
            if taken < test * len(shown):
                newest.add(day)
                taken += days[day]
        for day, family in shown:
            (new if day in newest else old)[family] += 1
    return {family: new[family] > old[family] for family in old | new}


def _represent(dataset: Dataset, families: Sequence[str], parts: dict[str, Part], shares: Mapping[Part, float]) -> None:
    """Every label, and every label of a source, has half its share of each part, as far as it has the groups for that.

    The hash says whose turn it is, so that the next visit changes nothing but what was in want.
    """
    sizes, strata = Counter(families), defaultdict[tuple[str, str], set[str]](set)
    for picture, family in zip(dataset.pictures, families, strict=True):
        strata[picture.source, picture.label].add(family)
        strata["", picture.label].add(family)  # and of all sources together, which comes last
    for _, names in sorted(strata.items(), reverse=True):
        ranked = sorted(names, key=_number)
        for part in shares:
            _fill(ranked, sizes, parts, part, shares)


def _fill(
    ranked: Sequence[str], sizes: Mapping[str, int], parts: dict[str, Part], part: Part, shares: Mapping[Part, float]
) -> None:
    """Hand families to `part` from whoever has most to spare. Training and test keep one, the validation need not."""
    total = sum(sizes[name] for name in ranked)
    while True:
        there = {side: [name for name in ranked if parts[name] is side] for side in Part}
        spare = {side: sum(sizes[name] for name in there[side]) - shares[side] * total for side in Part}
        givers = [side for side in Part if side is not part and len(there[side]) > (side is not Part.VALIDATION)]
        if not givers or spare[part] + shares[part] * total >= max(shares[part] * total / 2, 1):
            return
        giver = max(givers, key=lambda side: spare[side])
        parts[there[giver][-1 if part is Part.TRAIN else 0]] = part


def write(path: Path, dataset: Dataset, parts: Sequence[Part]) -> None:
    """`split.csv`: which picture was on which side, for whoever wants to look. Raises `StateError`."""
    text = io.StringIO()
    table = csv.writer(text, lineterminator="\n")
    table.writerow(("path", "label", "seq_id", "part"))
    for picture, part in zip(dataset.pictures, parts, strict=True):
        table.writerow((picture.path, picture.label, picture.group, part.value))
    put(path, text.getvalue())
