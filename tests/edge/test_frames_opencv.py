"""Clips: good, damaged, and no clips at all; and what a configuration's source opens."""

from __future__ import annotations

import subprocess
import sys
from itertools import pairwise
from pathlib import Path

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge.config import CameraConfig
from edge.errors import SourceError
from edge.frames import open_source
from edge.frames.folder import FolderSource
from edge.frames.opencv import ClipSource, ClipTime
from edge.frames.synthetic import SyntheticSource


@pytest.fixture(scope="session")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two seconds at 15 a second, red growing from picture to picture."""
    path = tmp_path_factory.mktemp("clip") / "a.avi"
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"MJPG"), 15.0, (320, 240))
    for index in range(30):
        writer.write(np.full((240, 320, 3), (0, 0, index * 8), np.uint8))
    writer.release()
    return path


def test_a_clip_plays_in_its_own_time_and_in_rgb(clip: Path) -> None:
    source = ClipSource(clip)
    shots = list(source.shots())
    assert source.fps == pytest.approx(15.0)
    assert [shot.media_time for shot in shots] == pytest.approx([index / 15 for index in range(30)])
    assert source.skipped == 0
    assert [shot.image[..., 0].mean() for shot in shots] == pytest.approx([index * 8 for index in range(30)], abs=6)
    assert max(shot.image[..., 2].mean() for shot in shots) < 20
    assert shots[0].luma.shape == (240, 320)


def test_a_clip_can_be_played_twice_and_left_early(clip: Path) -> None:
    source = ClipSource(clip)
    shots = source.shots()
    next(shots)
    shots.close()
    assert len(list(source.shots())) == 30


def test_unwanted_pictures_are_left_out(clip: Path) -> None:
    assert len(list(ClipSource(clip).shots(lambda media_time: media_time >= 1.0))) == 15


def test_a_clip_cut_short_plays_as_far_as_it_goes(clip: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    short = tmp_path / "short.avi"
    data = clip.read_bytes()
    short.write_bytes(data[: len(data) // 2])
    source = ClipSource(short)
    shots = list(source.shots())
    assert 5 < len(shots) < 25
    assert len(shots) + source.skipped == 30
    assert caplog.text.count("short.avi") == 1


def test_damage_in_the_middle_of_a_clip_does_not_end_it(clip: Path, tmp_path: Path) -> None:
    damaged = tmp_path / "damaged.avi"
    data = bytearray(clip.read_bytes())
    data[len(data) // 2 : len(data) // 2 + 3000] = b"\x55" * 3000
    damaged.write_bytes(data)
    shots = list(ClipSource(damaged).shots())
    assert len(shots) >= 10
    assert all(b.media_time > a.media_time for a, b in pairwise(shots))


@pytest.mark.parametrize("data", [b"", b"not a clip\n" * 500, b"\0" * 5000])
def test_what_is_no_clip_is_refused_in_one_line(tmp_path: Path, data: bytes) -> None:
    path = tmp_path / "a.mp4"
    path.write_bytes(data)
    with pytest.raises(SourceError, match=r"a\.mp4: ") as error:
        ClipSource(path)
    assert "\n" not in str(error.value)


def test_the_libraries_own_chatter_is_not_heard(tmp_path: Path) -> None:
    path = tmp_path / "a.mp4"
    path.write_bytes(b"not a clip\n" * 500)
    code = "import pathlib, sys; from edge.frames.opencv import ClipSource\n"
    code += "try: ClipSource(pathlib.Path(sys.argv[1]))\nexcept ValueError: pass"
    said = subprocess.run([sys.executable, "-c", code, str(path)], capture_output=True, timeout=60, check=True)
    assert said.stdout + said.stderr == b""


def test_a_clip_with_only_its_head_is_refused(clip: Path, tmp_path: Path) -> None:
    path = tmp_path / "head.avi"
    path.write_bytes(clip.read_bytes()[:600])
    with pytest.raises(SourceError, match=r"head\.avi"):
        ClipSource(path)


@given(st.lists(st.floats(-1e4, 1e4) | st.just(0.0), min_size=1, max_size=60), st.floats(0.1, 240.0))
def test_times_rise_by_a_sane_step_whatever_the_container_says(given_times: list[float], fps: float) -> None:
    time = ClipTime(fps)
    times = [time.of(given_time) for given_time in given_times]
    assert times[0] == 0.0
    assert all(a < b <= a + 10.001 for a, b in pairwise(times))


def test_true_pauses_are_kept_and_leaps_are_not() -> None:
    time = ClipTime(10.0)
    assert [time.of(given_time) for given_time in (5.0, 5.1, 8.1, 8.1, 8.2, 9000.0, 9000.1)] == pytest.approx(
        [0.0, 0.1, 3.1, 3.2, 3.3, 3.4, 3.5]
    )


@pytest.mark.parametrize(
    ("source", "kind"),
    [
        ("synthetic:empty", SyntheticSource),
        ("{clip}", ClipSource),
        ("{folder}", FolderSource),
        ("{picture}", FolderSource),
    ],
)
def test_a_source_is_opened_by_what_it_is(clip: Path, tmp_path: Path, source: str, kind: type) -> None:
    picture = tmp_path / "one.png"
    assert cv2.imwrite(str(picture), np.zeros((30, 40, 3), np.uint8))
    named = source.format(clip=clip, folder=tmp_path, picture=picture)
    assert isinstance(open_source(CameraConfig(source=named, size=(160, 90))), kind)


@pytest.mark.parametrize(
    ("source", "why"),
    [
        ("gone.mp4", "gone.mp4: No such file"),
        ("rtmp://camera/1", "give rtsp, rtsps, http, https or /dev/video0"),
        ("labels.csv", "gander replay labels.csv"),
        ("synthetic:noon", "there are day, dusk"),
        ("synthetic:day?speed=2", r"synthetic:SCENE\?seed=7"),
    ],
)
def test_a_source_that_is_none_says_what_would_be_one(source: str, why: str) -> None:
    with pytest.raises(SourceError, match=why) as error:
        open_source(CameraConfig(source=source))
    assert "\n" not in str(error.value)


def test_a_real_clip_plays_to_its_end(shared_data: Path) -> None:
    source = ClipSource(shared_data / "video" / "tiodh__vtest.mp4")
    count, last = 0, -1.0
    for shot in source.shots():
        assert shot.media_time > last
        count, last = count + 1, shot.media_time
    assert (count, source.skipped) == (795, 0)
    assert last == pytest.approx(79.4)
