"""Boxes fed to `Visits`, a frame at a time; four labels, and what a model may say of them."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta

import numpy as np
from numpy.typing import NDArray

from edge.clock import Ids
from edge.config import EvidenceConfig, LabelsConfig, VisitConfig
from edge.evidence import Kinds
from edge.values import Box, Frame, Motion, Visit
from edge.visits import Visits

NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)
FPS = 15.0
LABELS = ("jay", "hen", "person", "leaf")
PICTURE = np.zeros((9, 16, 3), np.uint8)
JAY = np.array([0.9, 0.05, 0.0, 0.05], np.float32)
HEN = np.array([0.0, 0.9, 0.05, 0.05], np.float32)
PERSON = np.array([0.0, 0.4, 0.4, 0.2], np.float32)


class Play:
    """Feeds boxes to `Visits`, a frame at a time."""

    def __init__(self, fps: float = FPS, **config: float) -> None:
        kinds = Kinds(LABELS, LabelsConfig(threat=["jay"], resident=["hen"], person=["person"]))
        self.visits = Visits(VisitConfig.model_validate(config), EvidenceConfig(), kinds, Ids("test"), "cam")
        self.fps = fps
        self.seq = 0
        self.ended: list[Visit] = []
        self.frame = self._frame()

    def _frame(self, disturbed: bool = False) -> Frame:
        t = self.seq / self.fps
        wall = NOON + timedelta(seconds=t)
        return Frame("cam", self.seq, self.seq * 1000, t, wall, PICTURE, PICTURE[..., 0], disturbed)

    def step(self, *boxes: Box, recalibrating: bool = False, disturbed: bool = False) -> list[Visit]:
        self.frame = self._frame(disturbed)
        ended = self.visits.follow(Motion(self.frame, boxes, recalibrating))
        self.ended += ended
        self.seq += 1
        return ended

    def run(self, seconds: float, *boxes: Box) -> None:
        for _ in range(round(seconds * self.fps)):
            self.step(*boxes)

    @property
    def all(self) -> Sequence[Visit]:
        return [*self.ended, *self.visits.open]


HERE = Box(0.3, 0.3, 0.1, 0.1)
THERE = Box(0.7, 0.6, 0.1, 0.1)


def pulse(play: Play, seconds: float, *boxes: Box) -> None:
    """A deterrent acts so long, and these are the boxes it leaves."""
    for _ in range(round(seconds * play.fps)):
        play.step(*boxes, disturbed=True)


def acted_on(play: Play) -> str:
    """A jay came, was recognised, and is acted on. Returns its visit."""
    play.run(1, HERE)
    visit = play.visits.open[0]
    for _ in range(2):
        play.step(HERE)
        play.visits.weigh(visit.id, play.frame, JAY)
    return play.visits.acted(visit.id).id


def told_apart(play: Play, answers: Sequence[NDArray[np.float32]]) -> Visit:
    visit = play.visits.open[0]
    for answer in answers:
        play.step(HERE)
        visit = play.visits.weigh(visit.id, play.frame, answer)
    return visit
