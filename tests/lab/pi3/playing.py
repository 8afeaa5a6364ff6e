"""In the guest: plays `watch`. Has the real controller and guard, orders one pulse, and lives on."""

from __future__ import annotations

import json
import os
import signal
import time
from typing import Any

from edge.actuators.controller import Controller
from edge.actuators.guard import Guard
from edge.config import ControllerConfig, DeterrentConfig
from edge.values import Order

_NEVER = 1 << 62


def play(deterrent: DeterrentConfig, fires: bool, told: int) -> None:
    """Be the host until SIGTERM. Tells on `told`, as JSON lines, what happens and which guard there is."""
    guards: list[Guard] = []

    def open_wire() -> Guard:
        guards.append(Guard([deterrent]))
        return guards[-1]

    def tell(event: str, **facts: Any) -> None:
        line = {"event": event, "guard": guards[-1].pid if guards else 0, **facts}
        os.write(told, json.dumps(line).encode() + b"\n")

    stopping: list[int] = []
    signal.signal(signal.SIGTERM, lambda number, _: stopping.append(number))
    controller = Controller([deterrent], ControllerConfig(kind="guard", patience_ms=1000), open_wire)
    try:
        controller.wait_ready(60.0)
        tell("ready")
        if fires:
            tell("fired", result=_fire(controller, deterrent))
        starts = controller.restarts
        while not stopping:
            controller.beat()
            for _, on_ms in controller.finished():
                tell("done", on_ms=on_ms)
            if controller.restarts > starts:
                starts = controller.restarts
                tell("restarted")
            time.sleep(0.03)
    finally:
        controller.close()


def _fire(controller: Controller, deterrent: DeterrentConfig) -> str:
    """Order the deterrent's pattern. Again while its channel still rests from the start, or a busy emulator brought it
    too late: then nothing was fired."""
    until = time.monotonic() + 20.0
    while True:
        controller.beat()
        order = Order("a", deterrent.id, deterrent.channel, deterrent.on_ms, deterrent.off_ms, deterrent.count, _NEVER)
        result = controller.fire(order).result
        if result not in ("refused: rest", "refused: old") or time.monotonic() > until:
            return result
        time.sleep(0.05)
