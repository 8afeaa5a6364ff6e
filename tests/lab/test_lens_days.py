"""A camera over days of real pictures, with dusks and nights made of them: no false word, and a true one that stays."""

from __future__ import annotations

import copy
from pathlib import Path

import cv2
import numpy as np
import pytest

from edge.config import CameraConfig
from edge.lens import Lens
from edge.values import Image
from tests.edge.yard import DAY_S, HOUR_S, SIZE, Unlit, Yard, out_of_focus, watch, without_colour

pytestmark = pytest.mark.lab

CLIPS = (
    "videos_birds",
    "videos_dogs",
    "videos_bird",
    "videos_warren",
    "videos_chickens",
    "videos_pedestrians",
    "vtest",
)
DAYS_S = 4 * DAY_S


class Filmed(Yard):
    """The yard's days and nights, of a clip's pictures."""

    def __init__(self, clip: Path) -> None:
        super().__init__()
        day = pictures(clip)
        dusk = [darker(picture, 0.3) for picture in day]
        night = [lamp(picture) for picture in day]
        self._scenes = {"day": day, "rain": day, "dusk": dusk} | dict.fromkeys(("infrared", "drizzle", "swarm"), night)


def pictures(clip: Path) -> list[Image]:
    """Eight of a clip."""
    film, found = cv2.VideoCapture(str(clip)), []
    length = int(film.get(cv2.CAP_PROP_FRAME_COUNT))
    for number in range(8):
        film.set(cv2.CAP_PROP_POS_FRAMES, number * length // 8)
        read, picture = film.read()
        assert read, clip
        found.append(cv2.cvtColor(cv2.resize(picture, SIZE, interpolation=cv2.INTER_AREA), cv2.COLOR_BGR2RGB))
    return found


def darker(picture: Image, light: float) -> Image:
    """With less colour, too."""
    return np.asarray(cv2.addWeighted(picture, light / 2, without_colour(picture), light / 2, 0), np.uint8)


def lamp(picture: Image) -> Image:
    """Grey, lit in the middle."""
    y, x = np.mgrid[-1.0 : 1.0 : SIZE[1] * 1j, -1.0 : 1.0 : SIZE[0] * 1j]
    return np.asarray(without_colour(picture) * np.exp(-(x**2) - y**2)[..., None], np.uint8)


@pytest.mark.parametrize("name", CLIPS)
def test_days_of_real_pictures_give_no_false_word_and_a_fault_one_that_stays(name: str, shared_data: Path) -> None:
    (clip,) = (shared_data / "video").glob(f"*_{name}.mp4")
    lit = Filmed(clip)
    for yard in (lit, Unlit(lit)):
        lens = Lens(CameraConfig(id="nest"))
        assert not [names for _, names in watch(lens, yard, 0.0, DAYS_S) if names]
        for change, fault in ((out_of_focus, "blurred"), (without_colour, "grey")):
            faulty = copy.deepcopy(lens)
            told = [names for _, names in watch(faulty, yard, DAYS_S + 9 * HOUR_S, 36 * HOUR_S, change)]
            first = told.index([fault])
            assert first < 120, "minutes"
            assert all(names == [fault] for names in told[first:]), "through dusk, night and dawn"
