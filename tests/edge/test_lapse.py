"""The loop with real models, and cameras that fall silent or get stuck: who was there does not stay for ever."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

import pytest

from edge.actuators.dry import Dry
from edge.app import Desk, line
from edge.config import Config
from edge.errors import CameraStuck
from edge.journal import recent_visits
from tests.edge.loop import GREEN, RED, Camera, Ear, ear, made

__all__ = ["ear", "made"]

CONFIG = Config.model_validate(
    {
        "camera": [{"id": "hens", "stale_s": 1.0}, {"id": "door", "stale_s": 1.0}],
        "deterrent": [{"id": "siren", "kind": "siren", "quiet_hours": ""}],
        "visits": {"gap_s": 0.2},
        "models": {"deadline_ms": 5000},  # a test machine may stand still
        "policy": {"budget_ms": 10_000},
    }
)


@pytest.fixture
def patience() -> Callable[[], None]:
    """A tick that ends what takes too long."""
    end = time.monotonic() + 60

    def tick() -> None:
        assert time.monotonic() < end

    return tick


def test_a_hen_at_a_camera_gone_silent_holds_no_siren_elsewhere(
    made: Desk, ear: Ear, patience: Callable[[], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("edge.watch._LOOK_NS", 100_000_000)
    begin, there, end = threading.Event(), threading.Event(), threading.Event()
    begin.set()
    cameras = [Camera(GREEN, 5, begin, end), Camera(RED, 10**6, there, end)]
    watch = line(made, cameras, Dry(CONFIG.deterrent), motion=False, tick=patience)
    ear.events.clear()

    def then(type_: str, camera: str) -> None:
        if (type_, camera) == ("visit_started", "hens"):
            there.set()
        if type_ == "action":
            watch.cameras.stop()

    ear.then = then
    try:
        with watch.cameras:
            watch.run()
    finally:
        there.set()
        end.set()
    assert [body["reason"] for body in ear.told("suppressed", "door")] == ["near_residents"]
    (hen,) = ear.told("visit", "hens")
    assert (hen["visit"]["kind"], hen["visit"]["left"]) == ("resident", False)
    kinds = [(body["type"], body.get("camera")) for body in ear.events]
    assert kinds.index(("visit", "hens")) < kinds.index(("action", "door"))


@pytest.mark.lab
def test_a_process_that_was_frozen_has_lost_nobody(
    made: Desk, ear: Ear, patience: Callable[[], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("edge.watch._LOOK_NS", 100_000_000)
    begin, end = threading.Event(), threading.Event()
    begin.set()
    ear.events.clear()
    ear.then = lambda type_, camera: None
    since = 0  # turns

    def tick() -> None:
        nonlocal since
        patience()
        since += bool(ear.told("visit_started", "hens"))
        if since == 2:  # between two pictures, of which one comes in three turns
            time.sleep(3.0)
        if since == 9:
            assert [visit.camera for visit in watch.brain.open] == ["hens"]
            watch.cameras.stop()

    camera = Camera(GREEN, 10**6, begin, end, apart_s=0.5)
    watch = line(made, [camera], Dry(CONFIG.deterrent), motion=False, tick=tick)
    try:
        with watch.cameras:
            watch.run()
    finally:
        end.set()
    assert len(ear.told("visit_started", "hens")) == len(ear.told("visit", "hens")) == 1


@pytest.mark.parametrize("broken", [False, True])
def test_a_loop_that_must_end_tells_who_was_there_and_why_it_ended(
    made: Desk, ear: Ear, patience: Callable[[], None], broken: bool
) -> None:
    begin, end = threading.Event(), threading.Event()
    begin.set()
    ear.events.clear()

    def then(type_: str, camera: str) -> None:
        if type_ == "visit" and broken:
            raise BrokenPipeError("who listened has gone")

    def tick() -> None:
        patience()
        if ear.told("visit_started", "hens"):
            raise CameraStuck("door: stuck")

    ear.then = then
    watch = line(made, [Camera(GREEN, 10**6, begin, end)], Dry(CONFIG.deterrent), motion=False, tick=tick)
    try:
        with watch.cameras, pytest.raises(CameraStuck, match="door: stuck"):
            watch.run()
    finally:
        end.set()
    made.journal.settle()
    assert len(ear.told("visit", "hens")) == 1
    assert recent_visits(made.state, None)[-1]["ended"] is not None
    assert watch.brain.open == ()
