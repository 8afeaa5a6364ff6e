"""Who is where at what time: the same for every reader of one seed, at any moment, in any order."""

from __future__ import annotations

import math
from bisect import bisect_right
from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np

from edge.frames.scenery.birds import FLIGHT, WALK
from edge.frames.scenery.brush import Point
from edge.frames.scenery.person import STRIDE

CHAPTER_S = 66.0  # the story tells itself anew this often, each time a little differently
HENS = 4
FLIGHT_S = 1.1  # a jay flies so long into the picture, and out of it
HEN, JAY, PERSON = 0.180, 0.150, 0.60  # how large one unit is at the lower edge, as a fraction of the picture's height


@dataclass(frozen=True, slots=True)
class Figure:
    """One figure at one moment. `at`: where it stands, `ground`: what it stands over (fractions of the picture).

    `size` is the height of one unit as a fraction of the picture's height; `turn` in degrees, clockwise.
    """

    label: str
    who: int
    pose: str
    at: Point
    ground: float
    size: float
    left: bool = False
    turn: float = 0.0


@dataclass(frozen=True, slots=True)
class Visit:
    """A jay or a person who comes and goes, in seconds since the beginning."""

    label: str
    who: int
    begins: float
    lasts: float
    from_left: bool
    seed: int


class Story:
    """The yard's day: hens wander; jays come to the nest box at `ledge`; somebody walks by."""

    def __init__(self, seed: int, ledge: Point) -> None:
        self._seed, self._ledge = seed, ledge
        rng = np.random.default_rng([seed, 1])
        self._hens = [_Hen(who, rng, ledge[0]) for who in range(HENS)]
        self._told: dict[int, tuple[Visit, ...]] = {}
        self._sent: dict[Visit, float] = {}  # who was made to leave, or to stay, and until when

    def send(self, label: str, time: float, at: float) -> None:
        """Whoever of `label` is here at `time` flies off at `at`, sooner or later than it would have by itself."""
        for visit in self.visits(time):
            if visit.label == label:
                told = next((own for own in self._sent if own.begins == visit.begins), visit)
                self._sent[told] = at

    def figures(self, time: float) -> list[Figure]:
        """Everybody in the yard at `time`, the farthest first."""
        found = [hen.figure(time) for hen in self._hens]
        for visit in self.visits(time):
            passed = time - visit.begins
            found.append(_jay(visit, passed, self._ledge) if visit.label == "jay" else _person(visit, passed))
        return sorted(found, key=lambda figure: figure.ground)

    def visits(self, time: float) -> list[Visit]:
        """Who of the comers and goers is here at `time`."""
        chapter = int(max(time, 0.0) // CHAPTER_S)
        if chapter not in self._told:
            if len(self._told) > 3:
                self._told.clear()
            self._told[chapter] = tuple(self._tell(chapter))
        here = [self._changed(visit) for visit in self._told[chapter]]
        return [visit for visit in here if visit.begins <= time < visit.begins + visit.lasts]

    def _changed(self, visit: Visit) -> Visit:
        at = self._sent.get(visit)
        return visit if at is None else replace(visit, lasts=max(at - visit.begins, FLIGHT_S) + FLIGHT_S)

    def _tell(self, chapter: int) -> Iterator[Visit]:
        """Two jays, and in every other chapter a person between them."""
        rng = np.random.default_rng([self._seed, 2, chapter])
        start, vary = chapter * CHAPTER_S, 0.0 if chapter == 0 else 3.0

        def visit(label: str, begins: float, lasts: float) -> Visit:
            sure = float(rng.uniform(-vary, vary))
            who, left, seed = int(rng.integers(3)), bool(rng.random() < 0.5), int(rng.integers(1 << 30))
            return Visit(label, who, start + begins + sure, lasts * float(rng.uniform(0.95, 1.2)), left, seed)

        yield visit("jay", 8.0, 6.0)
        if chapter % 2 == 0:
            yield visit("person", 30.0, 8.0)
        yield visit("jay", 44.0, 6.0)


class _Hen:
    """One hen's rounds: from place to place, pecking where she stops, and again from the start."""

    def __init__(self, who: int, rng: np.random.Generator, nests: float) -> None:
        self._who = who
        self._size = HEN * float(rng.uniform(0.88, 1.12))
        count = 24
        self._places = np.stack([rng.uniform(0.05, 0.95, count), rng.uniform(0.74, 0.96, count)], 1)
        before = np.abs(self._places[:, 0] - nests) < 0.2
        self._places[before, 1] = np.maximum(self._places[before, 1], 0.83)  # not between the camera and the eggs
        legs = np.roll(self._places, -1, 0) - self._places
        self._walks = np.maximum(np.hypot(legs[:, 0], legs[:, 1]) / rng.uniform(0.05, 0.09, count), 0.8)
        self._stops = rng.uniform(2.0, 6.0, count)
        self._ends = np.cumsum(self._walks + self._stops)
        self._late = float(rng.uniform(0, self._ends[-1]))

    def figure(self, time: float) -> Figure:
        time = (time + self._late) % float(self._ends[-1])
        index = min(bisect_right(self._ends, time), len(self._ends) - 1)
        passed = time - (float(self._ends[index - 1]) if index else 0.0)
        start, end = self._places[index], self._places[(index + 1) % len(self._places)]
        walk = float(self._walks[index])
        part = min(passed / walk, 1.0)
        x, y = start + (end - start) * (part * part * (3 - 2 * part))
        pose = WALK[int(passed * 5.0) % 4] if part < 1.0 else self._rest(passed - walk, index)
        left = bool(end[0] < start[0])
        return Figure("hen", self._who, pose, (float(x), float(y)), float(y), self._size * near(float(y)), left)

    def _rest(self, passed: float, index: int) -> str:
        """What she does while she stands: looks round, pecks two or three times, looks again."""
        if passed < 0.5:
            return "stand"
        beat = int((passed - 0.5) / 0.33)
        return ("peck", "stand", "peck", "peck", "look", "look", "stand")[(beat + index) % 7]


def near(ground: float) -> float:
    """How large things look that stand at `ground`, 1 at the lower edge."""
    return 0.52 + 0.48 * (ground - 0.45) / 0.55


def _jay(visit: Visit, passed: float, ledge: Point) -> Figure:
    """Flies in, lands in the grass, hops to the perch, pecks at the eggs, and is gone."""
    rng = np.random.default_rng(visit.seed)
    side = -1.0 if visit.from_left else 1.0
    away: Point = (0.5 + side * 0.62, float(rng.uniform(0.02, 0.25)))
    out: Point = (0.5 + (side if rng.random() < 0.4 else -side) * 0.64, float(rng.uniform(0.0, 0.2)))
    start: Point = (ledge[0] + side * float(rng.uniform(0.10, 0.22)), float(rng.uniform(0.74, 0.84)))
    perch: Point = (ledge[0] + float(rng.uniform(-0.09, 0.09)), ledge[1])
    size = JAY * float(rng.uniform(0.9, 1.1))
    flight = FLIGHT_S
    if passed < flight:
        return _flight(visit, passed, passed / flight, (away, start), size)
    if passed > visit.lasts - flight:
        return _flight(visit, passed, 1 - (visit.lasts - passed) / flight, (perch, out), size)
    hops, beat = 4, 0.5
    done = (passed - flight - 0.4) / beat
    if done < hops:
        hop = max(int(done), 0)
        rise = min(max(done - hop, 0.0) / 0.6, 1.0)
        part = (hop + rise) / hops if done > 0 else 0.0
        x, y = (a + (b - a) * part for a, b in zip(start, perch, strict=True))
        ground = start[1] + (0.74 - start[1]) * part
        lift = 0.045 * 4 * rise * (1 - rise)
        pose = "crouch" if 0 < rise < 0.25 else "stand"
        return Figure("jay", visit.who, pose, (x, y - lift), ground, size * near(ground), perch[0] < start[0])
    peck = math.sin((passed - flight) * 7.0 + visit.seed % 7)
    facing = bool((int(passed / 1.3) + visit.seed) % 2)
    return Figure("jay", visit.who, "stand", perch, 0.74, size * near(0.74), facing, turn=max(peck, 0.0) * 42.0)


def _flight(visit: Visit, passed: float, part: float, leg: tuple[Point, Point], size: float) -> Figure:
    """Along a shallow arc between two points, wings beating."""
    (x0, y0), (x1, y1) = leg
    part = min(max(part, 0.0), 1.0)
    x, y = x0 + (x1 - x0) * part, y0 + (y1 - y0) * part - 0.06 * math.sin(math.pi * part) - 0.035
    steep = math.degrees(math.atan2(y1 - y0, abs(x1 - x0) * 16 / 9)) * 0.6
    return Figure("jay", visit.who, FLIGHT[int(passed * 13.0) % 4], (x, y), 0.99, size * near(0.8), x1 < x0, turn=steep)


def _person(visit: Visit, passed: float) -> Figure:
    """Straight across, legs and arms swinging with the steps."""
    rng = np.random.default_rng(visit.seed)
    ground, size = float(rng.uniform(0.76, 0.90)), PERSON * float(rng.uniform(0.92, 1.08))
    part = passed / visit.lasts
    x = -0.15 + 1.3 * part if visit.from_left else 1.15 - 1.3 * part
    pose = STRIDE[int(passed * 8.5) % len(STRIDE)]
    return Figure("person", visit.who, pose, (x, ground), ground, size * near(ground), not visit.from_left)
