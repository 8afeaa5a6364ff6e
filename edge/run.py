"""`gander run`: the appliance's processes under one command, for a desk; and what they say as it happens."""

from __future__ import annotations

import os
import re
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Generator, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from edge.config import Config
from edge.control import ask
from edge.errors import GanderError, NotRunning, Refused, StateError
from edge.journal import EVENTS, events_after, last_place, reader
from edge.publish import sinks
from edge.publishers import broker

_PERIOD_S = 0.25
_STOP_S = 20.0
_LONGEST_WAIT_S = 60.0
_LOGGED = re.compile(r"^[A-Z]+ [\w.]+: ")  # what a line of a log begins with


@dataclass(frozen=True, slots=True)
class News:
    """What happened since the last look.

    Events in the order of their commit; how the daemon is, if it answers; what the processes beside it say.
    """

    events: Sequence[Mapping[str, Any]]
    status: Mapping[str, Any] | None
    notes: Sequence[str] = ()


def run(config: Config, state: Path, arguments: Sequence[str], seconds: float | None) -> Generator[News, None, None]:
    """Run the daemon on `state` for `seconds` (or until closed), and what publishes beside it; yield what is new.

    `arguments` are the options that made `config`. Closing the iterator stops all, in order. Raises what the daemon
    said when it cannot start or dies; what publishes may die: that is said, and it is started again.
    """
    until = time.monotonic() + seconds if seconds else None
    place = _place(state)
    notes, helpers = _feed(config, arguments)
    with tempfile.TemporaryFile("w+") as said:
        # On a desk nobody starts it again when it ends, whoever started this.
        desk = {name: value for name, value in os.environ.items() if name != "NOTIFY_SOCKET"}
        daemon = subprocess.Popen([sys.executable, "-m", "edge.cli", "watch", *arguments], stderr=said, env=desk)
        try:
            while daemon.poll() is None and (until is None or time.monotonic() < until):
                time.sleep(_PERIOD_S)
                place, events = _since(state, place)
                status = _status(state)
                for helper in helpers if status else ():  # without a daemon there is nothing to tell of
                    helper.tend()
                yield News(events, status, notes + _notes(helpers))
                notes = []
        finally:
            _stop(daemon)
            for helper in reversed(helpers):
                helper.stop()
        yield News(_since(state, place)[1], None, _notes(helpers))
        if daemon.returncode > 0:
            raise _why(daemon.returncode, said)


def follow(state: Path, place: int) -> Iterator[Mapping[str, Any]]:
    """Events committed after `place`, for ever, whether a daemon runs or not."""
    while True:
        place, events = _since(state, place)
        yield from events
        time.sleep(_PERIOD_S)


class Helper:
    """A process beside the daemon. It ends with its standard input, so it outlives nobody, not even one killed."""

    def __init__(self, name: str, command: Sequence[str], listener: socket.socket | None = None) -> None:
        """`listener`: a socket it inherits, each time it is started."""
        self._name, self._command, self._listener = name, command, listener
        self._process: subprocess.Popen[bytes] | None = None
        self._start_at, self._wait_s = 0.0, 1.0
        self._words = b""  # said, but not yet to the end of the line
        self._notes: list[str] = []

    def tend(self) -> None:
        """Start it; and when it died again, ever more slowly, unless it refused what it was told."""
        if self._process and self._process.poll() is not None:
            self._bury(self._process)
        if self._process is None and time.monotonic() >= self._start_at:
            self._start()

    def notes(self) -> list[str]:
        """What it said since last asked, and what became of it."""
        self._listen()
        found, self._notes = self._notes, []
        return found

    def stop(self) -> None:
        """Let it finish, and end it where that takes too long."""
        if self._listener:
            self._listener.close()
        if self._process is None:
            return
        if self._process.stdin:
            self._process.stdin.close()
        try:
            self._process.wait(_STOP_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()

    def _start(self) -> None:
        pipe = subprocess.PIPE
        # In a session of its own, so that Ctrl-C at the terminal is for the daemon, and this one still tells its end.
        inherits = [self._listener.fileno()] if self._listener else []
        self._process = subprocess.Popen(
            self._command, stdin=pipe, stderr=pipe, start_new_session=True, pass_fds=inherits
        )
        assert self._process.stderr
        os.set_blocking(self._process.stderr.fileno(), False)

    def _bury(self, process: subprocess.Popen[bytes]) -> None:
        self._listen()
        refused = process.returncode == 2
        again = "goes on without it" if refused else f"starts it again in {self._wait_s:.0f} s"
        self._notes.append(f"{self._name} has ended; the watch {again}")
        self._start_at = float("inf") if refused else time.monotonic() + self._wait_s
        self._wait_s = min(self._wait_s * 2, _LONGEST_WAIT_S)
        self._process = None

    def _listen(self) -> None:
        if self._process is None or self._process.stderr is None:
            return
        *lines, self._words = (self._words + (self._process.stderr.read() or b"")).split(b"\n")
        for line in lines:
            text = line.decode(errors="replace").removeprefix("gander: ")
            self._notes.append(f"{self._name}: {_LOGGED.sub('', text)}")


def _feed(config: Config, arguments: Sequence[str]) -> tuple[list[str], list[Helper]]:
    """What to say at first, and the processes that publish: with a broker of their own where none is configured."""
    chosen, notes, helpers = list(arguments), [], []
    if not config.mqtt.host and broker.available():
        listener = broker.listen()
        port = listener.getsockname()[1]
        helpers.append(Helper("broker", broker.command(listener), listener))
        # No pictures, which are no text to read along, unless they were asked for.
        desk = ["mqtt.host=127.0.0.1", f"mqtt.port={port}", "mqtt.tls=false", "mqtt.version='3.1.1'"]
        images = [] if "images" in config.mqtt.model_fields_set else ["mqtt.images=false"]
        chosen += [part for override in desk + images for part in ("--set", override)]
        which = "" if port == 1883 else f"-p {port} "
        notes.append(f"to follow by MQTT: mosquitto_sub {which}-t '{config.mqtt.root}/#' -v")
    elif config.mqtt.host:
        notes.append(f"events go to the MQTT broker {config.mqtt.host}:{config.mqtt.service}")
    if helpers or sinks(config):
        command = [sys.executable, "-m", "edge.cli_feed", "--attached", *chosen]
        helpers.append(Helper("publish", command))
    return notes, helpers


def _notes(helpers: Sequence[Helper]) -> list[str]:
    return [note for helper in helpers for note in helper.notes()]


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
