"""Clips, folders and tables of pictures through the very line that watches live: dry, and as if armed."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any

from edge.actuators.dry import Dry
from edge.app import Desk, Speed, line, replay_desk
from edge.config import Config
from edge.errors import SourceError
from edge.frames import FrameSource, open_source
from edge.frames.folder import FolderSource, sequences
from edge.values import Event

Progress = Callable[[str, int, int], None]
"""(what is played, how many are done, of how many)."""


@dataclass(slots=True)
class Tally:
    """What a replay came to, counted from the very events the journal gets."""

    visits: int = 0
    actions: int = 0
    frames: int = 0
    dropped: int = 0
    skipped: int = 0
    by_kind: Counter[str] = field(default_factory=Counter)
    sequences: dict[str, dict[str, int]] = field(default_factory=dict)

    def event(self, event: Event) -> None:
        if event.type == "visit":
            self.visits += 1
            self.by_kind[event.body["visit"]["kind"]] += 1
        elif event.type == "action":
            self.actions += 1

    def summary(self, desk: Desk) -> dict[str, Any]:
        """The contract's summary. A replay acts as if armed, so what acted is what would have acted."""
        summary: dict[str, Any] = {
            "frames": self.frames,
            "dropped": self.dropped,
            "skipped": self.skipped,
            "visits": self.visits,
            "actions": self.actions,
            "would_have_acted": self.actions,
            "by_kind": dict(sorted(self.by_kind.items())),
            "latency_ms": desk.latencies.summary(),
        }
        return summary | ({"sequences": self.sequences} if self.sequences else {})


@dataclass(frozen=True, slots=True)
class Part:
    """One thing to play by itself, with fresh visits and limits. `label` is a sequence's."""

    name: str
    source: FrameSource
    label: str | None = None


def parts(config: Config, inputs: Sequence[Path]) -> list[Part]:
    """What there is to play. Raises `SourceError` before anything is played."""
    camera = config.camera[0]
    found: list[Part] = []
    for path in inputs:
        if str(path).startswith("synthetic:"):
            raise SourceError(f"{path}: has no end to replay to; watch it with `gander run --source {path}`")
        if path.suffix.lower() == ".csv":
            found += [Part(s.seq_id, FolderSource(s.paths, camera.fps), s.label) for s in sequences(path)]
        else:
            found.append(Part(path.name, open_source(camera.model_copy(update={"source": str(path)}))))
    return found


def replay(
    config: Config,
    inputs: Sequence[Path],
    state: Path,
    models: Path,
    *,
    speed: Speed = "real",
    motion: bool = True,
    start: datetime | None = None,
    listen: Callable[[Event], None] = lambda event: None,
    progress: Progress = lambda name, done, of: None,
) -> dict[str, Any]:
    """Play every input and return the summary. Events go to `listen` and into a journal in `state` as they happen.

    `models` is the state directory whose bundles and keys are used.
    """
    tally = Tally()

    def heard(event: Event) -> None:
        tally.event(event)
        listen(event)

    todo = parts(config, inputs)
    with replay_desk(config, state, models, start, " ".join(p.name for p in inputs), heard, speed == "max") as desk:
        for number, part in enumerate(todo):
            progress(part.name, number, len(todo))
            before = tally.actions
            _play(desk, part, speed, motion, tally)
            if part.label is not None:
                counts = tally.sequences.setdefault(part.label, {"n": 0, "acted": 0})
                counts["n"] += 1
                counts["acted"] += tally.actions > before
        progress("", len(todo), len(todo))
        return tally.summary(desk)


def _play(desk: Desk, part: Part, speed: Speed, motion: bool, tally: Tally) -> None:
    actuator = Dry(desk.config.deterrent)
    watch = line(desk, [part.source], actuator, speed=speed, motion=motion)
    try:
        with watch.cameras:
            watch.run()
    finally:
        actuator.close()
    tally.frames += watch.frames
    tally.dropped += watch.cameras.dropped
    tally.skipped += watch.cameras.skipped
