"""What the whole line makes of its own deterrents: a rendered lamp, strobe and jet that answer each order."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Generator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np

from edge.actuators.dry import Dry
from edge.app import line, replay_desk
from edge.bench_scenes import near, unlimited
from edge.config import Config, DeterrentConfig
from edge.frames import Shot, Wanted, always
from edge.frames.luma import luma_of
from edge.frames.scenery.acting import Pulse, Show, jet, lamp, steady, strobe, unseen
from edge.frames.scenery.story import FLIGHT_S
from edge.frames.synthetic import SyntheticSource
from edge.model_store import ModelStore
from edge.values import Event, Order

Progress = Callable[[str, int, int], None]
SIZE = 640, 360
SCENES = "day", "dusk", "night"
SECONDS = 60.0  # in which two jays come, and a person between them
LEAVES_S, STAYS_S = 0.8, 9.0  # after the first pulse: one that is scared off in mid-pulse, one that is not
_PIN_S = 0.1  # from the deciding picture to the light
_ALONE_S = 12.0  # between the first orders against two jays


DETERRENTS: dict[str, tuple[Show, str, tuple[int, int, int]]] = {
    "siren": (unseen, "siren", (3000, 0, 1)),
    "flashes": (lamp, "light", (400, 200, 3)),
    "lamp": (lamp, "light", (4500, 0, 1)),
    "lamp that stays on": (steady, "light", (3000, 0, 1)),
    "strobe": (strobe, "light", (3000, 0, 1)),
    "jet": (jet, "water", (3000, 0, 1)),
}
"""What the camera sees of each, its kind, and its pattern: milliseconds on, off, how often."""


class Reacting:
    """The first minute of a scene whose light or water answers the orders of a dry actuator, and whose jays do."""

    live = False
    reopened = 0
    skipped = 0
    trouble = ""

    def __init__(self, source: SyntheticSource, show: Show, actuator: Dry, leaves_s: float) -> None:
        """`leaves_s`: how long after the first pulse a jay is off."""
        self.fps, self.source, self.pulses = source.fps, source, list[Pulse]()
        self.starts: list[tuple[float, float]] = []  # of each order's whole pattern: seconds of begin and end
        self._show, self._actuator, self._leaves_s = show, actuator, leaves_s

    def shots(self, wanted: Wanted = always) -> Generator[Shot, None, None]:
        for index in range(round(SECONDS * self.fps)):
            media_time = index / self.fps
            for order, _ in list(self._actuator.orders)[len(self.starts) :]:
                self._act(order, media_time - 1.0 / self.fps)
            if wanted(media_time):
                image = self._show(self.source.render(media_time), media_time, self.pulses, 0)
                yield Shot(image, luma_of(image), media_time)

    def _act(self, order: Order, decided: float) -> None:
        start = decided + _PIN_S
        if not self.starts or start - self.starts[-1][0] > _ALONE_S:
            self.source.send("jay", decided, start + self._leaves_s)
        self.starts.append((start, start + order.length_ms / 1000))
        for number in range(order.count):
            on = start + number * (order.on_ms + order.off_ms) / 1000
            self.pulses.append((on, on + order.on_ms / 1000))


@dataclass(slots=True)
class _Tally:
    """One deterrent's counts over all scenes and seeds."""

    pulses: int = 0
    jays: int = 0
    acted: int = 0
    visits: int = 0
    false_visits: int = 0
    false_actions: int = 0
    left: list[float] = field(default_factory=list)
    again: list[float] = field(default_factory=list)

    def row(self) -> dict[str, Any]:
        return {
            "pulses": self.pulses,
            "jays": self.jays,
            "acted": self.acted,
            "visits_per_jay": round(self.visits / max(self.acted, 1), 2),
            "false_visits": self.false_visits,
            "false_actions": self.false_actions,
            "left_error_s": _spread([abs(error) for error in self.left]),
            "left_late_s": round(median(self.left), 2) if self.left else None,
            "again_s": _spread(self.again),
        }


def bench_acting(config: Config, models: Path, seeds: int = 2, progress: Progress = lambda *_: None) -> dict[str, Any]:
    """Play each deterrent in day, dusk and night, with jays that leave in mid-pulse and jays that stay.

    Returns `{bench, model, seeds, deterrents: {name: row}}`. Of a row: `visits_per_jay` is 1 where a jay stays one
    visitor through a pulse; `false_visits` and `false_actions` are of nobody; `left_error_s` is how far the end of a
    visit is from when its jay flew off; `again_s` is from the end of a pulse to the next order, where a jay stayed.
    """
    champion = ModelStore(models, config.models).champion()
    rows = {}
    runs = [(scene, seed, leaves) for scene in SCENES for seed in range(seeds) for leaves in (LEAVES_S, STAYS_S)]
    for number, (name, (show, _, _)) in enumerate(DETERRENTS.items()):
        tally = _Tally()
        for run, (scene, seed, leaves_s) in enumerate(runs):
            progress(name, number * len(runs) + run, len(DETERRENTS) * len(runs))
            source = SyntheticSource(scene, 2000 + seed, config.camera[0].fps, SIZE)
            _play(_alone(config, name), models, source, show, leaves_s, tally)
        rows[name] = tally.row()
    progress("", 1, 1)
    return {"bench": "acting", "model": f"{champion.name} {champion.version}", "seeds": seeds, "deterrents": rows}


def _alone(config: Config, name: str) -> Config:
    """With one deterrent of this kind and pattern, and no limit but one second's rest."""
    _, kind, (on_ms, off_ms, count) = DETERRENTS[name]
    only = DeterrentConfig.model_validate(
        {"id": "only", "kind": kind, "on_ms": on_ms, "off_ms": off_ms, "count": count, "cooldown_s": 1.0}
        | {"near_residents": "fire", "fires_unseeing": True}
    )
    return unlimited(config).model_copy(update={"deterrent": [only]})


def _play(config: Config, models: Path, source: SyntheticSource, show: Show, leaves_s: float, tally: _Tally) -> None:
    heard: list[Mapping[str, Any]] = []

    def hear(event: Event) -> None:
        heard.append(event.body)

    actuator = Dry(config.deterrent)
    reacting = Reacting(source, show, actuator, leaves_s)
    with (
        tempfile.TemporaryDirectory(prefix="gander-acting-") as folder,
        replay_desk(config, Path(folder), models, None, "acting", hear, patient=True) as desk,
    ):
        line(desk, [reacting], actuator, speed="max").run()
    _count(heard, reacting, tally)


def _count(heard: Sequence[Mapping[str, Any]], reacting: Reacting, tally: _Tally) -> None:
    source, starts = reacting.source, reacting.starts
    stays = [(came, left) for came, left in _stays(source)]
    tally.pulses += len(starts)
    tally.jays += len(stays)
    for event in heard:
        if event["type"] == "action":
            tally.false_actions += not near(source, event, "jay")
        if event["type"] == "visit_started":
            tally.false_visits += not near(source, event, "jay", "hen", "person", "insect")
    for came, left in stays:
        visits = [e for e in heard if e["type"] == "visit" and near(source, e, "jay") and came <= e["media_time"]]
        acted = [e for e in visits if e["visit"]["actions"] and e["media_time"] <= left + 6.0]
        if acted:
            tally.acted += 1
            tally.visits += len([e for e in heard if _of(e, source, came, left)])
            tally.left.append(_outside(max(e["media_time"] for e in acted), left - FLIGHT_S, left))
    for (_, end), (begin, _) in pairwise(starts):
        if any(came < end and begin < left for came, left in stays):
            tally.again.append(begin - _PIN_S - end)


def _of(event: Mapping[str, Any], source: SyntheticSource, came: float, left: float) -> bool:
    """Whether a visit of a threat began at this jay, while it was there."""
    threat = event["type"] == "visit_started" and event["visit"]["label"] == "jay"
    return threat and came <= event["media_time"] <= left + 1.0 and near(source, event, "jay")


def _stays(source: SyntheticSource) -> list[tuple[float, float]]:
    """When each jay came into the picture, and left it."""
    found: list[tuple[float, float]] = []
    for time in np.arange(0.0, SECONDS, 1.0 / source.fps):
        if any(label == "jay" for label, _ in source.truth(float(time))):
            if found and time - found[-1][1] < 1.0:
                found[-1] = found[-1][0], float(time)
            else:
                found.append((float(time), float(time)))
    return found


def _outside(time: float, start: float, end: float) -> float:
    """How far from a span of time: negative before it, 0 in it."""
    return min(time - start, 0.0) + max(time - end, 0.0)


def _spread(values: Sequence[float]) -> dict[str, float] | None:
    if not values:
        return None
    return {"n": len(values), "p50": round(median(values), 2), "max": round(max(values), 2)}
