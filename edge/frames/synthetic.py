"""A camera that needs no camera: a rendered yard with hens, a jay and a person, the same every time for one seed."""

from __future__ import annotations

import re
from collections.abc import Generator
from itertools import count

from edge.errors import SourceError
from edge.frames import Shot, Wanted, always
from edge.frames.luma import luma_of
from edge.frames.scenery.stage import LOOKS, Stage
from edge.frames.scenery.weather import WEATHER
from edge.values import Box, Image

SCENES = tuple(LOOKS)
NIGHTS = tuple(WEATHER)
"""Harder ones, which the starter was never trained on."""
LARGEST = 3840 * 2160


class SyntheticSource:
    """One scene of `SCENES` or `NIGHTS`, endless. The same scene, seed, fps and size give the same pictures.

    `size` is width and height in pixels. Raises `SourceError` for a scene there is none of.
    """

    live = False
    reopened = 0
    trouble = ""

    def __init__(
        self, scene: str = "day", seed: int = 0, fps: float = 15.0, size: tuple[int, int] = (1280, 720)
    ) -> None:
        if scene not in SCENES + NIGHTS:
            raise SourceError(f"synthetic:{scene}: no such scene; there are {', '.join(SCENES + NIGHTS)}")
        if size[0] * size[1] > LARGEST:
            raise SourceError(f"synthetic:{scene}: {size[0]}x{size[1]} is too large to paint; at most 3840x2160")
        self.fps = fps
        self.skipped = 0
        under, weather = WEATHER[scene] if scene in WEATHER else (scene, None)  # noqa: SIM401  # mypy cannot follow get
        self._stage, self._weather, self._seed = Stage(under, seed, size), weather, seed

    @classmethod
    def parse(cls, source: str, fps: float, size: tuple[int, int]) -> SyntheticSource:
        """From `synthetic:SCENE` or `synthetic:SCENE?seed=N`."""
        match = re.fullmatch(r"synthetic:([a-z]+)(?:\?seed=(\d{1,9}))?", source)
        if match is None:
            raise SourceError(f"{source}: write it as synthetic:SCENE or synthetic:SCENE?seed=7")
        return cls(match[1], int(match[2] or 0), fps, size)

    def shots(self, wanted: Wanted = always) -> Generator[Shot, None, None]:
        """Pictures without end; what is not wanted is not drawn."""
        for index in count():
            media_time = index / self.fps
            if wanted(media_time):
                image = self.render(media_time)
                yield Shot(image, luma_of(image), media_time)

    def render(self, media_time: float) -> Image:
        """The picture of any moment, uint8[H, W, 3] RGB, without the others before it."""
        picture = self._stage.draw(media_time)
        if self._weather is None:
            return picture
        return self._weather(picture, media_time, self._seed)

    def truth(self, media_time: float) -> list[tuple[str, Box]]:
        """What is at least partly to be seen at that moment: "jay", "hen", "person" or "insect", and where."""
        return self._stage.truth(media_time)

    def send(self, label: str, time: float, at: float) -> None:
        """Whoever of `label` is here at `time` leaves at `at`, sooner or later than it would have by itself."""
        self._stage.send(label, time, at)
