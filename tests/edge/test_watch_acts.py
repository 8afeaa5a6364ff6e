"""The loop with a real model and a real guard: what it orders, and what becomes of an order that is refused."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from edge.actuators.dry import Dry
from edge.app import Appliance, Desk, line
from edge.config import Config
from edge.errors import StateError
from edge.model_worker import ModelWorker
from edge.values import Mode
from edge.watch import Brain, House
from tests.beds import Rig
from tests.edge.loop import RED, Camera, Ear, ear, made

__all__ = ["ear", "made"]

BRIEF = {"on_ms": 600, "off_ms": 0, "count": 1, "rest_ms": 100, "cooldown_s": 1.0}
CONFIG = Config.model_validate(
    {
        "deterrent": [
            {"id": "light", "hour_s": 1.0, "pin": 17, **BRIEF},
            {"id": "siren", "kind": "siren", "quiet_hours": "", "channel": 1, "pin": 18, **BRIEF},
        ],
        "evidence": {"min_frames": 1},
        "models": {"deadline_ms": 5000},
        "policy": {"budget_ms": 10_000},
    }
)


@pytest.fixture
def rig(tmp_path: Path) -> Iterator[Rig]:
    made = Rig("guard", tmp_path, CONFIG.deterrent)
    try:
        made.ready()
        yield made
    finally:
        made.close()


@pytest.fixture
def end() -> Iterator[threading.Event]:
    made = threading.Event()
    yield made
    made.set()


def jay(end: threading.Event) -> Camera:
    """A camera that sees one, from now until the end."""
    begin = threading.Event()
    begin.set()
    return Camera(RED, 10**6, begin, end)


def within(seconds: float) -> Callable[[], None]:
    """A tick that ends what takes too long."""
    until = time.monotonic() + seconds

    def tick() -> None:
        assert time.monotonic() < until

    return tick


def test_a_model_that_takes_seconds_is_acted_upon(made: Desk, ear: Ear, rig: Rig, end: threading.Event) -> None:
    """As long as the deadline lets it; the controller would be off after so long without a sign of life."""
    watch = line(made, [jay(end)], rig.controller, motion=False, tick=within(20))
    watch._deadline_ns = 9_000_000_000  # what a test machine may stand still, too
    ear.events.clear()
    ear.then = lambda type_, camera: watch.cameras.stop() if type_ in ("action", "suppressed") else None
    (worker,) = made.rendezvous.workers
    assert isinstance(worker, ModelWorker)
    os.kill(worker.pid, signal.SIGSTOP)
    late = threading.Timer(2.0, os.kill, (worker.pid, signal.SIGCONT))
    late.start()
    with watch.cameras:
        watch.run()
    late.join()
    (told,) = [body for body in ear.events if body["type"] in ("action", "suppressed")]
    assert (told["reason"], told["action"]["result"]) == ("threat", "on")


def test_a_deterrent_whose_hour_is_spent_leaves_its_place_to_the_next(
    made: Desk, ear: Ear, rig: Rig, end: threading.Event
) -> None:
    watch = line(made, [jay(end)], rig.controller, motion=False, tick=within(15))
    ear.events.clear()

    def then(type_: str, camera: str) -> None:
        if type_ == "action" and ear.events[-1]["deterrent"] == "siren":
            watch.cameras.stop()

    ear.then = then
    tested = watch.test_fire("light", "me")
    with watch.cameras:
        watch.run()
    assert tested.result().result == "on"
    actions = [(body["deterrent"], body["action"]["result"]) for body in ear.events if body["type"] == "action"]
    assert actions == [("light", "refused: duty"), ("siren", "on")]


@pytest.mark.parametrize("test", [False, True])
@pytest.mark.parametrize("pause", [False, True])
def test_who_disarms_or_pauses_while_it_is_decided_has_the_last_word(
    made: Desk, ear: Ear, end: threading.Event, test: bool, pause: bool
) -> None:
    """They say it after the mode was looked at, and before the order is out."""
    asked = {"mode": 0, "paused": 0}

    def asked_before(what: str) -> bool:
        asked[what] += 1
        return asked[what] > 1

    house = House(
        lambda: Mode.OBSERVE if asked_before("mode") and not pause else Mode.ARMED,
        lambda: asked_before("paused") and pause,
    )
    dry = Dry(CONFIG.deterrent)
    watch = line(made, [jay(end)], dry, motion=False, house=house, tick=within(15))
    ear.then = lambda type_, camera: watch.cameras.stop() if type_ in ("action", "test_fire") else None
    if test:
        watch.test_fire("light", "me")
    with watch.cameras:
        watch.run()
    (_, action), *_ = dry.orders
    assert action.result == "on"
    assert dry.acting_until_ns() == 0, "it is off again"


def test_a_champion_whose_role_cannot_be_kept_does_not_begin(made: Desk, end: threading.Event) -> None:
    watch = line(made, [jay(end)], Dry(CONFIG.deterrent), motion=False)
    successors: list[Brain] = []
    watch.succeed = successors.append  # type: ignore[method-assign]
    whole = Appliance(made, *(None, watch, 0), *[None] * 4)  # type: ignore[arg-type]

    def full() -> None:
        raise StateError("the card is full")

    with pytest.raises(StateError):
        whole.take_over(made.store.champion(), full)
    assert successors == []
