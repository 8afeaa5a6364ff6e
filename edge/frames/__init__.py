"""Where pictures come from. To add a camera: one file here with a `FrameSource`, one line in `open_source`."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Protocol

from edge.values import Image, Luma


@dataclass(frozen=True, slots=True)
class Shot:
    """A picture as a source hands it over, before the clocks are stamped on.

    `image` uint8[H, W, 3] RGB and `luma` uint8[h, w] (at most 640x480, same view) are not written to again.
    `media_time` is seconds since the source began. `taken_at_ns` is the monotonic time of the exposure where the
    source knows it, else None: the capture thread then uses the time it got the picture.
    """

    image: Image
    luma: Luma
    media_time: float
    taken_at_ns: int | None = None


class FrameSource(Protocol):
    """One camera, clip or folder. `live`: it delivers at its own pace and never ends by itself.

    Raises `SourceError` when it cannot be opened; a single picture that cannot be read is skipped and counted.
    """

    live: bool
    fps: float
    skipped: int

    def shots(self) -> Iterator[Shot]:
        """Pictures in order, each once. Closing the iterator releases the source."""
        ...
