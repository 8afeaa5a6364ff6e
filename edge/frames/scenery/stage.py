"""Puts the figures into the yard: shadows, weather, changes of light and the sensor's noise, a few ms a picture."""

from __future__ import annotations

import math
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from edge.frames.scenery import birds, person
from edge.frames.scenery.brush import Point, Sprite
from edge.frames.scenery.light import DAY, DULL, DUSK, NIGHT, lamplight, lit_sprite, lit_yard, reach
from edge.frames.scenery.story import HEN, JAY, PERSON, Figure, Story, near
from edge.frames.scenery.yard import paint_yard
from edge.values import Box, Image

LOOKS = {
    "day": DAY, "dusk": DUSK, "night": NIGHT, "rain": DULL, "cloud": DAY, "lamp": DUSK, "strobe": DUSK, "empty": DAY,
}  # fmt: skip
"""The scenes, and the light in each."""

PEOPLE, JAYS, INSECTS = 3, 3, 7
_MARGIN = 64  # by which noise and rain are larger than the picture, so that they can be shifted
_PALE = 2.2, 22.0  # gain and offset while a deterrent's light is on
_FLASHES = 2.0, 0.7, 0.4, 3  # seconds after a jay came, between starts, lit, how many

Matrix = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class _Insect:
    """A moth or midge near the lens: out of focus, bright, here and gone."""

    pace: tuple[float, float]
    phase: tuple[float, float]
    size: float
    light: float

    def at(self, time: float) -> Point:
        x = 0.5 + 0.62 * math.sin(self.pace[0] * time + self.phase[0]) + 0.05 * math.sin(9.1 * time + self.phase[1])
        y = 0.45 + 0.55 * math.sin(self.pace[1] * time + self.phase[1]) + 0.04 * math.sin(7.3 * time + self.phase[0])
        return x, y


class Stage:
    """One scene of one seed, ready to be drawn at any moment in any order."""

    def __init__(self, scene: str, seed: int, size: tuple[int, int]) -> None:
        self._scene, self._seed, (self._width, self._height) = scene, seed, size
        self._look = LOOKS[scene]
        rng = np.random.default_rng([seed, 0])
        yard = paint_yard(self._width, self._height, rng)
        self._yard = lit_yard(yard.picture, self._look)
        self._story = Story(seed, yard.ledge)
        self._sprites = {} if scene == "empty" else self._paint(rng)
        self._noise = self._make_noise(rng)
        self._shade = _soft_disc(64, 0.30)
        self._insects = _swarm(rng) if self._look.lamp else []
        self._reach = reach(9, 16) if self._look.lamp else None
        self._rain = self._make_rain(rng) if scene == "rain" else None
        self._lamplight = lamplight(self._height, self._width, (yard.box[0] - 0.12, 0.40)) if scene == "lamp" else None

    def draw(self, time: float) -> Image:
        """The picture at `time`, uint8[H, W, 3] RGB, new at each call."""
        picture = self._yard.copy()
        for figure in self._figures(time):
            self._put(picture, figure)
        for insect in self._insects:
            self._glow(picture, insect, time)
        picture = self._relight(picture, time)
        rng = np.random.default_rng([self._seed, 3, round(time * 1000)])
        if self._rain is not None:
            cv2.add(picture, self._shifted(self._rain, rng), dst=picture)
        more, less = self._noise
        cv2.add(picture, self._shifted(more, rng), dst=picture)
        cv2.subtract(picture, self._shifted(less, rng), dst=picture)
        return picture

    def truth(self, time: float) -> list[tuple[str, Box]]:
        """Whatever is at least partly in the picture at `time`: what it is, and where."""
        found = []
        for figure in self._figures(time):
            sprite = self._sprites[figure.label, figure.who, figure.pose]
            box = self._visible(_extent(sprite, self._placed(sprite, figure)))
            if box is not None:
                found.append((figure.label, box))
        for insect in self._insects:
            (x, y), half = self._pixels(insect.at(time)), insect.size * self._height * 0.75
            box = self._visible(np.array([[x - half, y - half], [x + half, y + half]]))
            if box is not None:
                found.append(("insect", box))
        return found

    def send(self, label: str, time: float, at: float) -> None:
        """Make who is here at `time` leave at `at`; see `Story.send`."""
        self._story.send(label, time, at)

    def _figures(self, time: float) -> list[Figure]:
        return [] if self._scene == "empty" else self._story.figures(time)

    def _paint(self, rng: np.random.Generator) -> dict[tuple[str, int, str], Sprite]:
        """Every figure in every pose, as large as it will ever be needed."""

        def unit(size: float) -> int:
            return math.ceil(size * self._height)

        breeds = rng.permutation(len(birds.BREEDS))
        cast: list[tuple[str, int, str, Sprite]] = []
        for who in range(4):
            breed = birds.BREEDS[breeds[who]]
            for pose in (*birds.WALK, "stand", "look", "peck"):
                cast.append(("hen", who, pose, birds.hen(breed, pose, unit(HEN * 1.1), rng)))
        for who in range(JAYS):
            colours = birds.jay_colours(rng)
            for pose in (*birds.FLIGHT, "stand", "crouch"):
                cast.append(("jay", who, pose, birds.jay(colours, pose, unit(JAY), rng)))
        for who in range(PEOPLE):
            worn = person.clothes(rng)
            for pose in person.STRIDE:
                cast.append(("person", who, pose, person.person(worn, pose, unit(PERSON * near(0.85)), rng)))
        return {(label, who, pose): lit_sprite(sprite, self._look) for label, who, pose, sprite in cast}

    def _pixels(self, at: Point) -> Point:
        return at[0] * self._width, at[1] * self._height

    def _placed(self, sprite: Sprite, figure: Figure) -> Matrix:
        """From the sprite's pixels to the picture's, float64[2, 3]."""
        scale = figure.size * self._height / sprite.unit
        turn = math.radians(-figure.turn if figure.left else figure.turn)
        flip = -1.0 if figure.left else 1.0
        cos, sin = scale * math.cos(turn), scale * math.sin(turn)
        matrix = np.array([[cos * flip, -sin, 0.0], [sin * flip, cos, 0.0]])
        matrix[:, 2] = np.array(self._pixels(figure.at)) - matrix[:, :2] @ np.array(sprite.anchor)
        return matrix

    def _put(self, picture: Image, figure: Figure) -> None:
        sprite = self._sprites[figure.label, figure.who, figure.pose]
        if self._look.shadow and figure.pose not in birds.FLIGHT:
            self._shadow(picture, figure)
        matrix = self._placed(sprite, figure)
        height, width = sprite.rgba.shape[:2]
        corners = np.array([[0, 0], [width, 0], [0, height], [width, height]]) @ matrix[:, :2].T + matrix[:, 2]
        window = self._window(corners)
        if window is None:
            return
        left, top, right, bottom = window
        matrix[:, 2] -= (left, top)
        rgba = cv2.warpAffine(sprite.rgba, matrix, (right - left, bottom - top), flags=cv2.INTER_LINEAR)
        rgb, alpha = cv2.cvtColor(rgba, cv2.COLOR_RGBA2RGB), cv2.extractChannel(rgba, 3)
        if self._reach is not None:
            rgb = cv2.convertScaleAbs(rgb, alpha=self._lit(figure))
        under = picture[top:bottom, left:right]
        cv2.multiply(under, cv2.cvtColor(cv2.bitwise_not(alpha), cv2.COLOR_GRAY2RGB), dst=under, scale=1 / 255)
        cv2.add(under, rgb, dst=under)

    def _lit(self, figure: Figure) -> float:
        """How much infrared reaches a figure: more than the ground behind it, which is farther from the lamp."""
        assert self._reach is not None
        x, y = min(max(figure.at[0], 0.0), 0.999), min(max(figure.at[1] - figure.size / 3, 0.0), 0.999)
        return min(float(self._reach[int(y * 9), int(x * 16)]) * 1.25 + 0.10, 1.0)

    def _shadow(self, picture: Image, figure: Figure) -> None:
        size = figure.size * (0.55 if figure.label == "person" else 0.95) * self._height
        x, y = self._pixels((figure.at[0], max(figure.ground, figure.at[1])))
        ellipse = np.array([[x - size * 0.42, y - size * 0.12], [x + size * 0.70, y + size * 0.16]])
        window = self._window(ellipse)
        if window is None:
            return
        left, top, right, bottom = window
        scale = 64.0 / (ellipse[1] - ellipse[0])
        matrix = np.array([[1 / scale[0], 0, ellipse[0, 0] - left], [0, 1 / scale[1], ellipse[0, 1] - top]])
        dark = cv2.warpAffine(self._shade, matrix, (right - left, bottom - top))
        kept = cv2.cvtColor(cv2.convertScaleAbs(dark, alpha=-self._look.shadow, beta=255), cv2.COLOR_GRAY2RGB)
        under = picture[top:bottom, left:right]
        cv2.multiply(under, kept, dst=under, scale=1 / 255)

    def _glow(self, picture: Image, insect: _Insect, time: float) -> None:
        """Add one insect, drawn out along its way during the exposure."""
        (x, y), (before_x, before_y) = self._pixels(insect.at(time)), self._pixels(insect.at(time - 0.02))
        size = insect.size * self._height
        window = self._window(np.array([[x - size, y - size], [x + size, y + size]]))
        if window is None:
            return
        left, top, right, bottom = window
        turn, stretch = math.atan2(y - before_y, x - before_x), 0.45
        disc = self._shade.shape[0]
        along, across = 2 * size / disc, 2 * size / disc * stretch
        cos, sin = math.cos(turn), math.sin(turn)
        matrix = np.array([[along * cos, -across * sin, x - left], [along * sin, across * cos, y - top]])
        matrix[:, 2] -= matrix[:, :2] @ np.array([disc / 2, disc / 2])
        shape = cv2.warpAffine(self._shade, matrix, (right - left, bottom - top))
        light = cv2.convertScaleAbs(shape, alpha=insect.light)
        under = picture[top:bottom, left:right]
        cv2.add(under, cv2.cvtColor(light, cv2.COLOR_GRAY2RGB), dst=under)

    def _relight(self, picture: Image, time: float) -> Image:
        """A cloud, a lamp, or a deterrent's flashes, over everything that is there."""
        if self._scene == "cloud":
            return self._cloud(picture, time)
        if self._lamplight is not None and 5.0 <= time % 40.0 < 26.0:
            return np.asarray(cv2.multiply(picture, self._lamplight, scale=1 / 64), np.uint8)
        jays = (visit for visit in self._story.visits(time) if visit.label == "jay")
        if self._scene == "strobe" and any(_flash(time - jay.begins) for jay in jays):
            return np.asarray(cv2.convertScaleAbs(picture, alpha=_PALE[0], beta=_PALE[1]), np.uint8)
        return picture

    def _cloud(self, picture: Image, time: float) -> Image:
        """Its shadow moves in from the left at 5 s of every 45, and away again after a quarter of a minute."""
        lag = np.linspace(0.0, 3.0, 32)
        since = time % 45.0 - 5.0 - lag
        shade = _ease(since / 3.0) - _ease((since - 15.0) / 3.0)
        if not shade.any():
            return picture
        row = 255.0 * (1.0 - shade[:, None] * np.array((0.50, 0.47, 0.42)))
        kept = cv2.resize(row[None].astype(np.uint8), (self._width, self._height), interpolation=cv2.INTER_LINEAR)
        return np.asarray(cv2.multiply(picture, kept, scale=1 / 255), np.uint8)

    def _window(self, corners: NDArray[np.floating]) -> tuple[int, int, int, int] | None:
        """The pixels (left, top, right, bottom) that corners span, as far as they are in the picture."""
        left, top = (max(math.floor(v), 0) for v in corners.min(0))
        right, bottom = math.ceil(corners[:, 0].max()), math.ceil(corners[:, 1].max())
        right, bottom = min(right, self._width), min(bottom, self._height)
        return (left, top, right, bottom) if right > left and bottom > top else None

    def _visible(self, corners: NDArray[np.floating]) -> Box | None:
        window = self._window(corners)
        if window is None:
            return None
        left, top, right, bottom = window
        return Box(left / self._width, top / self._height, (right - left) / self._width, (bottom - top) / self._height)

    def _shifted(self, layer: Image, rng: np.random.Generator) -> Image:
        x, y = rng.integers(0, _MARGIN, 2)
        return layer[y : y + self._height, x : x + self._width]

    def _make_noise(self, rng: np.random.Generator) -> tuple[Image, Image]:
        """What the sensor adds and takes away; in two parts because uint8 knows no sign, and saturates."""
        shape = self._height + _MARGIN, self._width + _MARGIN
        noise = rng.standard_normal((*shape, 1), dtype=np.float32) * self._look.noise
        if self._look.colour:
            noise = noise * 0.8 + rng.standard_normal((*shape, 3), dtype=np.float32) * self._look.noise * 0.5
        noise = np.broadcast_to(noise, (*shape, 3))
        more, less = (np.ascontiguousarray(np.clip(part, 0, 255) + 0.5).astype(np.uint8) for part in (noise, -noise))
        return more, less

    def _make_rain(self, rng: np.random.Generator) -> Image:
        """Streaks of many drops at one moment."""
        layer = np.zeros((self._height + _MARGIN, self._width + _MARGIN, 3), np.uint8)
        for _ in range(450):
            x, y = int(rng.integers(layer.shape[1])), int(rng.integers(-40, layer.shape[0]))
            length, light = float(rng.uniform(0.015, 0.07)) * self._height, int(rng.integers(14, 60))
            end = round(x - 0.12 * length), round(y + length)
            cv2.line(layer, (x, y), end, (light, light, light), 1 + int(length > 0.06 * self._height), cv2.LINE_AA)
        return np.asarray(cv2.GaussianBlur(layer, (0, 0), 0.6), np.uint8)


def _extent(sprite: Sprite, matrix: Matrix) -> NDArray[np.floating]:
    """The corners of what is solid of a sprite, after it was placed."""
    x, y, w, h = cv2.boundingRect(cv2.inRange(cv2.extractChannel(sprite.rgba, 3), 128, 255))
    corners = np.array([[x, y], [x + w, y], [x, y + h], [x + w, y + h]], np.float64)
    return np.asarray(corners @ matrix[:, :2].T + matrix[:, 2])


def _swarm(rng: np.random.Generator) -> list[_Insect]:
    def two(low: float, high: float) -> tuple[float, float]:
        return float(rng.uniform(low, high)), float(rng.uniform(low, high))

    return [
        _Insect(two(0.6, 2.2), two(0.0, 6.3), float(rng.uniform(0.012, 0.050)), float(rng.uniform(0.5, 1.0)))
        for _ in range(INSECTS)
    ]


def _flash(passed: float) -> bool:
    """Whether a deterrent's light is on `passed` seconds after the jay came."""
    first, every, lit, count = _FLASHES
    since = passed - first
    return 0.0 <= since < every * count and since % every < lit


def _soft_disc(size: int, softness: float) -> Image:
    y, x = (np.mgrid[0:size, 0:size] + 0.5) / size * 2 - 1
    return (255 * _ease((1.0 - np.hypot(x, y)) / (3 * softness))).astype(np.uint8)


def _ease(part: NDArray[np.floating]) -> NDArray[np.floating]:
    part = np.clip(part, 0.0, 1.0)
    return np.asarray(part * part * (3 - 2 * part))
