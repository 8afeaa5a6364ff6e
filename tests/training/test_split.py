"""Who teaches, who judges, who tests: never one group on two sides, and nothing moves without need."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edge.errors import Refused
from training.dataset import Dataset, Picture, read
from training.split import Part, check, leaks, split


def of(groups: Sequence[tuple[str, str]], walls: Sequence[datetime | None] = ()) -> Dataset:
    """Pictures of (label, group)."""
    walls = walls or [None] * len(groups)
    pictures = (
        Picture(Path("x"), label, group, "yard", wall=wall) for (label, group), wall in zip(groups, walls, strict=True)
    )
    return Dataset(Path("x"), "table", tuple(pictures))


def by_turns(count: int) -> list[tuple[str, str]]:
    """Visits of one picture, of foxes and hens."""
    return [("fox" if number % 2 else "hen", f"g{number}") for number in range(count)]


names = st.lists(st.tuples(st.sampled_from(["fox", "hen", "jay"]), st.integers(0, 60)), min_size=1, max_size=150)


@settings(deadline=None)
@given(names, st.lists(st.tuples(st.integers(0, 149), st.integers(0, 149)), max_size=5))
def test_a_group_is_never_split_nor_are_near_duplicates(
    rows: list[tuple[str, int]], pairs: list[tuple[int, int]]
) -> None:
    data = of([(label, f"{label}{number}") for label, number in rows])
    alike = [(a, b) for a, b in pairs if a < b < len(rows)]
    parts = split(data, alike)
    sides: dict[str, set[Part]] = {}
    for picture, part in zip(data.pictures, parts, strict=True):
        sides.setdefault(picture.group, set()).add(part)
    assert all(len(side) == 1 for side in sides.values())
    assert leaks(parts, alike) == []


@settings(deadline=None)
@given(names)
def test_every_label_is_on_every_side_as_far_as_it_goes(rows: list[tuple[str, int]]) -> None:
    data = of([(label, f"{label}{number}") for label, number in rows])
    sides, groups = defaultdict(set), defaultdict(set)
    for picture, part in zip(data.pictures, split(data, []), strict=True):
        sides[picture.label].add(part)
        groups[picture.label].add(picture.group)
    for label, there in groups.items():
        if len(there) >= 2:
            assert {Part.TRAIN, Part.TEST} <= sides[label]
        if len(there) >= 3:
            assert Part.VALIDATION in sides[label]


@settings(deadline=None, max_examples=30)
@given(st.integers(40, 200), st.integers(1, 200))
def test_what_is_added_moves_hardly_anything(before: int, added: int) -> None:
    every = by_turns(before + added)
    old, new = split(of(every[:before]), []), split(of(every), [])
    moved = sum(a is not b for a, b in zip(old, new[:before], strict=True))
    assert moved <= 6, "only what was needed while there was little"


def test_the_order_of_the_rows_says_nothing() -> None:
    every = by_turns(60)
    forward, backward = split(of(every), []), split(of(every[::-1]), [])
    assert forward == backward[::-1]


@settings(deadline=None, max_examples=20)
@given(st.integers(0, 10**6))
def test_shares_are_about_what_was_asked_for(salt: int) -> None:
    every = [(label, f"{salt} {group}") for label, group in by_turns(3000)]
    parts = Counter(split(of(every), [], 0.1, 0.15))
    assert 0.12 < parts[Part.TEST] / 3000 < 0.18
    assert 0.07 < parts[Part.VALIDATION] / 3000 < 0.13


def test_the_newest_days_are_the_test_where_times_are_known() -> None:
    first = datetime(2026, 5, 1, 6, tzinfo=UTC)
    walls = [first + timedelta(days=n // 10) for n in range(200)]
    parts = split(of(by_turns(200), walls), [])
    assert set(parts[170:]) == {Part.TEST}
    assert Part.TEST not in parts[:170], "and older ones are not, by whatever hash"
    assert Part.VALIDATION in parts[:170]


def test_a_label_that_no_newest_day_has_is_tested_all_the_same() -> None:
    first = datetime(2026, 5, 1, 6, tzinfo=UTC)
    walls = [first + timedelta(days=n // 10) for n in range(200)]
    groups = [("fox" if n < 40 else "hen", f"g{n}") for n in range(200)]
    data = of(groups, walls)
    tested = {picture.label for picture, part in zip(data.pictures, split(data, []), strict=True) if part is Part.TEST}
    assert tested == {"fox", "hen"}


@pytest.mark.parametrize(
    ("groups", "why"),
    [
        ([("fox", f"g{n}") for n in range(20)], "two labels at least"),
        ([("fox", "one"), *[("hen", f"g{n}") for n in range(20)]], "all pictures of 'fox' are of one visit"),
        ([("fox", "both"), ("hen", "both"), ("fox", "a"), ("hen", "b")], "set would hold"),
    ],
)
def test_what_cannot_teach_is_refused(groups: list[tuple[str, str]], why: str) -> None:
    data = of(groups)
    with pytest.raises(Refused, match=why):
        check(data, split(data, []), [])


def test_two_visits_that_are_nearly_the_same_are_one() -> None:
    data, alike = of([("fox", "a"), ("fox", "b"), *[("hen", f"g{n}") for n in range(20)]]), [(0, 1)]
    with pytest.raises(Refused, match="or nearly the same"):
        check(data, split(data, alike), alike)


def test_all_test_groups_of_one_label_are_refused() -> None:
    data = of(by_turns(40))
    parts = [
        Part.TRAIN if group[0] == "hen" else part for group, part in zip(by_turns(40), split(data, []), strict=True)
    ]
    with pytest.raises(Refused, match="the validation set would hold only 'fox'"):
        check(data, parts, [])
    with pytest.raises(Refused, match="no picture of 'fox' is left to train with"):
        check(data, [Part.TEST if group[0] == "fox" else Part.TRAIN for group in by_turns(40)], [])


def test_near_duplicates_on_both_sides_are_refused_with_both() -> None:
    data = of(by_turns(40))
    parts = split(data, [])
    one, other = parts.index(Part.TEST), parts.index(Part.TRAIN)
    with pytest.raises(Refused, match="nearly the same picture on both sides"):
        check(data, parts, [(min(one, other), max(one, other))])


def test_real_pictures_are_split_without_leaks(shared_data: Path) -> None:
    data = read(shared_data / "images")
    parts = split(data, data.alike)
    assert leaks(parts, data.alike) == []
    check(data, parts, data.alike)
    for label in data.labels:
        there = Counter(part for picture, part in zip(data.pictures, parts, strict=True) if picture.label == label)
        assert len(there) == 3, f"{label}: {there}"
