"""Reads label files as people and tools write them: one label a line, numbered or not."""

from __future__ import annotations

import re
from collections import Counter

from edge.errors import BundleError

NOBODY = ("background", "nothing", "empty", "none")
"""What models call it when they see no animal they know."""
_NUMBERED = re.compile(r"(\d{1,6})(?:\s*[:,;]\s*|\s+)(.+)")


def parse(data: bytes, where: str) -> tuple[str, ...]:
    """The labels in the order of the model's scores; `where` names the file in errors. Raises `BundleError`.

    Lines may be numbered from 0 or 1 (`0 name`, `0: name`), in any order. A label that is there again is another
    score of the model (ImageNet has two cranes), so it stays, as `crane (2)`.
    """
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise BundleError(f"{where}: not UTF-8 text (byte {error.start}); save it as UTF-8, one label a line") from None
    lines = [line.strip() for line in text.replace("\r\n", "\n").replace("\r", "\n").rstrip().split("\n")]
    for number, line in enumerate(lines, 1):
        if not line:
            raise BundleError(f"{where}: line {number} is empty; every score of the model needs a label, in its order")
        if len(line) > 200 or any(ord(sign) < 32 or ord(sign) == 127 for sign in line):
            raise BundleError(f"{where}: line {number} is no label: it is longer than 200 signs or holds control codes")
    if len(lines) < 2:
        raise BundleError(f"{where}: has {len(lines)} label; a classifier tells at least 2 apart")
    return _distinct(_unnumbered(lines, where))


def _unnumbered(lines: list[str], where: str) -> list[str]:
    """Labels without their numbers, in the order of these. Lines that only happen to begin with digits are left."""
    matches = [match for line in lines if (match := _NUMBERED.fullmatch(line))]
    if len(matches) < len(lines):
        return lines
    by_number = {int(match[1]): match[2].strip() for match in matches}
    first = min(by_number)
    expected = range(first, first + len(lines))
    if first > 1:
        return lines
    missing = next((number for number in expected if number not in by_number), None)
    if missing is not None:
        raise BundleError(
            f"{where}: its lines are numbered, but {missing} is missing: one line for each of {first}, {first + 1}, …"
        )
    return [by_number[number] for number in expected]


def _distinct(labels: list[str]) -> tuple[str, ...]:
    taken = set(labels)
    seen: Counter[str] = Counter()
    distinct = []
    for label in labels:
        seen[label] += 1
        name = label
        while seen[label] > 1 and name in taken:
            name = f"{label} ({seen[label]})"
            seen[label] += name in taken
        taken.add(name)
        distinct.append(name)
    return tuple(distinct)
