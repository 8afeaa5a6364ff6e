"""The rendered scenes: the same for one seed, true to their story, each with its own light."""

from __future__ import annotations

from functools import cache
from itertools import islice

import numpy as np
import pytest

from edge.errors import SourceError
from edge.frames.synthetic import SCENES, SyntheticSource
from edge.values import Box, Image

SMALL = (640, 360)


@cache
def scene(name: str, seed: int = 0) -> SyntheticSource:
    return SyntheticSource(name, seed, 15.0, SMALL)


def seen(source: SyntheticSource, label: str, start: float, end: float) -> list[float]:
    return [time for time in np.arange(start, end, 0.2) if any(what == label for what, _ in source.truth(float(time)))]


def cut(picture: Image, box: Box) -> Image:
    height, width = picture.shape[:2]
    return picture[
        int(box.y * height) : int((box.y + box.h) * height) + 1, int(box.x * width) : int((box.x + box.w) * width) + 1
    ]


@pytest.mark.parametrize("name", SCENES)
def test_one_seed_gives_the_same_pictures_in_any_order(name: str) -> None:
    again = SyntheticSource(name, 0, 15.0, SMALL)
    backwards = [again.render(time) for time in (12.0, 3.0)]
    assert np.array_equal(backwards[1], scene(name).render(3.0))
    assert np.array_equal(backwards[0], scene(name).render(12.0))


def test_another_seed_gives_another_yard() -> None:
    first, second = (scene("empty", seed).render(0.0).astype(int) for seed in (0, 1))
    assert np.abs(first - second).mean() > 5


def test_shots_are_spaced_by_the_rate_and_what_is_not_wanted_is_not_drawn() -> None:
    shots = list(islice(scene("day").shots(lambda media_time: media_time > 0.15), 3))
    assert [shot.media_time for shot in shots] == pytest.approx([3 / 15, 4 / 15, 5 / 15])
    assert shots[0].image.shape == (360, 640, 3)
    assert shots[0].luma.shape == (360, 640)


def test_a_receiver_may_paint_on_its_picture() -> None:
    source = SyntheticSource("empty", 0, 15.0, (160, 90))
    before = source.render(1.0).copy()
    source.render(1.0).fill(0)
    assert np.array_equal(source.render(1.0), before)


def test_the_story_of_the_day() -> None:
    day = scene("day")
    assert seen(day, "hen", 0.0, 60.0) == pytest.approx(np.arange(0.0, 60.0, 0.2))
    first = seen(day, "jay", 0.0, 20.0)
    assert 8.0 <= first[0] <= 8.6
    assert 5.0 <= first[-1] - first[0] <= 7.5
    walker = seen(day, "person", 0.0, 60.0)
    assert 29.9 <= walker[0] <= 32.0
    assert walker[-1] < 41.0
    assert seen(day, "jay", 40.0, 55.0)


@pytest.mark.parametrize("seed", [0, 5])
def test_jays_come_again_and_again(seed: int) -> None:
    times = np.array(seen(scene("day", seed), "jay", 0.0, 400.0))
    arrivals = times[np.flatnonzero(np.diff(times, prepend=-100.0) > 5.0)]
    assert 10 <= len(arrivals) <= 13
    assert np.diff(arrivals).min() > 20
    assert np.diff(arrivals).max() < 45


@pytest.mark.parametrize("name", ["day", "dusk", "night"])
def test_truth_says_where_the_figures_are(name: str) -> None:
    """Where truth has a figure the picture differs from the empty yard, and hardly anywhere else."""
    source = scene(name)
    stage_empty = np.median([source.render(float(time)) for time in np.arange(0, 100, 6.0)], axis=0)
    for time in (3.0, 10.4, 34.0):
        change = np.abs(source.render(time).astype(int) - stage_empty).max(2) > 25
        inside = np.zeros_like(change)
        for label, box in source.truth(time):
            cut(inside, box)[:] = True
            if label in ("jay", "person"):
                assert cut(change, box).mean() > 0.1, (label, time)
        assert change[inside].mean() > 10 * change[~inside].mean()


def test_boxes_lie_in_the_picture() -> None:
    for name in ("day", "night"):
        for time in np.arange(0.0, 70.0, 0.35):
            for _, box in scene(name).truth(float(time)):
                assert box.w > 0
                assert box.h > 0
                assert 0 <= box.x <= box.x + box.w <= 1 + 1e-9
                assert 0 <= box.y <= box.y + box.h <= 1 + 1e-9


def test_the_jay_is_blue_and_the_night_is_grey() -> None:
    day = scene("day")
    box = next(box for label, box in day.truth(12.0) if label == "jay")
    bird = cut(day.render(12.0), box).astype(int)
    assert (bird[..., 2] > bird[..., 0] + 40).mean() > 0.08
    night = scene("night").render(12.0).astype(int)
    assert np.abs(night - night.mean(2, keepdims=True)).max() < 2
    assert seen(scene("night"), "insect", 0.0, 20.0)


def test_nothing_moves_in_the_empty_yard() -> None:
    empty = scene("empty")
    assert empty.truth(10.0) == []
    first, later = (empty.render(time).astype(int) for time in (0.0, 10.0))
    assert 0 < np.abs(first - later).mean() < 4


@pytest.mark.parametrize(
    ("name", "before", "after", "least", "most"),
    [("cloud", 3.0, 14.0, 0.35, 0.75), ("lamp", 3.0, 6.5, 1.2, 3.0), ("strobe", 9.9, 10.2, 1.6, 3.5)],
)
def test_the_light_changes(name: str, before: float, after: float, least: float, most: float) -> None:
    ratio = scene(name).render(after).mean() / scene(name).render(before).mean()
    assert least < ratio < most


def test_a_strobe_goes_on_and_off_while_the_jay_is_there() -> None:
    bright = [scene("strobe").render(float(time)).mean() for time in np.arange(9.5, 13.0, 1 / 15)]
    switches = np.count_nonzero(np.diff(np.array(bright) > (min(bright) + max(bright)) / 2))
    assert switches == 6


def test_rain_falls_everywhere_anew_in_each_picture() -> None:
    rain = scene("rain")
    change = np.abs(rain.render(3.0).astype(int) - rain.render(3.0 + 1 / 15)).max(2) > 12
    columns = change.mean(0)
    assert (columns > 0).mean() > 0.5
    assert change.mean() < 0.2


def test_what_cannot_be_painted_is_refused() -> None:
    with pytest.raises(SourceError, match="no such scene"):
        SyntheticSource("noon")
    with pytest.raises(SourceError, match="too large"):
        SyntheticSource("day", size=(8192, 8192))


def test_the_smallest_picture_can_be_painted() -> None:
    source = SyntheticSource("night", 2, 15.0, (64, 64))
    assert source.render(10.0).shape == (64, 64, 3)
    assert source.truth(10.0)
