"""Quiet hours as they are written: clock times, sunrise and sunset."""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import time

MOST_OFFSET_MIN = 180
_POINT = r"(?:[01]\d|2[0-3]):[0-5]\d|(?:sunrise|sunset)(?:[+-]\d{1,3})?"
_HOURS = re.compile(f"({_POINT})-({_POINT})", re.ASCII)
_NOON = time(12)


@dataclass(frozen=True, slots=True)
class Point:
    """A time of day: `clock`, local; or where that is None, `event` ("sunrise", "sunset") and so many minutes on."""

    clock: time | None
    event: str = ""
    offset_min: int = 0

    @property
    def evening(self) -> bool:
        return self.clock >= _NOON if self.clock else self.event == "sunset"


def parse(hours: str) -> tuple[Point, Point]:
    """The two ends of "22:00-07:00", "sunset-sunrise", "sunset+30-sunrise-15" (minutes), "22:00-sunrise" …

    Raises `ValueError` that says what would be right. A clock time and the sun pass each other in the course of the
    year; so together they must leave no doubt which day is meant: from an evening to the next morning.
    """
    found = _HOURS.fullmatch(hours)
    if not found:
        raise ValueError('write quiet hours as "22:00-07:00", "sunset-sunrise" or "sunset+30-sunrise-15", "" for none')
    start, end = (_point(text) for text in found.groups())
    if max(abs(start.offset_min), abs(end.offset_min)) > MOST_OFFSET_MIN:
        raise ValueError(f"sunrise and sunset can be shifted by at most {MOST_OFFSET_MIN} minutes")
    by_day = (start.event, end.event) == ("sunrise", "sunset")
    if uses_sun(start, end) and not by_day and not (start.evening and not end.evening):
        raise ValueError(
            "quiet hours by the sun run from sunset, or a time from 12:00 on, to sunrise, or a time before 12:00; "
            'or they are "sunrise-sunset"'
        )
    return start, end


def uses_sun(*points: Point) -> bool:
    return any(point.event for point in points)


def _point(text: str) -> Point:
    if text[0].isdigit():
        return Point(time.fromisoformat(text))
    event = re.match(r"[a-z]+", text)
    assert event
    return Point(None, event[0], int(text[event.end() :] or 0))
