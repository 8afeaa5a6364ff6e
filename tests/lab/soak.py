"""A day of watching and telling in minutes: does anything grow?

    python -m tests.lab.soak STATE [--hours 24]

STATE holds the models. Every hour of the yard's time one line: memory, threads, descriptors, files.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from edge.actuators.dry import Dry
from edge.app import line, replay_desk
from edge.bench import Scene
from edge.config_file import load

FPS = 5.0
HOUR_S = 3600.0
Feed = Callable[[Path], AbstractContextManager[int]]
"""What publishes from a state directory, as the id of its process."""


def sample(media_time: float, worker: int, feed: int, state: Path) -> dict[str, float]:
    """What this process, its model and what publishes hold now. Memory in megabytes."""
    publishing = Path(f"/proc/{feed}")
    return {
        "media_h": round(media_time / 3600, 2),
        "memory_mb": resident(os.getpid()),
        "model_mb": resident(worker),
        "threads": threading.active_count(),
        "descriptors": sum(1 for _ in Path("/proc/self/fd").iterdir()),
        "feed_mb": resident(feed),
        "feed_threads": sum(1 for _ in (publishing / "task").iterdir()),
        "feed_descriptors": sum(1 for _ in (publishing / "fd").iterdir()),
        "files": sum(1 for path in (state / "pictures").rglob("*") if path.is_file()),
        "decoys": sum(1 for path in (state / "decoy").rglob("*") if path.is_file()),
        "pictures_mb": sum(path.stat().st_size for path in (state / "pictures").rglob("*.jpg")) / 1e6,
    }


def resident(pid: int) -> float:
    pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGESIZE") / 1e6


@contextmanager
def filing(state: Path) -> Iterator[int]:
    """Publish into a file."""
    out = f"jsonl.path={json.dumps(str(state / 'out.jsonl'))}"
    command = [sys.executable, "-m", "edge.cli_feed", "--state", str(state), "--set", out]
    with subprocess.Popen(command, stderr=subprocess.DEVNULL) as process:
        try:
            yield process.pid
        finally:
            process.terminate()


def soak(
    models: Path, hours: float, say: Callable[[dict[str, float]], None], feed: Feed = filing
) -> list[dict[str, float]]:
    """Play a busy yard for so long: somebody comes for 12 s in every two minutes. Returns the samples."""
    small = ["media.max_mb=10", "media.per_day_mb=1000000", "media.decoy_mb=5", "media.min_free=0.0"]
    config = load(None, [*small, 'labels.threat=["*"]', "deterrent.0.cooldown_s=1.0", "policy.per_hour=1000"])
    samples: list[dict[str, float]] = []
    memory = Path("/dev/shm")  # a flush costs nothing there, and what grows is not on the card
    with tempfile.TemporaryDirectory(prefix="gander-soak-", dir=memory if memory.is_dir() else None) as folder:
        state, begin = Path(folder), datetime.now(UTC) - timedelta(hours=hours)
        with replay_desk(config, state, models, begin, "soak", None, patient=True) as desk, feed(state) as publishing:
            (model,) = desk.rendezvous.workers
            scene = Scene(FPS, hours * 3600, moving=True, away_s=108.0)
            actuator = Dry(config.deterrent)
            frames = 0

            def tick() -> None:
                nonlocal frames
                frames += 1
                if frames % round(HOUR_S * FPS) == 0:
                    samples.append(sample(frames / FPS, model.pid, publishing, state))
                    say(samples[-1])

            line(desk, [scene], actuator, speed="max", tick=tick).run()
            actuator.close()
    return samples


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("models", type=Path)
    parser.add_argument("--hours", type=float, default=24.0)
    chosen = parser.parse_args()

    def say(found: dict[str, Any]) -> None:
        print(json.dumps(found), file=sys.stdout, flush=True)

    soak(chosen.models, chosen.hours, say)


if __name__ == "__main__":
    main()
