"""Reading pictures and labels, and correcting them: what is accepted, what is refused, what belongs together."""

from __future__ import annotations

import csv
import json
import struct
from collections import Counter
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

import cv2
import numpy as np
import pytest

from edge.errors import Refused
from edge.export import LABEL_COLUMNS
from edge.values import Box
from training.corrections import apply
from training.dataset import load, read
from training.groups import join
from training.likeness import near, prints


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


def exif(path: Path, original: str, offset: str) -> Path:
    """Write into a JPEG when it was taken, as a camera does."""
    texts = [(tag, text.encode() + b"\0") for tag, text in ((0x9003, original), (0x9011, offset)) if text]
    start = 26 + 2 + 12 * len(texts) + 4
    rows, rest = b"", b""
    for tag, text in texts:
        rows += struct.pack(">HHII", tag, 2, len(text), start + len(rest))
        rest += text
    tiff = b"MM\0*" + struct.pack(">IHHHIII", 8, 1, 0x8769, 4, 1, 26, 0) + struct.pack(">H", len(texts)) + rows
    block = b"Exif\0\0" + tiff + bytes(4) + rest
    data = path.read_bytes()
    path.write_bytes(data[:2] + b"\xff\xe1" + struct.pack(">H", len(block) + 2) + block + data[2:])
    return path


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


def test_a_box_reaches_as_far_as_the_picture(tmp_path: Path) -> None:
    draw(tmp_path / "a.png", 1)
    image = {"id": 1, "file_name": "a.png", "width": 200, "height": 100}
    boxes = ([-50, 10, 100, 50], [150, 60, 100, 80], [210, 10, 20, 20])
    annotations = [{"image_id": 1, "category_id": 1, "bbox": box} for box in boxes]
    content = {"images": [image], "annotations": annotations, "categories": [{"id": 1, "name": "fox"}]}
    (tmp_path / "traps.json").write_text(json.dumps(content))
    left, corner, outside = (picture.box for picture in read(tmp_path / "traps.json").pictures)
    assert left == Box(0.0, 0.1, 0.25, 0.5)
    assert corner
    assert (corner.x, corner.w, corner.y, round(corner.h, 6)) == (0.75, 0.25, 0.6, 0.4)
    assert outside is None


def test_corrupt_files_are_left_out_and_named(folder: Path) -> None:
    (folder / "3.png").write_bytes(b"no picture at all")
    found = read(folder)
    assert len(found.pictures) == 11
    assert found.notes == (f"1 file is no picture and was left out: {folder / '3.png'}",)


def test_a_label_of_which_nothing_can_be_read_is_named(folder: Path) -> None:
    for number in range(6):
        (folder / f"{number}.png").write_bytes((folder / f"{number}.png").read_bytes()[:30])
    found = read(folder)
    assert found.labels == ("hen",)
    assert "6 files are no pictures and were left out" in found.notes[0]
    assert "not one picture of fox can be read" in found.notes[1]
    for number in range(6, 12):
        (folder / f"{number}.png").write_bytes(b"")
    with pytest.raises(Refused, match="none of 12 files is a picture"):
        read(folder)


def test_a_picture_that_would_fill_the_memory_is_none(folder: Path) -> None:
    data = bytearray((folder / "3.png").read_bytes())
    data[16:24] = struct.pack(">II", 60_000, 60_000)
    (folder / "3.png").write_bytes(data)
    assert "1 file is no picture" in read(folder).notes[0]


def test_other_files_in_a_class_are_told_and_hidden_ones_are_not(tmp_path: Path) -> None:
    for label in ("fox", "hen"):
        draw(tmp_path / label / "1.png", len(label) + ord(label[0]))
    (tmp_path / "fox" / "Thumbs.db").write_bytes(b"rubbish")
    (tmp_path / "fox" / ".hidden.jpg").write_bytes(b"rubbish")
    found = read(tmp_path)
    assert len(found.pictures) == 2
    assert found.notes[0] == f"1 file is no picture and was left out: {tmp_path / 'fox' / 'Thumbs.db'}"


def test_pictures_of_one_minute_and_camera_belong_together(tmp_path: Path) -> None:
    names = ("20260501_043000", "20260501_043040", "IMG-2026-05-01 04.31.20", "20260501_050000", "hen.1", "hen.2")
    for seed, name in enumerate(names):
        draw(tmp_path / "hen" / f"{name}.jpg", seed)
    exif(draw(tmp_path / "fox" / "a.jpg", 10), "2026:05:01 04:30:10", "+02:00")
    exif(draw(tmp_path / "fox" / "b.jpg", 11), "2026:05:01 02:30:50", "")
    exif(draw(tmp_path / "fox" / "c.jpg", 12), "0000:00:00 00:00:00", "")
    found = {picture.path.stem: picture for picture in read(tmp_path).pictures}
    assert found["a"].wall == datetime(2026, 5, 1, 2, 30, 10, tzinfo=UTC)
    assert found["c"].wall is None
    assert len({found[name].group for name in names[:3]}) == 1
    assert len({picture.group for picture in found.values()}) == 6, "two bursts, and four by themselves"


def test_groups_are_what_they_were_when_all_is_moved(tmp_path: Path) -> None:
    for number in range(4):
        draw(tmp_path / "here" / ("fox" if number % 2 else "hen") / str(number // 2) / "same name.jpg", number)
    before = [picture.group for picture in read(tmp_path / "here").pictures]
    (tmp_path / "here").rename(tmp_path / "there")
    assert before == [picture.group for picture in read(tmp_path / "there").pictures]
    assert len(set(before)) == 4


def test_what_the_appliance_exports(tmp_path: Path) -> None:
    row = ["pictures/a.png", "fox", "", "henhouse/yard", "v1", "v1", "yard", "2026-05-01T04:30:00Z", "crop"]
    draw(tmp_path / "pictures" / "a.png", 1)
    (first,) = read(table(tmp_path, [[*row, "hen", "0.5", "me", ""]], ",".join(LABEL_COLUMNS))).pictures
    assert (first.group, first.source, first.camera, first.crop) == ("v1", "henhouse/yard", "yard", True)
    assert first.wall == datetime(2026, 5, 1, 4, 30, tzinfo=UTC)


def test_spaces_that_surely_mean_nothing(folder: Path) -> None:
    found = read(table(folder, [("0.png", " fox ", " a"), (" 1.png", " hen", "b ")], "path, label, seq_id"))
    assert [(picture.label, picture.group) for picture in found.pictures] == [("fox", "a"), ("hen", "b")]


def test_near_duplicates(tmp_path: Path) -> None:
    files = [draw(tmp_path / f"{number}.jpg", number, (640, 480)) for number in range(20)]
    image = cv2.imread(str(files[3]))
    cv2.imwrite(str(tmp_path / "half.jpg"), cv2.resize(image, (320, 240), interpolation=cv2.INTER_AREA))
    cv2.imwrite(str(tmp_path / "poor.jpg"), image, [cv2.IMWRITE_JPEG_QUALITY, 30])
    cv2.imwrite(str(tmp_path / "large.jpg"), cv2.resize(image, (3200, 2400)))  # is decoded at a fraction
    bird = cv2.circle(image.copy(), (320, 240), 40, (0, 0, 0), -1)
    cv2.imwrite(str(tmp_path / "bird.jpg"), bird)
    found = prints([*files, *(tmp_path / f"{name}.jpg" for name in ("half", "poor", "large", "bird"))])
    assert set(near(found)) == {(3, 20), (3, 21), (3, 22), (20, 21), (20, 22), (21, 22)}
    assert found[22]
    assert found[22].size == (3200, 2400)


def test_a_thousand_black_nights_are_linked_and_not_a_million_pairs(tmp_path: Path) -> None:
    cv2.imwrite(str(tmp_path / "night.png"), np.zeros((48, 64, 3), np.uint8))
    pairs = near(prints([tmp_path / "night.png"]) * 1000)
    assert len(pairs) < 10_000
    assert len(set(join([str(number) for number in range(1000)], pairs))) == 1


def test_no_near_duplicates_of_unlike_labels_in_real_pictures(shared_data: Path) -> None:
    found = read(shared_data / "images")
    assert (found.derived, found.notes) == (False, ())
    assert found.alike
    labels = [picture.label for picture in found.pictures]
    assert all(labels[one] == labels[other] for one, other in found.alike)


@pytest.mark.parametrize(
    ("rows", "heading", "why"),
    [
        ([("nobody.png", "fox", "a")], "path,label,seq_id", "row 2: no file 'nobody.png'"),
        ([("0.png", "fox", "a")], "file,label,seq_id", "no column path"),
        ([("0.png", "fox", "a"), ("1.png", "Fox ", "b")], "path,label,seq_id", "one label or two"),
        ([("0.png", "fox", "a"), ("0.png", "hen", "b")], "path,label,seq_id", "the same picture is 'fox'"),
        ([("0.png", " ", "a")], "path,label,seq_id", "row 2: no label"),
        ([], "path,label,seq_id", "no picture"),
        ([("0.png", "fox", "a"), ("1.png", "f ox", "b")], "path,label,seq_id", "'fox' .*'f ox' .*one label or two"),
        ([], "path;label;seq_id", "in 'path;label;seq_id'; .* with commas between"),
        ([("a", "fox", "a"), ("b", "fox", "a")], "path,label,seq_id", r"row 2: no file 'a' \(and 1 more\)"),
    ],
)
def test_tables_that_are_refused(folder: Path, rows: list[tuple[str, ...]], heading: str, why: str) -> None:
    with pytest.raises(Refused, match=why) as refused:
        read(table(folder, rows, heading))
    assert "\n" not in str(refused.value)


def test_other_things_that_are_refused(tmp_path: Path) -> None:
    (tmp_path / "a.json").write_text("{}")
    nameless = {"images": [{"id": 1}], "categories": [{"id": 1, "name": "fox"}]}
    nameless["annotations"] = [{"image_id": 1, "category_id": 1}]
    (tmp_path / "b.json").write_text(json.dumps(nameless))
    (tmp_path / "empty" / "fox").mkdir(parents=True)
    nameless["images"], nameless["categories"] = [{"id": 1, "file_name": "a.png"}], [{"id": 1, "name": " "}]
    draw(tmp_path / "a.png", 1)
    (tmp_path / "c.json").write_text(json.dumps(nameless))
    for data, why in (
        ("a.json", "not COCO"),
        ("b.json", "file_name"),
        ("c.json", "annotation 0: its label is empty"),
        ("nowhere", "no such file"),
        ("empty", "no picture in this class"),
    ):
        with pytest.raises(Refused, match=why):
            read(tmp_path / data)


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
        ("group,label,correct\nvisit0,fox,Black Bird\nvisit1,fox,blackbird\n", "written 'Black Bird'"),
        ("group,label,correct\nvisit0,fox,Drop\n", "written 'drop'"),
        ("group,correct\nvisit0,hen\n", "no column label"),
        ("group,label,correct\nvisit0,fox,hen\nvisit0,fox,cat\n", "two things"),
    ],
)
def test_corrections_that_are_refused(folder: Path, text: str, why: str) -> None:
    (folder / "audit.csv").write_text(text)
    with pytest.raises(Refused, match=why):
        apply(read(folder), folder / "audit.csv")
