"""The owner's pictures and what they show: read from a folder per class, a table, or a camera trap's JSON."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from edge.frames.picture import read_picture
from edge.preprocess import MARGIN, square_crop
from edge.values import Box, Image


@dataclass(frozen=True, slots=True)
class Picture:
    """One picture, or one animal on it.

    `group` is its burst or visit, which is never split. `box` is what is meant, in fractions of the picture; None: all
    of it, as with the crops that the appliance kept. `said` is where its label stands, for messages.
    """

    path: Path
    label: str
    group: str
    source: str = ""
    camera: str = ""
    wall: datetime | None = None
    box: Box | None = None
    sublabel: str = ""
    said: str = ""


@dataclass(frozen=True, slots=True)
class Dataset:
    """Everything that was read. `derived`: nobody said which pictures belong together, it was found out."""

    where: Path
    format: str
    pictures: tuple[Picture, ...]
    derived: bool = False
    notes: tuple[str, ...] = ()

    @property
    def labels(self) -> tuple[str, ...]:
        """Each label once, sorted."""
        return tuple(sorted({picture.label for picture in self.pictures}))


def load(picture: Picture, margin: float = MARGIN) -> Image:
    """The picture as the model is to see it, uint8[h, w, 3] RGB: whole, or cut as the appliance cuts.

    Raises `SourceError` where the file is none.
    """
    image = read_picture(picture.path)
    return square_crop(image, picture.box, margin) if picture.box else image
