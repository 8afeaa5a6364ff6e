"""Commands that come over a network: checked, bounded, carried out through the control socket, each answered once."""

from __future__ import annotations

import contextlib
import logging
import queue
import threading
import time
from collections import deque
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from edge.control import ask
from edge.errors import GanderError, Refused
from edge.payloads import Request, command, request, stale

log = logging.getLogger(__name__)

_WAITING = 8
_BURST, _PER_S = 10, 1.0  # as many at once, and then so many a second
_REPEAT_S = 60.0

Answer = Callable[[dict[str, Any]], None]
_Lane = queue.Queue[tuple[str, bytes, bool, float, datetime] | None]


class Remote:
    """Hears commands from any thread, carries them out one by one in its own; installs, which take long, in another."""

    def __init__(self, state: Path, ignore_s: float, who: str, answer: Answer) -> None:
        """`who` is told to the owner; `answer` is given `{id, command, ok, answer}` for each that was not dropped."""
        self._state, self._ignore_s, self._who, self._answer = state, ignore_s, who, answer
        self._soon: _Lane = queue.Queue(_WAITING)
        self._slow: _Lane = queue.Queue(_WAITING)  # nobody's "off" waits for a model that is being tried
        self._known: deque[str] = deque(maxlen=64)
        self._room, self._filled_at = float(_BURST), time.monotonic()
        self._said_at = 0.0
        self.dropped = 0
        self._closing = threading.Event()
        self._threads = [
            threading.Thread(target=self._work, args=(lane,), name=f"{who} commands", daemon=True)
            for lane in (self._soon, self._slow)
        ]
        for thread in self._threads:
            thread.start()

    def hear(self, topic: str, payload: bytes, retained: bool, after_s: float) -> None:
        """A command came on one of the `payloads.COMMANDS`, `after_s` seconds after connecting.

        Never waits; a flood is dropped and counted.
        """
        now = time.monotonic()
        self._room = min(self._room + (now - self._filled_at) * _PER_S, float(_BURST))
        self._filled_at = now
        try:
            if self._room < 1:
                raise queue.Full
            self._room -= 1
            lane = self._slow if topic.startswith("model/") else self._soon
            lane.put_nowait((topic, payload, retained, after_s, datetime.now(UTC)))
        except queue.Full:
            self.dropped += 1
            if not self._said_at or now - self._said_at > _REPEAT_S:
                self._said_at = now
                log.warning("commands come faster than they are obeyed; %d were dropped", self.dropped)

    def close(self) -> None:
        """What waits is not begun any more."""
        self._closing.set()
        for lane in (self._soon, self._slow):
            with contextlib.suppress(queue.Full):
                lane.put_nowait(None)
        for thread in self._threads:
            thread.join(1.0)

    def _work(self, lane: _Lane) -> None:
        while (heard := lane.get()) and not self._closing.is_set():
            topic, payload, retained, after_s, came = heard
            opened = Request(None)
            try:
                opened = request(payload)
                answer, ok = self._obey(topic, opened, retained, after_s, came), True
            except (GanderError, ValueError, RecursionError) as error:
                answer, ok = str(error), False
                log.info("%s of %s is not obeyed: %s", topic, self._who, error)
            try:
                self._answer({"id": opened.id, "command": topic, "ok": ok, "answer": answer})
            except (ValueError, RecursionError) as error:  # an id that no text can hold
                log.info("%s of %s cannot be answered: %s", topic, self._who, error)

    def _obey(self, topic: str, opened: Request, retained: bool, after_s: float, came: datetime) -> str:
        """Carry out what may be. Raises `Refused`, `GanderError`."""
        if retained:
            raise Refused("a retained command is never obeyed: send it without retain, and clear what is retained")
        if after_s < self._ignore_s:
            raise Refused(f"commands are not obeyed within {self._ignore_s:g} s of connecting; send it again")
        if why := stale(opened.sent, came) or stale(came, datetime.now(UTC)):
            raise Refused(why)
        wanted = command(topic, opened.value)
        if opened.id is not None and opened.id in self._known:
            raise Refused(f"command {opened.id} was heard before")
        if opened.id is not None:
            self._known.append(opened.id)
        arguments = wanted.arguments
        if wanted.name == "install":
            arguments = {"path": str(self._state / "incoming" / arguments["path"])}
        return str(ask(self._state, wanted.name, via=self._who, **arguments))
