"""Orders pulses from a controller that runs the firmware's rules: the pin guard, a process of its own on this Pi."""

from __future__ import annotations

import logging
import select
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from edge.actuators.guard import Guard, Wire
from edge.config import ControllerConfig, DeterrentConfig
from edge.errors import ControllerError
from edge.values import Action, Order
from firmware.deterrent import ORDER_MS
from firmware.wire import PROTOCOL, Lines, number, seal, unseal

log = logging.getLogger(__name__)

_MS = 1_000_000
_S = 1_000_000_000
_PING_NS = 200 * _MS
_BEAT_NS = 1200 * _MS  # with the controller's own 2 s of silence: a hung loop is off after 3.2 s, in mid-pulse too
_FRESH_NS = (ORDER_MS - 50) * _MS  # an order on an older tick would be refused
_ANSWER_NS = 1500 * _MS  # no answer to a ping for so long: frozen, to be replaced
_GREETING_NS = 20 * _S  # gpiozero takes seconds on a small Pi
_STEADY_NS = 30 * _S  # what lived so long is restarted at once again
_LONGEST_WAIT_S = 30.0
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

    name = "guard"
    real = True

    def __init__(
        self,
        deterrents: Sequence[DeterrentConfig],
        config: ControllerConfig,
        open_wire: Callable[[], Wire] | None = None,
    ) -> None:
        self.restarts = self.refused = self.silent = 0
        self.trouble = "it has not started yet"
        self._open = open_wire or (lambda: Guard(deterrents))
        self._channels = {d.channel for d in deterrents if d.enabled}
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
        result = "expired" if ordered_at_ns >= order.expires_ns else self._fire(asked, ordered_at_ns)
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
        counts = {"restarts": self.restarts, "refused": self.refused, "silent": self.silent}
        return counts | {"trouble": "" if self.ready() else self.trouble}

    def close(self) -> None:
        self.off()
        self._closing.set()
        self._thread.join()

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
                self.refused += 1
                return f"refused: {asked.refusal}"
            if asked.acknowledged_at_ns:
                return "on"
            self.silent += 1
            self._until[order.channel] = now_ns + (ORDER_MS + order.length_ms) * _MS  # it may still come
            return "silent"

    def _forget(self, wire: Wire | None) -> None:
        """Begin with a new wire, or with none."""
        self._wire = wire
        self._lines = Lines()
        self._session = ""
        self._armed = False
        self._seq = self._tick = 0
        self._answered_ns = 0
        self._waiting_ns = time.monotonic_ns()  # since when an answer is owed; 0: none is
        self._pinged_ns = 0
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

    def _hear(self, words: list[str], now_ns: int) -> None:
        match words:
            case ["HELLO", protocol, firmware, session, tick, seq, *limits]:
                self._greet(protocol, {limit.partition(":")[0] for limit in limits})
                log.info("controller is up, firmware %s", firmware)
                self._session, self._tick, self._seq = session, number(tick), number(seq)
                self._until.clear()  # it greets with everything off
                self.trouble = ""
            case ["OK", seq, tick, armed, _]:
                self._tick, self._armed, self._answered_ns = number(tick), armed == "1", now_ns
                self._accepted = self._asked.pop(number(seq), None) or self._accepted
            case ["NO", seq, reason]:
                if asked := self._asked.pop(number(seq), None):
                    asked.refusal = reason
            case ["ON", channel, _]:
                self._on(number(channel), now_ns)
            case ["DONE", channel, on_ms]:
                self._until.pop(number(channel), None)
                if order := self._running.pop(number(channel), None):
                    self._finished.append((order.id, number(on_ms)))
        self._waiting_ns = 0

    def _on(self, channel: int, now_ns: int) -> None:
        asked, self._accepted = self._accepted, None
        if asked and asked.order.channel == channel:
            asked.acknowledged_at_ns = now_ns
            self._running[channel] = asked.order
            self._until[channel] = now_ns + asked.order.length_ms * _MS

    def _greet(self, protocol: str, channels: set[str]) -> None:
        if protocol != str(PROTOCOL):
            raise ControllerError(f"it speaks protocol {protocol}, this Gander speaks {PROTOCOL}")
        if missing := {str(channel) for channel in self._channels} - channels:
            raise ControllerError(f"it has no channel {', '.join(sorted(missing))}, as [[deterrent]] asks for")

    # The thread

    def _tend(self) -> None:
        """Keep one controller up. A frozen or dead one may have left a pin driven: its successor is the cure, so the
        first comes at once, the next after 1 s, 2 s, … 30 s."""
        wait_s, told = 0.0, ""
        while not self._closing.is_set():
            began_ns = time.monotonic_ns()
            self.trouble = self._serve()
            if self._closing.is_set():
                return
            if time.monotonic_ns() - began_ns > _STEADY_NS:
                wait_s, told = 0.0, ""
            if self.trouble != told:  # once, not every 30 s: the card is a consumable
                log.warning("controller: %s; no deterrent until it is back", self.trouble)
                told = self.trouble
            self._closing.wait(wait_s)
            wait_s = min(max(1.0, 2 * wait_s), _LONGEST_WAIT_S)
            self.restarts += not self._closing.is_set()

    def _serve(self) -> str:
        """Start one controller and stay with it to its end. Returns why it ended."""
        try:
            wire = self._open()
        except (OSError, ControllerError) as error:
            return f"it cannot be started: {error}"
        with self._lock:
            self._forget(wire)
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
