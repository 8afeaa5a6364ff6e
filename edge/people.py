"""When people were seen, and where: pictures of them are kept shorter, and do not leave this machine by themselves."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from datetime import datetime, timedelta

BEFORE = timedelta(seconds=10)
"""Somebody is in the picture before a model says so."""
_MOST_STAYS = 16  # of one camera that are remembered; pictures wait for the card a few seconds, not longer


@dataclass(slots=True)
class Stay:
    """A person was seen at one camera, again and again, from `first` to `last`."""

    camera: str
    first: datetime
    last: datetime


class People:
    """Pictures from 10 s before a person is seen until a while after are pictures with a person.

    One thread sees people, another one asks; neither waits.
    """

    def __init__(self, hold_s: float) -> None:
        """A person is taken to be there for `hold_s` after he was seen last, but for 10 s at least."""
        self._hold = max(timedelta(seconds=hold_s), BEFORE)
        self._stays: dict[str, deque[Stay]] = {}

    def see(self, camera: str, wall: datetime) -> Stay | None:
        """A person is at the camera now. Returns the stay where it has just begun: earlier pictures may show him."""
        stays = self._stays.setdefault(camera, deque(maxlen=_MOST_STAYS))
        if stays and stays[-1].first <= wall <= stays[-1].last + self._hold:
            stays[-1].last = max(stays[-1].last, wall)
            return None
        stays.append(Stay(camera, wall, wall))
        return stays[-1]

    def span(self, stay: Stay) -> tuple[datetime, datetime]:
        """From when to when pictures are pictures with this person, as far as is known now."""
        return stay.first - BEFORE, stay.last + self._hold

    def near(self, camera: str, wall: datetime) -> bool:
        """Whether a picture of that camera and moment is one with a person."""
        spans = map(self.span, tuple(self._stays.get(camera, ())))
        return any(first <= wall <= last for first, last in spans)
