"""Reading pictures and labels, and splitting them: what is accepted, what is refused, what stays where it was."""

from __future__ import annotations

import csv
import json
from collections import Counter
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edge.errors import Refused
from training.corrections import apply
from training.dataset import Dataset, Picture, load, read
from training.split import Part, check, leaks, split


def draw(path: Path, seed: int, size: tuple[int, int] = (64, 48)) -> Path:
    """A picture like no other."""
    rng = np.random.default_rng(seed)
    small = rng.integers(0, 256, (6, 8, 3), np.uint8)
    path.parent.mkdir(parents=True, exist_ok=True)
    cv2.imwrite(str(path), cv2.resize(small, size, interpolation=cv2.INTER_CUBIC))
    return path


def table(folder: Path, rows: Sequence[Sequence[str]], heading: str = "path,label,seq_id") -> Path:
    with (folder / "labels.csv").open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(heading.split(","))
        writer.writerows(rows)
    return folder


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Two labels, three visits of two pictures each."""
    rows = []
    for number in range(12):
        draw(tmp_path / f"{number}.png", number)
        rows.append((f"{number}.png", "fox" if number < 6 else "hen", f"visit{number // 2}"))
    return table(tmp_path, rows)


def test_a_table(folder: Path) -> None:
    found = read(folder)
    assert (found.format, found.labels, found.derived, found.notes) == ("table", ("fox", "hen"), False, ())
    assert Counter(picture.group for picture in found.pictures) == {f"visit{n}": 2 for n in range(6)}
    assert found.pictures == read(folder / "labels.csv").pictures


def test_a_folder_per_class(tmp_path: Path) -> None:
    for number in range(8):
        draw(tmp_path / ("fox" if number % 2 else "hen") / "leghorn" / f"{number}.jpg", number)
    copy = cv2.imread(str(tmp_path / "fox" / "leghorn" / "1.jpg"))
    cv2.imwrite(str(tmp_path / "fox" / "smaller.png"), cv2.resize(copy, (48, 36)))
    found = read(tmp_path)
    assert (found.format, found.derived, len(found.pictures)) == ("folders", True, 9)
    assert len({picture.group for picture in found.pictures}) == 8, "the smaller copy belongs to its original"
    assert "8 groups of 9 pictures" in found.notes[0]


def test_a_camera_traps_file(tmp_path: Path) -> None:
    for number in range(4):
        draw(tmp_path / f"{number}.jpg", number, (200, 100))
    content = {
        "images": [
            {
                **{"id": n, "file_name": f"{n}.jpg", "seq_id": f"s{n // 2}", "location": "north"},
                **{"datetime": "2026-05-01 04:30:00", "width": 200, "height": 100},
            }
            for n in range(4)
        ],
        "categories": [{"id": 1, "name": "fox"}, {"id": 2, "name": "hen"}],
        "annotations": [{"image_id": n, "category_id": 1 + n // 2, "bbox": [20, 10, 100, 50]} for n in range(4)],
    }
    (tmp_path / "traps.json").write_text(json.dumps(content))
    found = read(tmp_path / "traps.json")
    assert [picture.label for picture in found.pictures] == ["fox", "fox", "hen", "hen"]
    first = found.pictures[0]
    assert (first.group, first.camera, first.wall) == ("s0", "north", datetime(2026, 5, 1, 4, 30, tzinfo=UTC))
    assert first.box
    assert (first.box.x, first.box.w) == (0.1, 0.5)
    assert load(first).shape == (100, 100, 3), "a square with margin, moved inward"


def test_corrupt_files_are_left_out_and_named(folder: Path) -> None:
    (folder / "3.png").write_bytes(b"no picture at all")
    found = read(folder)
    assert len(found.pictures) == 11
    assert "1 files are no pictures and were left out, the first is" in found.notes[0]


@pytest.mark.parametrize(
    ("rows", "heading", "why"),
    [
        ([("nobody.png", "fox", "a")], "path,label,seq_id", "row 2: no file 'nobody.png'"),
        ([("0.png", "fox", "a")], "file,label,seq_id", "no column path"),
        ([("0.png", "fox", "a"), ("1.png", "Fox ", "b")], "path,label,seq_id", "one label or two"),
        ([("0.png", "fox", "a"), ("0.png", "hen", "b")], "path,label,seq_id", "the same picture is 'fox'"),
        ([("0.png", " ", "a")], "path,label,seq_id", "row 2: no label"),
        ([], "path,label,seq_id", "no picture"),
    ],
)
def test_tables_that_are_refused(folder: Path, rows: list[tuple[str, ...]], heading: str, why: str) -> None:
    with pytest.raises(Refused, match=why) as refused:
        read(table(folder, rows, heading))
    assert "\n" not in str(refused.value)


def test_other_things_that_are_refused(tmp_path: Path) -> None:
    (tmp_path / "a.json").write_text("{}")
    (tmp_path / "empty" / "fox").mkdir(parents=True)
    for data, why in (("a.json", "not COCO"), ("nowhere", "no such file"), ("empty", "no picture in this class")):
        with pytest.raises(Refused, match=why):
            read(tmp_path / data)


def of(groups: Sequence[tuple[str, str]], walls: Sequence[datetime | None] = ()) -> Dataset:
    """Pictures of (label, group)."""
    walls = walls or [None] * len(groups)
    pictures = (
        Picture(Path("x"), label, group, "yard", wall=wall) for (label, group), wall in zip(groups, walls, strict=True)
    )
    return Dataset(Path("x"), "table", tuple(pictures))


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


@settings(deadline=None, max_examples=30)
@given(st.integers(40, 200), st.integers(1, 200))
def test_what_is_added_moves_hardly_anything(before: int, added: int) -> None:
    every = [("fox" if n % 2 else "hen", f"group {n}") for n in range(before + added)]
    old, new = split(of(every[:before]), []), split(of(every), [])
    moved = sum(a is not b for a, b in zip(old, new[:before], strict=True))
    assert moved <= 6, "only what was needed while there was little"


def test_shares_are_about_what_was_asked_for() -> None:
    parts = Counter(split(of([("fox" if n % 2 else "hen", f"g{n}") for n in range(4000)]), []))
    assert 0.12 < parts[Part.TEST] / 4000 < 0.18
    assert 0.07 < parts[Part.VALIDATION] / 4000 < 0.13


def test_the_newest_days_are_the_test_where_times_are_known() -> None:
    first = datetime(2026, 5, 1, 6, tzinfo=UTC)
    walls = [first + timedelta(days=n // 10) for n in range(200)]
    parts = split(of([("fox" if n % 2 else "hen", f"g{n}") for n in range(200)], walls), [])
    assert set(parts[170:]) == {Part.TEST}


@pytest.mark.parametrize(
    ("groups", "why"),
    [
        ([("fox", f"g{n}") for n in range(20)], "two labels at least"),
        ([("fox", "one"), *[("hen", f"g{n}") for n in range(20)]], "all pictures of 'fox' are of one visit"),
    ],
)
def test_what_cannot_teach_is_refused(groups: list[tuple[str, str]], why: str) -> None:
    data = of(groups)
    with pytest.raises(Refused, match=why):
        check(data, split(data, []), [])


def test_near_duplicates_on_both_sides_are_refused_with_both() -> None:
    data = of([("fox" if n % 2 else "hen", f"g{n}") for n in range(40)])
    parts = split(data, [])
    one, other = parts.index(Part.TEST), parts.index(Part.TRAIN)
    with pytest.raises(Refused, match="nearly the same picture on both sides"):
        check(data, parts, [(min(one, other), max(one, other))])


def test_corrections_change_the_dataset_and_no_file(folder: Path) -> None:
    data, before = read(folder), (folder / "labels.csv").read_bytes()
    (folder / "audit.csv").write_text(
        "group,path,label,suggested,p,why,correct\nvisit0,,fox,hen,,,hen\nvisit1,,fox,,,,drop\nvisit2,,fox,,,,\n"
    )
    after = apply(data, folder / "audit.csv")
    assert Counter(picture.label for picture in after.pictures) == {"fox": 2, "hen": 8}
    assert len(after.prints) == len(after.pictures)
    assert "1 visits were relabelled and 1 left out" in after.notes[-1]
    assert (folder / "labels.csv").read_bytes() == before


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("group,label,correct\nvisit9,fox,hen\n", "there is no visit visit9"),
        ("group,label,correct\nvisit0,fox,HEN\n", "'HEN' is written 'hen'"),
        ("group,correct\nvisit0,hen\n", "no column label"),
        ("group,label,correct\nvisit0,fox,hen\nvisit0,fox,cat\n", "two things"),
    ],
)
def test_corrections_that_are_refused(folder: Path, text: str, why: str) -> None:
    (folder / "audit.csv").write_text(text)
    with pytest.raises(Refused, match=why):
        apply(read(folder), folder / "audit.csv")
