"""Publishers: who can be told what happened. Each is a file here; `edge.publish` gives each a thread of its own.

A `Publisher` is a program that wants every event (MQTT, a file); a `Poster` reaches people, who get a post at times.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from edge.errors import GanderError

Events = Sequence[Mapping[str, Any]]
"""Events as in the journal (Event JSON, version 1), in the order of their commit."""


class Undelivered(GanderError):
    """Not everything was delivered: only the first `done` of the events handed over."""

    def __init__(self, why: str, done: int = 0) -> None:
        super().__init__(why)
        self.done = done


class Later(Undelivered):
    """The sink cannot take the next event now; it is tried again, for as long as it takes.

    `after_s`: not before so many seconds, where the sink says so, or where trying sooner is of no use.
    """

    def __init__(self, why: str, done: int = 0, after_s: float = 0.0) -> None:
        super().__init__(why, done)
        self.after_s = after_s


class Refused(Undelivered):
    """The sink will never take the next event: it is set aside, and the others go on."""


class Publisher(Protocol):
    """One sink. `ready` and `send` are called by one thread, its own."""

    name: str
    """Under which its place in the journal is kept."""
    batch: int
    """Most events handed over at once."""
    from_start: bool
    """Whether a new one begins with all the journal has, or with now."""
    trouble: str
    """Why there is no sink to send to; empty where there is one, or nobody knows."""

    def ready(self, wait_s: float) -> bool:
        """Whether there is a sink to send to; waits so long for it. While there is none, nothing counts as tried.

        Raises `GanderError` when there never will be one again, but with a new start.
        """
        ...

    def send(self, events: Events) -> None:
        """Deliver in order. Returns once the sink has acknowledged all of them. Raises `Later`, `Refused`."""
        ...

    def close(self) -> None:
        """Let go of the sink. Any thread."""
        ...


@dataclass(frozen=True, slots=True)
class Post:
    """What people read. Nothing in it tells where the house is.

    `title`: a few words, where a sink has room for them; `picture`: JPEG bytes without metadata, or None; `alt`: in
    words what the picture shows.
    """

    title: str
    text: str
    picture: bytes | None = None
    alt: str = ""


class Poster(Protocol):
    """One sink that people read. `send` is called by one thread, its own."""

    name: str
    """Under which its place in the journal, and what waits for it, is kept."""
    most_text: int
    """Characters of a post's text, at most."""
    most_picture: int
    """Bytes of a picture, at most."""

    def price(self, post: Post) -> float:
        """Dollars that this post costs."""
        ...

    def send(self, post: Post) -> str:
        """Deliver, within a deadline of its own. Returns what the sink calls it, "" where it has no name for it.

        Raises `Later` (it is tried again) and `Refused` (this post never). Where the sink says that it has the very
        same post already, it counts as delivered.
        """
        ...

    def close(self) -> None:
        """Let go of the sink. Any thread."""
        ...
