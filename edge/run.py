"""`gander run`: the appliance's processes under one command, for a desk; and what they say as it happens."""

from __future__ import annotations

import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Generator, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from edge.control import ask
from edge.errors import GanderError, NotRunning, Refused, StateError
from edge.journal import EVENTS, events_after, last_place, reader

_PERIOD_S = 0.25
_STOP_S = 20.0


@dataclass(frozen=True, slots=True)
class News:
    """What happened since the last look: events in the order of their commit, and how the daemon is, if it answers."""

    events: Sequence[Mapping[str, Any]]
    status: Mapping[str, Any] | None


def run(state: Path, arguments: Sequence[str], seconds: float | None) -> Generator[News, None, None]:
    """Run `gander watch` on `state` for `seconds` (or until closed) and yield what is new, four times a second.

    Closing the iterator stops the daemon and waits for it. Raises what the daemon said when it cannot start or dies.
    """
    until = time.monotonic() + seconds if seconds else None
    place = _place(state)
    with tempfile.TemporaryFile("w+") as said:
        daemon = subprocess.Popen([sys.executable, "-m", "edge.cli", "watch", *arguments], stderr=said)
        try:
            while daemon.poll() is None and (until is None or time.monotonic() < until):
                time.sleep(_PERIOD_S)
                place, events = _since(state, place)
                yield News(events, _status(state))
        finally:
            _stop(daemon)
        yield News(_since(state, place)[1], None)
        if daemon.returncode > 0:
            raise _why(daemon.returncode, said)


def follow(state: Path, place: int) -> Iterator[Mapping[str, Any]]:
    """Events committed after `place`, for ever, whether a daemon runs or not."""
    while True:
        place, events = _since(state, place)
        yield from events
        time.sleep(_PERIOD_S)


def _stop(daemon: subprocess.Popen[bytes]) -> None:
    if daemon.poll() is None:
        daemon.send_signal(signal.SIGTERM)
        try:
            daemon.wait(_STOP_S)
        except subprocess.TimeoutExpired:
            daemon.kill()
            daemon.wait()


def _why(status: int, said: Any) -> GanderError:
    """The daemon's last words as our own."""
    said.seek(0)
    lines = [line for line in said.read().splitlines() if line.strip()]
    text = lines[-1].removeprefix("gander: ") if lines else f"the daemon ended with status {status}"
    return Refused(text) if status == 2 else GanderError(text)


def _place(state: Path) -> int:
    try:
        with reader(state / EVENTS) as events:
            return last_place(events)
    except StateError:
        return 0


def _since(state: Path, place: int) -> tuple[int, list[Mapping[str, Any]]]:
    try:
        with reader(state / EVENTS) as events:
            found = events_after(events, place)
    except StateError:  # not made yet
        return place, []
    return (found[-1][0] if found else place), [event for _, event in found]


def _status(state: Path) -> Mapping[str, Any] | None:
    try:
        status: Mapping[str, Any] = ask(state, "status")
    except (NotRunning, GanderError):
        return None
    return status
