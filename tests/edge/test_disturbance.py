"""Which frames a pulse marks: of whose camera, from when, how long, and none for one that never came."""

from __future__ import annotations

import time
from datetime import UTC, datetime

import numpy as np
import pytest

from edge.config import CameraConfig, DeterrentConfig, PolicyConfig
from edge.disturbance import WATER_SETTLE_S, Disturbance
from edge.values import Action, Frame, Order
from firmware.deterrent import ORDER_MS

NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)
PICTURE = np.zeros((9, 16, 3), np.uint8)
CAMERAS = [CameraConfig(id="near"), CameraConfig(id="far", lag_s=1.0)]
LIGHT = DeterrentConfig()
SECOND = 1_000_000_000
PULSE_S = 1.6  # three flashes of 400 ms, 200 ms apart


def _frame(camera: str, taken_at_ns: int, media_time: float = 0.0) -> Frame:
    return Frame(camera, 0, taken_at_ns, media_time, NOON, PICTURE, PICTURE[..., 0])


def _fired(
    *deterrents: DeterrentConfig, result: str = "on", at_ns: int = 100 * SECOND, live: bool = True, media: float = 5.0
) -> Disturbance:
    """The last deterrent was fired; the others too, at the same time, before."""
    made = Disturbance(PolicyConfig(), CAMERAS, deterrents, live=live)
    for d in deterrents:
        order = Order("1", d.id, d.channel, d.on_ms, d.off_ms, d.count, 0)
        on = result == "on"
        made.ordered(order, Action("1", d.id, order.pattern, at_ns, at_ns if on else 0, 1200 * on, result), media)
    return made


def _marked_s(made: Disturbance, camera: str = "near", began_ns: int = 100 * SECOND) -> float:
    """How long frames are marked from then on, in seconds, to 50 ms."""
    steps = range(0, 20 * SECOND, SECOND // 20)
    return sum(made.mark(_frame(camera, began_ns + step)).disturbed for step in steps) / 20


def test_from_the_pulse_until_it_has_settled() -> None:
    assert _marked_s(_fired(LIGHT)) == pytest.approx(PULSE_S + 0.5, abs=0.06), "with the pauses of its pattern"


def test_before_any_order_and_of_a_camera_nobody_knows_nothing_is_marked() -> None:
    assert _marked_s(_fired()) == 0.0
    assert not _fired(LIGHT).mark(_frame("other", 100 * SECOND)).disturbed


def test_a_camera_whose_pictures_come_late_is_marked_so_much_longer() -> None:
    assert _marked_s(_fired(LIGHT), "far") == pytest.approx(PULSE_S + 1.5, abs=0.06)


@pytest.mark.parametrize("result", ["expired", "no controller", "refused: rest"])
def test_a_pulse_that_never_came_marks_nothing(result: str) -> None:
    assert _marked_s(_fired(LIGHT, result=result)) == 0.0


def test_one_that_was_not_acknowledged_may_still_come() -> None:
    began = time.monotonic_ns()
    made = _fired(LIGHT, result="silent")
    assert _marked_s(made, began_ns=began) >= PULSE_S + 0.5 + ORDER_MS / 1000 - 0.06


def test_time_runs_from_the_pin_not_from_the_picture_that_was_decided_on() -> None:
    made = _fired(LIGHT, media=0.0)
    assert made.mark(_frame("near", round(101.9 * SECOND), media_time=99.0)).disturbed


def test_a_replay_knows_media_time_only() -> None:
    made = _fired(LIGHT, live=False)
    assert made.mark(_frame("near", 0, 5.0)).disturbed
    assert made.mark(_frame("near", 0, 5.0 + PULSE_S + 0.4)).disturbed
    assert not made.mark(_frame("near", 0, 5.0 + PULSE_S + 0.6)).disturbed


def test_only_the_cameras_it_is_there_for() -> None:
    made = _fired(DeterrentConfig(cameras=["far"]))
    assert _marked_s(made) == 0.0
    assert _marked_s(made, "far") > PULSE_S


def test_nobody_sees_a_siren() -> None:
    assert _marked_s(_fired(DeterrentConfig(id="siren", kind="siren"))) == 0.0


def test_twigs_go_on_moving_after_water() -> None:
    water = DeterrentConfig(id="water", kind="water", on_ms=1000, count=1)
    assert _marked_s(_fired(water)) == pytest.approx(1.0 + WATER_SETTLE_S, abs=0.06)


def test_a_short_pulse_does_not_end_the_mark_of_a_long_one() -> None:
    long, short = DeterrentConfig(id="long", on_ms=4500, count=1), DeterrentConfig(id="short", on_ms=100, count=1)
    assert _marked_s(_fired(long, short)) == _marked_s(_fired(short, long)) == pytest.approx(5.0, abs=0.06)
