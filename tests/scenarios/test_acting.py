"""The real daemon on a network camera whose rendered yard answers its pin: lit, flashed at, and sprayed."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from itertools import pairwise

import cv2
import numpy as np
import pytest

from edge.frames.scenery.acting import Pulse, Show, jet, lamp, strobe
from edge.frames.synthetic import SyntheticSource
from tests.daemon import Daemon
from tests.mjpeg import MjpegCamera, camera
from tests.stage import SIZE

FPS = 12.0
LEFT_S = 2.0  # how far the told end of a visit may be from the truth, on a busy machine
pytestmark = [pytest.mark.lab, pytest.mark.alone]


class Yard:
    """What the camera sees: the yard, a jay where the test wants one, and the deterrent as the pin is driven now."""

    def __init__(self) -> None:
        source = SyntheticSource("empty", 4, FPS, SIZE)
        self._bare = [source.render(n / FPS) for n in range(8)]
        self._began = time.monotonic()
        self.show: Show = lamp
        self.jay: tuple[float, float] | None = None
        self.stays = 0  # the jay, until it has met so many pulses
        self.left = 0.0  # when it left last, seconds since 1970
        self.daemon: Daemon | None = None

    def pulses(self) -> list[Pulse]:
        """Of the pin, in seconds since the camera began."""
        levels = [(ms / 1e3 - self._began, level) for ms, level in self.daemon.levels()] if self.daemon else []
        ended = [*levels, (math.inf, 0)]
        return [(now[0], after[0]) for now, after in pairwise(ended) if now[1]]

    def picture(self, number: int) -> bytes:
        now = time.monotonic() - self._began
        seen, pulses = self._bare[number % len(self._bare)].copy(), self.pulses()
        if self.jay and len(pulses) >= self.stays and now >= pulses[self.stays - 1][0] + 0.6:
            self.jay, self.left = None, datetime.now(UTC).timestamp()
        if jay := self.jay:
            x, y = jay[0] + 0.02 * math.sin(4.0 * now), jay[1] + 0.01 * math.sin(7.0 * now)
            at = round(x * SIZE[0]), round(y * SIZE[1])
            for radius, colour in ((30, (110, 8, 8)), (18, (255, 70, 60)), (8, (110, 8, 8))):  # no two shades of grass
                cv2.circle(seen, at, radius, colour, cv2.FILLED, cv2.LINE_AA)
        seen = self.show(seen, now, pulses, 1)
        return bytes(cv2.imencode(".jpg", np.asarray(seen[:, :, ::-1]))[1].tobytes())


@pytest.fixture
def yard() -> Iterator[tuple[Yard, MjpegCamera]]:
    made = Yard()
    with camera(made.picture, FPS) as served:
        yield made, served


def _round(daemon: Daemon, yard: Yard, actions: int) -> float:
    """A jay comes, is acted on so often, and leaves in the last pulse. Returns when it left, seconds since 1970."""
    yard.stays = len(daemon.pulses()) + actions
    yard.jay = (0.4, 0.7)
    daemon.wait(lambda: yard.jay is None)
    return yard.left


def _acted(daemon: Daemon) -> int:
    """On how many occasions somebody who has left was acted on."""
    return sum(visit["visit"]["actions"] for visit in daemon.events("visit"))


def test_a_pulse_is_seen_through(start: Callable[..., Daemon], yard: tuple[Yard, MjpegCamera]) -> None:
    """A jay is acted on again where it stays, and its true end is told; nothing else moves but the deterrent."""
    scene, served = yard
    pattern = ("deterrent.0.on_ms=1200", "deterrent.0.count=1", "deterrent.0.cooldown_s=2.5", "visits.gap_s=1")
    kind = (
        "deterrent.0.kind=water",
        "deterrent.0.near_residents=fire",
        "policy.person_veto_s=0",
        "policy.escalate_after_s=1",
    )
    where = (f"camera.0.source={served.address}", f"camera.0.fps={FPS}", "camera.0.lag_s=0.5")
    daemon = start(*pattern, *kind, *where, film=None)
    scene.daemon = daemon
    daemon.wait(
        lambda: daemon.running() and daemon.status()["controller_ready"] and daemon.status()["frames"] > 2 * FPS
    )
    assert daemon.pulses() == []
    left, last, done = [], [], 0
    for show, actions in ((lamp, 2), (strobe, 1), (jet, 1)):
        scene.show, done = show, done + actions
        left.append(_round(daemon, scene, actions))
        daemon.wait(lambda done=done: _acted(daemon) >= done)  # type: ignore[misc]
        last.append(daemon.events("visit")[-1])
        time.sleep(0.5)
    assert _acted(daemon) == len(daemon.events("action")) == len(daemon.pulses()) == 4, "no deterrent is acted on"
    visits = len(daemon.events("visit"))
    assert len(daemon.events("visit_started")) == visits, "nor is it a visitor"
    assert visits in (3, 4), "who stays through a pulse may be told as two; `gander effect` joins them"
    for visit, truth in zip(last, left, strict=True):
        about = visit["visit"]
        error = datetime.fromisoformat(about["ended"]).timestamp() - truth
        assert -LEFT_S < error < LEFT_S, (error, about)
        assert error + about["blind_s"] > -0.5, (error, about)
        assert about["left"]
