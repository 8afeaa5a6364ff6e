"""The composition root: from a configuration to live objects, inside one ExitStack. Nothing else constructs."""

from __future__ import annotations

import contextlib
import logging
import os
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import Any, Literal

import cv2

from edge.actuators import Actuator
from edge.actuators.controller import Controller
from edge.actuators.dry import Dry
from edge.actuators.guard import Guard
from edge.actuators.serial import find
from edge.bundle import Bundle
from edge.capture import Cameras, Capture
from edge.card import Card
from edge.climb import Climber
from edge.clock import Clock, Ids, LiveClock, ReplayClock
from edge.commands import handlers
from edge.config import Config, DeterrentConfig
from edge.control import SOCKET, Control, Handler
from edge.errors import GanderError, NotRunning, Refused
from edge.frames import FrameSource, open_source
from edge.health import disk, problems, temperature, undervoltage
from edge.journal import Journal
from edge.latency import Latencies
from edge.lens import Lenses
from edge.lineup import TRUSTED, Lineup, threads, trusted
from edge.media import Media
from edge.model_store import ModelStore
from edge.model_worker import ModelWorker
from edge.motion import MotionDetector
from edge.owner import Owner
from edge.past import past
from edge.policy import History, Policy
from edge.preprocess import square_crop
from edge.queues import Queues
from edge.reboot import TOLD, tell
from edge.record import Record
from edge.rendezvous import Rendezvous
from edge.retention import prune
from edge.rounds import Rounds, last_told
from edge.runtimes import tflite
from edge.self_test import self_test
from edge.service import Pulse, Service, forget_pins, in_a_line, with_credentials
from edge.unit import to_start
from edge.values import WHOLE, Box, Event, Frame, Image, Mode, Motion
from edge.visits import Visits
from edge.watch import Brain, House, Watch

log = logging.getLogger(__name__)

Speed = Literal["real", "max"]
Listener = Callable[[Event], None]
_TEST_S = 5.0  # how long a test fire waits for the loop


@dataclass(frozen=True, slots=True)
class Desk:
    """What outlives one clip: the journal, the champion's process, what was measured."""

    config: Config
    state: Path
    clock: Clock
    ids: Ids
    journal: Journal
    media: Media
    store: ModelStore
    lineup: Lineup
    rendezvous: Rendezvous
    close_models: Callable[[], None]
    latencies: Latencies
    record: Record


@contextlib.contextmanager
def desk(
    config: Config,
    state: Path,
    models: Path,
    clock: Clock,
    ids: Ids,
    replayed: bool = False,
    listen: Listener | None = None,
    patient: bool = False,
) -> Iterator[Desk]:
    """Everything but the camera and the pin. Raises `StateError`, `BundleError`, `ConfigError`.

    `patient`: nothing is dropped where the journal or the pictures cannot keep up (a replay as fast as it can).
    """
    cv2.setNumThreads(1)  # pictures are small; the other cores are the model's
    with contextlib.ExitStack() as stack:
        store = ModelStore(models, config.models)
        bundles = trusted(config, store)
        chosen = Lineup(config, bundles)  # what does not fit is refused before anything starts
        journal = Journal(state, config.journal.queue, patient)
        stack.callback(journal.close)
        hold_s, days = config.policy.person_veto_s, config.journal.days
        media = Media(state, config.media, journal, ids, patient, person_hold_s=hold_s, journal_days=days, clock=clock)
        stack.callback(media.close)
        rendezvous, close = open_models(config, bundles)
        del bundles
        stack.callback(close)
        latencies = Latencies()
        record = Record(config.node.name, chosen, journal, media, latencies, clock, ids, replayed, listen)
        yield Desk(config, state, clock, ids, journal, media, store, chosen, rendezvous, close, latencies, record)


def open_models(config: Config, bundles: Sequence[Bundle]) -> tuple[Rendezvous, Callable[[], None]]:
    """Start the models' processes. Returns the rendezvous and what ends them."""
    tflite.name()  # raises where there is no runtime at all: nothing could ever answer
    workers: list[ModelWorker] = []

    def close() -> None:
        for worker in workers:
            worker.close()

    try:
        for bundle, role, count in zip(bundles, TRUSTED, threads(config.models), strict=False):
            workers.append(ModelWorker(bundle, role, count))
    except BaseException:
        close()
        raise
    return Rendezvous(workers), close


def line(
    desk: Desk,
    sources: Sequence[FrameSource],
    actuator: Actuator,
    *,
    speed: Speed = "real",
    motion: bool = True,
    house: House | None = None,
    history: History | None = None,
    tick: Callable[[], None] = lambda: None,
) -> Watch:
    """The line from the frames to the pin; `sources` of the first cameras, or of all.

    Without `house` it acts as if armed (replay).
    """
    config, turn, began_ns = desk.config, threading.Condition(), time.monotonic_ns()
    cameras = config.camera[: len(sources)]
    captures = [Capture(s, c, desk.clock, speed, turn, began_ns) for s, c in zip(sources, cameras, strict=True)]
    return Watch(
        config,
        Cameras(captures, turn),
        {camera.id: MotionDetector(config.motion, camera) if motion else _Everything() for camera in cameras},
        brain(desk, desk.lineup, desk.rendezvous, desk.close_models, motion),
        Policy(config.policy, config.evidence, config.deterrent, config.node.place),
        house or House(lambda: Mode.ARMED, lambda: False),
        actuator,
        desk.record,
        desk.clock,
        desk.ids,
        history or History(),
        tick,
        deadline=speed == "real",
    )


def brain(desk: Desk, lineup: Lineup, rendezvous: Rendezvous, close: Callable[[], None], motion: bool = True) -> Brain:
    """What judges with one champion. Without `motion` each picture as a whole is one visitor, at once."""
    config = desk.config
    crop = partial(square_crop, margin=lineup.champion.margin) if motion else _whole
    visits = {
        camera.id: Visits(config.visits, config.evidence, lineup.kinds, desk.ids, camera.id, confirm=motion)
        for camera in config.camera
    }
    return Brain(lineup, crop, rendezvous, visits, close)


class _Everything:
    """No motion detector: each picture is one box."""

    def look(self, frame: Frame) -> Motion:
        return Motion(frame, (WHOLE,))


def chosen_deterrent(config: Config, name: str) -> DeterrentConfig:
    """The deterrent of a name; the first one where none is given. Raises `Refused`."""
    for deterrent in config.deterrent:
        if name in ("", deterrent.id):
            return deterrent
    there = ", ".join(d.id for d in config.deterrent) or "none is configured"
    raise Refused(f"deterrent {name!r}: there is no such; there are: {there}")


def _whole(image: Image, box: Box) -> Image:
    return image


def open_actuator(config: Config) -> Actuator:
    """The controller of the deterrents. One that cannot be reached is an actuator that is not ready."""
    if config.controller.kind == "dry":
        return Dry(config.deterrent)
    port, baud = config.controller.port, config.controller.baud
    open_wire = partial(find, port, baud) if config.controller.kind == "serial" else partial(Guard, config.deterrent)
    return Controller(config.deterrent, config.controller, open_wire)


@contextlib.contextmanager
def replay_desk(
    config: Config, state: Path, models: Path, start: datetime | None, seed: str, listen: Listener | None, patient: bool
) -> Iterator[Desk]:
    """A desk with a clip's own clock, and ids that come out the same each time."""
    clock = ReplayClock(start) if start else ReplayClock()
    with desk(config, state, models, clock, Ids(seed), replayed=True, listen=listen, patient=patient) as made:
        made.rendezvous.wait_ready(60.0)
        yield made


@dataclass(frozen=True, slots=True)
class Appliance:
    """The daemon: a desk with a camera, a pin and an owner."""

    desk: Desk
    owner: Owner
    watch: Watch
    started_ns: int
    queues: Queues
    climber: Climber
    lenses: Lenses
    card: Card

    def status(self) -> dict[str, Any]:
        """How it is, for `gander status`, the live view and the feed."""
        desk, watch, settings = self.desk, self.watch, self.owner.settings
        brain = watch.brain
        facts: dict[str, Any] = {
            "node": desk.config.node.name,
            "pid": os.getpid(),
            "state": str(desk.state),
            "uptime_s": round((time.monotonic_ns() - self.started_ns) / 1e9, 1),
            "clock_known": desk.clock.known(),
            "mode": settings.mode.value,
            "paused": self.owner.paused(),
            "source": ", ".join(camera.shown for camera in desk.config.camera),
            "cameras": [
                capture.status() | {"lens": self.lenses.status(capture.camera.id)} for capture in watch.cameras.captures
            ],
            "ladder": self.climber.status(),
            "frames": watch.frames,
            "dropped": watch.cameras.dropped,
            "skipped": watch.cameras.skipped,
            "model": brain.lineup.champion.name,
            "demo": brain.lineup.demo,
            "models": brain.rendezvous.status(),
            "versions": desk.store.versions(),
            "controller": watch.actuator.name,
            "controller_ready": watch.actuator.ready(),
            "controller_facts": watch.actuator.facts(),
            "acting": watch.actuator.acting_until_ns() > 0,
            "deterrents": [
                {"id": d.id, "kind": d.kind, "enabled": d.enabled, "quiet": d.quiet} for d in desk.config.deterrent
            ],
            "visits": [{"id": v.id, "camera": v.camera, "label": v.label, "kind": v.kind.value} for v in brain.open],
            "journal": {
                "waiting": desk.journal.waiting,
                "committed": desk.journal.committed,
                "dropped": desk.journal.dropped,
                "dropped_s": desk.journal.dropped_s,
            },
            "pictures": getattr(desk.media, "facts", dict)(),
            "visitors_untold": desk.record.untold,
            "visitors_discarded": sum(visits.discarded for visits in brain.visits.values()),
            "disk": disk(desk.state),
            "card": self.card.facts(),
            "temperature": temperature(),
            "undervoltage": undervoltage(),
            "publishers": self.queues.facts(),
            "latency_ms": desk.latencies.summary(),
        }
        return facts | {"problems": [{"what": p.what, "advice": p.advice} for p in problems(facts)]}

    def look(self) -> dict[str, Any]:
        """Look how it is, and do what that calls for; every few seconds, by one thread."""
        captures = self.watch.cameras.captures
        newest = {capture.camera.id: capture.newest for capture in captures}
        self.lenses.look(newest, time.monotonic(), self.desk.clock.known())
        facts = self.status()
        self.climber.look({capture.camera.id: capture.delivered for capture in captures}, facts["problems"])
        return facts

    def take_over(self, champion: Bundle, keep: Callable[[], None]) -> None:
        """Load another champion beside the running one, have its role kept, then let it take over."""
        bundles = trusted(self.desk.config, self.desk.store, champion)
        chosen = Lineup(self.desk.config, bundles)
        rendezvous, close = open_models(self.desk.config, bundles)
        try:
            successor = brain(self.desk, chosen, rendezvous, close)
            rendezvous.wait_ready(20.0)
            keep()
        except BaseException:
            close()
            raise
        self.watch.succeed(successor)

    def test_fire(self, who: str, deterrent: str) -> str:
        """Have a deterrent fire once, the first where none is named, and say what came of it."""
        chosen = chosen_deterrent(self.desk.config, deterrent)
        done = self.watch.test_fire(chosen.id, who)
        try:
            action = done.result(_TEST_S)
        except TimeoutError:
            done.cancel()
            raise GanderError("test fire: the loop does not answer; `gander status` says how it is") from None
        if not action.acknowledged_at_ns:
            raise GanderError(f"test fire of {chosen.id}: {action.result}")
        after_ms = (action.acknowledged_at_ns - action.ordered_at_ns) / 1e6
        return f"{chosen.id} fired ({action.pattern} ms), {after_ms:.1f} ms after the order"


@contextlib.contextmanager
def appliance(config: Config, state: Path, listen: Listener | None = None) -> Iterator[Appliance]:
    """The whole daemon, ready for `watch.run()`. On the way out everything is off and written."""
    clock, service = LiveClock(), Service.of(os.environ)
    config = with_credentials(config, os.environ)
    forget_pins(os.environ)
    with contextlib.ExitStack() as stack:
        made = stack.enter_context(desk(config, state, state, clock, Ids(), listen=listen))
        sources = [open_source(camera) for camera in config.camera]
        lenses = Lenses([c for c, source in zip(config.camera, sources, strict=True) if source.live], state)
        stack.callback(lenses.save)
        actuator = open_actuator(config)
        stack.callback(actuator.close)
        owner = Owner(made.journal, config.policy.initial_mode, clock, config.node.name, actuator.off)
        local = [c.id for c, source in zip(config.camera, sources, strict=True) if source.live and c.local]
        climbs = config.health.model_copy(update={"service": config.health.service or service.listens})
        climber = Climber(climbs, state, local, made.record.health, made.journal.settle)

        pulse = Pulse(service)

        def tick() -> None:
            made.journal.check()
            made.media.check()
            climber.check()
            rounds.check()
            control.check()
            pulse.beat(watch.frames)

        watch = line(
            made,
            sources,
            actuator,
            house=House(lambda: owner.settings.mode, owner.paused),
            history=past(state, config),
            tick=tick,
        )
        stack.callback(lambda: watch.brain.close())
        stack.enter_context(watch.cameras)
        whole = Appliance(made, owner, watch, time.monotonic_ns(), Queues(state), climber, lenses, Card(state))

        def look() -> dict[str, Any]:
            facts = whole.look()
            service.status(in_a_line(facts))
            return facts

        tell(state / TOLD, made.record.health)
        rounds = Rounds(look, made.record.health, known=last_told(state))
        stack.callback(rounds.close)
        commands = handlers(owner, made.store, whole.take_over, made.media.prune, whole.test_fire)
        control = Control(state / SOCKET, commands | {"status": lambda who: whole.status()})
        stack.callback(control.close)
        stack.callback(actuator.off)  # before all that may wait for a slow card
        stack.callback(service.stopping)
        yield whole


def _not_running(who: str, deterrent: str) -> str:
    raise NotRunning(f"test fire: no gander runs, so nothing drives the deterrent; {to_start()}")


@contextlib.contextmanager
def offline(config: Config, state: Path) -> Iterator[dict[str, Handler]]:
    """The owner's commands while no daemon runs: under the daemon's lock, by the same code."""
    journal = Journal(state)
    try:
        owner = Owner(journal, config.policy.initial_mode, LiveClock(), config.node.name)
        store = ModelStore(state, config.models)

        def fits(bundle: Bundle, keep: Callable[[], None]) -> None:
            Lineup(config, trusted(config, store, bundle))
            self_test(bundle, config.models.threads)
            keep()

        yield handlers(owner, store, fits, lambda: prune(state, config, journal, LiveClock()), _not_running)
    finally:
        journal.close()
