"""A camera's sight over simulated days: what is wrong is told, and dusk, night, rain, snow and hens are not."""

from __future__ import annotations

import copy
from pathlib import Path

import cv2
import numpy as np
import pytest

from edge.config import CameraConfig
from edge.frames.luma import luma_of
from edge.frames.synthetic import SyntheticSource
from edge.health import problems
from edge.lens import TROUBLES, Lens
from edge.lens_past import DAYS, Average, Evidence, Hour, Usual
from edge.lens_view import Gaze
from edge.values import Image
from tests.edge.conftest import Days
from tests.edge.test_health import but
from tests.edge.yard import (
    AFTER_S,
    DAY_S,
    DAYS_S,
    FAULTS,
    HOUR_S,
    SIZE,
    TURN_S,
    Stuck,
    Unlit,
    Yard,
    cloth,
    covered,
    dim,
    frame,
    out_of_focus,
    told,
    turned,
    watch,
    white,
    without_colour,
)


def test_days_with_all_their_weather_are_no_trouble(days: Days) -> None:
    assert [minute for minute in days[1] if minute[1]] == []
    states = {int(at_s % DAY_S / HOUR_S): state for at_s, _, state in days[1]}
    assert {hour for hour, state in states.items() if state == "grey"} >= {20, 21, 22, 23, 0, 1, 2, 3}
    assert {hour for hour, state in states.items() if state == "colour"} >= set(range(6, 19))
    assert states[0] == "grey", "known, and no trouble"


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
    assert list(watch(taught, yard, DAYS_S + 9 * HOUR_S, 0.5 * HOUR_S, turned))[-1][1] == ["moved"]
    assert list(watch(taught, yard, DAYS_S + 9.5 * HOUR_S, 0.5 * HOUR_S, other))[-1][1] == ["moved"], "not back"


def test_without_a_clock_the_dark_is_no_trouble(taught: Lens, yard: Yard) -> None:
    detail = taught.usual.detail["grey"].value
    for change in (covered, without_colour):
        night = watch(taught, yard, DAYS_S + 12 * HOUR_S, 2 * HOUR_S, change, hours=False, light=60.0)
        assert [names for _, names in night if names] == []
        if change is covered:
            assert taught.usual.detail["grey"].value == detail, "nothing is learnt in the dark"


def test_dark_where_it_always_was_is_no_trouble_nor_is_a_new_lamp(yard: Yard) -> None:
    """A camera without a lamp sees nothing by night; with one it sees no colour then, which is no fault."""
    lens = Lens(CameraConfig(id="nest"))
    for day in range(4):
        night = watch(lens, yard if day == 3 else Unlit(yard), day * DAY_S + 18 * HOUR_S, 9 * HOUR_S)
        assert [names for _, names in night if names] == []
    assert lens.state == "grey"


@pytest.mark.parametrize(("begin_hour", "days_long", "told_hour"), [(3.0, 3, 6.5), (9.5, 0.6, 10.0)])
def test_a_hung_infrared_switch_is_told_by_day_and_stays_told(
    begin_hour: float, days_long: float, told_hour: float, taught: Lens, yard: Yard
) -> None:
    minutes = list(watch(taught, yard, DAYS_S + begin_hour * HOUR_S, days_long * DAY_S, without_colour))
    first = next(number for number, (_, names) in enumerate(minutes) if names)
    assert begin_hour + minutes[first][0] / HOUR_S == pytest.approx(told_hour, abs=0.1)
    assert [names for _, names in minutes[first:] if names != ["grey"]] == [], "over hours, nights and days"


@pytest.fixture
def unlit(taught: Lens, yard: Yard) -> Unlit:
    """A yard without a lamp, as the lens then knows it."""
    for hour in (*range(5), *range(20, 24)):
        taught.usual.hours[hour] = Hour(DAYS, 5.0, 0.0)
    return Unlit(yard)


@pytest.mark.parametrize("name", ["covered", "blurred"])
def test_what_the_night_hides_is_neither_well_again_nor_usual(name: str, taught: Lens, unlit: Unlit) -> None:
    change, begin_s = FAULTS[name][0], DAYS_S + 17 * HOUR_S

    def by_light(image: Image) -> Image:
        return change(image) if image.mean() > 20.0 else image

    evening = list(watch(taught, unlit, begin_s, HOUR_S, by_light))
    usual = copy.deepcopy(taught.usual)
    assert evening[-1][1] == [name]
    night = watch(taught, unlit, begin_s + HOUR_S, 14 * HOUR_S, by_light)
    assert [names for _, names in night if names != [name]] == []
    assert (taught.usual.detail, taught.usual.sharpness) == (usual.detail, usual.sharpness)
    assert list(watch(taught, unlit, begin_s + 15 * HOUR_S, 0.5 * HOUR_S))[-1][1] == [], "wiped"


@pytest.mark.parametrize(("name", "share"), [("blurred", 0.65), ("covered", 0.7)])
def test_what_is_only_half_mended_stays_told_and_alone_is_not_told(
    name: str, share: float, taught: Lens, yard: Yard
) -> None:
    begin_s, change = DAYS_S + 9 * HOUR_S, FAULTS[name][0]

    def half(image: Image) -> Image:
        return np.asarray(cv2.addWeighted(change(image), share, image, 1.0 - share, 0.0), np.uint8)

    assert {len(names) for _, names in watch(taught, yard, begin_s, 0.5 * HOUR_S, half)} == {0}
    assert list(watch(taught, yard, begin_s + 0.5 * HOUR_S, 0.5 * HOUR_S, change))[-1][1] == [name]
    assert list(watch(taught, yard, begin_s + HOUR_S, 0.5 * HOUR_S, half))[-1][1] == [name]


def test_what_was_never_sharp_can_get_no_less_so(taught: Lens) -> None:
    squares = np.random.default_rng(1).integers(0, 255, (SIZE[1] // 12, SIZE[0] // 12, 3), np.uint8)
    soft = cv2.GaussianBlur(cv2.resize(squares, SIZE, interpolation=cv2.INTER_NEAREST), (0, 0), 3.0)
    taught.usual.sharpness["colour"].value = 0.17
    for minute in range(30):
        taught.look(frame(np.asarray(cv2.add(soft, (minute % 2,) * 3), np.uint8), DAYS_S + minute * 60.0), None)
    assert taught.view
    assert taught.view.sharpness < 0.15
    assert told(taught) == []


def test_a_cover_in_the_light_of_the_lamp_is_still_the_dark_of_the_day(taught: Lens, yard: Yard) -> None:
    assert list(watch(taught, yard, DAYS_S + 18 * HOUR_S, 0.5 * HOUR_S, covered, light=60.0))[-1][1] == ["dark"]
    night = list(watch(taught, yard, DAYS_S + 21 * HOUR_S, HOUR_S, cloth))
    assert night[-1][1] == ["dark", "covered"]


def test_what_is_white_from_a_stuck_exposure_is_told_as_that(taught: Lens, yard: Yard) -> None:
    hour = list(watch(taught, yard, DAYS_S + 12 * HOUR_S, 0.5 * HOUR_S, white, light=40.0))
    assert {tuple(names) for _, names in hour} == {(), ("exposure",)}


def test_a_stuck_exposure_is_not_well_again_where_the_light_fits_it(taught: Lens, yard: Yard) -> None:
    begin_s = DAYS_S + 8 * HOUR_S
    assert list(watch(taught, yard, begin_s, 0.5 * HOUR_S, dim, light=1.0))[-1][1] == ["exposure"]
    fits = watch(taught, yard, begin_s + 0.5 * HOUR_S, HOUR_S, light=1.0)
    assert [names for _, names in fits if names != ["exposure"]] == []
    assert list(watch(taught, yard, begin_s + 1.5 * HOUR_S, 600.0))[-1][1] == [], "it follows the light again"


def test_a_picture_that_hangs_tells_nothing_else_and_is_the_measure_of_no_hour(taught: Lens, yard: Yard) -> None:
    begin_s, stuck = DAYS_S + 3 * HOUR_S, Stuck()
    assert list(watch(taught, yard, begin_s, 600.0, stuck))[-1][1] == ["frozen"]
    hours = copy.deepcopy(taught.usual.hours)
    by_day = watch(taught, yard, begin_s + 600.0, 6 * HOUR_S, stuck)
    assert [names for _, names in by_day if names != ["frozen"]] == [], "it is of the night, so without colour"
    assert taught.usual.hours == hours


def test_a_camera_whose_time_stands_still_teaches_nothing(yard: Yard) -> None:
    lens, image = Lens(CameraConfig(id="nest")), yard.picture(12 * HOUR_S)[0]
    lens.look(frame(covered(image), 60.0), None)
    lens.look(frame(image, 60.0), None)
    assert lens.usual.sharpness["colour"] == Average()


def test_a_camera_that_was_turned_looks_as_usual_after_a_day(taught: Lens, yard: Yard) -> None:
    seen = [names for _, names in watch(taught, yard, DAYS_S, 1.2 * DAY_S, turned)]
    first, last = (seen[::way].index(["moved"]) for way in (1, -1))
    assert len(seen) - last - first == pytest.approx(DAY_S / TURN_S, abs=2)
    assert [names for names in seen if names not in ([], ["moved"])] == []


def test_what_was_told_for_three_weeks_is_usual(taught: Lens, yard: Yard) -> None:
    (weeks_s,) = (trouble.usual_s for trouble in TROUBLES if trouble.name == "blurred")
    taught.usual.watched_s = weeks_s / 3
    begin_s = DAYS_S + 9 * HOUR_S
    assert list(watch(taught, yard, begin_s, 0.5 * HOUR_S, out_of_focus))[-1][1] == ["blurred"]
    taught.evidence["blurred"].told_s = weeks_s - HOUR_S
    seen = [names for _, names in watch(taught, yard, begin_s + 0.5 * HOUR_S, 4 * HOUR_S, out_of_focus)]
    assert seen[: int(HOUR_S / TURN_S) - 1] == [["blurred"]] * (int(HOUR_S / TURN_S) - 1)
    assert [names for names in seen[int(HOUR_S / TURN_S) :] if names] == []
    assert taught.status()["sharpness"] == pytest.approx(1.0, abs=0.1)


def test_what_was_known_for_hours_only_gives_way_after_a_day(yard: Yard) -> None:
    """Tried on a table, then hung up: the table is no measure for weeks."""
    lens = Lens(CameraConfig(id="nest"))
    list(watch(lens, yard, 9 * HOUR_S, 3 * HOUR_S))
    seen = [names for _, names in watch(lens, yard, 12 * HOUR_S, 1.1 * DAY_S, out_of_focus)]
    assert seen.count(["blurred"]) == pytest.approx(DAY_S / TURN_S, abs=2)
    assert seen[-1] == []


def test_of_two_troubles_the_first_to_be_usual_waits_for_the_other(taught: Lens, unlit: Unlit) -> None:
    for name, told_s in (("moved", 2 * DAY_S), ("grey", 2 * DAY_S)):
        taught.evidence[name] = Evidence(AFTER_S[name], AFTER_S[name], told=True, told_s=told_s)
    night = watch(taught, unlit, DAYS_S + 21 * HOUR_S, HOUR_S)
    assert [names for _, names in night if names != ["grey", "moved"]] == []


def test_a_lamp_that_is_lit_for_shorter_than_it_was_is_told_for_a_week_at_most(taught: Lens, yard: Yard) -> None:
    def lamp_off(image: Image) -> Image:
        return covered(image) if hour >= 17.5 else image

    evenings = []
    for day in range(8):
        names = set[str]()
        for half in range(33, 38):
            hour = half / 2
            for _, now in watch(taught, yard, DAYS_S + day * DAY_S + hour * HOUR_S, 0.5 * HOUR_S, lamp_off, light=60.0):
                names |= set(now)
        evenings.append(names)
    assert evenings[0] == {"dark"}
    assert evenings[-1] == set()


def test_a_camera_that_was_away_or_froze_the_process_has_not_been_seen(taught: Lens, yard: Yard) -> None:
    begin_s = DAYS_S + 9 * HOUR_S
    for hour in range(8):
        list(watch(taught, yard, begin_s + hour * HOUR_S, TURN_S, cloth))
    assert told(taught) == [], "eight pictures are no evidence for hours"


def test_an_hour_is_known_by_its_days_and_a_habit_can_change() -> None:
    usual, average = Usual(), Average()
    for days in range(1, DAYS + 2):
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
