"""What the whole line makes of hard light: rendered scenes of known truth, and real pictures seen as by infrared."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Generator, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np

from edge.actuators.dry import Dry
from edge.app import Desk, line, replay_desk
from edge.config import Config
from edge.frames import FrameSource, Shot, Wanted, always, open_source
from edge.frames.folder import FolderSource, sequences
from edge.frames.luma import luma_of
from edge.frames.scenery.weather import Weather, by_lamp
from edge.frames.synthetic import NIGHTS, SCENES, SyntheticSource
from edge.model_store import ModelStore
from edge.values import Box, Event

Progress = Callable[[str, int, int], None]
SIZE = 1280, 720
_AWAY_S = 3.0  # a jay out of sight for less has not come anew
_NEAR = 0.05  # of the picture: a jay this near to a box belongs to it
UNTESTED = ("real infrared pictures", "real insects at a lens", "real rain in a lamp's light", "real headlights")
"""What no figure exists for: there were no such recordings to measure with."""


class Part:
    """The first seconds of an endless scene. `look` changes what the camera sees."""

    live = False
    reopened = 0
    trouble = ""

    def __init__(self, source: FrameSource, seconds: float, look: Weather | None = None) -> None:
        self.fps, self._source, self._seconds, self._look = source.fps, source, seconds, look

    @property
    def skipped(self) -> int:
        return self._source.skipped

    def shots(self, wanted: Wanted = always) -> Generator[Shot, None, None]:
        for shot in self._source.shots(wanted):
            if shot.media_time >= self._seconds:
                return
            if self._look:
                image = self._look(shot.image, shot.media_time, 0)
                shot = Shot(image, luma_of(image), shot.media_time)
            yield shot


@dataclass(slots=True)
class Tally:
    """One scene's counts over all seeds. `veto_s`: for so long a person holds the deterrent back."""

    veto_s: float = 60.0
    seconds: float = 0.0
    jays: int = 0
    acted: int = 0
    held: int = 0
    onsets: list[float] = field(default_factory=list)
    false: int = 0
    nothing: int = 0
    phantoms: int = 0
    asked: int = 0

    def row(self) -> dict[str, Any]:
        hours = self.seconds / 3600
        return {
            "hours": round(hours, 3),
            "jays": self.jays,
            "acted": self.acted,
            "held_by_nobody": self.held,
            "onset_p50_s": round(median(self.onsets), 2) if self.onsets else None,
            "false_actions": self.false,
            "visits_of_nothing_per_hour": round(self.nothing / hours),
            "people_not_there": self.phantoms,
            "questions_per_minute": round(self.asked / hours / 60),
        }


def bench_scenes(
    config: Config, models: Path, seeds: int = 2, seconds: float = 120.0, progress: Progress = lambda *_: None
) -> dict[str, Any]:
    """Play every scene with the champion, no limits but two seconds' rest, and count against what was really there.

    No person holds it back either, but how often one would have who was not there is counted (`held_by_nobody`).
    Returns `{bench, model, seeds, seconds, scenes: {name: {jays, acted, …}}, untested: […]}`.
    """
    veto_s, config = config.policy.person_veto_s, unlimited(config)
    champion = ModelStore(models, config.models).champion()
    rows, names = {}, SCENES + NIGHTS if seeds else ()
    for number, name in enumerate(names):
        tally = Tally(veto_s)
        for seed in range(1000, 1000 + seeds):
            progress(name, number * seeds + seed - 1000, len(names) * seeds)
            _play(config, models, SyntheticSource(name, seed, config.camera[0].fps, SIZE), seconds, tally)
        rows[name] = tally.row()
    progress("", 1, 1)
    model = f"{champion.name} {champion.version}"
    return {
        "bench": "scenes",
        "model": model,
        "seeds": seeds,
        "seconds": seconds,
        "scenes": rows,
        "untested": list(UNTESTED),
    }


def unlimited(config: Config) -> Config:
    limits = {"per_visit": 1000, "per_hour": 10**6, "per_day": 10**6, "person_veto_s": 0.0}
    light = config.deterrent[0].model_copy(update={"cooldown_s": 2.0})
    media = config.media.model_copy(update={"per_visit": 0, "decoy_mb": 0})
    policy = config.policy.model_copy(update=limits)
    return config.model_copy(update={"policy": policy, "deterrent": [light], "media": media})


def _events(
    config: Config, models: Path, source: FrameSource, motion: bool = True
) -> tuple[list[Mapping[str, Any]], int]:
    """What one source gives from beginning to end, and how many questions that took."""
    heard: list[Mapping[str, Any]] = []

    def hear(event: Event) -> None:
        heard.append(event.body)

    with (
        tempfile.TemporaryDirectory(prefix="gander-scenes-") as folder,
        replay_desk(config, Path(folder), models, None, "scenes", hear, patient=True) as desk,
    ):
        actuator = Dry(config.deterrent)
        line(desk, [source], actuator, speed="max", motion=motion).run()
        actuator.close()
        return heard, _asked(desk)


def _asked(desk: Desk) -> int:
    fates = desk.rendezvous.status()[0]["fates"]
    assert isinstance(fates, dict)
    return sum(fates.values())


def _play(config: Config, models: Path, source: SyntheticSource, seconds: float, tally: Tally) -> None:
    heard, asked = _events(config, models, Part(source, seconds))
    tally.seconds += seconds
    tally.asked += asked
    actions = [event for event in heard if event["type"] == "action"]
    at_jay = {id(event): near(source, event, "jay") for event in actions}
    tally.false += sum(not near for near in at_jay.values())
    phantoms = [event for event in heard if _phantom(source, event)]
    tally.phantoms += len(phantoms)
    comings = list(_comings(source, seconds))
    tally.jays += len(comings)
    for came, left in comings:
        first = next(
            (e["media_time"] for e in actions if at_jay[id(e)] and came <= e["media_time"] <= left + 1.0), None
        )
        if first is not None:
            tally.acted += 1
            tally.onsets.append(first - came)
            tally.held += any(_began(p) <= first <= p["media_time"] + tally.veto_s for p in phantoms)
    for event in heard:
        if event["type"] == "visit_started":
            tally.nothing += not near(source, event, "jay", "hen", "person")


def _phantom(source: SyntheticSource, event: Mapping[str, Any]) -> bool:
    """Whether this is a visit that was taken for a person's, while none was anywhere in the picture."""
    if event["type"] != "visit" or event["visit"]["kind"] != "person":
        return False
    times = np.arange(max(_began(event) - 0.5, 0.0), event["media_time"] + 0.5, 0.25)
    return not any(label == "person" for time in times for label, _ in source.truth(float(time)))


def _began(event: Mapping[str, Any]) -> float:
    """Media time at which the visit of an event began."""
    lasted = datetime.fromisoformat(event["wall"]) - datetime.fromisoformat(event["visit"]["started"])
    return float(event["media_time"]) - lasted.total_seconds()


def near(source: SyntheticSource, event: Mapping[str, Any], *labels: str) -> bool:
    """Whether one of these was at the event's box, at its time or in the second before."""
    x, y, w, h = event["visit"]["box"]
    box = Box(x - _NEAR, y - _NEAR, w + 2 * _NEAR, h + 2 * _NEAR)
    times = (max(event["media_time"] - back, 0.0) for back in (0.0, 0.5, 1.0))
    return any(label in labels and box.overlap(where) > 0.0 for time in times for label, where in source.truth(time))


def _comings(source: SyntheticSource, seconds: float) -> Iterator[tuple[float, float]]:
    """When each jay came into the picture and left it."""
    came = last = None
    for time in np.arange(0.0, seconds, 1.0 / source.fps):
        if not any(label == "jay" for label, _ in source.truth(float(time))):
            continue
        if came is None or last is None or time - last >= _AWAY_S:
            if came is not None and last is not None:
                yield came, last
            came = float(time)
        last = float(time)
    if came is not None and last is not None:
        yield came, last


def bench_real(
    config: Config, models: Path, inputs: list[Path], progress: Progress = lambda *_: None
) -> dict[str, dict[str, int]]:
    """Actions on real clips and tables of pictures, as they are and as by infrared: grey and noisy, by our own hand.

    Returns `{name: {n, by_day, as_infrared}}`: of n clips, or n sequences of one label, how many were acted upon.
    """
    config = unlimited(config)
    found: dict[str, dict[str, int]] = {}
    parts = list(_parts(config, inputs))
    for number, (name, make, motion) in enumerate(parts):
        progress(name, number, len(parts))
        row = found.setdefault(name, {"n": 0, "by_day": 0, "as_infrared": 0})
        row["n"] += 1
        for how, look in (("by_day", None), ("as_infrared", by_lamp)):
            heard, _ = _events(config, models, Part(make(), float("inf"), look), motion)
            row[how] += any(event["type"] == "action" for event in heard)
    progress("", 1, 1)
    return found


def _parts(config: Config, inputs: list[Path]) -> Iterator[tuple[str, Callable[[], FrameSource], bool]]:
    camera = config.camera[0]
    for path in inputs:
        if path.suffix.lower() == ".csv":
            for one in sequences(path):
                yield f"{path.stem}: {one.label}", lambda one=one: FolderSource(one.paths, camera.fps), False  # type: ignore[misc]
        else:
            chosen = camera.model_copy(update={"source": str(path)})
            yield path.name, lambda chosen=chosen: open_source(chosen), True  # type: ignore[misc]
