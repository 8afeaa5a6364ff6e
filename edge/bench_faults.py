"""How long the pin stays on when something breaks in the middle of a pulse, and how fast an order is acknowledged.

Measured with the real controller and the real pin guard, on gpiozero's recording pins. `python -m edge.bench_faults
FAULT` is the host that a fault happens to: it orders one long pulse, says so, and breaks as told.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from edge.actuators.controller import Controller
from edge.actuators.guard import Guard
from edge.config import ControllerConfig, DeterrentConfig
from edge.errors import ControllerError
from edge.latency import percentiles
from edge.pin_guard import HISTORY
from edge.values import Order

_LONG = 5000  # ms, the longest pulse there is
_FAULT_AFTER_S = 0.5
_WATCHED_S = 8.0  # longer than the pulse: who is still on then stays on
_NEVER = 1 << 62

Progress = Callable[[int, int], None]

HOST_FAULTS = {"host": ("watch killed", signal.SIGKILL), "stop": ("watch stopped", signal.SIGSTOP)}
GUARD_FAULTS = {
    "guard": ("guard killed, watch alive", signal.SIGKILL),
    "freeze": ("guard frozen, watch alive", signal.SIGSTOP),
}


def bench_faults(runs: int = 3, pulses: int = 500, progress: Progress = lambda done, of: None) -> dict[str, Any]:
    """For each fault the longest of `runs` (the last one: one run): seconds the pin stayed on; None: beyond the pulse.

    `order_ms`: from an order to the acknowledgement that the pin is on.
    """
    faults = ["host", "stop", "hang", "garbage", "guard", "freeze"]
    names = {"hang": "the loop hangs, its threads do not", "garbage": "garbage on the wire"}
    names |= {fault: name for fault, (name, _) in (HOST_FAULTS | GUARD_FAULTS).items()}
    longest: dict[str, float | None] = {}
    for number, fault in enumerate(faults):
        progress(number, len(faults) + 2)
        stayed = [_break(fault) for _ in range(runs)]
        longest[names[fault]] = None if None in stayed else max(s for s in stayed if s is not None)
    progress(len(faults), len(faults) + 2)
    longest["guard frozen and watch killed"] = _break("both")
    progress(len(faults) + 1, len(faults) + 2)
    return {"bench": "faults", "stayed_on_s": longest, "order_ms": _orders(pulses)}


def _break(fault: str) -> float | None:
    """One fault in one pulse: seconds from the fault until the pin was off."""
    with tempfile.TemporaryDirectory(prefix="gander-faults-") as folder:
        history = Path(folder) / "pins.jsonl"
        env = {**os.environ, "GPIOZERO_PIN_FACTORY": "mock", HISTORY: str(history)}
        command = [sys.executable, "-m", "edge.bench_faults", fault]
        with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, env=env, text=True) as host:
            assert host.stdout
            answer = host.stdout.readline().split()
            if answer[:1] != ["on"]:
                raise ControllerError(f"bench: the order was not carried out: {' '.join(answer) or 'no answer'}")
            guard = int(answer[1])
            try:
                return _off_after(history, _strike(fault, host, guard))
            finally:
                host.send_signal(signal.SIGCONT)
                host.kill()
                with contextlib.suppress(ProcessLookupError):
                    os.kill(guard, signal.SIGKILL)


def _strike(fault: str, host: subprocess.Popen[str], guard: int) -> int:
    """Let the fault happen; returns when it did (monotonic ns)."""
    if fault in ("hang", "garbage"):  # the host does it by itself, and says when
        assert host.stdout
        return int(host.stdout.readline())
    time.sleep(_FAULT_AFTER_S)
    struck = time.monotonic_ns()
    if fault in GUARD_FAULTS or fault == "both":
        os.kill(guard, signal.SIGSTOP if fault == "both" else GUARD_FAULTS[fault][1])
    if fault in HOST_FAULTS or fault == "both":
        host.send_signal(signal.SIGKILL if fault == "both" else HOST_FAULTS[fault][1])
    return struck


def _off_after(history: Path, struck: int) -> float | None:
    until = time.monotonic() + _WATCHED_S
    while time.monotonic() < until:
        changes = [json.loads(line) for line in history.read_text().splitlines() if line.endswith("}")]
        off = [change["ns"] for change in changes if change["ns"] > struck and not change["level"]]
        if off:
            return round(float(off[0] - struck) / 1e9, 3)
        time.sleep(0.02)
    return None


def _orders(pulses: int) -> dict[str, float]:
    """Milliseconds from order to acknowledgement, over short pulses on eight channels in turn."""
    os.environ.setdefault("GPIOZERO_PIN_FACTORY", "mock")
    deterrents = [DeterrentConfig(id=f"d{n}", channel=n, pin=4 + n) for n in range(8)]
    controller = Controller(deterrents, ControllerConfig(kind="guard", patience_ms=1000), lambda: Guard(deterrents))
    took = []
    try:
        controller.wait_ready(20.0)
        for number in range(pulses):
            controller.beat()
            action = controller.fire(Order(str(number), "d", number % 8, 20, 0, 1, _NEVER))
            if action.acknowledged_at_ns:
                took.append((action.acknowledged_at_ns - action.ordered_at_ns) / 1e6)
            time.sleep(0.025)
    finally:
        controller.close()
    return percentiles(took)


def host(fault: str) -> None:
    """Order one long pulse, say so, and live until the fault."""
    guards: list[Guard] = []
    deterrents = [DeterrentConfig()]

    def open_wire() -> Guard:
        guards.append(Guard(deterrents))
        return guards[-1]

    controller = Controller(deterrents, ControllerConfig(kind="guard", patience_ms=1000), open_wire)
    controller.wait_ready(20.0)
    result = controller.fire(Order("a", "light", 0, _LONG, 0, 1, _NEVER)).result
    sys.stdout.write(f"{result} {guards[-1].pid}\n")
    sys.stdout.flush()
    began, struck = time.monotonic(), False
    while True:
        if not struck and fault in ("hang", "garbage") and time.monotonic() - began > _FAULT_AFTER_S:
            struck = True
            sys.stdout.write(f"{time.monotonic_ns()}\n")
            sys.stdout.flush()
            if fault == "garbage":
                guards[-1].send(b"?\n" * 3)
        if not (struck and fault == "hang"):
            controller.beat()
        time.sleep(0.03)


if __name__ == "__main__":
    host(sys.argv[1])
