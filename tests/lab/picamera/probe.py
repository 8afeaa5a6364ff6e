"""Inside the tree: drives Gander's own adapter and says, as one JSON object, what was seen."""

from __future__ import annotations

import json
import logging
import sys
import threading
import time
from collections.abc import Callable, Generator
from contextlib import closing
from itertools import islice
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from virtual import HANG, STUCK, virtual_camera

from edge.config import CameraConfig
from edge.errors import SourceError
from edge.frames import Shot
from edge.frames.live import LiveSource
from edge.frames.picamera import Calls, PicameraDevice, load_driver, open_picamera

CAMERA = CameraConfig(source="picamera", stale_s=2.0)
PATIENT = CAMERA.model_copy(update={"stale_s": 20.0})  # where nothing waits for a camera that is silent


def pictures() -> dict[str, Any]:
    """What comes, and whether it stays as it came."""
    shots, ages_ms = [], []
    with closing(open_picamera(CAMERA).shots()) as coming:
        for shot in islice(coming, 20):
            ages_ms.append((time.monotonic_ns() - shot.taken_at_ns) / 1e6)
            shots.append((shot, shot.image.copy(), shot.luma.copy()))
        time.sleep(3.0)
        newest_ms = (time.monotonic_ns() - next(coming).taken_at_ns) / 1e6
    last = shots[-1][0]
    grey = cv2.cvtColor(cv2.resize(last.image, last.luma.shape[::-1], interpolation=cv2.INTER_AREA), cv2.COLOR_RGB2GRAY)
    return {
        "image": [*last.image.shape, str(last.image.dtype)],
        "luma": [*last.luma.shape, str(last.luma.dtype)],
        "owned": all(
            np.array_equal(shot.image, image) and np.array_equal(shot.luma, luma) for shot, image, luma in shots
        ),
        "distinct": len({image.tobytes() for _, image, _ in shots}),
        "ages_ms": ages_ms,
        "after_a_pause_ms": newest_ms,
        "taken_at_ns": [shot.taken_at_ns for shot, _, _ in shots],
        "off_by": _difference(grey, last.luma),
        "off_by_mirrored": _difference(grey[:, ::-1], last.luma),
        "off_by_upside_down": _difference(grey[::-1], last.luma),
        "red": last.image[170, 250].tolist(),
        "blue": last.image[600, 1050].tolist(),
        "exposure_ms": last.exposure_ms,
        "gain": last.gain,
        "numpy": np.__version__,
        "opencv": cv2.__version__,
    }


def one_stream() -> dict[str, Any]:
    """A picture so small that it needs no smaller one; and one larger than the camera has."""
    seen = {}
    for size in ((640, 480), (1920, 1080)):
        with closing(open_picamera(CAMERA.model_copy(update={"size": size})).shots()) as coming:
            shot = next(coming)
        seen["x".join(map(str, size))] = [list(shot.image.shape), list(shot.luma.shape)]
    return seen


def again() -> dict[str, Any]:
    """Opened and closed many times, and refused many times: nothing may pile up."""
    driver, calls = load_driver("picamera"), Calls("picamera")
    growth = {}
    with closing(PicameraDevice(driver, 0, PATIENT, calls)) as device:
        device.shot()
    before = _held()
    for _ in range(8):
        with closing(PicameraDevice(driver, 0, PATIENT, calls)) as device:
            device.shot()
    growth["opened"] = [after - held for after, held in zip(_held(), before, strict=True)]
    with closing(PicameraDevice(driver, 0, PATIENT, calls)) as device:
        refused = _refusal(lambda: PicameraDevice(driver, 0, CAMERA, Calls("picamera")))
        before = _held()
        for _ in range(8):
            _refusal(lambda: PicameraDevice(driver, 0, CAMERA, Calls("picamera")))
        growth["refused"] = [after - held for after, held in zip(_held(), before, strict=True)]
        device.shot()  # the one that has it still has it
    missing = _refusal(lambda: PicameraDevice(driver, 1, CAMERA, Calls("picamera:1")))
    return {"growth": growth, "refused": refused, "missing": missing}


def hang() -> dict[str, Any]:
    """The camera stops delivering, then delivers again."""
    source = open_picamera(CAMERA)
    assert isinstance(source, LiveSource)
    with closing(source.shots()) as coming:
        next(coming)
        HANG.touch()
        threading.Timer(6.0, HANG.unlink).start()
        began = time.monotonic()
        troubles = _until_mended(source, coming)
        lasted = time.monotonic() - began
        next(coming)
    return {"troubles": troubles, "lasted": lasted, "reopened": source.reopened, "now": source.trouble}


def stuck() -> dict[str, Any]:
    """picamera2's own thread hangs, so that not even closing comes back; later it does."""
    said: list[str] = []
    handler = logging.Handler()
    handler.emit = lambda record: said.append(record.getMessage())  # type: ignore[method-assign]
    logging.getLogger("edge.frames").addHandler(handler)
    source = open_picamera(CAMERA)
    assert isinstance(source, LiveSource)
    with closing(source.shots()) as coming:
        next(coming)
        STUCK.touch()
        threading.Thread(target=_release, args=(source,)).start()
        troubles = _until_mended(source, coming)
        next(coming)
    return {"troubles": troubles, "said": said, "reopened": source.reopened, "now": source.trouble}


def _release(source: LiveSource) -> None:
    """Let picamera2's thread go on once it was told that it hangs."""
    end = time.monotonic() + 60.0
    while "hangs in closing" not in source.trouble and time.monotonic() < end:
        time.sleep(0.02)
    STUCK.unlink()


def _until_mended(source: LiveSource, coming: Generator[Shot, None, None]) -> list[str]:
    """What `source` says is wrong while the next picture is waited for."""
    troubles: list[str] = []
    stop = threading.Event()

    def listen() -> None:
        while not stop.wait(0.02):
            if source.trouble and source.trouble not in troubles:
                troubles.append(source.trouble)

    listener = threading.Thread(target=listen)
    listener.start()
    try:
        # A few pictures may have been on their way.
        while not troubles:
            next(coming)
    finally:
        stop.set()
        listener.join()
    return troubles


def _refusal(attempt: Callable[[], object]) -> str:
    try:
        attempt()
    except SourceError as error:
        return str(error)
    return ""


def _held() -> tuple[int, int]:
    """Open descriptors and threads: the fewest for a second, as what ends takes a moment."""
    looks = []
    for _ in range(20):
        looks.append((len(list(Path("/proc/self/fd").iterdir())), threading.active_count()))
        time.sleep(0.05)
    descriptors, threads = zip(*looks, strict=True)
    return min(descriptors), min(threads)


def _difference(one: Any, other: Any) -> float:
    return float(np.abs(one.astype(int) - other.astype(int)).mean())


if __name__ == "__main__":
    virtual_camera()
    parts = {function.__name__: function for function in (pictures, one_stream, again, hang, stuck)}
    sys.stdout.write(json.dumps({name: parts[name]() for name in sys.argv[1:]}) + "\n")
