"""The audit: wrong labels that were planted are found, and hardly anything else."""

from __future__ import annotations

import csv
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from edge.errors import StateError
from tests.training.test_dataset import draw, table
from training.audit import audit, suspects
from training.audit_page import COLUMNS, write
from training.dataset import Dataset, Picture, read
from training.likeness import Print
from training.split import Part, leaks, split

LABELS = ("crow", "empty", "fox", "hen", "jay")


def bursts(seed: int, visits: int = 300) -> tuple[Dataset, NDArray[np.float32]]:
    """Visits of one to five pictures that look alike; labels lie close together, and each visit has its own light."""
    rng = np.random.default_rng(seed)
    centres = rng.normal(0.0, 1.0, (len(LABELS), 32))
    pictures, vectors = [], []
    for visit in range(visits):
        label = int(rng.integers(len(LABELS)))
        own = centres[label] + rng.normal(0.0, 0.8, 32)
        for _ in range(int(rng.integers(1, 6))):
            pictures.append(Picture(Path(f"{visit}.jpg"), LABELS[label], f"visit{visit:03}", f"yard{visit % 2}"))
            vectors.append(own + rng.normal(0.0, 0.2, 32))
    looks = tuple(Print("", bytes(32), bytes(256), rng.uniform(), 0.5, (640, 480)) for _ in pictures)
    return Dataset(Path("x"), "table", tuple(pictures), looks), np.array(vectors, np.float32)


def planted(data: Dataset, share: float, seed: int) -> tuple[Dataset, set[str]]:
    """Some visits under another label."""
    rng = np.random.default_rng(seed)
    groups = sorted({picture.group for picture in data.pictures})
    wrong = set(rng.choice(groups, round(share * len(groups)), replace=False).tolist())
    other = {group: int(rng.integers(1, len(LABELS))) for group in sorted(wrong)}

    def said(picture: Picture) -> Picture:
        if picture.group not in wrong:
            return picture
        return replace(picture, label=LABELS[(LABELS.index(picture.label) + other[picture.group]) % len(LABELS)])

    return replace(data, pictures=tuple(said(picture) for picture in data.pictures)), wrong


@pytest.mark.parametrize("seed", range(4))
def test_planted_errors_are_mostly_found_with_hardly_a_false_alarm(seed: int) -> None:
    data, vectors = bursts(seed)
    data, wrong = planted(data, 0.06, seed)
    found = suspects(data, vectors)
    groups = {suspect.group for suspect in found}
    assert len(groups & wrong) >= 0.7 * len(wrong)
    assert len(groups - wrong) <= 0.01 * 300
    truth = {picture.group: picture.label for picture in bursts(seed)[0].pictures}
    assert np.mean([suspect.suggested == truth[suspect.group] for suspect in found if suspect.group in wrong]) >= 0.9


def test_a_clean_set_gives_hardly_an_alarm() -> None:
    assert len(suspects(*bursts(9))) <= 3


@pytest.mark.parametrize(
    ("labels", "groups"),
    [
        ("aaaaaa", "stuvwx"),  # one label
        ("aabb", "ssss"),  # one visit
        ("aabb", "sstt"),  # one visit of each label
        ("aabbcc", "stuvwx"),  # fewer of each than there would be folds
        ("ab", "st"),
    ],
)
def test_too_few_to_judge_by_are_not_doubted(labels: str, groups: str) -> None:
    pictures = [
        Picture(Path(f"{n}.jpg"), label, group) for n, (label, group) in enumerate(zip(labels, groups, strict=True))
    ]
    looks = tuple(Print("", bytes(32), bytes(256), 0.5, 0.5, (64, 48)) for _ in pictures)
    data = Dataset(Path("x"), "table", tuple(pictures), looks)
    vectors = np.random.default_rng(1).normal(0.0, 1.0, (len(pictures), 8)).astype(np.float32)
    found = audit(data, vectors, [Part.TRAIN] * len(pictures), [])
    assert not found.suspects
    assert any("Fewer than 10 visits" in line for line in found.advice)


def test_the_page_and_the_table_that_is_fed_back(tmp_path: Path) -> None:
    rows, vectors = [], []
    for visit in range(40):
        label = "fox" if visit % 2 else "hen"
        draw(tmp_path / f"{visit}.png", visit)
        rows.append((f"{visit}.png", "hen" if visit == 7 else label, f"visit{visit}"))
        vectors.append(np.random.default_rng(visit).normal(float(visit % 2) * 3, 0.3, 8))
    data = read(table(tmp_path, rows))
    parts = split(data, data.alike)
    found = audit(data, np.array(vectors, np.float32), parts, leaks(parts, data.alike))
    assert [suspect.group for suspect in found.suspects] == ["visit7"]
    assert found.told_apart < 0.9
    write(tmp_path / "audit", found, data)
    page = (tmp_path / "audit" / "audit.html").read_text()
    assert "hen → fox?" in page
    assert "<img" in page
    (row,) = csv.DictReader((tmp_path / "audit" / "audit.csv").open())
    assert tuple(row) == COLUMNS
    assert (row["group"], row["label"], row["suggested"], row["correct"]) == ("visit7", "hen", "fox", "")
    assert found.json()["suspects"][0]["suggested"] == "fox"
    said = (tmp_path / "audit" / "audit.csv").read_text().rstrip("\n") + "fox\nvisit3,,fox,,,,drop\nvisit5,,fox,,,,\n"
    (tmp_path / "audit" / "audit.csv").write_text(said)
    write(tmp_path / "audit", found, data)
    again = [(row["group"], row["correct"]) for row in csv.DictReader((tmp_path / "audit" / "audit.csv").open())]
    assert again == [("visit7", "fox"), ("visit3", "drop")], "what the owner has filled in stays"
    with pytest.raises(StateError, match="cannot be written"):
        write(tmp_path / "0.png" / "audit", found, data)


def test_sets_that_are_not_alike_are_told() -> None:
    data, vectors = bursts(3)
    order = sorted({picture.group for picture in data.pictures})
    late = set(order[-60:])
    parts = tuple(Part.TEST if picture.group in late else Part.TRAIN for picture in data.pictures)
    test = np.array([part is Part.TEST for part in parts])
    moved = vectors + np.where(test[:, None], 2.0, 0.0).astype(np.float32)
    found = audit(data, moved, parts, [])
    assert found.told_apart > 0.9
    assert any("can be told apart" in line for line in found.advice)
    jays = tuple(Part.TEST if picture.label in ("jay", "fox") else Part.TRAIN for picture in data.pictures)
    advice = audit(data, vectors, jays, []).advice
    assert any("differ by label, most in" in line for line in advice), advice
