"""What Gander costs, measured on this machine: the models, and the whole line from the frame to the pin."""

from __future__ import annotations

import os
import resource
import time
from collections.abc import Callable, Generator
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from edge.actuators.dry import Dry
from edge.app import Desk, desk, line
from edge.bundle import Bundle
from edge.clock import Ids, LiveClock
from edge.config import Config, LabelsConfig
from edge.errors import ConfigError, GanderError
from edge.frames import Shot, Wanted, always
from edge.frames.luma import luma_of
from edge.latency import percentiles
from edge.model_worker import ModelWorker
from edge.policy import History
from edge.rendezvous import NO_DEADLINE, Rendezvous
from edge.values import Event, Fate, Image, Luma, Role
from edge.watch import Watch

Progress = Callable[[int, int], None]
_LEAST_ORDERS = 2000
_FORGET_EVERY = 100  # orders: what a day's limit lets the history grow to
_IDLE_FPS = 10.0


class Scene:
    """A frame source for timing: rendered once, then played round and round at no cost.

    While `moving` a disc circles for 12 seconds, then is away for `away_s`, so that visits begin and end.
    """

    live = False
    reopened = 0
    trouble = ""
    skipped = 0

    def __init__(self, fps: float, seconds: float, moving: bool, away_s: float = 4.0) -> None:
        self.fps, self._count, self._round_s = fps, round(fps * seconds), 12.0 + away_s
        rng = np.random.default_rng(1)
        width, height = 1280, 720
        ground = cv2.resize(rng.integers(60, 180, (height // 8, width // 8, 3), np.uint8), (width, height))
        steps = 45 if moving else 0
        self._shots: list[tuple[Image, Luma]] = []
        for step in range(steps + 1):
            image: Image = ground.astype(np.uint8)
            if step < steps:
                angle = 2 * np.pi * step / steps
                at = round(width * (0.5 + 0.3 * np.cos(angle))), round(height * (0.5 + 0.3 * np.sin(angle)))
                cv2.circle(image, at, height // 12, (40, 70, 200), cv2.FILLED, cv2.LINE_AA)
            self._shots.append((image, luma_of(image)))

    def shots(self, wanted: Wanted = always) -> Generator[Shot, None, None]:
        for number in range(self._count):
            if not wanted(number / self.fps):
                continue
            away = number / self.fps % self._round_s >= 12.0
            image, luma = self._shots[-1 if away else number % (len(self._shots) - 1 or 1)]
            yield Shot(image, luma, number / self.fps)


def bench_pipeline(
    config: Config, state: Path, models: Path, orders: int = _LEAST_ORDERS, progress: Progress = lambda done, of: None
) -> dict[str, Any]:
    """Time `orders` dry orders at real pace, 1280x720 at 15 fps, quotas lifted; then idle watching.

    `overhead_ms` is the time from the frame taken to the pin, less that event's own invoke.
    """
    config = lifted(config)
    overhead: list[float] = []

    def heard(event: Event) -> None:
        latency = event.body.get("latency_ms", {})
        if "pin" in latency:
            overhead.append(latency["pin"] - latency["invoke"])
            progress(len(overhead), orders)

    with desk(config, state, models, LiveClock(), Ids(), listen=heard) as made:
        made.rendezvous.wait_ready(60.0)
        dropped = 0
        while len(overhead) < orders:
            before = len(overhead)
            fps = config.camera[0].fps
            dropped += play(made, Scene(fps, ((orders - before) / fps + 2.0) * 16.0 / 12.0, moving=True))
            if len(overhead) == before:
                raise GanderError("bench: no order was given; see the log above")
        summary = {
            "bench": "pipeline",
            "model": f"{made.lineup.champion.name} {made.lineup.champion.version}",
            "cores": len(os.sched_getaffinity(0)),
            "orders": len(overhead),
            "dropped": dropped,
            "overhead_ms": percentiles(overhead),
            "latency_ms": made.latencies.summary(),
        }
        return summary | {"idle_cpu_percent": round(_idle(made), 1)}


def lifted(config: Config) -> Config:
    """The configuration with every label a threat and no limit but the pin's: every answer gives an order."""
    if not config.deterrent:
        raise ConfigError("deterrent: the bench needs one to time its orders")
    never = 10**9
    light = config.deterrent[0].model_copy(update={"on_ms": 10, "off_ms": 0, "count": 1, "cooldown_s": 0.0})
    limits = {"per_visit": never, "per_hour": never, "per_day": never, "settle_s": 0.0, "escalate_after_s": 0.0}
    return config.model_copy(
        update={
            "labels": LabelsConfig(threat=["*"]),
            "policy": config.policy.model_copy(update=limits),
            "deterrent": [light],
        }
    )


def play(made: Desk, scene: Scene, begin: Callable[[Watch], None] = lambda watch: None) -> int:
    """Run the line over a scene, dry; `begin` gets it first. Returns how many frames were dropped."""
    actuator = Dry(made.config.deterrent)

    def forget() -> None:
        if len(watch.history.acted) >= _FORGET_EVERY:
            watch.history = History()

    watch = line(made, [scene], actuator, tick=forget)
    begin(watch)
    with watch.cameras:
        watch.run()
    actuator.close()
    return watch.cameras.dropped


def _idle(made: Desk, seconds: float = 20.0) -> float:
    """Percent of one core that watching costs while nothing moves, at 10 pictures a second."""
    still = Scene(_IDLE_FPS, seconds, moving=False)
    before, began = _cpu_s(), time.monotonic()
    play(made, still)
    return 100.0 * (_cpu_s() - before) / (time.monotonic() - began)


def _cpu_s() -> float:
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime


def bench_models(bundle: Bundle, questions: int = 60) -> dict[str, Any]:
    """Time one model in its worker, by threads: `invoke_ms` inside, `overhead_ms` of the way there and back."""
    crop = np.random.default_rng(1).integers(0, 255, (420, 420, 3), np.uint8)
    by_threads = {}
    for threads in sorted({1, 2, len(os.sched_getaffinity(0))}):
        worker = ModelWorker(bundle, Role.CHAMPION, threads)
        try:
            rendezvous = Rendezvous([worker])
            rendezvous.wait_ready(60.0)
            invoke, overhead = [], []
            for _ in range(questions):
                began = time.monotonic_ns()
                verdict = rendezvous.ask(crop, NO_DEADLINE)
                taken = (time.monotonic_ns() - began) / 1e6
                assert verdict.chosen
                assert verdict.chosen.fate is Fate.ANSWERED
                invoke.append(verdict.chosen.invoke_ms)
                overhead.append(taken - verdict.chosen.invoke_ms)
            by_threads[str(threads)] = {
                "invoke_ms": percentiles(invoke),
                "overhead_ms": percentiles(overhead),
                "pss_mb": _pss_mb(worker.pid),
            }
        finally:
            worker.close()
    return {"bench": "models", "model": f"{bundle.name} {bundle.version}", "threads": by_threads}


def _pss_mb(pid: int) -> float | None:
    """Memory of a process, shared pages counted in part; None where the kernel does not tell."""
    try:
        lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    except OSError:
        return None
    kilobytes = next((int(text.split()[1]) for text in lines if text.startswith("Pss:")), 0)
    return round(kilobytes / 1024, 1)
