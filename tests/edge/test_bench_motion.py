"""The motion bench: its counting on a made scene with known truth, and the real CDnet scene where it is at hand."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest

from edge.bench_motion import bench_motion, play, score
from edge.config import CameraConfig, MotionConfig
from edge.errors import SourceError
from edge.motion import MotionDetector


def _made_scene(folder: Path, frames: int = 60) -> None:
    """CDnet's layout: a square walks through a textured picture from frame 31 on."""
    for name in ("input", "groundtruth"):
        (folder / name).mkdir(parents=True)
    scene = cv2.resize(np.random.default_rng(2).integers(80, 160, (30, 40), np.uint8), (320, 240))
    (folder / "temporalROI.txt").write_text(f"21 {frames}")
    cv2.imwrite(str(folder / "ROI.bmp"), np.full((240, 320), 255, np.uint8))
    for number in range(1, frames + 1):
        picture, truth = scene.copy(), np.zeros((240, 320), np.uint8)
        if number > 30:
            x = (number - 30) * 8
            picture[100:130, x : x + 30] = 0
            truth[100:130, x : x + 30] = 255
            truth[98:100, x : x + 30] = 170
        cv2.imwrite(str(folder / "input" / f"in{number:06d}.jpg"), picture)
        cv2.imwrite(str(folder / "groundtruth" / f"gt{number:06d}.png"), truth)


def test_a_scene_with_known_truth_is_counted_right(tmp_path: Path) -> None:
    _made_scene(tmp_path)
    summary = score(tmp_path, MotionConfig())
    assert summary["frames_with_movers"] == summary["frames_seen"] == 30
    assert summary["movers"] == summary["movers_seen"] == 30
    assert summary["f"] > 0.9
    assert summary["f"] == pytest.approx(
        2 * summary["precision"] * summary["recall"] / (summary["precision"] + summary["recall"]), abs=1e-3
    )


def test_a_blind_detector_scores_nothing(tmp_path: Path) -> None:
    _made_scene(tmp_path)
    summary = score(tmp_path, MotionConfig(min_area=0.5))
    assert (summary["frames_seen"], summary["movers_seen"], summary["f"]) == (0, 0, 0.0)


def test_without_the_data_it_says_so_and_still_times(tmp_path: Path) -> None:
    threads = cv2.getNumThreads()
    summary = bench_motion(tmp_path)
    assert summary["highway"] is None
    assert str(tmp_path) in summary["note"]
    assert summary["ms"]["n"] == 400
    assert cv2.getNumThreads() == threads


def test_a_folder_that_is_not_whole_is_refused_in_one_line(tmp_path: Path) -> None:
    _made_scene(tmp_path, frames=25)
    (tmp_path / "input" / "in000007.jpg").unlink()
    with pytest.raises(SourceError, match="in000007"):
        score(tmp_path, MotionConfig())


def test_on_the_real_highway_every_mover_is_seen(shared_data: Path) -> None:
    summary = score(shared_data / "video" / "cdnet_highway", MotionConfig(), 470, 900)
    assert summary["frames_seen"] == summary["frames_with_movers"] > 200
    assert summary["movers_seen"] / summary["movers"] > 0.99
    assert summary["f"] > 0.9


def test_on_the_real_still_scene_nothing_moves(shared_data: Path) -> None:
    clip = cv2.VideoCapture(str(shared_data / "video" / "akamus082__videos_warren.mp4"))
    detector, number, moved = MotionDetector(MotionConfig(), CameraConfig()), 0, 0
    while clip.grab():
        number += 1
        if number % 2:  # 30 a second, watched at 15
            luma = cv2.cvtColor(clip.retrieve()[1], cv2.COLOR_BGR2GRAY)
            moved += bool(detector.look(play(np.asarray(luma, np.uint8), number // 2)).boxes)
    assert number == 960
    assert moved <= 5
