"""Whether hours are quiet now, by the clock and by the sun. Pure: place and moment are passed in."""

from __future__ import annotations

from datetime import UTC, date, datetime, time, timedelta
from functools import lru_cache
from math import acos, cos, degrees, radians, sin

from astral.julian import julianday, julianday_to_juliancentury
from astral.sun import eq_of_time, sun_declination

from edge.hours import Point, parse

_HORIZON = sin(radians(-0.833))  # its upper edge shows when its centre is so far below: radius and refraction


def is_quiet(hours: str, wall: datetime, place: tuple[float, float] | None = None) -> bool:
    """Whether aware `wall` lies in `hours` (see `hours.parse`), local time, over midnight or not; the end is not part.

    `place`: latitude and longitude, degrees; hours by the sun are always quiet without.
    """
    start, end = parse(hours)
    now = wall.astimezone()
    if start.clock is not None and end.clock is not None:
        begin, until = start.clock, end.clock
        return begin <= now.time() < until if begin <= until else now.time() >= begin or now.time() < until
    if place is None:
        return True
    one = timedelta(days=1)
    over_midnight = one if start.evening else timedelta(0)
    days = (now.date() - one, now.date(), now.date() + one)  # a shifted sunrise may lie on the day before
    return any(_at(start, day, place) <= now < _at(end, day + over_midnight, place) for day in days)


def _at(point: Point, day: date, place: tuple[float, float]) -> datetime:
    if point.clock is not None:
        return datetime.combine(day, point.clock).astimezone()
    rise, fall = sun(day, place)
    return (rise if point.event == "sunrise" else fall) + timedelta(minutes=point.offset_min)


@lru_cache(maxsize=64)
def sun(day: date, place: tuple[float, float]) -> tuple[datetime, datetime]:
    """Sunrise and sunset, aware UTC, around the solar noon nearest to noon of this local day.

    Where the sun does not set, they are the midnights before and after that noon; where it does not rise, both are
    that noon. So by "sunset-sunrise" a polar day is never quiet and a polar night always.
    """
    latitude, longitude = place
    clock_noon = datetime.combine(day, time(12)).astimezone(UTC)
    of_day_s = clock_noon.hour * 3600 + clock_noon.minute * 60 + clock_noon.second + longitude * 240
    noon = clock_noon - timedelta(seconds=of_day_s % 86400 - 43200)
    noon -= timedelta(minutes=eq_of_time(_century(noon)))
    half = _half_day(noon, latitude)
    # The sun climbs on through the year: once more, for where it is then.
    return noon - _half_day(noon - half, latitude), noon + _half_day(noon + half, latitude)


def _half_day(at: datetime, latitude: float) -> timedelta:
    """From noon to sunset, by where the sun stands at that moment: 0 to 12 hours."""
    declination, north = radians(sun_declination(_century(at))), radians(latitude)
    angle = (_HORIZON - sin(north) * sin(declination)) / (cos(north) * cos(declination))
    return timedelta(hours=degrees(acos(min(max(angle, -1.0), 1.0))) / 15)


def _century(at: datetime) -> float:
    return julianday_to_juliancentury(julianday(at))
