"""Live cameras through OpenCV: V4L2, RTSP and MJPEG over HTTP."""

from __future__ import annotations

from edge.config import CameraConfig
from edge.errors import SourceError
from edge.frames import FrameSource


def open_stream(camera: CameraConfig) -> FrameSource:
    """A device node, a bare number, or an rtsp, rtsps, http or https address."""
    raise SourceError(f"{camera.source}: live cameras are not supported yet; give a clip, a folder or synthetic:day")
