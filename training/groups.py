"""Which pictures belong together where nobody said so."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import pairwise
from pathlib import Path

from training.formats import Row

_BURST_S = 60.0

Pair = tuple[int, int]
"""Two places in a sequence of pictures."""


def derive(rows: Sequence[Row], root: Path, alike: Iterable[Pair]) -> list[str]:
    """A group for each row: as said, else found out.

    Pictures of one label and camera within a minute of the one before belong together, and those nearly the same.
    A running number is no sign: hen.0.jpg and hen.1.jpg came from anywhere.
    """
    names = [row.group or _own_name(row, root) for row in rows]
    links = [*_bursts(rows), *((one, other) for one, other in alike if rows[one].label == rows[other].label)]
    return join(names, [pair for pair in links if not any(rows[place].group for place in pair)])


def join(names: Sequence[str], links: Iterable[Pair]) -> list[str]:
    """The names once linked ones are one, each under the first of its kin: later pictures have later names."""
    above: dict[str, str] = {}

    def top(name: str) -> str:
        while name in above:
            parent = above[name]
            above[name] = above.get(parent, parent)  # halves the way for whoever asks next
            name = parent
        return name

    for one, other in links:
        first, second = sorted((top(names[one]), top(names[other])))
        if first != second:
            above[second] = first
    return [top(name) for name in names]


def _bursts(rows: Sequence[Row]) -> Iterable[Pair]:
    timed = sorted(
        (row.source, row.camera, row.label, row.wall, place) for place, row in enumerate(rows) if row.wall is not None
    )
    for (*kind, before, one), (*same, after, other) in pairwise(timed):
        if kind == same and (after - before).total_seconds() <= _BURST_S:
            yield one, other


def _own_name(row: Row, root: Path) -> str:
    """A picture by itself. Not by its place on this machine: groups must stay what they are when all is moved."""
    return row.path.relative_to(root).as_posix() if row.path.is_relative_to(root) else row.path.as_posix()
