"""Answers of the starter bundle, spread over processes, against the device's own runtime."""

from __future__ import annotations

import multiprocessing
import signal
from dataclasses import replace
from itertools import islice, repeat
from pathlib import Path

import cv2
import numpy as np
import pytest

from edge.bundle import Bundle, verify
from edge.errors import BundleError, GanderError
from edge.frames.picture import read_picture
from edge.keys import load_public
from edge.preprocess import prepare, square_crop
from edge.runtimes.tflite import TfliteRuntime
from edge.values import Box
from tests.training.crops import render
from training.dataset import Picture
from training.scoring import answers, score
from training.starter import FOLDER


@pytest.fixture(scope="module")
def starter() -> Bundle:
    return verify(FOLDER / "starter.gander", [load_public(FOLDER / "starter.pub")])


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory, starter: Bundle) -> list[Picture]:
    return render(tmp_path_factory.mktemp("crops"), starter.manifest.input)


def test_the_same_answers_as_on_the_device_in_order(starter: Bundle, pictures: list[Picture]) -> None:
    told: list[tuple[str, int, int]] = []
    found = score(starter, pictures, 2, lambda *step: told.append(step))
    runtime = TfliteRuntime(starter.model, starter.manifest, 1)
    for row, picture in zip(found.p, pictures, strict=True):
        p, _ = runtime.invoke(prepare(read_picture(picture.path), starter.manifest.input))
        assert row == pytest.approx(p, abs=1e-6)
    named = [starter.labels[place] == picture.label for place, picture in zip(found.p.argmax(1), pictures, strict=True)]
    assert np.mean(named) >= 0.9
    assert told[-1][1:] == (len(pictures), len(pictures))
    assert np.array_equal(score(starter, pictures[:20], 1).p, found.p[:20])


def test_a_box_is_cut_with_the_models_own_margin(starter: Bundle, tmp_path: Path, pictures: list[Picture]) -> None:
    wide = np.zeros((300, 400, 3), np.uint8)
    wide[100:200, 150:250] = cv2.resize(read_picture(pictures[0].path), (100, 100))
    cv2.imwrite(str(tmp_path / "wide.png"), wide[..., ::-1])
    box = Box(0.375, 1 / 3, 0.25, 1 / 3)
    found = score(starter, [replace(pictures[0], path=tmp_path / "wide.png", box=box)], 1)
    crop = square_crop(wide, box, starter.manifest.input.crop.margin)
    p, _ = TfliteRuntime(starter.model, starter.manifest, 1).invoke(prepare(crop, starter.manifest.input))
    assert found.p[0] == pytest.approx(p, abs=1e-6)


def test_an_unreadable_picture_is_a_row_of_nan(
    starter: Bundle, tmp_path: Path, pictures: list[Picture], caplog: pytest.LogCaptureFixture
) -> None:
    bad = tmp_path / "bad.jpg"
    bad.write_bytes(b"\xff\xd8 no picture")
    found = score(starter, [pictures[0], replace(pictures[0], path=bad), pictures[1]], 1)
    assert np.isfinite(found.p).all(axis=1).tolist() == [True, False, True]
    assert np.isnan(found.facts[1]).all()
    assert "bad.jpg" in caplog.text


def test_facts_tell_infrared_from_daylight(starter: Bundle, tmp_path: Path) -> None:
    grey = np.random.default_rng(1).integers(0, 120, (80, 80), np.uint8)
    shown = {
        "infrared": np.stack([grey] * 3, 2),
        "red": np.full((80, 80, 3), (200, 20, 20)),
        "dark": np.zeros((9, 9, 3)),
    }
    pictures = []
    for name, image in shown.items():
        cv2.imwrite(str(tmp_path / f"{name}.png"), image.astype(np.uint8)[..., ::-1])
        pictures.append(Picture(tmp_path / f"{name}.png", "x", name))
    (infrared, red, dark) = score(starter, pictures, 1).facts
    assert infrared[0] == pytest.approx(grey.mean(), abs=2)
    assert infrared[1] < 0.001
    assert red[1] > 0.8
    assert dark.tolist() == [0.0, 0.0]


def test_nothing_is_asked_far_ahead(starter: Bundle, pictures: list[Picture]) -> None:
    """Pictures without an end: only a stream can be scored, one that is gathered first would never begin."""
    said = answers(starter, repeat(pictures[0]), 2)
    assert len(list(islice(said, 50))) == 50
    said.close()
    assert multiprocessing.active_children() == []


def test_no_pictures(starter: Bundle) -> None:
    assert score(starter, []).p.shape == (0, len(starter.labels))


def test_a_model_that_is_none_is_said(starter: Bundle, pictures: list[Picture]) -> None:
    with pytest.raises(BundleError, match="cannot load it"):
        score(replace(starter, model=b"nonsense" * 100), pictures, 2)
    assert multiprocessing.active_children() == []


def test_a_model_that_ends_its_process_is_said(starter: Bundle, pictures: list[Picture]) -> None:
    said = answers(starter, repeat(pictures[0]), 1)
    next(said)
    (child,) = multiprocessing.active_children()
    child.kill()
    with pytest.raises(GanderError, match=signal.SIGKILL.name):
        list(islice(said, 1000))
