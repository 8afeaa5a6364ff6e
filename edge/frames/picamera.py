"""The Raspberry Pi's own camera, by picamera2: the large picture and the small grey one from the same exposure."""

from __future__ import annotations

import gc
import logging
import os
import re
import threading
import time
from collections.abc import Callable, Mapping
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from edge.config import CameraConfig
from edge.errors import SourceError
from edge.frames import FrameSource, Shot
from edge.frames.live import LiveSource, Unreadable
from edge.frames.luma import LUMA_HEIGHT, LUMA_WIDTH, luma_of
from edge.values import Image, Luma

log = logging.getLogger(__name__)

OPEN_S, CLOSE_S = 20.0, 5.0
BUFFERS = 4  # one at the sensor, one in the image processor, one being copied, one spare
TO_RGB = {
    "BGR888": None,  # named from the last byte to the first: RGB in memory
    "MJPEG": None,  # unpacked by picamera2
    "RGB888": cv2.COLOR_BGR2RGB,
    "XBGR8888": cv2.COLOR_RGBA2RGB,
    "XRGB8888": cv2.COLOR_BGRA2RGB,
    "NV12": cv2.COLOR_YUV2RGB_NV12,
    "NV21": cv2.COLOR_YUV2RGB_NV21,
    "YUV420": cv2.COLOR_YUV2RGB_I420,
    "YVU420": cv2.COLOR_YUV2RGB_YV12,
    "YUYV": cv2.COLOR_YUV2RGB_YUYV,
}
LUMA_FIRST = frozenset({"NV12", "NV21", "YUV420", "YVU420"})


def open_picamera(camera: CameraConfig) -> FrameSource:
    """The source `picamera` (the first camera) or `picamera:N` (counted from 0).

    Raises `SourceError` where picamera2 is not installed. A camera that is away or held by another is waited for.
    """
    number = camera_number(camera.source)
    driver = load_driver(camera.source)
    calls = Calls(camera.source)  # outlives each opening: it knows of one that never came back
    return LiveSource(camera.id, lambda: PicameraDevice(driver, number, camera, calls), camera)


def camera_number(source: str) -> int:
    """From `picamera` or `picamera:N`."""
    match = re.fullmatch(r"picamera(?::(\d))?", source, re.ASCII)
    if match is None:
        raise SourceError(f"{source}: write it as picamera, or picamera:1 for the second camera")
    return int(match[1] or 0)


def load_driver(source: str) -> Any:
    """The class `Picamera2`. Raises `SourceError` with what to install."""
    # A camera that is away is opened again for days: what is wrong is said once, in our words.
    os.environ.setdefault("LIBCAMERA_LOG_LEVELS", "*:ERROR")
    logging.getLogger("picamera2").setLevel(logging.CRITICAL)
    try:
        from picamera2 import Picamera2
    except ImportError as missing:
        raise SourceError(
            f"{source}: picamera2 cannot be imported ({missing}): `sudo apt install python3-picamera2`, and make the "
            "virtual environment with --system-site-packages"
        ) from None
    except ValueError as clash:  # "numpy.dtype size changed": a system package built for another numpy
        raise SourceError(
            f"{source}: picamera2 does not fit this environment's numpy ({clash}): "
            "`pip install --force-reinstall simplejpeg` in it"
        ) from None
    return Picamera2


class PicameraDevice:
    """One opening of one camera; see `Device` in edge.frames.live. Raises `SourceError` with the reason."""

    def __init__(self, driver: Any, number: int, camera: CameraConfig, calls: Calls) -> None:
        self._name, self._calls = camera.source, calls
        self._patience_s = max(camera.stale_s, 3.0 / camera.fps)
        self._lock = threading.Lock()  # guards the two below, where opening and giving up meet
        self._opened: Opened | None = None
        self._unwanted = False
        try:
            calls.within(OPEN_S, "opening", lambda: self._open(driver, number, camera))
        except SourceError:
            self.close()
            raise

    def shot(self) -> Shot:
        """The next picture to be completed: with `queue=False` never one from before."""
        try:
            return self._shot()
        except SourceError:
            raise
        except TimeoutError:
            raise SourceError(f"{self._name}: no picture for {self._patience_s:g} s") from None
        except Exception as error:  # noqa: BLE001 - whatever the camera stack throws is a reason to open it again
            raise SourceError(f"{self._name}: {reason(error)}") from None

    def _shot(self) -> Shot:
        opened = self._opened
        assert opened is not None, "closed"
        request = opened.picamera.capture_request(wait=False).get_result(timeout=self._patience_s)
        try:
            # Copies: the buffers go back at once, or the camera runs out of them.
            large = request.make_array("main")
            small = request.make_array("lores") if opened.small else None
            metadata = request.get_metadata()
        except OSError as damaged:
            raise Unreadable(f"{self._name}: damaged picture ({reason(damaged)})") from None
        finally:
            request.release()
        image = opened.large.rgb(large)
        luma = luma_of(image) if opened.small is None or small is None else opened.small.luma(small)
        taken_at_ns = taken_at(metadata, time.monotonic_ns(), boot_ahead_ns(), int(self._patience_s * 1e9))
        return Shot(image, luma, 0.0, taken_at_ns, exposure_ms(metadata), gain(metadata))

    def close(self) -> None:
        """Let go of the camera, also after a hang; does not raise."""
        with self._lock:
            self._unwanted = True
            opened, self._opened = self._opened, None
        if opened is None:
            return
        try:
            self._calls.within(CLOSE_S, "closing", lambda: _close(opened.picamera))
        except SourceError as error:
            log.warning("%s", error)

    def _open(self, driver: Any, number: int, camera: CameraConfig) -> None:
        cameras = len(driver.global_camera_info())
        if number >= cameras:
            raise SourceError(
                f"{self._name}: there is no camera {number}, {cameras} found, numbered from 0; look at the ribbon "
                "cable and at `rpicam-hello --list-cameras`"
            )
        with ExitStack() as stack:
            picamera = _construct(driver, number)
            stack.callback(_close, picamera)
            large, small = negotiate(picamera, camera)
            picamera.start()
            with self._lock:
                if not self._unwanted:  # else it took so long that nobody waits any more
                    self._opened = Opened(picamera, large, small)
                    stack.pop_all()


class Calls:
    """Calls into the camera stack that may never come back: one at a time, each with a limit.

    What is cut off goes on in its thread, since nothing can end it, and until it has returned everything further is
    refused. libcamera's Python binding keeps the interpreter's lock during its own calls: one that hangs in the
    kernel stops the whole process, and only a watchdog from outside helps.
    """

    def __init__(self, name: str) -> None:
        self._name = name
        self._thread: threading.Thread | None = None
        self._what = ""

    def within(self, limit_s: float, what: str, call: Callable[[], None]) -> None:
        """Run `call`. Raises `SourceError` when it fails, does not return in time, or an earlier one never did."""
        if self._thread is not None:
            self._thread.join(0.1)
            if self._thread.is_alive():
                raise SourceError(
                    f"{self._name}: the camera hangs in {self._what}; restart Gander, then the machine if need be"
                )
        failed: list[Exception] = []

        def run() -> None:
            try:
                call()
            except Exception as error:  # noqa: BLE001 - it must not die with this thread, as if all were well
                failed.append(error)

        self._what = what
        self._thread = threading.Thread(target=run, name=f"{self._name} {what}", daemon=True)
        self._thread.start()
        self._thread.join(limit_s)
        if self._thread.is_alive():
            raise SourceError(f"{self._name}: {what} takes longer than {limit_s:g} s")
        if failed:
            if isinstance(failed[0], SourceError):
                raise failed[0]
            raise SourceError(f"{self._name}: {what} failed: {reason(failed[0])}")


@dataclass(frozen=True, slots=True)
class Stream:
    """One stream as the camera granted it; its arrays may be wider than the picture."""

    format: str
    width: int
    height: int

    @classmethod
    def granted(cls, configuration: Mapping[str, Any]) -> Stream:
        width, height = configuration["size"]
        return cls(configuration["format"], width, height)

    def rgb(self, array: NDArray[np.uint8]) -> Image:
        """The picture, uint8[height, width, 3], from picamera2's array of it."""
        code = TO_RGB[self.format]
        whole = array if code is None else cv2.cvtColor(array, code)
        return np.ascontiguousarray(whole[: self.height, : self.width], np.uint8)

    def luma(self, array: NDArray[np.uint8]) -> Luma:
        """The brightness, uint8[height, width], where it is the first plane."""
        return np.ascontiguousarray(array[: self.height, : self.width], np.uint8)

    def serves_as_luma_of(self, large: Stream) -> bool:
        """Whether it is small enough, and shows the same view."""
        return (
            self.format in LUMA_FIRST
            and self.width <= LUMA_WIDTH
            and self.height <= LUMA_HEIGHT
            and abs(self.width * large.height - self.height * large.width) <= 2 * max(large.width, large.height)
        )


@dataclass(frozen=True, slots=True)
class Opened:
    """A running camera and its streams. Without a small one the brightness is taken from the large one."""

    picamera: Any
    large: Stream
    small: Stream | None


def negotiate(picamera: Any, camera: CameraConfig) -> tuple[Stream, Stream | None]:
    """Configure the camera as near to what is wished as it can. Returns the large and the small stream.

    libcamera grants what the camera has: the Pi's own give RGB and two sizes at once, a USB camera one stream in a
    format of its own, which is then converted here.
    """
    size = even(camera.size[0]), even(camera.size[1])
    small_size = luma_size(size)
    if small_size != size and _has_two_streams(picamera):
        granted = _configure(picamera, camera.fps, size, small_size)
        large, small = Stream.granted(granted["main"]), Stream.granted(granted["lores"])
        if large.format in TO_RGB and small.serves_as_luma_of(large):
            return large, small
    large = Stream.granted(_configure(picamera, camera.fps, size, None)["main"])
    if large.format not in TO_RGB:
        raise SourceError(f"{camera.source}: gives pictures as {large.format}; readable are {', '.join(TO_RGB)}")
    return large, None


def _configure(picamera: Any, fps: float, size: tuple[int, int], small: tuple[int, int] | None) -> Mapping[str, Any]:
    from libcamera import ColorSpace

    interval_us = round(1e6 / fps)
    # Exposure and gain stay automatic, within the interval.
    controls = {"FrameDurationLimits": (interval_us, interval_us)}
    configuration = picamera.create_video_configuration(
        main={"size": size, "format": "BGR888"},
        lores={"size": small, "format": "YUV420"} if small else None,
        colour_space=ColorSpace.Sycc(),  # full range: black is 0 in the luma too
        buffer_count=BUFFERS,
        controls=controls if "FrameDurationLimits" in picamera.camera_controls else {},
        queue=False,
    )
    picamera.configure(configuration)
    granted: Mapping[str, Any] = picamera.camera_configuration()
    return granted


def _has_two_streams(picamera: Any) -> bool:
    """Where it has not, asking picamera2 for a second one aborts the process."""
    from libcamera import StreamRole

    offered = picamera.camera.generate_configuration([StreamRole.Viewfinder, StreamRole.Viewfinder])
    return offered is not None and len(offered) == 2


def _construct(driver: Any, number: int) -> Any:
    """`Picamera2(number)`, which leaves its pipe open when it fails: days of failing would use up all descriptors."""
    picamera = driver.__new__(driver)
    try:
        picamera.__init__(number)
    except BaseException:
        with suppress(AttributeError):  # it failed before it had one
            picamera.notifymeread.close()
            os.close(picamera.notifyme_w)
        raise
    return picamera


def _close(picamera: Any) -> None:
    picamera.cancel_all_and_flush()  # what nobody waits for any more must not take a buffer along
    picamera.close()
    gc.collect()  # closed ones refer to themselves, and hold descriptors until they are found


def even(side: float) -> int:
    """libcamera wants even sides."""
    return max(2, round(side) // 2 * 2)


def luma_size(size: tuple[int, int]) -> tuple[int, int]:
    """Width and height of the small picture: the same view, at most 640x480, never enlarged."""
    width, height = size
    scale = min(1.0, LUMA_WIDTH / width, LUMA_HEIGHT / height)
    return even(width * scale), even(height * scale)


def boot_ahead_ns() -> int:
    """How far CLOCK_BOOTTIME is ahead of the monotonic clock: the time spent suspended, so it is asked each time."""
    narrowest = best = 0
    for attempt in range(3):  # being interrupted between two readings widens the gap
        before = time.monotonic_ns()
        boot = time.clock_gettime_ns(time.CLOCK_BOOTTIME)
        gap = time.monotonic_ns() - before
        if attempt == 0 or gap < narrowest:
            narrowest, best = gap, boot - before - gap // 2
    return best


def taken_at(metadata: Mapping[str, Any], now_ns: int, ahead_ns: int, longest_ns: int) -> int | None:
    """Monotonic ns of the exposure, from `SensorTimestamp`; None where that is no time within `longest_ns` before now.

    libcamera defines it on CLOCK_BOOTTIME; some of its drivers, USB among them, give the monotonic clock's.
    """
    stamp = metadata.get("SensorTimestamp")
    if not stamp:
        return None
    for taken_at_ns in (int(stamp) - ahead_ns, int(stamp)):
        if 0 <= now_ns - taken_at_ns <= longest_ns:
            return taken_at_ns
    return None


def exposure_ms(metadata: Mapping[str, Any]) -> float | None:
    """Of the picture, where the camera tells (`ExposureTime` is in microseconds)."""
    exposure_us = metadata.get("ExposureTime")
    return None if exposure_us is None else float(exposure_us) / 1000.0


def gain(metadata: Mapping[str, Any]) -> float | None:
    """Sensor's and processor's together, where the camera tells; 1: none."""
    analogue = metadata.get("AnalogueGain")
    return None if analogue is None else float(analogue) * float(metadata.get("DigitalGain") or 1.0)


def reason(error: BaseException) -> str:
    """What an error of the camera stack says, with what lies behind it."""
    said = [str(error) or type(error).__name__]
    while error.__cause__ is not None:
        error = error.__cause__
        said.append(str(error) or type(error).__name__)
    return ": ".join(dict.fromkeys(said))
