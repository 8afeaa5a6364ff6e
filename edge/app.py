"""The composition root: from a configuration to live objects, inside one ExitStack. Nothing else constructs."""

from __future__ import annotations

import contextlib
import logging
import os
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any, Literal

import cv2

from edge.actuators import Actuator
from edge.actuators.controller import Controller
from edge.actuators.dry import Dry
from edge.bundle import Bundle
from edge.capture import Capture
from edge.clock import Clock, Ids, LiveClock, ReplayClock
from edge.commands import handlers
from edge.config import Config, LabelsConfig
from edge.control import SOCKET, Control, Handler
from edge.errors import ConfigError, StateError
from edge.evidence import Kinds
from edge.frames import FrameSource, open_source
from edge.journal import EVENTS, Journal, reader
from edge.latency import Latencies
from edge.media import Media
from edge.model_store import ModelStore
from edge.model_worker import ModelWorker
from edge.motion import MotionDetector
from edge.owner import Owner
from edge.policy import DAY_S, Acted, History, Policy
from edge.preprocess import square_crop
from edge.record import Model, Record
from edge.rendezvous import Rendezvous
from edge.values import WHOLE, Box, Event, Frame, Image, Mode, Motion, Role
from edge.visits import Visits
from edge.watch import Brain, House, Looker, Watch

log = logging.getLogger(__name__)

Speed = Literal["real", "max"]
Listener = Callable[[Event], None]


def state_directory(config: Config, chosen: Path | None) -> Path:
    """Where this appliance keeps what it knows: as told, as configured, else a folder of the user's own."""
    if chosen or config.node.state:
        return Path(chosen or config.node.state)
    base = os.environ.get("XDG_STATE_HOME") or Path.home() / ".local" / "state"
    return Path(base) / "gander"


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
    bundle: Bundle
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
        bundle = store.champion()
        kinds_of(config, bundle)  # a glob that fits no label is refused before anything starts
        journal = Journal(state, config.journal.queue, patient)
        stack.callback(journal.close)
        media = Media(state, config.media, journal, ids, patient)
        stack.callback(media.close)
        rendezvous, close = open_models(config, bundle)
        stack.callback(close)
        latencies = Latencies()
        record = Record(config.node.name, model_of(bundle), journal, media, latencies, clock, ids, replayed, listen)
        yield Desk(config, state, clock, ids, journal, media, store, bundle, rendezvous, close, latencies, record)


def model_of(bundle: Bundle) -> Model:
    """What events and pictures need to know of a champion."""
    return Model(bundle.name, bundle.version, bundle.labels, bundle.manifest.input.crop.margin)


def open_models(config: Config, bundle: Bundle) -> tuple[Rendezvous, Callable[[], None]]:
    """Start the models' processes. Returns the rendezvous and what ends them."""
    worker = ModelWorker(bundle, Role.CHAMPION, config.models.threads)
    return Rendezvous([worker]), worker.close


def kinds_of(config: Config, bundle: Bundle) -> Kinds:
    """Which of the champion's labels are of which kind. Raises `ConfigError` for a glob that fits none.

    A kind that is not configured is the bundle's own suggestion: who names the threats is not blind to people by that.
    """
    ours, theirs = config.labels, bundle.manifest.suggested_kinds
    chosen = LabelsConfig(
        threat=ours.threat or theirs.threat,
        resident=ours.resident or theirs.resident,
        person=ours.person or theirs.person,
    )
    kinds = Kinds(bundle.labels, chosen)
    if missing := kinds.unmatched(ours):
        raise ConfigError(
            f"labels: {', '.join(map(repr, missing))} fits no label of model {bundle.name}; "
            f"`gander bundle verify` lists all {len(bundle.labels)}, the first is {bundle.labels[0]!r}"
        )
    return kinds


def line(
    desk: Desk,
    source: FrameSource,
    actuator: Actuator,
    *,
    speed: Speed = "real",
    motion: bool = True,
    house: House | None = None,
    history: History | None = None,
    tick: Callable[[], None] = lambda: None,
) -> Watch:
    """One camera's line, from the frames to the pin. Without `house` it acts as if armed (replay)."""
    config, camera = desk.config, desk.config.camera[0]
    looker: Looker = MotionDetector(config.motion, camera) if motion else _Everything()
    return Watch(
        config,
        Capture(source, camera, desk.clock, speed),
        looker,
        brain(desk, desk.bundle, desk.rendezvous, desk.close_models, motion),
        Policy(config.policy, config.evidence, config.deterrent),
        house or House(lambda: Mode.ARMED, lambda: False),
        actuator,
        desk.record,
        desk.clock,
        desk.ids,
        history or History(),
        tick,
        deadline=speed == "real",
    )


def brain(desk: Desk, bundle: Bundle, rendezvous: Rendezvous, close: Callable[[], None], motion: bool = True) -> Brain:
    """What judges with one champion. Without `motion` each picture as a whole is one visitor, at once."""
    model, kinds, config = model_of(bundle), kinds_of(desk.config, bundle), desk.config
    crop = partial(square_crop, margin=model.margin) if motion else _whole
    visits = Visits(config.visits, config.evidence, kinds, desk.ids, config.camera[0].id, confirm=motion)
    return Brain(model, bundle.manifest.demo, crop, kinds, rendezvous, visits, close)


class _Everything:
    """No motion detector: each picture is one box."""

    def look(self, frame: Frame) -> Motion:
        return Motion(frame, (WHOLE,))


def _whole(image: Image, box: Box) -> Image:
    return image


def open_actuator(config: Config) -> Actuator:
    """The controller of the deterrents. One that cannot be reached is an actuator that is not ready."""
    if config.controller.kind == "dry":
        return Dry(config.deterrent)
    return Controller(config.deterrent, config.controller)


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

    def status(self) -> dict[str, Any]:
        """How it is, for `gander status`, the live view and the feed."""
        desk, watch, settings = self.desk, self.watch, self.owner.settings
        brain, capture = watch.brain, watch.capture
        return {
            "node": desk.config.node.name,
            "pid": os.getpid(),
            "state": str(desk.state),
            "uptime_s": round((time.monotonic_ns() - self.started_ns) / 1e9, 1),
            "clock_known": desk.clock.known(),
            "mode": settings.mode.value,
            "paused": self.owner.paused(),
            "source": desk.config.camera[0].source,
            "frames": watch.frames,
            "dropped": capture.dropped,
            "skipped": capture.skipped,
            "model": brain.model.name,
            "demo": brain.demo,
            "models": brain.rendezvous.status(),
            "controller": watch.actuator.name,
            "controller_ready": watch.actuator.ready(),
            "controller_facts": watch.actuator.facts(),
            "visits": [{"id": v.id, "label": v.label, "kind": v.kind.value} for v in brain.visits.open],
            "journal": {
                "waiting": desk.journal.waiting,
                "committed": desk.journal.committed,
                "dropped": desk.journal.dropped,
            },
            "pictures_dropped": desk.media.dropped,
            "visitors_discarded": brain.visits.discarded,
            "latency_ms": desk.latencies.summary(),
        }

    def take_over(self, bundle: Bundle) -> None:
        """Load another champion beside the running one, then let it take over."""
        rendezvous, close = open_models(self.desk.config, bundle)
        try:
            successor = brain(self.desk, bundle, rendezvous, close)
            rendezvous.wait_ready(20.0)
        except BaseException:
            close()
            raise
        self.watch.succeed(successor)


@contextlib.contextmanager
def appliance(config: Config, state: Path, listen: Listener | None = None) -> Iterator[Appliance]:
    """The whole daemon, ready for `watch.run()`. On the way out everything is off and written."""
    clock = LiveClock()
    with contextlib.ExitStack() as stack:
        made = stack.enter_context(desk(config, state, state, clock, Ids(), listen=listen))
        source = open_source(config.camera[0])
        actuator = open_actuator(config)
        stack.callback(actuator.close)
        owner = Owner(made.journal, config.policy.initial_mode, clock, config.node.name, actuator.off)
        watch = line(
            made,
            source,
            actuator,
            house=House(lambda: owner.settings.mode, owner.paused),
            history=past(state, config),
            tick=made.journal.check,
        )
        stack.callback(lambda: watch.brain.close())
        stack.enter_context(watch.capture)
        whole = Appliance(made, owner, watch, time.monotonic_ns())
        commands = handlers(owner, made.store, whole.take_over) | {"status": lambda who: whole.status()}
        control = Control(state / SOCKET, commands)
        stack.callback(control.close)
        yield whole


@contextlib.contextmanager
def offline(config: Config, state: Path) -> Iterator[dict[str, Handler]]:
    """The owner's commands while no daemon runs: under the daemon's lock, by the same code."""
    journal = Journal(state)
    try:
        owner = Owner(journal, config.policy.initial_mode, LiveClock(), config.node.name)

        def fits(bundle: Bundle) -> None:
            kinds_of(config, bundle)

        yield handlers(owner, ModelStore(state, config.models), fits)
    finally:
        journal.close()


def past(state: Path, config: Config) -> History:
    """What limits must remember over a restart, at negative media times: the day's actions, and the last person."""
    history, now = History(), datetime.now(UTC)
    known = datetime.fromisoformat
    with contextlib.suppress(StateError), reader(state / EVENTS) as events:
        actions = events.execute(
            "SELECT wall, visit_id, json_extract(json, '$.action.deterrent') AS deterrent FROM event "
            "WHERE type = 'action' AND json_extract(json, '$.action.result') IN ('on', 'silent') "
            "AND NOT json_extract(json, '$.replayed') ORDER BY place DESC LIMIT ?",
            (config.policy.per_day,),
        ).fetchall()
        for row in reversed(actions):
            age = (now - known(row["wall"])).total_seconds()
            # A clock that went back makes the past lie in the future: then only the last counts, as just now.
            if 0 <= age < DAY_S or (row is actions[0] and age < 0):
                history = history.with_action(Acted(-max(age, 0.0), row["deterrent"], row["visit_id"]))
        person = events.execute("SELECT max(ended) FROM visit WHERE kind = 'person'").fetchone()[0]
        if person:
            history = history.with_person(-max((now - known(person)).total_seconds(), 0.0))
    return history
