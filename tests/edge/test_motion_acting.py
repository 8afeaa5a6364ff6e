"""The detector through a deterrent's own doings in the rendered yard: its light and water are nobody."""

from __future__ import annotations

from datetime import UTC, datetime

import cv2
import numpy as np
import pytest

from edge.clock import Ids
from edge.config import CameraConfig, EvidenceConfig, LabelsConfig, MotionConfig, VisitConfig
from edge.evidence import Kinds
from edge.frames.luma import luma_of
from edge.frames.scenery.acting import Show, jet, lamp, steady, strobe
from edge.frames.synthetic import SyntheticSource
from edge.motion import MotionDetector
from edge.values import Frame, Image, Motion, Visit
from edge.visits import Visits

NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)
FPS = 10
SIZE = 640, 360
PULSE = 2.0, 4.0
SHOWS = [(lamp, 0.5), (strobe, 0.5), (jet, 1.5), (steady, 0.5)]  # and how long each settles


class Yard:
    """The yard without anybody; `bird` puts one where a test wants it. Every moment is asked once, in order."""

    def __init__(self, show: Show, settle_s: float) -> None:
        self._bare = SyntheticSource("empty", 6, FPS, SIZE).render(0.0)
        self._noise = np.random.default_rng(5)
        self._show, self._until, self._n = show, PULSE[1] + settle_s, 0
        self._detector = MotionDetector(MotionConfig(), CameraConfig())
        kinds = Kinds(("jay", "hen"), LabelsConfig())
        self._visits = Visits(VisitConfig(), EvidenceConfig(), kinds, Ids("test"), "cam")
        self._feathers = self._noise.integers(0, 30, (10, 10, 3), np.uint8)

    @property
    def open(self) -> tuple[Visit, ...]:
        """Who is believed to be there."""
        return self._visits.open

    def play(self, until: float, bird: float | None = None) -> list[Motion]:
        looks = []
        while self._n / FPS < until:
            time = self._n / FPS
            picture = self._bare // 3 * 2  # a dull evening: light tells
            if bird is not None:
                self._perch(picture, bird)
            if time >= PULSE[0]:
                picture = self._show(picture, time, [PULSE], 2)
            grain = self._noise.normal(0.0, 1.5, picture.shape[:2])
            luma = np.clip(luma_of(picture) + grain, 0, 255).astype(np.uint8)
            disturbed = PULSE[0] <= time < self._until
            looks.append(self._detector.look(Frame("cam", self._n, self._n, time, NOON, picture, luma, disturbed)))
            self._visits.follow(looks[-1])
            self._n += 1
        return looks

    def _perch(self, picture: Image, at: float) -> None:
        side = 44
        top, left = round(0.8 * SIZE[1]), round(at * SIZE[0])
        feathers = np.asarray(cv2.resize(self._feathers, (side, side)), np.uint8)
        picture[top : top + side, left : left + side] = feathers


def _at(look: Motion, x: float) -> bool:
    """Whether something is seen at the bird's place, about as large as it."""
    centre, area = (x + 22 / SIZE[0], 0.8 + 22 / SIZE[1]), 44 * 44 / (SIZE[0] * SIZE[1])
    return any(b.x < centre[0] < b.x + b.w and b.y < centre[1] < b.y + b.h and b.area < 2.5 * area for b in look.boxes)


@pytest.mark.parametrize(("show", "settle_s"), SHOWS)
def test_what_it_leaves_behind_is_nobody_and_who_comes_next_is_seen(show: Show, settle_s: float) -> None:
    yard = Yard(show, settle_s)
    assert not any(look.boxes for look in yard.play(PULSE[0]))
    yard.play(PULSE[1] + settle_s)
    after = yard.play(PULSE[1] + settle_s + 1.0)
    assert yard.open == (), "no drop lasts long enough to be somebody"
    assert not any(look.boxes for look in after[3:-1])
    came = yard.play(PULSE[1] + settle_s + 2.0, bird=0.25)
    assert all(_at(look, 0.25) for look in came[1:])
    gone = yard.play(PULSE[1] + settle_s + 5.0)
    assert not any(look.boxes for look in gone[15:]), "nor is what dries, or a lamp that goes on"


@pytest.mark.parametrize(("show", "settle_s"), SHOWS[:3])
def test_who_stays_is_seen_in_lamplight_and_at_once_afterwards(show: Show, settle_s: float) -> None:
    yard = Yard(show, settle_s)
    yard.play(1.2)
    assert all(_at(look, 0.25) for look in yard.play(PULSE[0], bird=0.25))
    during = yard.play(PULSE[1] + settle_s, bird=0.25)
    assert sum(_at(look, 0.25) for look in during) > len(during) / 3
    after = yard.play(PULSE[1] + settle_s + 1.0, bird=0.25)
    assert sum(_at(look, 0.25) for look in after) >= len(after) - 2
    assert len(yard.open) == 1, "the same visitor from beginning to end, and no other"
    assert yard.open[0].first_seen < PULSE[0]


def test_who_leaves_in_lamplight_is_seen_no_more() -> None:
    yard = Yard(lamp, 0.5)
    yard.play(1.2)
    yard.play(3.0, bird=0.25)
    assert not any(_at(look, 0.25) for look in yard.play(PULSE[1] + 2.0)[5:])
    assert yard.open[0].last_seen == pytest.approx(2.9, abs=0.25)
