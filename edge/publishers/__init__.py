"""Publishers: who can be told what happened. Each is a file here; `edge.publish` gives each a thread of its own."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
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
    """The sink cannot take the next event now; it is tried again, for as long as it takes."""


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
