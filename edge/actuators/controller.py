"""Orders pulses from a controller that runs the firmware's rules: the pin guard on this Pi, or a Pico."""

from __future__ import annotations

import logging
import select
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from edge.actuators.greeting import Greeting, check_fit, complaints, read_greeting
from edge.actuators.guard import Wire
from edge.config import ControllerConfig, DeterrentConfig
from edge.errors import ControllerError
from edge.values import Action, Order
from firmware.deterrent import ORDER_MS
from firmware.wire import Lines, number, seal, unseal

log = logging.getLogger(__name__)

_MS = 1_000_000
_S = 1_000_000_000
_PING_NS = 200 * _MS
_BEAT_NS = 1200 * _MS  # with the controller's own 2 s of silence: a hung loop is off after 3.2 s, in mid-pulse too
_FRESH_NS = (ORDER_MS - 50) * _MS  # an order on an older tick would be refused
_ANSWER_NS = 1500 * _MS  # no answer to a ping for so long: frozen, to be replaced
_GREETING_NS = 20 * _S  # gpiozero takes seconds on a small Pi
_STEADY_NS = 30 * _S  # what lived so long is restarted at once again
_LONGEST_WAIT_S = {"guard": 30.0, "serial": 1.0}  # a process costs a second of this Pi, a look at a port nothing
_SAY_AGAIN_NS = 300 * _S  # the same trouble: the card is a consumable
_CLOSING_S = 3.0  # a driver that hangs must not keep this process from ending
_KEPT = 64


@dataclass(slots=True)
class _Asked:
    """An order under way."""

    order: Order
    acknowledged_at_ns: int = 0
    refusal: str = ""


class Controller:
    """An `Actuator` with a thread that starts the controller, pings it while the loop's heart beats, and replaces it.

    The thread and the callers share the wire under one lock, so that `fire` itself reads the answer it waits for.
    """

    real = True

    def __init__(
        self,
        deterrents: Sequence[DeterrentConfig],
        config: ControllerConfig,
        open_wire: Callable[[], Wire],
    ) -> None:
        """`open_wire` is called in the controller's own thread, so that it may be slow; it raises `ControllerError`."""
        self.name: str = config.kind
        self.restarts = self.refused = self.silent = self.garbled = 0
        self.trouble = "it has not started yet"
        self.greeting: Greeting | None = None
        self._open, self._where = open_wire, ""
        self._deterrents = [d for d in deterrents if d.enabled]
        self._channels = {d.channel for d in self._deterrents}
        self._said: dict[str, int] = {}  # trouble -> when it was logged
        self._patience_ns = config.patience_ms * _MS
        self._finished: deque[tuple[str, int]] = deque(maxlen=_KEPT)
        self._until: dict[int, int] = {}  # channel -> monotonic time until which it may be on
        self._beat_ns = time.monotonic_ns()
        self._lock = threading.Lock()
        self._closing = threading.Event()
        self._forget(None)
        self._thread = threading.Thread(target=self._tend, name="controller", daemon=True)
        self._thread.start()

    # What the loop calls

    def ready(self) -> bool:
        with self._lock:
            return self._armed and time.monotonic_ns() - self._answered_ns < _FRESH_NS

    def beat(self) -> None:
        self._beat_ns = time.monotonic_ns()

    def fire(self, order: Order) -> Action:
        ordered_at_ns = time.monotonic_ns()
        asked = _Asked(order)
        if ordered_at_ns >= order.expires_ns:
            result = "expired"
        elif order.channel not in self._channels:
            result = self._refuse("channel")
        else:
            result = self._fire(asked, ordered_at_ns)
        on_ms = order.count * order.on_ms if result == "on" else 0
        return Action(order.id, order.deterrent, order.pattern, ordered_at_ns, asked.acknowledged_at_ns, on_ms, result)

    def off(self) -> None:
        with self._lock:
            self._try_send("OFF")

    def acting_until_ns(self) -> int:
        with self._lock:
            until = max(self._until.values(), default=0)
        return until if until > time.monotonic_ns() else 0

    def facts(self) -> dict[str, Any]:
        counts = {"restarts": self.restarts, "refused": self.refused, "silent": self.silent, "garbled": self.garbled}
        ready, greeting = self.ready(), self.greeting
        return {
            **counts,
            "trouble": "" if ready else self.trouble or "it does not answer in time",
            "where": self._where,
            "complaints": complaints(greeting, self._deterrents) if greeting else [],
            **(greeting.facts() if greeting else {}),
        }

    def close(self) -> None:
        with self._lock:
            self._try_send("ARM 0")
        self._closing.set()
        self._thread.join(_CLOSING_S)

    def finished(self) -> list[tuple[str, int]]:
        """Id and measured milliseconds of the actions that ended since last asked, at most the last 64."""
        with self._lock:
            finished = list(self._finished)
            self._finished.clear()
        return finished

    def wait_ready(self, timeout_s: float) -> bool:
        """Wait for the controller to be up, at most `timeout_s`. The loop need not; a bench or a test may."""
        until = time.monotonic() + timeout_s
        while not self.ready() and time.monotonic() < until:
            self.beat()
            time.sleep(0.02)
        return self.ready()

    # Under the lock

    def _fire(self, asked: _Asked, now_ns: int) -> str:
        order, until_ns = asked.order, now_ns + self._patience_ns
        with self._lock:
            pulse = f"{self._session} {self._tick} {order.channel} {order.on_ms} {order.off_ms} {order.count}"
            wire = self._wire
            if wire is None or not self._session or not self._try_send(f"PULSE {pulse}"):
                return "no controller"
            self._asked[self._seq] = asked
            try:
                while not (asked.acknowledged_at_ns or asked.refusal) and now_ns < until_ns:
                    select.select([wire], [], [], (until_ns - now_ns) / _S)
                    self._receive(wire)
                    now_ns = time.monotonic_ns()
            except ControllerError:
                pass  # gone in mid-order; the thread finds the same and replaces it
            if asked.refusal:
                return self._refuse(asked.refusal)
            if asked.acknowledged_at_ns:
                return "on"
            self.silent += 1
            self._until[order.channel] = now_ns + (ORDER_MS + order.length_ms) * _MS  # it may still come
            return "silent"

    def _refuse(self, reason: str) -> str:
        self.refused += 1
        return f"refused: {reason}"

    def _forget(self, wire: Wire | None) -> None:
        """Begin with a new wire, or with none."""
        self._wire = wire
        self._lines = Lines()
        self._lost = ""  # why this wire is of no use any more
        self._waiting_ns = time.monotonic_ns()  # since when an answer is owed; 0: none is
        self._pinged_ns = 0
        self._begin("", 0, 0)

    def _begin(self, session: str, tick: int, seq: int) -> None:
        """Begin with a controller that has just started, or is not known yet: all is off, nothing is under way."""
        self._session, self._tick, self._seq = session, tick, seq
        self._armed = False
        self._answered_ns = 0
        self._asked: dict[int, _Asked] = {}
        self._accepted: _Asked | None = None
        self._running: dict[int, Order] = {}

    def _try_send(self, words: str) -> bool:
        if self._wire is None:
            return False
        self._seq += 1
        try:
            self._wire.send(seal(f"{self._seq} {words}"))
        except OSError:
            return False
        return True

    def _receive(self, wire: Wire) -> None:
        for line in self._lines.feed(wire.receive()):
            words = unseal(line) if line else None
            if words:
                self._hear(words, time.monotonic_ns())
            else:
                self.garbled += 1

    def _hear(self, words: list[str], now_ns: int) -> None:
        self._waiting_ns = 0
        match words:
            case ["HELLO", *about]:
                self._greet(about)
            case ["OK", seq, tick, armed, _]:
                self._tick, self._armed, self._answered_ns = number(tick), armed == "1", now_ns
                self._accepted = self._asked.pop(number(seq), None) or self._accepted
                self.trouble = "" if self._armed else self.trouble
            case ["NO", seq, reason]:
                self._refused(number(seq), reason)
            case ["ON", channel, _]:
                self._on(number(channel), now_ns)
            case ["DONE", channel, on_ms]:
                self._until.pop(number(channel), None)
                if order := self._running.pop(number(channel), None):
                    self._finished.append((order.id, number(on_ms)))

    def _refused(self, seq: int, reason: str) -> None:
        if asked := self._asked.pop(seq, None):
            asked.refusal = reason
        elif reason == "switch":
            self.trouble = "the arm switch on it is off; close it, and it is armed again by itself"
        if reason in ("replay", "session") and seq == self._seq:  # of what was said last: it has moved on without us
            self._try_send("STATE")

    def _on(self, channel: int, now_ns: int) -> None:
        asked, self._accepted = self._accepted, None
        if asked and asked.order.channel == channel:
            asked.acknowledged_at_ns = now_ns
            self._running[channel] = asked.order
            self._until[channel] = now_ns + asked.order.length_ms * _MS

    def _greet(self, about: list[str]) -> None:
        """It is up, or up again. The thread deals with one that does not fit, whoever read its greeting."""
        try:
            greeting = read_greeting(about)
            check_fit(greeting, self._deterrents)
        except ControllerError as error:
            self._lost = str(error)
            return
        if greeting.session == self._session:
            self._seq = max(self._seq, greeting.seq)
            return
        if self._session:
            self._say("it has restarted by itself; is its power steady?")
        self.restarts += self.greeting is not None
        log.info("controller is up, firmware %s", greeting.firmware)
        self._begin(greeting.session, greeting.tick, greeting.seq)
        self._until.clear()  # it begins with everything off
        self.greeting, self.trouble = greeting, ""

    # The thread

    def _tend(self) -> None:
        """Keep one controller up. A frozen or dead one may have left a pin driven: its successor is the cure, so the
        first comes at once, the next after 1 s, 2 s, … up to the longest wait."""
        wait_s = 0.0
        while not self._closing.is_set():
            began_ns = time.monotonic_ns()
            self.trouble = self._serve()
            if self._closing.is_set():
                return
            if time.monotonic_ns() - began_ns > _STEADY_NS:
                wait_s = 0.0
            self._say(f"no deterrent until it is back: {self.trouble}")
            self._closing.wait(wait_s)
            wait_s = min(max(1.0, 2 * wait_s), _LONGEST_WAIT_S[self.name])

    def _say(self, trouble: str) -> None:
        """Log it, unless it was just said."""
        now_ns = time.monotonic_ns()
        if now_ns - self._said.get(trouble, -_SAY_AGAIN_NS) >= _SAY_AGAIN_NS:
            self._said = {**dict(list(self._said.items())[-_KEPT:]), trouble: now_ns}
            log.warning("controller: %s", trouble)

    def _serve(self) -> str:
        """Open the way to one controller and stay with it to its end. Returns why it ended."""
        try:
            wire = self._open()
        except (OSError, ControllerError) as error:
            return f"it cannot be reached: {error}"
        with self._lock:
            self._forget(wire)
            self._where = wire.name
        why = ""
        try:
            while not self._closing.is_set():
                select.select([wire], [], [], _PING_NS / _S / 4)
                with self._lock:
                    self._receive(wire)  # first: after a long stop of this process the answers lie waiting
                    self._ping()
        except ControllerError as error:
            why = str(error)
        with self._lock:
            self._forget(None)
        return wire.close() or why

    def _ping(self) -> None:
        """Say that the loop is alive, if it is. Raises `ControllerError` when answers stay out."""
        if self._lost:
            raise ControllerError(self._lost)
        now_ns = time.monotonic_ns()
        patience_ns = _ANSWER_NS if self._session else _GREETING_NS
        if self._waiting_ns and now_ns - self._waiting_ns > patience_ns:
            raise ControllerError(f"it has not answered for {patience_ns / _S:g} s")
        if not self._session or now_ns - self._pinged_ns < _PING_NS or now_ns - self._beat_ns > _BEAT_NS:
            return
        self._pinged_ns = now_ns
        self._waiting_ns = self._waiting_ns or now_ns
        if not self._try_send("PING" if self._armed else "ARM 1"):
            raise ControllerError("it does not take orders any more")
