"""The host that a fault happens to: it orders one long pulse, and breaks as told.

`python -m edge.bench_host FAULT [PORT]` says `on PID` (of the guard; 0 with a port) when the pulse has begun, and the
monotonic nanoseconds of a fault that it brings about by itself.
"""

from __future__ import annotations

import contextlib
import os
import sys
import time
from collections.abc import Callable
from pathlib import Path

from edge.actuators.controller import Controller
from edge.actuators.guard import Guard, Wire
from edge.actuators.serial import find
from edge.config import ControllerConfig, DeterrentConfig
from edge.errors import ControllerError
from edge.values import Order
from firmware.wire import NUMBER_MAX, seal

LONG_MS = 5000  # the longest pulse there is
STRIKE_S = 0.5  # after the pulse began
LATE_S = 1.5
NEVER = 1 << 62
BAUD = 115200

WIRE_FAULTS = {
    "noise": "noise on the wire",
    "garbage": "nothing but garbage on the wire",
    "half": "half an order",
    "checksum": "a wrong checksum",
    "replay": "a replayed order",
    "session": "an order of an old session",
    "late": "an order delivered late",
    "future": "an order from the future",
    "long": "an order that is too long",
    "again": "the same order again, fresh",
    "verb": "an unknown verb",
    "protocol": "a later protocol's order",
}
"""What comes along the wire beside what the host says."""


class Tap:
    """A wire that is listened in on, and spoken into."""

    def __init__(self, wire: Wire) -> None:
        self.wire, self.name = wire, wire.name
        self.sent: list[bytes] = []
        self.heard = b""
        self.fileno, self.close = wire.fileno, wire.close

    def receive(self) -> bytes:
        data = self.wire.receive()
        self.heard = (self.heard + data)[-4096:]
        return data

    def send(self, data: bytes) -> None:
        self.sent.append(data)
        self.wire.send(data)

    def stray(self, fault: str) -> bytes:
        """The bytes of one of WIRE_FAULTS, made from the last order that was sent."""
        pulse = [line for line in self.sent if b" PULSE " in line][-1]
        last, words = int(self.sent[-1].split()[0]), pulse.decode().split()[1:-1]
        session, tick = words[1], int(words[2])
        newest = int([line for line in self.heard.splitlines() if line.startswith(b"OK ")][-1].split()[2])
        order = f"0 {LONG_MS} 0 1"
        return {
            "noise": bytes(range(256)) + b"\n",
            "garbage": b"?\n" * 3,
            "half": pulse[:-9],
            "checksum": pulse[:-5] + b"0000\n",
            "replay": pulse,
            "session": seal(f"{last + 100} PULSE 0badcafe {newest} {order}"),
            "late": seal(f"{last + 100} PULSE {session} {tick} {order}"),
            "future": seal(f"{last + 100} PULSE {session} {(newest + 60_000) & NUMBER_MAX} {order}"),
            "long": seal(f"{last + 100} PULSE {session} {newest} 0 {LONG_MS + 1} 0 1"),
            "again": seal(f"{last + 1} PULSE {session} {newest} {order}"),
            "verb": seal(f"{last + 100} BURN 0 {LONG_MS}"),
            "protocol": seal(f"{last + 100} PULSE 2 {session} {newest} {order} soft"),
        }[fault]


class _Host:
    """A `Controller` with one light, and what can happen to it."""

    def __init__(self, port: str) -> None:
        self.port, self.taps, self.guard = port, list[Tap](), 0
        self._deterrents = [DeterrentConfig(rest_ms=100)]
        config = ControllerConfig(kind="serial" if port else "guard", patience_ms=1000)
        self.controller = Controller(self._deterrents, config, self._open)

    def _open(self) -> Wire:
        wire: Wire
        if self.port:
            wire = find(self.port, BAUD)
        else:
            wire = Guard(self._deterrents)
            self.guard = wire.pid
        self.taps.append(Tap(wire))
        return self.taps[-1]

    def fire(self) -> str:
        """What becomes of one long order; a controller rests when it has started, a busy machine gives it late."""
        until = time.monotonic() + 20
        while True:
            self.controller.beat()
            result = self.controller.fire(Order("a", "light", 0, LONG_MS, 0, 1, NEVER)).result
            if result in ("on", "silent") or time.monotonic() > until:
                return result
            time.sleep(0.05)

    def unplug(self) -> None:
        """The cable is pulled out; a port is gone with it."""
        if self.port:
            Path(self.port).unlink()
        nowhere = os.open(os.devnull, os.O_RDONLY)
        os.dup2(nowhere, self.taps[-1].fileno())

    def meet_another(self) -> None:
        """A second host comes to the same port."""
        with contextlib.suppress(ControllerError):
            find(self.port, BAUD).close()


def main(fault: str, port: str) -> None:
    """Order, say so, break, and live on until killed."""
    host = _Host(port)
    host.controller.wait_ready(20.0)
    result = host.fire()
    _say(f"{result.replace(' ', '_')} {host.guard}")
    strike_at = time.monotonic() + (LATE_S if fault == "late" else STRIKE_S)
    faults: dict[str, Callable[[], None]] = {"unplug": host.unplug, "second": host.meet_another, "hang": lambda: None}
    beating = True
    while True:
        if strike_at and time.monotonic() > strike_at:
            strike_at, beating = 0.0, fault != "hang"
            if fault in faults:
                _say(f"{time.monotonic_ns()}")
                faults[fault]()
            elif fault in WIRE_FAULTS:
                _say(f"{time.monotonic_ns()}")
                host.taps[-1].wire.send(host.taps[-1].stray(fault))
        if beating:
            host.controller.beat()
        time.sleep(0.03)


def _say(words: str) -> None:
    sys.stdout.write(words + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2] if len(sys.argv) > 2 else "")
