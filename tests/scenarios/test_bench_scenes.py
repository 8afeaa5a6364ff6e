"""Hard light: the scenes are what they say, and the evaluation counts against the truth."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest

from edge.bench_scenes import Part, Tally, _began, _comings, _phantom, _play, bench_real, unlimited
from edge.config_file import load
from edge.frames.scenery.weather import WEATHER
from edge.frames.synthetic import NIGHTS, SyntheticSource
from edge.values import Box
from tests.stage import Actor, clip, gander

SMALL = (640, 360)


@pytest.mark.parametrize("name", NIGHTS)
def test_a_night_is_the_same_each_time_and_no_yard_by_day(name: str) -> None:
    first, again = (SyntheticSource(name, 3, 15.0, SMALL).render(76.2) for _ in range(2))
    day = SyntheticSource("day", 3, 15.0, SMALL).render(76.2)
    assert np.array_equal(first, again)
    assert first.shape == day.shape
    assert first.dtype == np.uint8
    assert first.mean() < day.mean() - 10


@pytest.mark.parametrize("name", ["infrared", "swarm", "spider", "drizzle", "headlights"])
def test_infrared_has_no_colour(name: str) -> None:
    picture = SyntheticSource(name, 3, 15.0, SMALL).render(30.9)
    assert cv2.cvtColor(picture, cv2.COLOR_RGB2HSV)[:, :, 1].mean() < 3


def test_dusk_falls() -> None:
    falling = SyntheticSource("falling", 3, 15.0, SMALL)
    light = [falling.render(time).mean() for time in (1.0, 40.0, 80.0, 109.0)]
    assert light == sorted(light, reverse=True)
    assert light[-1] < light[0] / 2


@pytest.mark.parametrize("name", NIGHTS)
def test_another_seed_is_another_night_also_in_what_lies_over_the_yard(name: str) -> None:
    weather = WEATHER[name][1]
    under = SyntheticSource("night", 0, 15.0, SMALL).render(5.0)
    assert not np.array_equal(weather(under, 5.0, 3), weather(under, 5.0, 4))


def test_a_spider_hangs_before_everything() -> None:
    near, without = (SyntheticSource(name, 3, 15.0, SMALL).render(9.0).astype(int) for name in ("spider", "infrared"))
    larger = (near - without)[:, :, 0] > 60
    assert 0.005 < larger.mean() < 0.1


def _around(source: SyntheticSource, time: float) -> list[tuple[str, Box]]:
    return [each for back in range(-1, 5) for each in source.truth(max(time - back, 0.0))]


def test_who_is_not_there_is_a_phantom_and_one_who_is_is_not() -> None:
    source = SyntheticSource("day", 1000, 15.0, SMALL)
    time, where = next(
        (float(time), box)
        for time in range(120)
        for label, box in source.truth(float(time))
        if label == "person" and 0.3 < box.x < 0.6
    )
    visit = {"kind": "person", "started": "2026-01-01T12:00:01.000Z", "box": [where.x, where.y, where.w, where.h]}
    event = {"type": "visit", "wall": "2026-01-01T12:00:03.500Z", "media_time": time, "visit": visit}
    assert not _phantom(source, event)
    assert not _phantom(source, event | {"visit": visit | {"kind": "resident"}})
    empty = next(float(t) for t in range(120) if not any(label == "person" for label, _ in _around(source, t)))
    assert _phantom(source, event | {"media_time": empty})
    assert _began(event) == time - 2.5


def test_a_part_ends() -> None:
    shots = list(Part(SyntheticSource("day", 0, 15.0, SMALL), 0.5).shots())
    assert len(shots) == 8


def test_by_day_the_jay_is_acted_on_and_nobody_else(tmp_path: Path) -> None:
    tally = Tally()
    source = SyntheticSource("day", 1000, 15.0, SMALL)
    _play(unlimited(load(None)), tmp_path / "models", source, 20.0, tally)
    assert len(list(_comings(source, 20.0))) == tally.jays == 1
    assert (tally.acted, tally.false, tally.nothing) == (1, 0, 0)
    assert 0 < tally.onsets[0] < 2
    assert tally.asked > 50


def test_real_clips_are_played_as_they_are_and_as_by_infrared(tmp_path: Path, state: Path) -> None:
    film = clip(tmp_path / "film.avi", [Actor("red", 1.0, 3.0)], 5)
    config = load(None, ["models.champion=colours"])
    assert bench_real(config, state, [film]) == {"film.avi": {"n": 1, "by_day": 1, "as_infrared": 0}}
    answer = gander("bench", "scenes", film, "--seeds", 0, "--champion", "colours", "--json", state=state)
    assert answer.status == 0, answer.err
    assert answer.summary["real"]["film.avi"]["by_day"] == 1
    assert "real infrared pictures" in answer.summary["untested"]
