"""The starter bundle that ships, and how it is made."""

from __future__ import annotations

import importlib.util
import io
from pathlib import Path

import numpy as np
import pytest
from rich.console import Console

from edge.bundle import Bundle, verify
from edge.errors import BundleError
from edge.evidence import Kinds
from edge.keys import generate, load_public
from edge.preprocess import crop_box
from edge.self_test import self_test
from edge.values import Box, Kind
from training.rehearse import DOUBTFUL, Asker, rehearse
from training.rendered import LABELS, Take, cut, name
from training.starter import FOLDER, KINDS, SPEC, Plan, make, report

HELD_OUT = 5  # a seed that no plan trains on, nor looked at while the plan was made


@pytest.fixture(scope="module")
def starter() -> Bundle:
    return verify(FOLDER / "starter.gander", [load_public(FOLDER / "starter.pub")])


def test_ships_signed_small_and_as_a_demonstration(starter: Bundle) -> None:
    manifest = starter.manifest
    assert (FOLDER / "starter.gander").stat().st_size <= 3_000_000
    assert manifest.demo
    assert manifest.origin == "starter"
    assert starter.signed_by == load_public(FOLDER / "starter.pub")
    assert manifest.evaluation is not None
    assert manifest.evaluation["on"] == "rendered scenes only"
    assert [path.name for path in FOLDER.iterdir() if b"PRIVATE" in path.read_bytes()] == []


def test_refused_under_any_other_key(tmp_path: Path) -> None:
    with pytest.raises(BundleError, match="unknown key"):
        verify(FOLDER / "starter.gander", [generate(tmp_path / "key").public])


def test_says_who_is_what(starter: Bundle) -> None:
    kinds = Kinds(starter.labels, starter.manifest.suggested_kinds)
    assert kinds.unmatched(starter.manifest.suggested_kinds) == []
    assert dict(zip(kinds.labels, kinds.of_label, strict=True)) == {
        "jay": Kind.THREAT,
        "hen": Kind.RESIDENT,
        "person": Kind.PERSON,
        "nothing": Kind.OTHER,
    }


def test_gives_its_golden_answers_here(starter: Bundle) -> None:
    assert self_test(starter).worst <= 0.06


@pytest.mark.parametrize("scene", ["day", "night", "rain"])
def test_tells_jays_hens_and_people_apart(starter: Bundle, scene: str) -> None:
    asker = Asker(starter)
    crops = cut(Take(scene, HELD_OUT, seconds=40.0, fps=2.5), starter.manifest.input)
    said = np.array([asker.ask(picture).argmax() for picture in crops.pictures])
    assert np.mean(said == crops.labels) >= 0.95
    for index, label in enumerate(LABELS):
        of_label = crops.labels == index
        assert of_label.sum() >= 10, label
        assert np.mean(said[of_label] == index) >= 0.85, label


@pytest.mark.parametrize("scene", ["day", "dusk", "strobe"])
def test_the_rule_acts_on_the_jay_at_once_and_on_nobody_else(starter: Bundle, scene: str) -> None:
    rehearsal = rehearse(starter, Take(scene, HELD_OUT, seconds=14.0, fps=15.0))
    (arrival,) = rehearsal.jays
    assert arrival is not None
    assert arrival <= 1.0
    assert {seen.acted_on for seen in rehearsal.seen} <= {None, "jay", DOUBTFUL}
    assert rehearsal.phantoms == ()


JAY, HEN, PERSON = Box(0.4, 0.4, 0.1, 0.1), Box(0.7, 0.4, 0.1, 0.1), Box(0.1, 0.1, 0.15, 0.7)
TRUTH = [
    ("jay", JAY),
    ("hen", HEN),
    ("person", PERSON),
    ("hen", Box(0.1, 0.7, 0.1, 0.1)),
    ("insect", Box(0, 0, 0.1, 0.1)),
]


@pytest.mark.parametrize(
    ("box", "label"),
    [
        (JAY, "jay"),
        (Box(0.42, 0.42, 0.02, 0.02), "jay"),  # a part of it moved
        (Box(0.35, 0.35, 0.2, 0.2), "jay"),  # it and its shadow
        (Box(0.46, 0.4, 0.1, 0.1), None),  # less than half of it
        (JAY.union(HEN), "jay"),  # what matters more
        (HEN, "hen"),
        (PERSON, "person"),  # with a hen at the feet
        (Box(0.1, 0.2, 0.1, 0.1), "person"),  # a part
        (Box(0.1, 0.7, 0.1, 0.1), None),  # a hen before a person's legs
        (Box(0.0, 0.0, 0.08, 0.08), "nothing"),  # an insect
        (Box(0.5, 0.8, 0.1, 0.1), "nothing"),
        (Box(0.3, 0.2, 0.6, 0.1), None),  # nothing moved there, but all are in view
    ],
)
def test_a_box_is_named_after_what_it_shows(box: Box, label: str | None) -> None:
    picture = np.zeros((720, 1280, 3), np.uint8)
    assert name(box, crop_box(picture, box), TRUTH) == label


@pytest.mark.lab
@pytest.mark.skipif(importlib.util.find_spec("tensorflow") is None, reason="needs TensorFlow: `make setup-training`")
@pytest.mark.timeout(600)
def test_a_tiny_plan_gives_a_bundle_that_verifies(tmp_path: Path) -> None:
    plan = Plan(
        train_seeds=(1000,),
        calibrate_seeds=(2000,),
        held_out_seeds=(0,),
        rehearse_seeds=(0,),
        scenes=("day",),
        seconds=36.0,
        steps=20,
    )
    console = Console(file=io.StringIO(), width=100)
    made = make(plan, tmp_path, console)
    bundle = verify(tmp_path / "starter.gander", [load_public(tmp_path / "starter.pub")])
    assert bundle.sha256 == made.bundle.sha256
    assert bundle.manifest.demo
    assert made.disagreeing <= 0.05
    assert sorted(path.name for path in tmp_path.iterdir()) == ["starter.gander", "starter.pub"]
    console.print(report(made))
    assert "recall on held-out crops" in console.file.getvalue()  # type: ignore[attr-defined]


def test_the_shipped_bundle_is_what_the_code_makes(starter: Bundle) -> None:
    """A changed plan without a new bundle would leave a recipe that does not give it."""
    assert str(Plan()) in starter.manifest.recipe
    assert starter.manifest.input == SPEC
    assert starter.manifest.suggested_kinds == KINDS
