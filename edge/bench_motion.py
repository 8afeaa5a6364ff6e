"""`gander bench motion`: what the detector costs, and on CDnet highway what it sees and misses."""

from __future__ import annotations

import os
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from edge.config import CameraConfig, MotionConfig
from edge.errors import SourceError
from edge.latency import percentiles
from edge.motion import MotionDetector
from edge.values import Frame, Luma

MOVING, UNKNOWN, UNSURE = 255, 85, 170  # CDnet's grey values; 0 is still, 50 a shadow and counts as still
FPS = 15.0  # the default capture rate: CDnet gives its frames no times
LEAST_MOVER = 40  # pixels of 320x240: CDnet's smaller specks are outlines cut by a lamp post


def bench_motion(data: Path | None = None, config: MotionConfig | None = None) -> dict[str, Any]:
    """Time the detector on one thread, and score it where CDnet highway is at hand.

    `data` is a folder with `video/cdnet_highway`, or that folder itself; by default $GANDER_TEST_DATA, else
    ../shared/data. Gives `ms` {n, p50, p95, p99, max} per 640x480 frame of noise, and either `highway` {f, precision,
    recall, frames_with_movers, frames_seen, movers, movers_seen, ms} or `highway` null and `note` with the reason.
    """
    config = config or MotionConfig()
    data = data or Path(os.environ.get("GANDER_TEST_DATA", "../shared/data"))
    folder = data if (data / "groundtruth").is_dir() else data / "video" / "cdnet_highway"
    threads = cv2.getNumThreads()
    cv2.setNumThreads(1)
    try:
        summary: dict[str, Any] = {"bench": "motion", "size": [640, 480], "threads": 1, "ms": _time_noise(config)}
        if (folder / "groundtruth").is_dir():
            summary["highway"] = score(folder, config)
        else:
            summary["highway"] = None
            summary["note"] = f"{folder}: no CDnet highway here, so only timed, on synthetic noise"
    finally:
        cv2.setNumThreads(threads)
    return summary


def score(folder: Path, config: MotionConfig, first: int | None = None, last: int | None = None) -> dict[str, Any]:
    """Play a CDnet folder from its first frame; score frames `first` to `last` (its temporal ROI) inside the ROI."""
    span = [int(word) for word in (folder / "temporalROI.txt").read_text().split()]
    first, last = first or span[0], last or span[1]
    inside = _read(folder / "ROI.bmp") > 0
    detector = MotionDetector(config, CameraConfig())
    hits = false = missed = frames = frames_seen = movers = movers_seen = 0
    took: list[float] = []
    for number in range(1, last + 1):
        luma = _read(folder / "input" / f"in{number:06d}.jpg")
        frame = play(luma, number)
        begun = time.perf_counter()
        detector.look(frame)
        took.append((time.perf_counter() - begun) * 1e3)
        if number < first:
            continue
        truth = _read(folder / "groundtruth" / f"gt{number:06d}.png")
        seen = cv2.resize(detector.mask, (luma.shape[1], luma.shape[0]), interpolation=cv2.INTER_NEAREST) > 0
        known = inside & (truth != UNKNOWN) & (truth != UNSURE)
        moving = known & (truth == MOVING)
        hit = moving & seen
        hits += int(np.count_nonzero(hit))
        missed += int(np.count_nonzero(moving & ~seen))
        false += int(np.count_nonzero(known & ~moving & seen))
        frames += bool(moving.any())
        frames_seen += bool(hit.any())
        count, touched = _movers(moving, hit)
        movers, movers_seen = movers + count, movers_seen + touched
    return {
        "f": _share(2 * hits, 2 * hits + false + missed),
        "precision": _share(hits, hits + false),
        "recall": _share(hits, hits + missed),
        "frames_with_movers": frames,
        "frames_seen": frames_seen,
        "movers": movers,
        "movers_seen": movers_seen,
        "ms": percentiles(took),
    }


def _movers(moving: NDArray[np.bool_], hit: NDArray[np.bool_]) -> tuple[int, int]:
    """How many things the truth shows in one frame, and how many of them were touched."""
    count, labels, stats, _ = cv2.connectedComponentsWithStats(moving.astype(np.uint8))
    large = [n for n in range(1, count) if stats[n, cv2.CC_STAT_AREA] >= LEAST_MOVER]
    touched = set(np.unique(labels[hit]).tolist())
    return len(large), sum(n in touched for n in large)


def _time_noise(config: MotionConfig, n: int = 400) -> dict[str, float]:
    """A textured scene with camera noise and one thing crossing it."""
    random = np.random.default_rng(1)
    scene = cv2.resize(random.integers(40, 200, (30, 40), np.uint8), (640, 480), interpolation=cv2.INTER_CUBIC)
    noise = random.integers(0, 12, (8, 480, 640), np.uint8)
    detector = MotionDetector(config, CameraConfig())
    took = []
    for number in range(n):
        luma = np.asarray(cv2.add(scene, noise[number % 8]), np.uint8)
        cv2.circle(luma, (number * 640 // n, 300), 30, 20, -1)
        frame = play(luma, number)
        begun = time.perf_counter()
        detector.look(frame)
        took.append((time.perf_counter() - begun) * 1e3)
    return percentiles(took)


def play(luma: Luma, number: int) -> Frame:
    """`luma` as the frame of that number, 15 a second."""
    wall = datetime(2026, 1, 1, 12, tzinfo=UTC)
    return Frame("bench", number, 0, number / FPS, wall, np.broadcast_to(luma[..., None], (*luma.shape, 3)), luma)


def _read(path: Path) -> Luma:
    picture = cv2.imread(str(path), cv2.IMREAD_GRAYSCALE)
    if picture is None:
        raise SourceError(f"{path}: missing, or not a picture; expected the CDnet folder as published")
    return np.asarray(picture, np.uint8)


def _share(part: int, whole: int) -> float:
    return round(part / whole, 4) if whole else 0.0
