"""A stand-in for picamera2 that hangs on demand: found on PYTHONPATH, obeys the word in the file $STUCK_CAMERA.

`good`; `silent`: no picture within the time; `hangs`: a read that never returns; `gone`: no camera. The lab drives the
real picamera2.
"""

from __future__ import annotations

import os
import threading
import time
from pathlib import Path
from typing import Any

import numpy as np


def _mode() -> str:
    return Path(os.environ["STUCK_CAMERA"]).read_text().strip()


class Picamera2:
    def __init__(self, number: int) -> None:
        self.camera_controls: dict[str, Any] = {}
        self.camera = self
        self._main: dict[str, Any] = {}
        self._count = 0

    @staticmethod
    def global_camera_info() -> list[dict[str, int]]:
        return [] if _mode() == "gone" else [{"Num": 0}]

    def generate_configuration(self, roles: list[Any]) -> list[Any]:
        return roles[:1]

    def create_video_configuration(self, main: dict[str, Any], **more: Any) -> dict[str, Any]:
        return {"main": main}

    def configure(self, configuration: dict[str, Any]) -> None:
        self._main = configuration["main"]

    def camera_configuration(self) -> dict[str, Any]:
        return {"main": self._main}

    def start(self) -> None: ...

    def capture_request(self, wait: bool) -> _Job:
        self._count += 1
        return _Job(self._main["size"], self._count)

    def cancel_all_and_flush(self) -> None: ...

    def close(self) -> None: ...


class _Job:
    """One picture asked for, and the picture."""

    def __init__(self, size: tuple[int, int], number: int) -> None:
        self._size, self._number = size, number

    def get_result(self, timeout: float) -> _Job:
        mode = _mode()
        if mode == "hangs":
            threading.Event().wait()
        if mode != "good":
            time.sleep(timeout)
            raise TimeoutError
        time.sleep(1 / 15)
        return self

    def make_array(self, name: str) -> np.ndarray[Any, Any]:
        rng = np.random.default_rng(self._number)
        return rng.integers(90, 110, (self._size[1], self._size[0], 3), np.uint8)

    def get_metadata(self) -> dict[str, Any]:
        return {}

    def release(self) -> None: ...
