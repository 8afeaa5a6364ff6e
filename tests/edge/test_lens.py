"""A camera's sight over simulated days: what is wrong is told, and dusk, night, rain, snow and hens are not."""

from __future__ import annotations

import copy
import json
import logging
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import cv2
import numpy as np
import pytest

from edge.config import CameraConfig
from edge.frames.luma import luma_of
from edge.frames.synthetic import SyntheticSource
from edge.health import problems
from edge.lens import FILE, TROUBLES, Lens, Lenses
from edge.lens_past import DAYS, Average, Usual
from edge.lens_view import Gaze
from edge.values import Frame, Image
from tests.edge.test_health import but

SIZE = 192, 108
TURN_S = 60.0
HOUR_S, DAY_S = 3600.0, 24 * 3600.0
DAYS_S = 2 * DAY_S
MIDNIGHT = datetime(2026, 6, 1, tzinfo=UTC)
AFTER_S = {trouble.name: trouble.after_s for trouble in TROUBLES}

Change = Callable[[Image], Image]


class Yard:
    """A yard with hens through day, dusk, infrared night, rain and snow: the picture of any second."""

    def __init__(self) -> None:
        rng = np.random.default_rng(3)
        self._grains = [rng.integers(0, 100, (SIZE[1], SIZE[0]), np.uint8) for _ in range(16)]
        self._scenes = {
            scene: [source.render(7.3 * turn) for turn in range(8)]
            for scene in ("day", "dusk", "rain", "infrared", "drizzle", "swarm")
            for source in [SyntheticSource(scene, 3, size=SIZE)]
        }

    def picture(self, at_s: float) -> tuple[Image, float]:
        """The picture, and exposure times gain in ms."""
        hour = at_s % DAY_S / HOUR_S
        number = int(at_s / TURN_S)
        turn = number % 8
        if not 5.0 <= hour < 20.0:
            scene = "swarm" if 22 <= hour < 23 else "drizzle" if 2 <= hour < 3 else "infrared"
            return self._noisy(self._scenes[scene][turn], 5, number), 60.0
        light = min((hour - 5.0) / 1.5, (20.0 - hour) / 1.5, 1.0)  # dawn and dusk take an hour and a half
        under = self._scenes["rain" if 10 <= hour < 12 else "day"][turn]
        mixed = cv2.addWeighted(under, light, self._scenes["dusk"][turn], 1.0 - light, 0.0)
        dim = min(light * 3.0 + 0.05, 1.0)  # at last the exposure can go no further
        noise = 40 if 14 <= hour < 15 else 3 if light == 1.0 else 9
        return self._noisy(cv2.convertScaleAbs(mixed, alpha=dim), noise, number), 5.0 / max(light, 0.08)

    def _noisy(self, picture: Image, noise: int, turn: int) -> Image:
        """With a noise of its own for each turn, up to so much."""
        grains = cv2.convertScaleAbs(self._grains[turn % 16], alpha=noise / 100)
        return np.asarray(cv2.add(picture, cv2.cvtColor(grains, cv2.COLOR_GRAY2RGB)), np.uint8)


def frame(image: Image, at_s: float, light: float | None = None) -> Frame:
    wall = MIDNIGHT + timedelta(seconds=at_s)
    return Frame("nest", int(at_s), int(at_s * 1e9), at_s, wall, image, luma_of(image), exposure_ms=light, gain=1.0)


def told(lens: Lens) -> list[str]:
    return [name for name, evidence in lens.evidence.items() if evidence.told]


def watch(lens: Lens, yard: Yard, begin_s: float, lasts_s: float, change: Change = lambda image: image,
          hours: bool = True, light: float | None = None) -> Iterator[tuple[float, list[str]]]:  # fmt: skip
    """Have it look once a minute; after each look the time passed, and what is told."""
    at_s = begin_s
    while at_s < begin_s + lasts_s:
        at_s += TURN_S
        image, own = yard.picture(at_s)
        lens.look(frame(change(image.copy()), at_s, light or own), int(at_s % DAY_S / HOUR_S) if hours else None)
        yield at_s - begin_s, told(lens)


@pytest.fixture(scope="module")
def yard() -> Yard:
    return Yard()


@pytest.fixture(scope="module")
def days(yard: Yard) -> tuple[Lens, list[tuple[float, list[str], str]]]:
    """Two days from midnight on, and the hour after: the lens then, and what was told at each minute."""
    lens = Lens(CameraConfig(id="nest"))
    return lens, [(at_s, names, lens.state) for at_s, names in watch(lens, yard, 0.0, DAYS_S + HOUR_S)]


@pytest.fixture
def taught(days: tuple[Lens, list[tuple[float, list[str], str]]]) -> Lens:
    return copy.deepcopy(days[0])


def test_two_days_with_all_their_weather_are_no_trouble(
    days: tuple[Lens, list[tuple[float, list[str], str]]],
) -> None:
    assert [minute for minute in days[1] if minute[1]] == []
    states = {int(at_s % DAY_S / HOUR_S): state for at_s, _, state in days[1]}
    assert {hour for hour, state in states.items() if state == "grey"} >= {20, 21, 22, 23, 0, 1, 2, 3}
    assert {hour for hour, state in states.items() if state == "colour"} >= set(range(6, 19))
    assert states[0] == "grey", "known, and no trouble"


def covered(image: Image) -> Image:
    rng = np.random.default_rng(int(image[0, 0, 0]))
    return np.asarray(np.full_like(image, 5) + rng.integers(0, 4, image.shape, np.uint8), np.uint8)


def cloth(image: Image) -> Image:
    noise = np.random.default_rng().integers(0, 4, image.shape[:2], np.uint8)
    return np.asarray(np.full_like(image, (130, 110, 90)) + noise[..., None], np.uint8)


def out_of_focus(image: Image) -> Image:
    return np.asarray(cv2.GaussianBlur(image, (0, 0), 1.6), np.uint8)


def white(image: Image) -> Image:
    return np.full_like(image, 255)


def dim(image: Image) -> Image:
    return np.asarray(cv2.convertScaleAbs(image, alpha=0.2), np.uint8)


def without_colour(image: Image) -> Image:
    return np.asarray(cv2.cvtColor(cv2.cvtColor(image, cv2.COLOR_RGB2GRAY), cv2.COLOR_GRAY2RGB), np.uint8)


def turned(image: Image) -> Image:
    matrix = np.array([[1.0, 0.0, 0.09 * SIZE[0]], [0.0, 1.0, 0.03 * SIZE[0]]])
    return np.asarray(cv2.warpAffine(image, matrix, SIZE, borderMode=cv2.BORDER_REFLECT), np.uint8)


class Stuck:
    """Always the first picture."""

    def __init__(self) -> None:
        self._first: Image | None = None

    def __call__(self, image: Image) -> Image:
        self._first = image if self._first is None else self._first
        return self._first


FAULTS: dict[str, tuple[Change, float | None]] = {
    "dark": (covered, 60.0),
    "covered": (cloth, None),
    "blurred": (out_of_focus, None),
    "white": (white, None),
    "exposure": (dim, 1.0),
    "frozen": (Stuck(), None),
    "grey": (without_colour, None),
    "moved": (turned, None),
}


@pytest.mark.parametrize("name", FAULTS)
def test_each_fault_is_told_for_itself_slowly_and_goes(name: str, taught: Lens, yard: Yard) -> None:
    change, light = FAULTS[name]
    begin_s = DAYS_S + 12 * HOUR_S
    hour = list(watch(taught, yard, begin_s, HOUR_S, change, light=light))
    first_s = next(passed for passed, names in hour if names)
    assert hour[-1][1] == [name]
    assert {other for _, names in hour for other in names} == {name}, "and nothing else"
    assert AFTER_S[name] - TURN_S <= first_s <= AFTER_S[name] + 5 * TURN_S
    (problem,) = problems(but(cameras=[{"id": "nest", "trouble": "", "lens": taught.status()}]))
    assert problem.what.startswith("camera nest ")
    assert problem.advice
    assert list(watch(taught, yard, begin_s + HOUR_S, HOUR_S))[-1][1] == [], "mended, and told no more"


def test_what_passes_within_minutes_is_not_told(taught: Lens, yard: Yard) -> None:
    begin_s = DAYS_S + 9 * HOUR_S
    for fault, (change, light) in FAULTS.items():
        minutes = [*watch(taught, yard, begin_s, AFTER_S[fault] - 2 * TURN_S, change, light=light)]
        minutes += watch(taught, yard, begin_s + AFTER_S[fault], 2 * AFTER_S[fault])
        assert [names for _, names in minutes if names] == [], fault
        begin_s += 600.0


def test_a_hen_before_the_lens_for_half_an_hour(taught: Lens, yard: Yard) -> None:
    def hen(image: Image) -> Image:
        rng = np.random.default_rng(int(image.sum()) % 97)
        centre = int(rng.integers(75, 105)), int(rng.integers(60, 82))
        feathers = np.kron(rng.integers(90, 200, (27, 48, 1), np.uint8), np.ones((4, 4, 3), np.uint8))
        body = cv2.ellipse(np.zeros(image.shape[:2], np.uint8), (centre, (142, 112), 0.0), 255, cv2.FILLED)
        image[body > 0] = cv2.GaussianBlur(feathers, (0, 0), 2.0)[body > 0]
        return image

    assert [names for _, names in watch(taught, yard, DAYS_S + 9 * HOUR_S, 0.5 * HOUR_S, hen) if names] == []


def test_what_has_nothing_in_common_is_no_shift(taught: Lens, yard: Yard) -> None:
    """Snow on everything, leaves on the ground: only a view that is the same elsewhere has moved."""
    leaves = np.random.default_rng(7).integers(40, 230, (SIZE[1] // 4, SIZE[0] // 4, 3), np.uint8)
    ground = cv2.resize(leaves, SIZE, interpolation=cv2.INTER_NEAREST)

    def other(image: Image) -> Image:
        return np.asarray(cv2.addWeighted(ground, 0.9, image, 0.1, 0.0), np.uint8)

    day = watch(taught, yard, DAYS_S + 8 * HOUR_S, HOUR_S, other)
    assert [names for _, names in day if names] == []


def test_without_a_clock_the_dark_is_no_trouble(taught: Lens, yard: Yard) -> None:
    detail = taught.usual.detail["grey"].value
    for change in (covered, without_colour):
        night = watch(taught, yard, DAYS_S + 12 * HOUR_S, 2 * HOUR_S, change, hours=False, light=60.0)
        assert [names for _, names in night if names] == []
        if change is covered:
            assert taught.usual.detail["grey"].value == detail, "nothing is learnt in the dark"


def test_dark_where_it_always_was_is_no_trouble(yard: Yard) -> None:
    """A camera without a lamp sees nothing by night."""
    lens = Lens(CameraConfig(id="nest"))

    def unlit(image: Image) -> Image:
        return (
            covered(image) if not image[..., 0].astype(int).std() or (image[..., 0] == image[..., 1]).all() else image
        )

    for day in range(3):
        night = watch(lens, yard, day * DAY_S + 18 * HOUR_S, 9 * HOUR_S, unlit)
        assert [names for _, names in night if names] == []


def test_what_stays_for_days_is_usual(taught: Lens, yard: Yard) -> None:
    seen = [names for _, names in watch(taught, yard, DAYS_S, 1.6 * DAY_S, turned)]
    assert ["moved"] in seen[: int(DAY_S / TURN_S)]
    assert seen[-1] == []


def test_a_camera_that_was_away_or_froze_the_process_has_not_been_seen(taught: Lens, yard: Yard) -> None:
    begin_s = DAYS_S + 9 * HOUR_S
    for hour in range(8):
        list(watch(taught, yard, begin_s + hour * HOUR_S, TURN_S, cloth))
    assert told(taught) == [], "eight pictures are no evidence for hours"


def test_an_hour_is_known_by_its_days_and_a_habit_can_change() -> None:
    usual, average = Usual(), Average()
    for days in range(1, DAYS + 1):
        assert usual.around(0) == []
        for hour in (23, 0, 1):
            usual.hours[hour].learn(100.0 + days, 1.0)
    assert [one.brightness for one in usual.around(0)] == [101.5] * 3, "those beside it, over midnight too"
    assert usual.around(None) == usual.around(1) == []
    for value, days in ((1.0, 60), (0.5, 9)):
        for _ in range(days * 24):
            average.learn(value, HOUR_S)
    assert average.value == pytest.approx(0.5, abs=0.05), "after nine days the new is usual, whatever was for sixty"


def test_privacy_masks_are_not_judged() -> None:
    image = SyntheticSource("day", 3, size=SIZE).render(0.0)
    halves = [[(0.0, 0.0), (0.5, 0.0), (0.5, 1.0), (0.0, 1.0)]]
    blackened = image.copy()
    blackened[:, : SIZE[0] // 2] = 0
    masked = Gaze(luma_of(image).shape, halves)
    for _ in range(3):
        with_mask = masked.look(luma_of(blackened), blackened, 60.0)
    right = np.ascontiguousarray(image[:, SIZE[0] // 2 + 9 :])
    alone = Gaze(luma_of(right).shape).look(luma_of(right), right, 60.0)
    assert with_mask.brightness == pytest.approx(alone.brightness, abs=3.0)
    assert with_mask.colour == pytest.approx(alone.colour, abs=6.0)
    assert with_mask.sharpness == pytest.approx(alone.sharpness, rel=0.1)
    plain = np.full_like(image, 200)
    plain[:, : SIZE[0] // 2] = 0
    bare = Gaze(luma_of(plain).shape, halves).look(luma_of(plain), plain, 60.0)
    assert (bare.contrast, bare.brightness) == (0.0, pytest.approx(200.0)), "the edge of a mask is no detail"


def test_what_is_usual_outlives_a_restart(tmp_path: Path, taught: Lens, yard: Yard) -> None:
    camera = CameraConfig(id="nest")
    first = Lenses([camera], tmp_path)
    first._lenses["nest"] = taught
    list(watch(taught, yard, DAYS_S + 9 * HOUR_S, 0.5 * HOUR_S, out_of_focus))
    first.look({"nest": frame(out_of_focus(yard.picture(0)[0]), 3 * DAY_S)}, 0.0, clock_known=True)
    first.save()
    assert (tmp_path / FILE).stat().st_size < 20_000
    again = Lenses([camera], tmp_path)
    assert again.status("nest")["problems"] == first.status("nest")["problems"] != []
    for before, after in zip(taught.usual.hours, again._lenses["nest"].usual.hours, strict=True):
        assert after.brightness == pytest.approx(before.brightness, abs=0.1)
        assert after.days == before.days
    taken_up = again._lenses["nest"]
    assert taken_up.usual.sharpness["colour"].value == pytest.approx(taught.usual.sharpness["colour"].value, rel=1e-3)
    quiet = list(watch(taken_up, yard, 3 * DAY_S, DAY_S))
    assert [names for passed, names in quiet if names and passed > HOUR_S] == []
    other = Lenses([camera.model_copy(update={"rotate": 180})], tmp_path)
    assert other.status("nest")["problems"] == [], "another view has other habits"


@pytest.mark.parametrize(
    "damage", ["", "[]", '{"nest": 3}', '{"nest": {"of": "OF", "usual": {}, "told": []}}', "\x00" * 9]
)
def test_damage_is_learnt_anew(tmp_path: Path, damage: str, caplog: pytest.LogCaptureFixture) -> None:
    camera = CameraConfig(id="nest")
    (tmp_path / FILE).write_text(damage.replace("OF", f"{camera.shown} {camera.size} {camera.rotate} {camera.fps}"))
    with caplog.at_level(logging.WARNING):
        lenses = Lenses([camera], tmp_path)
    assert lenses.status("nest")["sharpness"] is None
    assert lenses.status("other") == {}


def test_it_looks_every_ten_seconds_and_writes_rarely(tmp_path: Path, yard: Yard) -> None:
    lenses = Lenses([CameraConfig(id="nest")], tmp_path)
    lenses.save()
    assert list(tmp_path.iterdir()) == [], "nothing seen, nothing to keep"
    image = yard.picture(12 * HOUR_S)[0]
    lens = lenses._lenses["nest"]
    for now_s in range(0, 60):
        lenses.look({"nest": frame(image, float(now_s))}, float(now_s), clock_known=True)
    assert lens.usual.sharpness["colour"].seconds == pytest.approx(60.0 + 50.0), "the first counts for a minute"
    lenses.look({"nest": frame(image, 50.0)}, 100.0, clock_known=True)
    assert lens.usual.sharpness["colour"].seconds == pytest.approx(110.0), "the same frame again says nothing"
    assert list(tmp_path.iterdir()) == []
    lenses.look({"nest": None}, 7 * HOUR_S, clock_known=True)
    assert "nest" in json.loads((tmp_path / FILE).read_text())


CLIPS = ("videos_chickens", "videos_warren", "videos_dogs", "videos_birds", "videos_bird.", "vtest")


@pytest.mark.parametrize("name", CLIPS)
def test_real_clips_are_no_trouble_until_they_are_blurred(name: str, shared_data: Path) -> None:
    (path,) = [path for path in (shared_data / "video").glob("*.mp4") if name in path.name]
    capture = cv2.VideoCapture(str(path))
    pictures = []
    for number in range(240):
        if capture.grab() and number % 12 == 0:
            image = cv2.cvtColor(capture.retrieve()[1], cv2.COLOR_BGR2RGB)
            pictures.append(
                cv2.resize(image, (640, 640 * image.shape[0] // image.shape[1]), interpolation=cv2.INTER_AREA)
            )
    lens = Lens(CameraConfig(id="nest"))
    at_s = 0.0
    for turn in range(135):
        at_s += TURN_S
        lens.look(frame(pictures[turn % len(pictures)], at_s), None)
        assert told(lens) == [], at_s
    for turn in range(18):
        at_s += TURN_S
        lens.look(frame(np.asarray(cv2.GaussianBlur(pictures[turn % len(pictures)], (0, 0), 4.0)), at_s), None)
    assert told(lens) == ["blurred"]
