"""The `picamera` camera where there is none; the lab drives it on picamera2's real API."""

from __future__ import annotations

import importlib.util
import threading
import time
from pathlib import Path

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from edge.config import CameraConfig
from edge.errors import SourceError
from edge.frames.picamera import (
    TO_RGB,
    Calls,
    Opened,
    PicameraDevice,
    Stream,
    boot_ahead_ns,
    camera_number,
    exposure_ms,
    gain,
    load_driver,
    luma_size,
    open_picamera,
    reason,
    taken_at,
)

HOUR_NS, SECOND_NS = 3600 * 10**9, 10**9


@pytest.mark.skipif(importlib.util.find_spec("picamera2") is not None, reason="picamera2 is installed here")
def test_without_picamera2_the_advice_is_given_at_once() -> None:
    with pytest.raises(SourceError, match=r"^picamera:1: .*apt install python3-picamera2.*--system-site-packages"):
        open_picamera(CameraConfig(source="picamera:1"))


def test_a_picamera2_built_for_another_numpy_is_explained(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "picamera2.py").write_text('raise ValueError("numpy.dtype size changed, may indicate trouble")')
    monkeypatch.syspath_prepend(str(tmp_path))
    with pytest.raises(SourceError, match=r"does not fit this environment's numpy .*simplejpeg"):
        load_driver("picamera")


@pytest.mark.parametrize(("source", "number"), [("picamera", 0), ("picamera:0", 0), ("picamera:1", 1)])
def test_the_camera_is_named_by_its_number(source: str, number: int) -> None:
    assert camera_number(source) == number


@pytest.mark.parametrize("source", ["picamera:", "picamera:-1", "picamera:x", "picamera:12", "picamera2", "picamera:²"])
def test_other_names_are_refused(source: str) -> None:
    with pytest.raises(SourceError, match="write it as picamera, or picamera:1"):
        camera_number(source)


@pytest.mark.parametrize(
    ("size", "small"),
    [
        ((1280, 720), (640, 360)),
        ((1296, 972), (640, 480)),
        ((820, 616), (638, 480)),
        ((720, 1280), (270, 480)),
        ((640, 480), (640, 480)),
        ((320, 240), (320, 240)),
        ((4608, 2592), (640, 360)),
    ],
)
def test_the_small_picture_of_common_sizes(size: tuple[int, int], small: tuple[int, int]) -> None:
    assert luma_size(size) == small


@given(st.integers(64, 8192), st.integers(64, 8192))
def test_the_small_picture_is_even_and_small_and_never_enlarged(width: int, height: int) -> None:
    small_width, small_height = luma_size((width, height))
    assert small_width % 2 == small_height % 2 == 0
    assert 2 <= small_width <= min(640, width)
    assert 2 <= small_height <= min(480, height)


@given(st.integers(1, 10**15), st.integers(0, 30 * 24 * HOUR_NS), st.integers(0, 5 * SECOND_NS))
def test_boot_time_becomes_monotonic_whatever_was_slept_through(now: int, ahead: int, age: int) -> None:
    taken = now + HOUR_NS - age
    assert taken_at({"SensorTimestamp": taken + ahead}, now + HOUR_NS, ahead, 5 * SECOND_NS) == taken


def test_a_driver_that_stamps_monotonic_time_is_understood() -> None:
    now = 2 * HOUR_NS
    assert taken_at({"SensorTimestamp": now - SECOND_NS}, now, HOUR_NS, 5 * SECOND_NS) == now - SECOND_NS


@pytest.mark.parametrize(
    "metadata", [{}, {"SensorTimestamp": 0}, {"SensorTimestamp": 9 * HOUR_NS}, {"SensorTimestamp": 5}]
)
def test_a_stamp_that_makes_no_sense_is_none(metadata: dict[str, int]) -> None:
    assert taken_at(metadata, 2 * HOUR_NS, 0, 5 * SECOND_NS) is None


def test_the_clocks_are_compared_as_they_are() -> None:
    boot = time.clock_gettime_ns(time.CLOCK_BOOTTIME)
    converted, now = boot - boot_ahead_ns(), time.monotonic_ns()
    assert 0 <= now - converted + 10**6 < 5 * SECOND_NS, "not in the future, but for a millisecond of measuring"


def test_exposure_and_gain() -> None:
    assert exposure_ms({"ExposureTime": 16655}) == 16.655
    assert gain({"AnalogueGain": 4.0, "DigitalGain": 1.5}) == 6.0
    assert gain({"AnalogueGain": 4.0}) == 4.0
    assert (exposure_ms({}), gain({"DigitalGain": 2.0})) == (None, None)


WIDTH, HEIGHT, STRIDE = 96, 64, 128


def in_format(name: str) -> NDArray[np.uint8]:
    """The array picamera2 gives of a picture red on its left and blue on its right, its lines padded with green."""
    rgb = np.zeros((HEIGHT, STRIDE, 3), np.uint8)
    rgb[:, :48, 0] = rgb[:, 48:WIDTH, 2] = rgb[:, WIDTH:, 1] = 255
    i420 = cv2.cvtColor(rgb, cv2.COLOR_RGB2YUV_I420)
    y, u, v = i420[:HEIGHT], *(plane.reshape(HEIGHT // 2, -1) for plane in i420[HEIGHT:].reshape(2, -1))
    semi = {"NV12": (u, v), "NV21": (v, u)}
    if name in semi:
        return np.vstack([y, np.dstack(semi[name]).reshape(HEIGHT // 2, STRIDE)])
    if name == "YVU420":
        return np.vstack([y, np.concatenate([v.ravel(), u.ravel()]).reshape(HEIGHT // 2, STRIDE)])
    if name == "YUYV":
        colour = np.dstack([u, v]).repeat(2, axis=0).reshape(HEIGHT, STRIDE)
        return np.dstack([y, colour])
    rgba = np.dstack([rgb, np.full((HEIGHT, STRIDE), 255, np.uint8)])
    return {
        "BGR888": rgb,  # picamera2 has cut the padding of these off already; more does no harm
        "MJPEG": rgb,
        "RGB888": rgb[..., ::-1],
        "XBGR8888": rgba,
        "XRGB8888": rgba[..., [2, 1, 0, 3]],
        "YUV420": i420,
    }[name]


@pytest.mark.parametrize("name", TO_RGB)
def test_every_format_becomes_rgb_without_its_padding(name: str) -> None:
    array = np.ascontiguousarray(in_format(name))
    image = Stream(name, WIDTH, HEIGHT).rgb(array)
    assert image.shape == (HEIGHT, WIDTH, 3)
    assert image.flags.c_contiguous
    assert image.dtype == np.uint8
    left, right = image[:, 4:44].reshape(-1, 3), image[:, 52:92].reshape(-1, 3)
    assert left[:, 0].min() > 240 > 15 > left[:, 1:].max()
    assert right[:, 2].min() > 240 > 15 > right[:, :2].max()


def test_the_luma_is_the_first_plane_without_its_padding() -> None:
    array = in_format("YUV420")
    luma = Stream("YUV420", WIDTH, HEIGHT).luma(array)
    assert luma.shape == (HEIGHT, WIDTH)
    np.testing.assert_array_equal(luma, array[:HEIGHT, :WIDTH])


@pytest.mark.parametrize(
    ("small", "serves"),
    [
        (Stream("YUV420", 640, 360), True),
        (Stream("YUV420", 638, 358), True),
        (Stream("YUV420", 640, 480), False),  # another view
        (Stream("YUV420", 1280, 720), False),  # too large
        (Stream("RGB888", 640, 360), False),  # no brightness of its own
    ],
)
def test_which_small_stream_serves(small: Stream, serves: bool) -> None:
    assert small.serves_as_luma_of(Stream("BGR888", 1280, 720)) is serves


def test_a_call_that_never_returns_is_cut_off_and_nothing_more_is_tried_until_it_does() -> None:
    calls, free, done = Calls("picamera"), threading.Event(), threading.Event()
    with pytest.raises(SourceError, match=r"^picamera: closing takes longer than 0\.05 s$"):
        calls.within(0.05, "closing", lambda: (free.wait(30.0), None)[1])
    with pytest.raises(SourceError, match="hangs in closing; restart Gander"):
        calls.within(30.0, "opening", done.set)
    assert not done.is_set()
    free.set()
    deadline = time.monotonic() + 30.0
    while not done.is_set() and time.monotonic() < deadline:
        try:
            calls.within(30.0, "opening", done.set)
        except SourceError:
            time.sleep(0.01)
    assert done.is_set()


def test_what_a_call_says_is_passed_on_in_one_line() -> None:
    def fail() -> None:
        try:
            raise RuntimeError("Device or resource busy")
        except RuntimeError as busy:
            raise RuntimeError("Camera __init__ sequence did not complete.") from busy

    with pytest.raises(SourceError) as caught:
        Calls("picamera").within(30.0, "opening", fail)
    assert str(caught.value) == (
        "picamera: opening failed: Camera __init__ sequence did not complete.: Device or resource busy"
    )


def test_an_odd_error_of_the_camera_stack_is_a_reason_to_open_it_again(monkeypatch: pytest.MonkeyPatch) -> None:
    camera, calls = CameraConfig(source="picamera"), Calls("picamera")
    with pytest.raises(SourceError, match=r"^picamera: opening failed: .*global_camera_info"):
        PicameraDevice(object(), 0, camera, calls)

    def opened(self: PicameraDevice, *_: object) -> None:
        self._opened = Opened(object(), Stream("BGR888", WIDTH, HEIGHT), None)

    monkeypatch.setattr(PicameraDevice, "_open", opened)
    device = PicameraDevice(object(), 0, camera, calls)
    with pytest.raises(SourceError, match=r"^picamera: .*capture_request"):
        device.shot()
    device.close()


def test_an_error_without_words_still_has_a_reason() -> None:
    assert reason(TimeoutError()) == "TimeoutError"
