"""Live cameras on real OpenCV: what comes is right, what does not come is said, and it is opened again."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Generator, Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import pytest

from edge.config import CameraConfig
from edge.errors import ConfigError, SourceError
from edge.frames import FrameSource, Shot, open_source
from tests import mjpeg
from tests.mjpeg import jpeg


def live(address: str, **more: object) -> FrameSource:
    return open_source(CameraConfig.model_validate({"source": address, "stale_s": 1.0, "fps": 60.0, **more}))


@contextmanager
def watching(source: FrameSource) -> Iterator[Generator[Shot, None, None]]:
    with closing(source.shots()) as shots:
        yield shots


@contextmanager
def background(source: FrameSource) -> Iterator[list[Shot]]:
    """Pull pictures in a thread, as the capture does; a daemon, since a camera may be away for ever."""
    seen: list[Shot] = []

    def pull() -> None:
        with closing(source.shots()) as shots:
            for shot in shots:
                seen.append(shot)
                if ending.is_set():
                    return

    ending = threading.Event()
    threading.Thread(target=pull, daemon=True).start()
    yield seen
    ending.set()


def until(condition: object, seconds: float = 20.0) -> None:
    end = time.monotonic() + seconds
    while not condition():  # type: ignore[operator]
        assert time.monotonic() < end
        time.sleep(0.02)


def test_pictures_come_with_the_time_they_came_at() -> None:
    with mjpeg.camera() as camera, watching(live(camera.address)) as shots:
        before = time.monotonic_ns()
        pictures = [next(shots) for _ in range(12)]
        after = time.monotonic_ns()
    times = [shot.taken_at_ns or 0 for shot in pictures]
    assert before <= times[0]
    assert times == sorted(times)
    assert times[-1] <= after
    for shot in pictures:
        assert shot.image.shape == (240, 320, 3)
        assert shot.luma.shape == (240, 320)
        red, green, blue = shot.image[120, 160].tolist()
        assert (abs(green - 80) < 8, abs(blue - 40) < 12, red > 30) == (True, True, True)


def test_a_fast_stream_is_thinned_and_never_late() -> None:
    with mjpeg.camera(fps=100.0) as camera, watching(live(camera.address, fps=10.0)) as shots:
        times = [next(shots).taken_at_ns or 0 for _ in range(6)]
    assert times[-1] - times[0] >= 0.35e9  # each at most half of 0.1 s early


def test_after_a_long_stop_the_newest_comes_not_the_backlog() -> None:
    # A machine that takes the processor away in the middle of a read may fool it once.
    assert any(_first_after_a_stop() >= 20 for _ in range(3)), "the first after the stop is a new one"


def _first_after_a_stop() -> float:
    """Number of the picture; thirty were made meanwhile."""
    stopped, made = threading.Event(), list[int]()

    def picture(number: int) -> bytes:
        if stopped.is_set():
            made.append(number)
        return jpeg(min(len(made), 60))

    with mjpeg.camera(picture) as camera, watching(live(camera.address)) as shots:
        next(shots)
        stopped.set()
        until(lambda: len(made) >= 30)  # they lie in buffers
        return (int(next(shots).image[120, 160, 0]) - 40) / 3


@pytest.mark.parametrize(
    ("later", "shape"),
    [
        (jpeg(3, (640, 480)), (480, 640, 3)),
        (jpeg(3, (161, 91)), (91, 161, 3)),
        (jpeg(3, (320, 240), grey=True), (240, 320, 3)),
    ],
    ids=["larger", "odd", "grey"],
)
def test_a_stream_may_change_in_the_middle(later: bytes, shape: tuple[int, ...]) -> None:
    with (
        mjpeg.camera(lambda number: jpeg() if number < 12 else later) as camera,
        watching(live(camera.address)) as shots,
    ):
        shot = next(shots)
        while shot.image.shape != shape:
            shot = next(shots)
        assert shot.luma.shape == shape[:2]


def test_a_picture_that_cannot_be_read_is_skipped_and_counted() -> None:
    torn = jpeg(5)[:300]
    with mjpeg.camera(lambda number: torn if number % 30 >= 26 else jpeg(number)) as camera:
        source = live(camera.address)
        with watching(source) as shots:
            until(lambda: next(shots) and source.skipped >= 4)
            assert next(shots).image.shape == (240, 320, 3)
        assert source.trouble == ""


@pytest.mark.parametrize(
    ("fault", "said"),
    [("frozen", "no picture for 4 s"), ("cut", "stopped sending"), ("garbage", "sends what is no picture")],
)
def test_a_camera_that_fails_is_opened_again(fault: str, said: str, caplog: pytest.LogCaptureFixture) -> None:
    with mjpeg.camera() as camera:
        source = live(camera.address, stale_s=4.0)
        with background(source) as seen:
            until(lambda: len(seen) > 3)
            assert source.trouble == ""
            camera.mode = fault
            until(lambda: source.trouble and said in caplog.text)
            camera.mode = "good"
            until(lambda: source.trouble == "" and source.reopened >= 1)
            count = len(seen)
            until(lambda: len(seen) > count + 3)
    ours = [r for r in caplog.records if r.levelno == logging.WARNING and f":{camera.port}" in r.getMessage()]
    assert 1 <= len(ours) <= 4


def test_a_camera_off_at_boot_is_waited_for() -> None:
    with mjpeg.camera() as camera:
        camera.stop()
        source = live(camera.address, stale_s=5.0)
        with background(source) as seen:
            until(lambda: "refused" in source.trouble.lower())
            camera.start()
            until(lambda: len(seen) > 3)
            assert (source.trouble, source.reopened) == ("", 0)


@pytest.mark.parametrize(("mode", "said"), [("401", "check user and password"), ("404", "check the path")])
def test_why_it_does_not_open_is_said(mode: str, said: str) -> None:
    with mjpeg.camera() as camera:
        camera.mode = mode
        source = live(camera.address)
        with background(source):
            until(lambda: said in source.trouble)


def test_a_camera_that_never_answers_is_given_up_in_time() -> None:
    with mjpeg.camera() as camera:
        camera.mode = "silent"
        source = live(camera.address)
        with background(source):
            until(lambda: "does not answer" in source.trouble)


def test_credentials_come_from_a_file_and_are_told_to_nobody(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    secret = tmp_path / "camera"
    secret.write_text("hen:se@cret/%\n")
    secret.chmod(0o600)
    with mjpeg.camera(password="hen:se@cret/%") as camera:
        with watching(live(camera.address, credentials=str(secret))) as shots:
            assert next(shots).image.shape == (240, 320, 3)
        secret.write_text("hen:wr0ng\n")
        source = live(camera.address, credentials=str(secret))
        with background(source):
            until(lambda: "401" in source.trouble)
    assert "wr0ng" not in source.trouble + caplog.text
    assert "se@cret" not in caplog.text


@pytest.mark.parametrize(
    ("text", "mode", "said"),
    [("only", 0o600, "user:password"), ("a:b", 0o644, "everybody may read"), (None, 0o600, "No such file")],
)
def test_unfit_credentials_are_said(tmp_path: Path, text: str | None, mode: int, said: str) -> None:
    secret = tmp_path / "camera"
    if text:
        secret.write_text(text)
        secret.chmod(mode)
    source = live("http://127.0.0.1:9/x", credentials=str(secret))
    with background(source):
        until(lambda: said in source.trouble)


@pytest.mark.parametrize("address", ["ftp://host/x", "rtsp://", "http://[::1", "http://host:99999/x"])
def test_what_is_no_cameras_address_is_refused(address: str) -> None:
    with pytest.raises(SourceError, match="not a camera's address"):
        live(address)


def test_a_password_in_the_address_is_refused() -> None:
    with pytest.raises((ConfigError, ValueError), match="credentials"):
        live("rtsp://me:word@host/x")


def test_a_device_that_is_not_there_is_said() -> None:
    source = live("/dev/video77")
    with background(source):
        until(lambda: "no such device" in source.trouble)


def test_many_openings_leave_nothing_behind(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("edge.frames.live.FIRST_WAIT_S", 0.01)
    monkeypatch.setattr("edge.frames.live.LONGEST_WAIT_S", 0.01)
    cut = threading.Event()

    def picture(number: int) -> bytes:
        if cut.is_set():
            cut.clear()
            raise ConnectionAbortedError
        return jpeg(number)

    with mjpeg.camera(picture, fps=200.0) as camera:
        source = live(camera.address)
        held = []
        with watching(source) as shots:
            for _ in range(25):
                next(shots)
                count = camera.connections
                cut.set()
                until(lambda count=count: next(shots) and camera.connections > count)
                held.append((len(list(Path("/proc/self/fd").iterdir())), threading.active_count()))
    assert source.reopened >= 25
    assert held[-1][0] <= held[4][0] + 6
