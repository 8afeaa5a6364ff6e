"""The detector on small made scenes: what moves is seen; light, noise and a deterrent's own doings are not."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from edge.config import CameraConfig, MotionConfig
from edge.motion import MotionDetector
from edge.values import Box, Frame, Motion

NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)
FPS = 15
Paint = Callable[[NDArray[np.uint8], float], NDArray[np.uint8]]


class Yard:
    """A textured, noisy scene; `paint` draws on it what a test is about."""

    def __init__(self, camera: CameraConfig | None = None, level: int = 120, noise: float = 3.0) -> None:
        self.random = np.random.default_rng(7)
        coarse = self.random.integers(level // 2, int(level * 1.4), (60, 80), np.uint8)
        self.scene = cv2.resize(coarse, (640, 480), interpolation=cv2.INTER_CUBIC)
        self.noise = noise
        self.detector = MotionDetector(MotionConfig(), camera or CameraConfig())
        self.seq = 0

    def play(self, seconds: float, paint: Paint | None = None, disturbed: bool = False) -> list[Motion]:
        looks = []
        for n in range(round(seconds * FPS)):
            picture = self.scene.copy()
            if paint:
                picture = paint(picture, n / FPS)
            grain = self.random.normal(0.0, self.noise, picture.shape)
            luma = np.clip(picture + grain, 0, 255).astype(np.uint8)
            looks.append(self.detector.look(_frame(luma, self.seq, disturbed)))
            self.seq += 1
        return looks


def _frame(luma: NDArray[np.uint8], seq: int, disturbed: bool = False) -> Frame:
    return Frame("cam", seq, seq, seq / FPS, NOON, np.zeros((9, 16, 3), np.uint8), luma, disturbed)


def bird(x: float, y: float = 300, size: int = 12, level: int = 30) -> Paint:
    """Something dark at x pixels a second across the picture (or standing, when x is negative: at -x)."""

    def paint(picture: NDArray[np.uint8], t: float) -> NDArray[np.uint8]:
        at = (round(x * t) if x > 0 else round(-x), round(y))
        cv2.circle(picture, at, size, level, -1)
        return picture

    return paint


def _quiet(looks: list[Motion]) -> bool:
    return not any(look.boxes or look.recalibrating for look in looks)


def test_the_first_frames_are_learnt_and_then_nothing_moves_in_a_still_yard() -> None:
    looks = Yard().play(4)
    assert looks[0].recalibrating
    assert all(not look.boxes for look in looks)
    assert _quiet(looks[FPS:])


def test_night_gain_is_no_motion_but_a_bird_in_it_is() -> None:
    yard = Yard(level=40, noise=12.0)
    yard.play(3)
    assert _quiet(yard.play(3))
    assert sum(bool(look.boxes) for look in yard.play(3, bird(200, size=25, level=120))) > 2 * FPS


def test_a_small_bird_is_seen_in_every_frame_and_where_it_is() -> None:
    yard = Yard()
    yard.play(2)
    for n, look in enumerate(yard.play(3, bird(200))):
        x = 200 * n / FPS
        if 12 < x < 628:
            truth = Box((x - 12) / 640, 288 / 480, 24 / 640, 24 / 480)
            assert len(look.boxes) == 1
            assert look.boxes[0].iou(truth) > 0.4


def test_boxes_stay_inside_the_picture() -> None:
    yard = Yard()
    yard.play(2)
    for look in yard.play(3, bird(220, y=478, size=30)):
        for box in look.boxes:
            assert box.x >= 0
            assert box.y >= 0
            assert box.x + box.w <= 1 + 1e-9
            assert box.y + box.h <= 1 + 1e-9


def test_an_exposure_step_is_not_even_noticed() -> None:
    yard = Yard()
    yard.play(2)
    assert _quiet(yard.play(1, lambda picture, t: cv2.convertScaleAbs(picture, alpha=1.25)))


def _lamp(picture: NDArray[np.uint8], t: float) -> NDArray[np.uint8]:
    glow = np.linspace(1.1, 2.6, 640)[None, :]
    return np.clip(picture * glow, 0, 255).astype(np.uint8)


def test_a_lamp_recalibrates_fires_nothing_and_soon_birds_are_seen_again() -> None:
    yard = Yard(level=80)
    yard.play(2)
    lit = yard.play(2, _lamp)
    assert lit[0].recalibrating
    assert not any(look.boxes for look in lit)
    assert _quiet(lit[FPS:])
    both = yard.play(1, lambda picture, t: bird(-300, level=5, size=20)(_lamp(picture, t), t))
    assert all(look.boxes for look in both)


def test_light_in_a_black_night_recalibrates() -> None:
    yard = Yard(level=120)
    yard.play(2, lambda picture, t: picture // 40)
    lit = yard.play(2)
    assert lit[0].recalibrating
    assert not any(look.boxes for look in lit)
    assert _quiet(lit[FPS:])


def test_a_crow_that_fills_the_picture_is_a_crow_not_the_light() -> None:
    yard = Yard()
    yard.play(2)
    feathers = cv2.resize(yard.random.integers(5, 70, (96, 128), np.uint8), (640, 480))

    def crow(picture: NDArray[np.uint8], t: float) -> NDArray[np.uint8]:
        picture[100:, 80:560] = feathers[100:, 80:560]
        return picture

    for look in yard.play(2, crow):
        assert not look.recalibrating
        assert max(box.area for box in look.boxes) > 0.4


def test_a_hen_that_stands_stays_and_leaves_no_ghost() -> None:
    yard = Yard()
    yard.play(2)
    assert all(look.boxes for look in yard.play(6, bird(-320, size=30)))
    assert not any(look.boxes for look in yard.play(3)[FPS // 2 :])


def test_who_was_there_from_the_first_frame_leaves_no_ghost() -> None:
    yard = Yard()
    yard.play(4, bird(-320, size=30))
    assert not any(look.boxes for look in yard.play(3)[2 * FPS :])


def test_a_strobe_and_a_jet_poison_nothing() -> None:
    yard = Yard()
    yard.play(2)
    before = yard.detector.mask.copy()

    def deterrent(picture: NDArray[np.uint8], t: float) -> NDArray[np.uint8]:
        if int(t * 5) % 2:
            return cv2.convertScaleAbs(picture, alpha=1.0, beta=120)
        cv2.line(picture, (0, 100), (640, 300), 250, 40)
        return picture

    looks = yard.play(3, deterrent, disturbed=True)
    assert any(look.boxes or look.recalibrating for look in looks)
    assert _quiet(yard.play(2))
    assert np.array_equal(before, yard.detector.mask)


def test_what_came_while_disturbed_is_still_seen_afterwards() -> None:
    yard = Yard()
    yard.play(2)
    yard.play(4, bird(-320, size=30), disturbed=True)
    assert all(look.boxes for look in yard.play(1, bird(-320, size=30)))


@pytest.mark.parametrize(("x", "seen"), [(-160, True), (-480, False)])
def test_motion_counts_inside_zones_only(x: float, seen: bool) -> None:
    left_half = [(0.0, 0.0), (0.5, 0.0), (0.5, 1.0), (0.0, 1.0)]
    yard = Yard(CameraConfig(zones=[left_half]))
    yard.play(2)
    assert all(bool(look.boxes) is seen for look in yard.play(1, bird(x, size=30)))


def test_the_mask_is_of_the_boxes() -> None:
    yard = Yard()
    yard.play(2)
    look = yard.play(0.2, bird(-320, size=30))[-1]
    rows, columns = np.nonzero(yard.detector.mask)
    assert yard.detector.mask.dtype == np.uint8
    height, width = yard.detector.mask.shape
    box = look.boxes[0]
    assert columns.min() / width == pytest.approx(box.x, abs=0.02)
    assert rows.max() / height == pytest.approx(box.y + box.h, abs=0.02)


@pytest.mark.parametrize("size", [(1, 1), (2, 3), (7, 640), (480, 5), (333, 640), (640, 480), (241, 321), (1080, 1920)])
def test_any_size_of_picture_will_do(size: tuple[int, int]) -> None:
    random = np.random.default_rng(3)
    detector = MotionDetector(MotionConfig(), CameraConfig())
    for seq in range(20):
        detector.look(_frame(random.integers(0, 256, size, np.uint8), seq))


def test_a_new_size_begins_anew() -> None:
    yard = Yard()
    yard.play(2)
    small = _frame(np.full((240, 320), 90, np.uint8), yard.seq)
    assert yard.detector.look(small).recalibrating


def test_a_camera_that_was_away_begins_anew() -> None:
    yard = Yard()
    yard.play(3)
    yard.seq += 3600 * FPS
    shadow = cv2.GaussianBlur(np.where(np.arange(640) < 90, 60, 0).astype(np.uint8)[None].repeat(480, 0), (0, 0), 9)
    looks = yard.play(3, lambda picture, t: cv2.subtract(picture, shadow))
    assert looks[0].recalibrating
    assert all(not look.boxes for look in looks)
    assert _quiet(looks[FPS:])


@pytest.mark.parametrize("what", ["black", "white", "noise"])
def test_a_picture_that_is_none_of_the_yard_fires_nothing(what: str) -> None:
    yard = Yard()
    yard.play(3)
    spoilt = {
        "black": np.zeros_like(yard.scene),
        "white": np.full_like(yard.scene, 255),
        "noise": yard.random.integers(0, 256, yard.scene.shape, np.uint8),
    }[what]
    looks = yard.play(1, lambda picture, t: spoilt if t < 0.3 else picture)
    assert all(not look.boxes for look in looks)
    assert looks[0].recalibrating
    assert _quiet(yard.play(1.5)[FPS:])


def test_a_clock_that_stands_still_or_goes_back_does_no_harm() -> None:
    yard = Yard()
    yard.play(2)
    for seq in (30, 30, 5, 0, 31, 10_000_000):
        yard.detector.look(_frame(yard.scene, seq))
    yard.seq = 10_000_001
    yard.play(1)
    assert _quiet(yard.play(1))
