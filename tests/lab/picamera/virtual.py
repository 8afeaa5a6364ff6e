"""Inside the tree: picamera2's real API over libcamera's virtual camera; alone, it runs `gander` on that."""

from __future__ import annotations

import sys
import time
import types
from pathlib import Path
from typing import Any

FPS = 15.0
HANG = Path("/tmp/hang")  # while this file is there, no finished picture is reported
STUCK = Path("/tmp/stuck")  # while this file is there, picamera2's own thread goes no further


def virtual_camera() -> None:
    """Give picamera2 what this machine lacks, before anything imports it.

    A display library, which is not used; a raw mode, which the virtual camera has not; buffers cut into planes as it
    wants them; and a pace: by itself it fills buffers as fast as they come back.
    """
    display: Any = types.ModuleType("kms")
    display.PixelFormats = _AnyFormat()
    sys.modules["kms"] = display
    import picamera2.picamera2 as camera
    from picamera2.allocators import dmaallocator

    dmaallocator.libcamera = types.SimpleNamespace(FrameBuffer=_in_two_planes(dmaallocator.libcamera.FrameBuffer))
    camera.Picamera2._get_raw_modes = lambda picamera: [{"format": "SRGGB8", "size": (1280, 720)}]
    deliver, process = camera.CameraManager.handle_request, camera.Picamera2.process_requests

    def deliver_at_a_pace(manager: Any, flushid: int | None = None) -> None:
        time.sleep(1.0 / FPS)
        while HANG.exists() and flushid is None and manager.running:
            time.sleep(0.05)
        deliver(manager, flushid)

    def process_unless_stuck(picamera: Any, display: Any) -> None:
        while STUCK.exists():
            time.sleep(0.05)
        process(picamera, display)

    camera.CameraManager.handle_request = deliver_at_a_pace
    camera.Picamera2.process_requests = process_unless_stuck


class _AnyFormat:
    """Has every pixel format anybody may name."""

    def __getattr__(self, name: str) -> str:
        return name


def _in_two_planes(buffer: Any) -> Any:
    """libcamera's `FrameBuffer`, from one plane made into one for the brightness and one for the colour."""

    class InTwoPlanes:
        Plane = buffer.Plane

        def __new__(cls, planes: list[Any]) -> Any:
            luma, colour = planes[0], buffer.Plane()
            whole = luma.length
            luma.length = colour.offset = whole * 2 // 3
            colour.fd, colour.length = luma.fd, whole - luma.length
            return buffer([luma, colour])

    return InTwoPlanes


if __name__ == "__main__":
    virtual_camera()
    from edge.cli import main

    sys.argv[0] = "gander"
    main()
