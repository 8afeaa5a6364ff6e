"""A day of the whole daemon in minutes: does anything grow?

    python -m tests.lab.soak STATE [--hours 24]

STATE is an empty folder, best one in memory. Every hour of the yard's time one JSON line: memory, threads, descriptors
of the daemon, its model and its guard, and files. Real are the processes, the control socket and the pins' guard (on
recording pins); only the camera and the clock are in a hurry.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import threading
import time
from collections.abc import Callable, Generator, Mapping
from contextlib import ExitStack, suppress
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from edge.actuators.controller import Controller
from edge.actuators.guard import Guard
from edge.app import Appliance, desk, line
from edge.card import Card
from edge.climb import Climber
from edge.clock import Ids
from edge.commands import handlers
from edge.config_file import load
from edge.control import SOCKET, Control, ask
from edge.database import EVENTS, reader
from edge.decoy import FOLDER as DECOYS
from edge.frames import Shot, Wanted, always
from edge.frames.luma import luma_of
from edge.lens import Lenses
from edge.model_worker import ModelWorker
from edge.owner import Owner
from edge.queues import Queues
from edge.retention import FOLDER as PICTURES
from edge.rounds import Rounds
from edge.values import Frame, Image, Luma
from edge.watch import House
from tests.lab.memory import family, words
from tests.stage import bundle

FPS = 2.0  # a period holds a whole number of pictures
PERIOD_S = 5.0  # of the yard's time, between two rounds
ASKED, SAMPLED = 12, 720  # rounds between two questions for the status, and between two samples
QUIET = 10  # rounds before the hour, when nobody is in the picture
LONG_S = 120.0
PULSES = "SELECT count(*) FROM event WHERE type = 'action' AND json_extract(json, '$.action.acknowledged')"
SETTINGS = (
    *('labels.threat=["*"]', "policy.initial_mode=armed", "policy.per_hour=1000", "policy.per_day=10000"),
    *("deterrent.0.on_ms=10", "deterrent.0.off_ms=0", "deterrent.0.count=1", "deterrent.0.rest_ms=100"),
    *("media.max_mb=10", "media.per_day_mb=1000000", "media.decoy_mb=5", "media.min_free=0.0"),
    *("controller.kind=guard", "health.service=true", f"camera.0.fps={FPS}"),
)
Sample = dict[str, float]


class Yard:
    """A live camera in a hurry: the next picture comes when the last one was `taken`, dated by the yard's time.

    Somebody comes for 12 s in every two minutes; else the sensor's noise is all that changes.
    """

    live = True
    fps = FPS
    reopened = skipped = 0
    trouble = ""

    def __init__(self, hours: float) -> None:
        self.taken = threading.Semaphore(1)
        self._count = round(hours * 3600 * FPS)
        rng = np.random.default_rng(1)
        ground = cv2.resize(rng.integers(60, 180, (90, 160, 3), np.uint8), (1280, 720))
        self._still = [_shot(np.asarray(ground + level, np.uint8)) for level in range(3)]
        self._moving = [_shot(_disc(ground, 300 + 50 * step)) for step in range(12)]

    def shots(self, wanted: Wanted = always) -> Generator[Shot, None, None]:
        began_ns = time.monotonic_ns()
        for number in range(self._count):
            self.taken.acquire()
            image, luma = self._still[number % 3]
            if number / FPS % 120.0 < 12.0:
                step = abs(number % 22 - 11)  # there and back
                image, luma = self._moving[step]
                image = image.copy()
                image[400, 300 + 50 * step] = number % 256, number // 256 % 256, number // 65536  # no two are the same
            yield Shot(image, luma, 0.0, taken_at_ns=began_ns + round(number / FPS * 1e9))


def _disc(ground: Any, x: int) -> Image:
    return np.asarray(cv2.circle(ground.copy(), (x, 400), 60, (40, 70, 200), cv2.FILLED, cv2.LINE_AA), np.uint8)


def _shot(image: Image) -> tuple[Image, Luma]:
    """With a luma as small as what motion looks at, which saves time."""
    return image, np.asarray(cv2.resize(luma_of(image), (320, 180), interpolation=cv2.INTER_AREA), np.uint8)


class Hasty:
    """The yard's clock: it shows the time of its newest picture."""

    def __init__(self, begin: datetime) -> None:
        self._begin, self._newest = begin, 0.0

    def wall(self, media_time: float) -> datetime:
        self._newest = max(self._newest, media_time)
        return self._begin + timedelta(seconds=media_time or self._newest)

    def known(self) -> bool:
        return True


class Sights(Lenses):
    """By the yard's time."""

    def look(self, newest: Mapping[str, Frame | None], now_s: float, clock_known: bool) -> None:
        seen = [frame.media_time for frame in newest.values() if frame]
        super().look(newest, max(seen, default=0.0), clock_known)


class Turns:
    """Gives the rounds their turn every few seconds of the yard's time. The loop is never more than one ahead."""

    def __init__(self) -> None:
        self._due, self._done = threading.Semaphore(0), threading.Semaphore(1)
        self.number = 0

    def give(self) -> None:
        assert self._done.acquire(timeout=LONG_S), "the rounds are stuck"
        self._due.release()

    def take(self, look: Callable[[int], Mapping[str, Any]]) -> Mapping[str, Any]:
        """Wait for the turn, then look; `look` gets its number."""
        self._due.acquire()
        self.number += 1
        try:
            return look(self.number)
        finally:
            self._done.release()


def held(who: str, pid: int) -> Sample:
    """What a process holds: megabytes of memory, threads, descriptors; the least of some looks, since a leak stays."""
    looks = []
    for _ in range(10):
        pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
        memory = pages * os.sysconf("SC_PAGESIZE") / 1e6
        threads, descriptors = (len(list(Path(f"/proc/{pid}/{what}").iterdir())) for what in ("task", "fd"))
        looks.append((memory, threads, descriptors))
        time.sleep(0.01)
    least = map(min, zip(*looks, strict=True))
    return dict(zip((f"{who}_mb", f"{who}_threads", f"{who}_descriptors"), least, strict=True))


def kept(state: Path) -> Sample:
    """Files in the state directory: pictures and decoys with their megabytes, the databases' logs, all others."""
    files = {}
    for path in state.rglob("*"):
        with suppress(FileNotFoundError):  # gone meanwhile
            if path.is_file():
                files[path] = path.stat().st_size
    pictures, decoys = ({path for path in files if state / folder in path.parents} for folder in (PICTURES, DECOYS))
    logs = {path for path in files if path.name.endswith("-wal")}
    with reader(state / EVENTS) as events:
        (rows,) = events.execute("SELECT count(*) FROM picture").fetchone()
        (pulses,) = events.execute(PULSES).fetchone()
    return {
        **{"pulses": pulses, "pictures": len(pictures), "picture_rows": rows, "decoys": len(decoys)},
        **{"pictures_mb": _mb(files, pictures), "decoys_mb": _mb(files, decoys), "logs_mb": _mb(files, logs)},
        "other_files": len(files) - len(pictures) - len(decoys),
    }


def at_rest(state: Path) -> Sample:
    """The same once each picture has its row: a file is written before that, by a thread that goes last."""
    for _ in range(100):
        found = kept(state)
        if found["pictures"] == found["picture_rows"]:
            break
        time.sleep(0.1)
    return found


def guard() -> int:
    """The pin guard of now: one that stood still was replaced."""
    for _ in range(600):
        with suppress(OSError):  # one ended meanwhile
            for pid in family(os.getpid()):
                if "pin_guard" in words(pid):
                    return pid
        time.sleep(0.1)
    raise AssertionError("there is no guard")


def _mb(files: Mapping[Path, int], chosen: set[Path]) -> float:
    return sum(files[path] for path in chosen) / 1e6


def soak(state: Path, hours: float, say: Callable[[Sample], None]) -> None:
    """Watch a busy yard for so long, put together as by `app.appliance`, but for what is said to systemd."""
    config = load(None, [*SETTINGS, f"models.champion={json.dumps(str(bundle(state, state / 'made')))}"])
    clock, turns, yard = Hasty(datetime.now(UTC) - timedelta(hours=hours)), Turns(), Yard(hours)
    with ExitStack() as stack:
        made = stack.enter_context(desk(config, state, state, clock, Ids(), patient=True))
        made.rendezvous.wait_ready(LONG_S)
        actuator = Controller(config.deterrent, config.controller, partial(Guard, config.deterrent))
        stack.callback(actuator.close)
        assert actuator.wait_ready(LONG_S), actuator.facts()
        owner = Owner(made.journal, config.policy.initial_mode, clock, config.node.name, actuator.off)
        climber = Climber(config.health, state, [c.id for c in config.camera], made.record.health, made.journal.settle)
        seen = 0

        def tick() -> None:
            nonlocal seen
            for part in (made.journal, made.media, climber, rounds, control):
                part.check()
            if watch.cameras.delivered > seen:
                seen += 1
                yard.taken.release()
                if seen % round(PERIOD_S * FPS) == 0:
                    turns.give()

        house = House(lambda: owner.settings.mode, owner.paused)
        watch = line(made, [yard], actuator, house=house, tick=tick)
        stack.enter_context(watch.cameras)
        sights, queues = Sights(config.camera, state), Queues(state, every_s=0.0)
        stack.callback(sights.save)
        whole = Appliance(made, owner, watch, time.monotonic_ns(), queues, climber, sights, Card(state))
        commands = handlers(owner, made.store, whole.take_over, made.media.prune, whole.test_fire)
        control = Control(state / SOCKET, commands | {"status": lambda who: whole.status()})
        stack.callback(control.close)
        (model,) = made.rendezvous.workers
        assert isinstance(model, ModelWorker)

        def look(number: int) -> Mapping[str, Any]:
            if number % ASKED == 0:
                ask(state, "status")
            if (number + QUIET) % SAMPLED == 0:
                ask(state, "prune")
                at = {"hour": round(number * PERIOD_S / 3600, 1)}
                own, asked = held("watch", os.getpid()), held("model", model.pid)
                say(at | own | asked | held("guard", guard()) | at_rest(state))
            return whole.look()

        rounds = Rounds(lambda: turns.take(look), made.record.health, period_s=0.0)
        stack.callback(rounds.close)
        stack.callback(turns.give)
        watch.run()


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("state", type=Path)
    parser.add_argument("--hours", type=float, default=24.0)
    chosen = parser.parse_args()

    def say(found: Sample) -> None:
        print(json.dumps(found), file=sys.stdout, flush=True)

    soak(chosen.state, chosen.hours, say)


if __name__ == "__main__":
    main()
