"""What is usual for one camera (light of each hour, detail, sharpness, where it looks), and what speaks against it."""

from __future__ import annotations

import base64
import math
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np

from edge.lens_view import THUMB, Thumb, View

State = Literal["colour", "grey"]

HABIT_S = 3 * 24 * 3600.0  # what is usual follows the seasons so slowly
LEARN_S = 2 * 3600.0  # watched for so long, it is known
DAYS = 2  # an hour of the day is known after so many
_MOST_DAYS = 7
_LEAST_S = 1200.0  # of an hour, for it to count


@dataclass(slots=True)
class Evidence:
    """Grows while something is so, falls twice as fast while it is not; told when full, until half is gone."""

    after_s: float
    score_s: float = 0.0
    told: bool = False
    told_s: float = 0.0  # for so long

    def weigh(self, is_so: bool | None, since_s: float) -> None:
        """`is_so`: None where nobody can tell: what was told stays told, what was not comes no nearer to it."""
        if not (self.told and is_so is None):
            self.score_s = min(max(self.score_s + since_s * (1.0 if is_so else -2.0), 0.0), self.after_s)
        if self.score_s >= self.after_s:
            self.told = True
        elif self.score_s <= self.after_s / 2:
            self.told = False
        self.told_s = self.told_s + since_s if self.told else 0.0


@dataclass(slots=True)
class Average:
    """A mean that forgets."""

    value: float = 0.0
    seconds: float = 0.0

    def learn(self, value: float, since_s: float) -> None:
        self.seconds += since_s
        self.value += (value - self.value) * min(since_s / min(self.seconds, HABIT_S), 1.0)

    @property
    def known(self) -> bool:
        return self.seconds >= LEARN_S


@dataclass(slots=True)
class Hour:
    """One hour of the day over the last days, but for the newest: what broke since then does not speak for itself."""

    days: int = 0
    brightness: float = 0.0
    colour: float = 0.0  # share of the time
    newest: tuple[float, float] | None = None  # brightness and colour

    def learn(self, brightness: float, colour: float) -> None:
        if self.newest is not None:
            self.days = min(self.days + 1, _MOST_DAYS)
            self.brightness += (self.newest[0] - self.brightness) / self.days
            self.colour += (self.newest[1] - self.colour) / self.days
        self.newest = brightness, colour


@dataclass(slots=True)
class Usual:
    """Learnt from all that is seen; small, and kept over restarts by `json` and `of`."""

    detail: dict[State, Average] = field(default_factory=lambda: {"colour": Average(), "grey": Average()})
    sharpness: dict[State, Average] = field(default_factory=lambda: {"colour": Average(), "grey": Average()})
    hours: list[Hour] = field(default_factory=lambda: [Hour() for _ in range(24)])
    light: tuple[float, float] = (math.inf, 0.0)  # least and most exposure times gain ever seen
    edges: Thumb = field(default_factory=lambda: np.zeros((THUMB[1], THUMB[0]), np.float32))
    edges_s: float = 0.0
    watched_s: float = 0.0  # in any light
    _hour: int | None = None
    _of_hour: tuple[float, float, float] = (0.0, 0.0, 0.0)  # seconds, sums of brightness and of colour

    def learn_sight(self, view: View, state: State, since_s: float) -> None:
        """`view`: one with which nothing is wrong."""
        self.watched_s += since_s
        if not view.lit or since_s <= 0.0:
            return
        self.detail[state].learn(view.detail, since_s)
        self.sharpness[state].learn(view.sharpness, since_s)
        self.edges_s += since_s
        self.edges += (view.edges - self.edges) * min(since_s / min(self.edges_s, HABIT_S / 3), 1.0)

    def learn_light(self, view: View, state: State, hour: int | None, since_s: float) -> None:
        """`hour`: of the day (UTC), None while the clock is not known."""
        if view.light is not None:
            self.light = min(self.light[0], view.light), max(self.light[1], view.light)
        self._learn_hour(view.brightness, view.shows_colour and state == "colour", hour, since_s)

    def _learn_hour(self, brightness: float, colour: bool, hour: int | None, since_s: float) -> None:
        if hour != self._hour:
            seconds, light, coloured = self._of_hour
            if self._hour is not None and seconds >= _LEAST_S:
                self.hours[self._hour].learn(light / seconds, coloured / seconds)
            self._hour, self._of_hour = hour, (0.0, 0.0, 0.0)
        seconds, light, coloured = self._of_hour
        self._of_hour = seconds + since_s, light + brightness * since_s, coloured + colour * since_s

    def around(self, hour: int | None) -> list[Hour]:
        """This hour and those beside it, where all are known; the sun does not keep to the hour."""
        if hour is None:
            return []
        near = [self.hours[(hour + by) % 24] for by in (-1, 0, 1)]
        return near if all(one.days >= DAYS for one in near) else []

    def json(self) -> dict[str, Any]:
        averages = {"detail": self.detail, "sharpness": self.sharpness}
        return {
            "hours": [[one.days, one.brightness, one.colour, one.newest] for one in self.hours],
            "light": [self.light[0] if math.isfinite(self.light[0]) else None, self.light[1]],
            "edges": base64.b64encode(np.clip(self.edges * 24, 0, 255).astype(np.uint8).tobytes()).decode(),
            "edges_s": round(self.edges_s),
            "watched_s": round(self.watched_s),
        } | {
            name: {state: [round(one.value, 5), round(one.seconds)] for state, one in of.items()}
            for name, of in averages.items()
        }

    @classmethod
    def of(cls, kept: Any) -> Usual:
        """Raises `ValueError`, `TypeError`, `KeyError`, `OverflowError` for what is none."""
        usual = cls()
        states: tuple[State, ...] = ("colour", "grey")
        for name, averages in (("detail", usual.detail), ("sharpness", usual.sharpness)):
            for state in states:
                value, seconds = kept[name][state]
                averages[state] = Average(number(value), number(seconds))
        if len(kept["hours"]) != 24:
            raise ValueError("a day has 24 hours")
        usual.hours = [_hour(*one) for one in kept["hours"]]
        least, most = kept["light"]
        usual.light = math.inf if least is None else number(least), number(most)
        edges = np.frombuffer(base64.b64decode(kept["edges"], validate=True), np.uint8)
        usual.edges = np.asarray(edges.reshape(THUMB[1], THUMB[0]) / 24, np.float32)
        usual.edges_s, usual.watched_s = number(kept["edges_s"]), number(kept["watched_s"])
        return usual


def _hour(days: Any, brightness: Any, colour: Any, newest: Any) -> Hour:
    hour = Hour(min(int(number(days)), _MOST_DAYS), number(brightness), number(colour))
    if newest is not None:
        brightness, colour = newest
        hour.newest = number(brightness), number(colour)
    return hour


def number(value: Any) -> float:
    """A figure of a file: finite, and not negative. Raises `ValueError`, `TypeError`, `OverflowError` for others."""
    number = float(value)
    if not math.isfinite(number) or number < 0:
        raise ValueError(f"{number} is no such figure")
    return number
