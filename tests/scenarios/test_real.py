"""Real clips and a real fixed camera with a ready-made bird model: crows and jays are threats, the hen lives here."""

from __future__ import annotations

import csv
from collections import Counter
from pathlib import Path

import pytest

from tests.stage import Answer, gander

pytestmark = pytest.mark.timeout(600)

VIDEO = "video"
# What a person counts, roughly, and room for a detector to see one visitor as two: (clip, least, most visits).
CLIPS = [
    ("akamus082__videos_warren.mp4", 0, 0),
    ("akamus082__videos_bird.mp4", 0, 2),
    ("diegodelaFuenteCuraqueo__videos_chickens.mp4", 4, 14),
    ("HananEgbaria__videos_dogs.mp4", 4, 16),
    ("nandinib1999__videos_pedestrians.mp4", 4, 16),
    ("tiodh__vtest.mp4", 15, 45),
    ("cdnet_highway/input", 30, 70),
]


@pytest.fixture(scope="module")
def birds(shared_data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A state directory with the bird model as champion."""
    state = tmp_path_factory.mktemp("birds") / "state"
    assert gander("bundle", "fetch", "inat-birds", "--from", shared_data / "tflite", state=state).status == 0
    assert gander("bundle", "promote", "inat-birds", state=state).status == 0
    return state


def play(path: Path, state: Path, *more: object) -> Answer:
    answer = gander("replay", path, "--speed", "max", "--json", *more, state=state, timeout=500)
    assert answer.status == 0, answer.err
    return answer


@pytest.mark.parametrize(("clip", "least", "most"), CLIPS, ids=[clip for clip, _, _ in CLIPS])
def test_nobody_is_scared_without_a_reason(shared_data: Path, birds: Path, clip: str, least: int, most: int) -> None:
    summary = play(shared_data / VIDEO / clip, birds).summary
    assert summary["actions"] == 0
    assert least <= summary["visits"] <= most


def test_the_blue_jay_on_the_snow_is_deterred_within_a_second(shared_data: Path, birds: Path) -> None:
    answer = play(shared_data / VIDEO / "HananEgbaria__videos_birds.mp4", birds)
    actions = answer.events("action")
    assert [a["visit"]["label"] for a in actions] == ["Cyanocitta cristata (Blue Jay)"]
    assert 33.0 < actions[0]["media_time"] < 34.2, "it walks in at 33.2 s"
    latency = actions[0]["latency_ms"]
    assert latency["onset"] - latency["pin"] < 1000  # in the clip's own time
    assert 5 <= answer.summary["visits"] <= 15


def test_the_crow_camera(shared_data: Path, birds: Path, tmp_path: Path) -> None:
    with (shared_data / "images" / "labels.csv").open() as file:
        rows = [row for row in csv.DictReader(file) if row["source"] == "crowcam_traumverloren"]
    bursts = Counter(row["seq_id"] for row in rows)
    images = shared_data / "images"
    lines = [f"{images / r['path']},{r['label']},{r['seq_id']}" for r in rows if bursts[r["seq_id"]] > 1]
    table = tmp_path / "crow.csv"
    table.write_text("\n".join(["path,label,seq_id", *lines]) + "\n")
    found = play(table, birds, "--no-motion").summary["sequences"]
    assert found["crow"]["n"] == 73
    assert found["empty"]["acted"] == 0
    assert found["crow"]["acted"] >= 60
