"""How long the output stays on when something breaks in the middle of a pulse, and how fast an order is acknowledged.

Measured with the real host and the real pin guard on gpiozero's recording pins; the tests bring a bed of their own for
the firmware of a Pico.
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
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any, Protocol

from edge.actuators.controller import Controller
from edge.actuators.guard import Guard, Wire
from edge.bench_host import LONG_MS, NEVER, STRIKE_S, WIRE_FAULTS
from edge.config import ControllerConfig, DeterrentConfig
from edge.errors import ControllerError
from edge.latency import percentiles
from edge.pin_guard import HISTORY
from edge.values import Order

PINS = "pins.jsonl"
_WATCHED_S = 8.0  # longer than the pulse: who is still on then stays on
_END_S = LONG_MS / 1000 - 0.2
_STALL_S = 1.0
_AT_ONCE = 4

Progress = Callable[[int, int], None]
Changes = list[tuple[int, int]]
"""(monotonic ns, level) of an output, changes only."""

_FAULTS = {
    "host": "watch killed",
    "stop": "watch stopped",
    "hang": "the loop hangs, its threads do not",
    "unplug": "the cable pulled out",
    "guard": "controller killed, watch alive",
    "freeze": "controller frozen, watch alive",
    **WIRE_FAULTS,
}
RESIDUE = {
    "guard end": "controller killed just before its pulse ends",
    "freeze end": "controller frozen just before its pulse ends",
    "stall": "controller stalled for a second as its pulse ends, then hears it all",
    "both": "controller frozen and watch killed",
}
"""What a process cannot end in time: its pins stay until a successor has opened them, or for ever."""
_NOT = {"guard": ("second",), "serial": ("guard", "freeze", *RESIDUE)}
"""A guard has no port. Reset and watchdog of a Pico are its chip's, which no desk has: see `tests/lab/pico`."""
_SPENT = {"spent": "ordered again and again, until the hour has no more"}
_OUTSIDE = {
    # fault: when it strikes, the signal to the controller, the signal to the host
    "host": (STRIKE_S, None, signal.SIGKILL),
    "stop": (STRIKE_S, None, signal.SIGSTOP),
    "guard": (STRIKE_S, signal.SIGKILL, None),
    "freeze": (STRIKE_S, signal.SIGSTOP, None),
    "guard end": (_END_S, signal.SIGKILL, None),
    "freeze end": (_END_S, signal.SIGSTOP, None),
    "stall": (_END_S, signal.SIGSTOP, None),
    "both": (STRIKE_S, signal.SIGSTOP, signal.SIGKILL),
}


class Bed(Protocol):
    """One controller to be broken."""

    kind: str  # "guard" or "serial"
    port: Path | None
    environment: dict[str, str]  # of the host

    def open(self) -> Wire: ...

    def changes(self) -> Changes:
        """Of channel 0."""
        ...

    def strike(self, number: signal.Signals, guard: int) -> None:
        """Send a signal to what holds the output; `guard`: the process that the host has started, or 0."""
        ...


MakeBed = Callable[[Path, Sequence[DeterrentConfig]], AbstractContextManager[Bed]]


class GuardBed:
    """The pin guard on recording pins."""

    kind = "guard"
    port: Path | None = None

    def __init__(self, folder: Path, deterrents: Sequence[DeterrentConfig]) -> None:
        self._history, self._deterrents = folder / PINS, deterrents
        self.environment = {"GPIOZERO_PIN_FACTORY": "mock", HISTORY: str(self._history)}

    def open(self) -> Wire:
        return Guard(self._deterrents, self.environment)

    def changes(self) -> Changes:
        return read_changes(self._history, "pin", self._deterrents[0].pin)

    def strike(self, number: signal.Signals, guard: int) -> None:
        os.kill(guard, number)


@contextlib.contextmanager
def guard_bed(folder: Path, deterrents: Sequence[DeterrentConfig]) -> Iterator[Bed]:
    yield GuardBed(folder, deterrents)


def read_changes(history: Path, key: str, number: int) -> Changes:
    """What a history (see `pin_guard.History`) tells of one output. Lines that are half written are left out."""
    found: Changes = []
    for text in history.read_text().splitlines() if history.exists() else ():
        if not text.endswith("}"):
            continue
        line = json.loads(text)
        if line[key] == number and [level for _, level in found[-1:]] != [line["level"]]:
            found.append((line["ns"], line["level"]))
    return found


def lit_s(changes: Changes) -> list[float]:
    """Seconds of each time that it was on; one that has not ended counts until now."""
    ends = [*changes[1:], (time.monotonic_ns(), -1)]
    return [(after[0] - now[0]) / 1e9 for now, after in zip(changes, ends, strict=True) if now[1] == 1]


def bench_faults(
    runs: int = 3,
    orders: int = 200,
    progress: Progress = lambda done, of: None,
    make_bed: MakeBed = guard_bed,
) -> dict[str, Any]:
    """For each fault the longest of `runs`, in one pulse of 5 s.

    `stayed_on_s`: seconds from the fault until the output was off; `on_s`: seconds that it was on in all; None: beyond
    the pulse, for as long as was watched. `order_ms`: from an order to the acknowledgement that the output is on.
    """
    with tempfile.TemporaryDirectory(prefix="gander-faults-") as folder, make_bed(Path(folder), _light()) as bed:
        kind = bed.kind
        order_ms = _orders(orders, make_bed)
    names = _FAULTS | RESIDUE | _SPENT | {"second": "a second host on the port"}
    faults = [fault for fault in names if fault not in _NOT[kind]] * runs
    found: dict[str, list[tuple[float, float] | None]] = {}
    with ThreadPoolExecutor(_AT_ONCE) as pool:
        stays = pool.map(lambda fault: _break(fault, make_bed), faults)
        for number, (fault, stayed) in enumerate(zip(faults, stays, strict=True)):
            progress(number + 1, len(faults))
            found.setdefault(names[fault], []).append(stayed)
    after = {name: None if None in all_ else max(one[0] for one in all_ if one) for name, all_ in found.items()}
    on = {name: None if None in all_ else max(one[1] for one in all_ if one) for name, all_ in found.items()}
    whole = {"bench": "faults", "controller": kind, "ordered_s": LONG_MS / 1000}
    return whole | {"stayed_on_s": after, "on_s": on, "order_ms": order_ms}


def _light() -> list[DeterrentConfig]:
    return [DeterrentConfig(rest_ms=100)]


def _break(fault: str, make_bed: MakeBed) -> tuple[float, float] | None:
    """One fault in one pulse: seconds from the fault until the output was off, and seconds that it was on in all."""
    if fault in _SPENT:
        return _spend(make_bed)
    with tempfile.TemporaryDirectory(prefix="gander-faults-") as folder, make_bed(Path(folder), _light()) as bed:
        command = [sys.executable, "-m", "edge.bench_host", fault, *([str(bed.port)] if bed.port else [])]
        env = {**os.environ, **bed.environment}
        with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, env=env, text=True) as host:
            assert host.stdout
            answer = host.stdout.readline().split()
            guard = int(answer[1]) if len(answer) == 2 else 0
            try:
                if answer[:1] != ["on"]:
                    raise ControllerError(f"bench: the order was not carried out: {' '.join(answer) or 'no answer'}")
                return _off_after(bed, _strike(fault, host, bed, guard))
            finally:
                host.send_signal(signal.SIGCONT)
                host.kill()
                with contextlib.suppress(ProcessLookupError):
                    bed.strike(signal.SIGKILL, guard)


def _strike(fault: str, host: subprocess.Popen[str], bed: Bed, guard: int) -> int:
    """Let the fault happen; returns when it did (monotonic ns)."""
    if fault not in _OUTSIDE:  # the host does it by itself, and says when
        assert host.stdout
        return int(host.stdout.readline())
    after_s, to_controller, to_host = _OUTSIDE[fault]
    time.sleep(after_s)
    struck = time.monotonic_ns()
    if to_controller:
        bed.strike(to_controller, guard)
    if to_host:
        host.send_signal(to_host)
    if fault == "stall":
        time.sleep(_STALL_S)
        bed.strike(signal.SIGCONT, guard)
    return struck


def _off_after(bed: Bed, struck: int) -> tuple[float, float] | None:
    """Watch the output go off, and on whether it comes back on. None: it stays on."""
    until = time.monotonic() + _WATCHED_S
    while time.monotonic() < until:
        changes = bed.changes()
        off = [ns for ns, level in changes if ns > struck and not level]
        if off:
            time.sleep(0.5)  # an order that comes late would show now
            return round((off[0] - struck) / 1e9, 3), round(sum(lit_s(bed.changes())), 3)
        time.sleep(0.02)
    return None


def _spend(make_bed: MakeBed) -> tuple[float, float] | None:
    """Order until the hour has no more to give: the longest that it was on at once. None: it gave more than it has."""
    light = [DeterrentConfig(rest_ms=100, hour_s=12.0)]
    with _controller(light, make_bed) as (controller, bed):
        result = ""
        while result != "refused: duty":
            controller.beat()
            result = controller.fire(Order("a", "light", 0, LONG_MS, 0, 1, NEVER)).result
            while (changes := bed.changes()) and changes[-1][1]:
                controller.beat()
                time.sleep(0.02)
            time.sleep(0.05)
        assert controller.greeting
        lit = lit_s(bed.changes())
        hour_s = controller.greeting.limits[0].hour_ms / 1000
        return (0.0, round(max(lit), 3)) if sum(lit) <= hour_s + 0.1 else None


@contextlib.contextmanager
def _controller(deterrents: Sequence[DeterrentConfig], make_bed: MakeBed) -> Iterator[tuple[Controller, Bed]]:
    """In this process, ready."""
    with tempfile.TemporaryDirectory(prefix="gander-faults-") as folder, make_bed(Path(folder), deterrents) as bed:
        config = ControllerConfig.model_validate({"kind": bed.kind, "patience_ms": 1000})
        controller = Controller(deterrents, config, bed.open)
        try:
            if not controller.wait_ready(20.0):
                raise ControllerError(f"bench: {controller.trouble}")
            yield controller, bed
        finally:
            controller.close()


def _orders(pulses: int, make_bed: MakeBed) -> dict[str, float]:
    """Milliseconds from order to acknowledgement, over short pulses."""
    took = []
    with _controller([DeterrentConfig(rest_ms=100, count=1)], make_bed) as (controller, _):
        for number in range(pulses):
            controller.beat()
            action = controller.fire(Order(str(number), "d", 0, 10, 0, 1, NEVER))
            if action.acknowledged_at_ns:
                took.append((action.acknowledged_at_ns - action.ordered_at_ns) / 1e6)
            time.sleep(0.115)
    return percentiles(took)
