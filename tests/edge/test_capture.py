"""The cameras: pace, drops, masks, clocks, stopping, and several at once."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Generator
from datetime import timedelta
from itertools import count, pairwise

import numpy as np
import pytest

from edge.capture import Cameras, Capture, Speed
from edge.clock import REPLAY_START, ReplayClock
from edge.config import CameraConfig
from edge.errors import SourceError
from edge.frames import Shot, Wanted, always
from edge.values import Frame


class Grey:
    """A source of grey pictures. `before(index)` runs before each is made; `length` None: endless."""

    def __init__(
        self,
        length: int | None,
        fps: float = 50.0,
        live: bool = False,
        before: Callable[[int], None] = lambda index: None,
    ) -> None:
        self.live, self.fps, self.skipped, self.reopened, self.trouble = live, fps, 0, 0, ""
        self.closed = threading.Event()
        self._length, self._before = length, before

    def shots(self, wanted: Wanted = always) -> Generator[Shot, None, None]:
        try:
            for index in count() if self._length is None else range(self._length):
                if wanted(index / self.fps):
                    self._before(index)
                    yield Shot(np.full((72, 128, 3), 200, np.uint8), np.full((36, 64), 200, np.uint8), index / self.fps)
        finally:
            self.closed.set()


def capture(source: Grey, speed: Speed = "real", **camera: object) -> Cameras:
    turn = threading.Condition()
    return Cameras([Capture(source, CameraConfig.model_validate(camera), ReplayClock(), speed, turn)], turn)


def several(*sources: Grey) -> Cameras:
    turn, began_ns = threading.Condition(), time.monotonic_ns()
    captures = [
        Capture(source, CameraConfig(id=f"cam{number}"), ReplayClock(), "real", turn, began_ns)
        for number, source in enumerate(sources)
    ]
    return Cameras(captures, turn)


def only_frames(watched: Cameras) -> list[Frame]:
    return [frame for frame in watched if frame is not None]


def test_at_full_speed_every_picture_comes_once_in_order() -> None:
    watched = capture(Grey(40), "max")
    before = time.monotonic_ns()
    frames = only_frames(watched)
    assert [frame.seq for frame in frames] == list(range(40))
    assert (watched.delivered, watched.dropped) == (40, 0)
    assert all(a.taken_at_ns <= b.taken_at_ns for a, b in pairwise(frames))
    assert before <= frames[0].taken_at_ns <= time.monotonic_ns()


def test_the_clock_says_what_time_it_was() -> None:
    for frame in only_frames(capture(Grey(5), "max")):
        assert frame.wall == REPLAY_START + timedelta(seconds=frame.media_time)


def test_at_real_pace_a_picture_counts_as_taken_when_it_was_due() -> None:
    frames = only_frames(capture(Grey(8, fps=100.0)))
    first = frames[0]
    for frame in frames:
        due = first.taken_at_ns + round((frame.media_time - first.media_time) * 1e9)
        assert abs(frame.taken_at_ns - due) < 1000
    assert time.monotonic_ns() >= frames[-1].taken_at_ns


def test_a_slow_reader_gets_the_newest_and_the_gap_shows_in_seq() -> None:
    watched = capture(Grey(30, fps=100.0))
    seqs = []
    for frame in watched:
        if frame is not None:
            seqs.append(frame.seq)
            time.sleep(0.05)
    assert watched.dropped > 0
    assert watched.delivered + watched.dropped == 30
    assert seqs == sorted(set(seqs))
    assert len(seqs) == 1 or any(b - a > 1 for a, b in pairwise(seqs))  # one: the machine stood still


def test_the_last_picture_is_not_lost_when_the_source_ends() -> None:
    assert [frame.seq for frame in only_frames(capture(Grey(1)))] == [0]


def test_decoding_that_falls_behind_is_caught_up_by_skipping() -> None:
    watched = capture(Grey(60, fps=100.0, before=lambda index: time.sleep(0.03)))
    frames = only_frames(watched)
    assert watched.delivered + watched.dropped == 60
    assert watched.dropped >= 20
    assert len(frames) == 1 or frames[-1].seq >= len(frames)
    assert [frame.seq / 100 for frame in frames] == pytest.approx([frame.media_time for frame in frames])


def test_a_source_too_slow_for_any_pace_is_played_slowly_not_dropped_for_ever(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr("edge.capture.GIVE_UP_S", 0.1)

    class Crawling(Grey):
        def shots(self, wanted: Wanted = always) -> Generator[Shot, None, None]:
            return super().shots(lambda media_time: time.sleep(0.03) or wanted(media_time))  # type: ignore[func-returns-value]

    watched = capture(Crawling(30, fps=100.0))
    frames = only_frames(watched)
    assert len(frames) > 8
    assert "playing slower" in caplog.text
    assert watched.delivered + watched.dropped == 30


def test_nothing_new_is_said_so_that_the_loop_can_beat() -> None:
    release = threading.Event()
    watched = capture(Grey(2, live=True, before=lambda index: None if index == 0 else _wait(release)))
    heard: list[Frame | None] = []
    for frame in watched:
        heard.append(frame)
        if heard.count(None) == 2:
            release.set()
    assert [frame.seq for frame in heard if frame] == [0, 1]
    assert heard.count(None) >= 2


def _wait(event: threading.Event) -> None:
    event.wait()


@pytest.mark.parametrize("speed", ["real", "max"])
def test_an_error_of_the_source_reaches_the_loop(speed: Speed) -> None:
    def fail(index: int) -> None:
        if index == 3:
            raise SourceError("the cable is out")

    source = Grey(None, before=fail)
    watched = capture(source, speed)
    with pytest.raises(SourceError, match="cable"):
        only_frames(watched)
    assert source.closed.wait(5)


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_a_mistake_in_a_source_ends_the_loop_too() -> None:
    def fail(index: int) -> None:
        raise ZeroDivisionError("a mistake")

    with capture(Grey(None, before=fail)) as watched, pytest.raises(ZeroDivisionError):
        only_frames(watched)


@pytest.mark.parametrize("speed", ["real", "max"])
def test_stop_ends_the_iteration_and_releases_the_source(speed: Speed) -> None:
    source = Grey(None)
    with capture(source, speed) as watched:
        for frame in watched:
            if frame is not None and frame.seq >= 3:
                watched.stop()
    assert source.closed.wait(5)


def test_stop_does_not_wait_for_a_read_that_never_returns() -> None:
    never = threading.Event()
    watched = capture(Grey(None, live=True, before=lambda index: _wait(never)))
    stopper = threading.Timer(0.05, watched.stop)
    stopper.start()
    assert only_frames(watched) == []
    stopper.join(5)
    assert not stopper.is_alive()
    never.set()


def test_a_live_camera_knows_when_it_exposed() -> None:
    class Camera(Grey):
        def shots(self, wanted: Wanted = always) -> Generator[Shot, None, None]:
            for shot in super().shots(wanted):
                yield Shot(shot.image, shot.luma, shot.media_time, taken_at_ns=12345)

    (frame,) = only_frames(capture(Camera(1, live=True)))
    assert frame.taken_at_ns == 12345


def test_a_live_cameras_media_time_is_the_monotonic_clocks() -> None:
    before = time.monotonic_ns()
    watched = capture(Grey(5, live=True, before=lambda index: time.sleep(0.01)))
    after = time.monotonic_ns()
    for frame in only_frames(watched):
        assert (frame.taken_at_ns - after) / 1e9 <= frame.media_time <= (frame.taken_at_ns - before) / 1e9


def test_every_camera_is_heard_and_the_end_is_the_last_ones() -> None:
    watched = several(Grey(6, fps=100.0), Grey(12, fps=100.0), Grey(3, fps=100.0))
    frames = only_frames(watched)
    assert {frame.camera for frame in frames} == {"cam0", "cam1", "cam2"}
    for capture in watched.captures:
        own = [frame.seq for frame in frames if frame.camera == capture.camera.id]
        assert own == sorted(set(own))
        assert capture.delivered == len(own)
    assert watched.delivered + watched.dropped == 6 + 12 + 3


def test_a_busy_camera_does_not_starve_a_quiet_one() -> None:
    watched = several(Grey(None, fps=200.0, live=True, before=lambda index: time.sleep(0.001)), Grey(None, fps=20.0))
    quiet = busy = 0
    with watched:
        for frame in watched:
            time.sleep(0.02)  # the reader is slower than the busy one
            quiet += frame is not None and frame.camera == "cam1"
            busy += frame is not None and frame.camera == "cam0"
            if quiet == 15 or busy == 200:
                break
    assert (quiet, busy < 200) == (15, True)


def test_a_camera_that_hangs_does_not_hold_up_the_others() -> None:
    never = threading.Event()
    watched = several(Grey(None, live=True, before=lambda index: _wait(never)), Grey(None, fps=100.0))
    seen = 0
    with watched:
        for frame in watched:
            seen += frame is not None
            if seen == 5:
                break
    assert seen == 5
    hung, well = (capture.status() for capture in watched.captures)
    assert (hung["frames"], well["frames"]) == (0, 5)
    never.set()


def test_a_source_that_fails_beside_others_is_told() -> None:
    def fail(index: int) -> None:
        if index == 3:
            raise SourceError("the cable is out")

    with several(Grey(None), Grey(None, before=fail)) as watched, pytest.raises(SourceError, match="cable"):
        only_frames(watched)


@pytest.mark.parametrize(("degrees", "corner"), [(0, (0, 0)), (90, (0, -1)), (180, (-1, -1)), (270, (-1, 0))])
def test_a_camera_that_hangs_upside_down_is_turned(degrees: int, corner: tuple[int, int]) -> None:
    class Marked(Grey):
        def shots(self, wanted: Wanted = always) -> Generator[Shot, None, None]:
            for shot in super().shots(wanted):
                shot.image[0, 0], shot.luma[0, 0] = 9, 9
                yield shot

    (frame,) = only_frames(capture(Marked(1), rotate=degrees))
    assert frame.luma[corner] == 9
    assert (frame.image[corner] == 9).all()


@pytest.mark.parametrize("speed", ["real", "max"])
def test_privacy_masks_are_black_in_both_pictures(speed: Speed) -> None:
    half = [(0.5, 0.0), (1.0, 0.0), (1.0, 1.0), (0.5, 1.0)]
    (frame,) = only_frames(capture(Grey(1), speed, masks=[half]))
    for picture in (frame.image, frame.luma):
        middle = picture.shape[1] // 2
        assert not picture[:, middle:].any()
        assert (picture[:, : middle - 3] == 200).all()
