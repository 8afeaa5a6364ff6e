"""Where pictures come from. To add a camera: one file here with a `FrameSource`, one line in `open_source`."""

from __future__ import annotations

import re
from collections.abc import Callable, Generator
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from edge.config import CameraConfig
from edge.errors import SourceError
from edge.values import Image, Luma

Wanted = Callable[[float], bool]
"""Whether the picture of this `media_time` is still of use; asked before the work of decoding it is done."""


@dataclass(frozen=True, slots=True)
class Shot:
    """A picture as a source hands it over, before the clocks are stamped on.

    `image` uint8[H, W, 3] RGB and `luma` uint8[h, w] (at most 640x480, same view) belong to the receiver: the source
    does not touch them again. `media_time` is seconds since the source began. `taken_at_ns` is the monotonic time of
    the exposure where the source knows it, else None: the capture thread then uses the time it got the picture.
    """

    image: Image
    luma: Luma
    media_time: float
    taken_at_ns: int | None = None
    exposure_ms: float | None = None
    gain: float | None = None


def always(media_time: float) -> bool:
    """Every picture is wanted."""
    return True


class FrameSource(Protocol):
    """One camera, clip or folder. `live`: it delivers at its own pace and never ends by itself.

    What is recorded raises `SourceError` when it cannot be opened; a live one is opened again and again, for as long
    as it takes, and says meanwhile what is wrong. A single picture that cannot be read is skipped and counted.
    """

    live: bool
    fps: float

    @property
    def skipped(self) -> int:
        """Pictures that could not be read."""
        ...

    @property
    def reopened(self) -> int: ...

    @property
    def trouble(self) -> str:
        """Why no pictures come, for people; empty while they do."""
        ...

    def shots(self, wanted: Wanted = always) -> Generator[Shot, None, None]:
        """Pictures in order, each once, except those not `wanted`. Closing the iterator releases the source."""
        ...


def open_source(camera: CameraConfig) -> FrameSource:
    """The source a configuration names: a camera, `synthetic:SCENE`, a folder of pictures, one picture, or a clip.

    Raises `SourceError` when there is nothing there to watch. A camera that is merely away is no error: its source
    waits for it.
    """
    # Imported when chosen: an adapter may need a library that only its own kind of machine has.
    source = camera.source
    if re.fullmatch(r"picamera(:\d+)?", source):
        from edge.frames.picamera import open_picamera

        return open_picamera(camera)
    if re.match(r"[a-z][a-z0-9+.-]*://|/dev/|\d+$", source, re.IGNORECASE):
        from edge.frames.stream import open_stream

        return open_stream(camera)
    if source.startswith("synthetic:"):
        from edge.frames.synthetic import SyntheticSource

        return SyntheticSource.parse(source, camera.fps, camera.size)
    path = Path(source).expanduser()
    from edge.frames.folder import PICTURES, FolderSource, pictures

    if path.is_dir():
        return FolderSource(pictures(path), camera.fps)
    if path.suffix.lower() == ".csv":
        raise SourceError(f"{source}: a table of sequences cannot be a camera; play it with `gander replay {source}`")
    if path.suffix.lower() in PICTURES and path.is_file():
        return FolderSource([path], camera.fps)
    from edge.frames.opencv import ClipSource

    return ClipSource(path)
