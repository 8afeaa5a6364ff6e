"""The guard process: the firmware's state machine on this Pi's own pins, through gpiozero. `python -m edge.pin_guard`.

It speaks the controller's protocol on standard input and output and needs nothing else of the host: when the host dies,
stops, hangs or talks nonsense, the pins go off. It imports little, so that it starts fast and is small.
"""

from __future__ import annotations

import contextlib
import importlib
import json
import os
import select
import shutil
import signal
import socket
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from edge.errors import ControllerError, Refused
from firmware.deterrent import MASK, Deterrent, Limits
from firmware.wire import Lines

HISTORY = "GANDER_PIN_HISTORY"
"""Environment variable: a file that gets one JSON line per change of a recording pin (GPIOZERO_PIN_FACTORY=mock)."""
PINS = "pins.json"
"""In a service's runtime directory: the channels its guard was given, for `@FILE`."""
_STOP = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)
_EXAMPLE = {"channel": 0, "pin": 17, "active_high": True, "max_on_ms": 5000, "hour_ms": 60000, "rest_ms": 1000}
_UNSENT_MAX = 4096  # bytes: a host that does not read is owed no more than this


class Pins:
    """The output of every channel. Off when opened, off when closed, whatever happens between."""

    def __init__(self, channels: list[dict[str, Any]], stack: contextlib.ExitStack, history: History | None) -> None:
        from gpiozero import Device, DigitalOutputDevice

        self._history = history
        Device.pin_factory = _factory(stack)
        if history:
            stack.callback(history.record)  # after the pins below were closed
        self._outputs: dict[int, Any] = {}
        for channel in channels:
            output = DigitalOutputDevice(channel["pin"], active_high=channel["active_high"], initial_value=False)
            self._outputs[channel["channel"]] = output
            stack.callback(output.close)
            stack.callback(output.off)
            if history:
                history.follow(channel["pin"], output.pin)
        self._shown = dict.fromkeys(self._outputs, False)

    def show(self, outputs: list[tuple[int, bool]]) -> None:
        """Drive the pins that change."""
        for channel, on in outputs:
            if on is not self._shown[channel]:
                self._outputs[channel].value = on
                self._shown[channel] = on
                if self._history:
                    self._history.record()


class History:
    """What gpiozero's recording pins remember, written down as it happens, so that it outlives this process.

    Lines: `{"ns": monotonic, "pin": BCM number, "level": 0|1}`, the electrical level; the first is from before the
    pin was opened.
    """

    def __init__(self, path: str) -> None:
        self._file = Path(path).open("a", encoding="ascii", buffering=1)  # noqa: SIM115 - as long as the process
        self._pins: dict[int, Any] = {}
        self._told: dict[int, int] = {}

    def follow(self, number: int, pin: Any) -> None:
        if not hasattr(pin, "states"):
            raise Refused(f"{HISTORY}: only recording pins have a history; set GPIOZERO_PIN_FACTORY=mock")
        self._pins[number], self._told[number] = pin, 0
        self.record()

    def record(self) -> None:
        for number, pin in self._pins.items():
            for state in pin.states[self._told[number] :]:
                line = {"ns": time.monotonic_ns(), "pin": number, "level": int(state.state)}
                self._file.write(json.dumps(line) + "\n")
            self._told[number] = len(pin.states)


def _factory(stack: contextlib.ExitStack) -> Any:
    """gpiozero's pins: what GPIOZERO_PIN_FACTORY names, else lgpio and never a fallback that nobody chose."""
    from gpiozero import Device

    if os.environ.get("GPIOZERO_PIN_FACTORY", "lgpio").lower() != "lgpio":  # gpiozero takes capitals too
        Device.ensure_pin_factory()
        return Device.pin_factory
    # lgpio changes to this directory and leaves a pipe in it.
    os.environ["LG_WD"] = tempfile.mkdtemp(prefix="gander-pins-", dir=os.environ.get("RUNTIME_DIRECTORY"))
    stack.callback(shutil.rmtree, os.environ["LG_WD"], ignore_errors=True)
    from gpiozero.pins.lgpio import LGPIOFactory, LGPIOPin

    lgpio = importlib.import_module("lgpio")

    class SteadyPin(LGPIOPin):  # type: ignore[misc]
        """gpiozero 2 claims an output low and then sets it: a blip of "on" for a relay that is active low.

        Claimed with its first level, the line changes from input to "off" in one step (gpiozero pull request 1177).
        """

        def output_with_state(self, state: bool) -> None:
            lgpio.gpio_claim_output(self.factory._handle, self._number, int(state))

    try:
        factory = LGPIOFactory()
    except lgpio.error as error:
        raise ControllerError(f"{error}") from None
    factory.pin_class = SteadyPin
    stack.callback(factory.close)
    return factory


class Link:
    """The host's end of the line. Never blocks: lines for a host that does not read are dropped whole."""

    def __init__(self, source: int, sink: int) -> None:
        self.source, self.sink = source, sink
        self.unsent = b""
        os.set_blocking(source, False)
        os.set_blocking(sink, False)

    def read(self) -> bytes | None:
        """What has come, b"" for nothing, None at the end of the host."""
        try:
            return os.read(self.source, 1024) or None
        except BlockingIOError:
            return b""
        except OSError:
            return None

    def send(self, lines: list[bytes]) -> bool:
        """Send or keep. False at the end of the host."""
        for line in lines:
            if len(self.unsent) + len(line) <= _UNSENT_MAX:
                self.unsent += line
        if self.unsent:
            try:
                self.unsent = self.unsent[os.write(self.sink, self.unsent) :]
            except BlockingIOError:
                pass
            except OSError:
                return False
        return True


def ticks() -> int:
    """Milliseconds of the monotonic clock, wrapped as the firmware's."""
    return time.monotonic_ns() // 1_000_000 & MASK


def guard(deterrent: Deterrent, pins: Pins, link: Link, stop: int) -> None:
    """Obey until the host ends or `stop` becomes readable. Pins move before the line that says so is sent."""
    lines = Lines()
    alive = link.send([deterrent.greeting(ticks())])
    while alive:
        due = deterrent.step(ticks())
        pins.show(deterrent.outputs())
        alive = link.send(due)
        readable, _, _ = select.select(
            [link.source, stop], [link.sink] if link.unsent else [], [], _until_due(deterrent)
        )
        if stop in readable:
            return
        data = link.read() if link.source in readable else b""
        if data is None:
            return
        for line in lines.feed(data):
            answers = deterrent.handle(line, ticks())
            pins.show(deterrent.outputs())
            alive = alive and link.send(answers)


def _until_due(deterrent: Deterrent) -> float | None:
    """Seconds to sleep: to the start of the millisecond in which something is due."""
    now_ns = time.monotonic_ns()
    due = deterrent.due(now_ns // 1_000_000 & MASK)
    return None if due < 0 else max((due * 1_000_000 - now_ns % 1_000_000) / 1e9, 0.0)


@contextlib.contextmanager
def _stop_signals() -> Iterator[int]:
    """A descriptor that becomes readable when this process is asked to stop."""
    waker, woken = socket.socketpair()
    with waker, woken:
        waker.setblocking(False)
        signal.set_wakeup_fd(waker.fileno(), warn_on_full_buffer=False)
        for number in _STOP:
            signal.signal(number, lambda *_: None)  # the wakeup descriptor says it all
        yield woken.fileno()
        signal.set_wakeup_fd(-1)


def _channels(text: str) -> list[dict[str, Any]]:
    """Each channel of `_EXAMPLE`, with its `Limits` as "limits"; `@FILE` holds them; raises `Refused`, `OSError`."""
    if text.startswith("@"):
        text = Path(text[1:]).read_text(encoding="utf-8")
    try:
        channels = json.loads(text)
        kinds = {key: type(value) for key, value in _EXAMPLE.items()}
        if not all({key: type(value) for key, value in channel.items()} == kinds for channel in channels):
            raise ValueError("a channel has just these")
        return [c | {"limits": Limits(c["max_on_ms"], c["hour_ms"], c["rest_ms"])} for c in channels]
    except (ValueError, AttributeError, TypeError) as error:
        example = json.dumps([_EXAMPLE])
        raise Refused(f"the channels must be given as JSON like {example}, got {text[:200]!r}: {error}") from None


def main(arguments: list[str]) -> int:
    """Exit status 0 when the host ended or a signal came, 2 with one line on standard error when there are no pins.

    Also 0 for an `@FILE` that is not there: no guard was started, so nothing is to be turned off.
    """
    if arguments and arguments[0].startswith("@") and not Path(arguments[0][1:]).exists():
        return 0
    from gpiozero import GPIOZeroError

    try:
        with contextlib.ExitStack() as stack:
            stop = stack.enter_context(_stop_signals())
            channels = _channels(arguments[0] if arguments else "")
            history = History(os.environ[HISTORY]) if os.environ.get(HISTORY) else None
            pins = Pins(channels, stack, history)
            deterrent = Deterrent({c["channel"]: c["limits"] for c in channels}, os.urandom(4).hex(), ticks())
            deterrent.switch(True, ticks())  # these pins have none
            guard(deterrent, pins, Link(sys.stdin.fileno(), sys.stdout.fileno()), stop)
    except (Refused, ControllerError, GPIOZeroError, OSError, ImportError) as error:
        sys.stderr.write(f"pin guard: no pins: {error}\n")
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
