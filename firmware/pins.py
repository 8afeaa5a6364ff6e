"""A Pico's pins, link, watchdog and LED: the one file of the firmware that touches hardware. MicroPython only."""

import os
import select
import sys
import time

import machine  # type: ignore[import-not-found]
import micropython  # type: ignore[import-not-found]

from firmware import settings

WATCHDOG_MS = 500
"""A program that hangs is reset after so long. A turn of the loop takes 10 ms, collecting garbage not much more."""
STUCK_MS = 60
"""Outputs go off when the loop has not come round for so long, before any reset."""
LOOK_MS = 20
"""How often that is looked at, by a timer."""
STAY = "stay"
"""A file: the next start runs no controller."""
_READ_MAX = 64  # bytes in one turn, so that a flood cannot hold the loop
_UNSENT_MAX = 1024  # bytes owed to a host that does not read; beyond, whole lines are dropped
_HALF = 32768  # of 65535: a square wave


def all_off() -> None:
    """Every output driven to its off level, whatever it was."""
    for about in settings.CHANNELS.values():
        machine.Pin(about["pin"], machine.Pin.OUT, value=not about.get("active_high", True))


all_off()  # before the rest is even compiled, which takes the Pico a while

from firmware.check import option, wiring  # noqa: E402
from firmware.deterrent import ticks_diff  # noqa: E402


class Relay:
    """On is on."""

    def __init__(self, about: "dict[str, object]") -> None:
        self._high = about.get("active_high", True)
        self._pin = machine.Pin(about["pin"], machine.Pin.OUT, value=not self._high)
        self.on = False
        self._since = 0

    def show(self, on: bool, now: int) -> None:
        if on and not self.on:
            self._since = now
            self.on = True
        if on:
            self.act(ticks_diff(now, self._since))
        elif self.on:
            self.off()

    def act(self, elapsed: int) -> None:
        """Be on; it has been for so many milliseconds."""
        self._pin.value(self._high)

    def off(self) -> None:
        """At once. Allocates nothing, since an interrupt calls it, too."""
        self._pin.value(not self._high)
        self.on = False


class Strobe(Relay):
    """Flashes while it is on."""

    def __init__(self, about: "dict[str, object]") -> None:
        Relay.__init__(self, about)
        self._period = 1000 // option(about, "hz")

    def act(self, elapsed: int) -> None:
        lit = elapsed % self._period < self._period // 2
        self._pin.value(self._high if lit else not self._high)


class Siren(Relay):
    """A square wave that sweeps from its low tone to its high one and back, while it is on."""

    def __init__(self, about: "dict[str, object]") -> None:
        Relay.__init__(self, about)
        self._low, self._high_hz = option(about, "low_hz"), option(about, "high_hz")
        self._half = option(about, "sweep_ms") // 2
        self._pwm: "machine.PWM" = None

    def act(self, elapsed: int) -> None:
        part = elapsed % (2 * self._half)
        part = min(part, 2 * self._half - part)
        hz = self._low + (self._high_hz - self._low) * part // self._half
        if self._pwm is None:
            self._pwm = machine.PWM(self._pin, freq=hz, duty_u16=_HALF)
        else:
            self._pwm.freq(hz)

    def off(self) -> None:
        # The pin goes back from the PWM to a plain low first: a PWM that is only stopped leaves it as it happens to be.
        self._pin.init(machine.Pin.OUT, value=0)
        self.on = False
        if self._pwm is not None:
            self._pwm.deinit()
            self._pwm = None


class Servo(Relay):
    """In its acting position while it is on, else in its safe one, from the first moment."""

    def __init__(self, about: "dict[str, object]") -> None:
        Relay.__init__(self, about)
        self._safe_ns, self._acting_ns = option(about, "safe_us") * 1000, option(about, "acting_us") * 1000
        self._pwm = machine.PWM(self._pin, freq=50, duty_ns=self._safe_ns)

    def act(self, elapsed: int) -> None:
        self._pwm.duty_ns(self._acting_ns)

    def off(self) -> None:
        self._pwm.duty_ns(self._safe_ns)
        self.on = False


KINDS = {"relay": Relay, "strobe": Strobe, "siren": Siren, "servo": Servo}


class Board:
    """A Pico as `firmware.main.run` sees it. Raises `ValueError` when the settings make no sense: all stays off."""

    channels = settings.CHANNELS

    def __init__(self) -> None:
        wiring(settings)
        self._outputs = {n: KINDS[str(about["kind"])](about) for n, about in self.channels.items()}
        self._all = list(self._outputs.values())
        self._switch = None
        if settings.ARM_SWITCH is not None:
            self._switch = machine.Pin(settings.ARM_SWITCH, machine.Pin.IN, machine.Pin.PULL_UP)
        self._led = machine.Pin(settings.LED, machine.Pin.OUT, value=0)
        self._shining = False
        self._open_link()
        self._byte = bytearray(1)
        self._heard = bytearray(_READ_MAX)
        self._unsent = b""
        self._dog: "machine.WDT" = None
        self._timer: object = None
        self._stuck = False
        self._turned = _ticks()
        self._look = self._look_at_loop  # made here, since an interrupt must not allocate

    def _open_link(self) -> None:
        if settings.LINK == "uart":
            # Pulled up, or a wire that has come off is heard as noise.
            heard = machine.Pin(1, machine.Pin.IN, machine.Pin.PULL_UP)
            link = machine.UART(0, settings.BAUD, tx=machine.Pin(0), rx=heard, rxbuf=512, txbuf=512, timeout=0)
            self._source, self._sink = link, link
        else:
            self._source, self._sink = sys.stdin.buffer, sys.stdout.buffer
        self._readable, self._writable = select.poll(), select.poll()
        self._readable.register(self._source, select.POLLIN)
        self._writable.register(self._sink, select.POLLOUT)

    def now(self) -> int:
        return _ticks()

    def armed_switch(self) -> bool:
        """Whether it is closed."""
        return self._switch is None or not self._switch.value()

    def show(self, outputs: "list[tuple[int, bool]]") -> None:
        """Drive the outputs. Raises `OSError` when they had to be turned off because the loop did not come round."""
        now = _ticks()
        self._turned = now
        for n, on in outputs:
            self._outputs[n].show(on and not self._stuck, now)
        if self._stuck:
            self.off()
            raise OSError("the loop hung")

    def off(self) -> None:
        """Everything, at once. Allocates nothing."""
        for output in self._all:
            output.off()

    def read(self) -> bytes:
        """What has come, at most 64 bytes; never waits."""
        self._flush()
        count = 0
        while count < _READ_MAX and self._ready(self._readable, 0):
            if not self._source.readinto(self._byte):  # more than one could wait for what has not come yet
                break
            self._heard[count] = self._byte[0]
            count += 1
        return bytes(self._heard[:count]) if count else b""

    def write(self, line: bytes) -> None:
        """Send a line, or keep it, or drop it whole; never waits."""
        if len(self._unsent) + len(line) <= _UNSENT_MAX:
            self._unsent += line
        self._flush()

    def wait(self, ms: int) -> None:
        """Sleep until bytes come, at most so long."""
        self._ready(self._readable, ms)

    def led(self, on: bool) -> None:
        if on != self._shining:
            self._shining = on
            self._led.value(on)

    def feed(self) -> None:
        """The loop has come round. The first time starts the watchdog, which cannot be stopped."""
        if self._dog is None:
            if settings.LINK == "usb":
                micropython.kbd_intr(-1)  # a byte 3 in noise is no Ctrl-C
            self._timer = _periodic(LOOK_MS, self._look)
            self._dog = machine.WDT(timeout=WATCHDOG_MS)
        self._dog.feed()

    def asked_to_stay(self) -> bool:
        """Whether this start shall run no controller; asked once."""
        try:
            os.remove(STAY)
        except OSError:
            return False
        return True

    def leave(self) -> None:
        """Start anew without a controller: MicroPython's prompt, no watchdog, everything off."""
        self.feed()  # writing to the flash takes its time
        with open(STAY, "w"):
            pass
        machine.reset()

    def _look_at_loop(self, timer: object) -> None:
        if ticks_diff(_ticks(), self._turned) > STUCK_MS:
            for output in self._all:
                if output.on:
                    self._stuck = True
                    output.off()

    def _flush(self) -> None:
        sent = 0
        while sent < len(self._unsent) and self._ready(self._writable, 0):
            if not self._sink.write(self._unsent[sent : sent + 1]):  # more than one could wait for room
                break
            sent += 1
        if sent:
            self._unsent = self._unsent[sent:]

    def _ready(self, poll: "select.poll", ms: int) -> bool:
        for _ in poll.ipoll(ms):  # type: ignore[attr-defined]
            return True
        return False


def _ticks() -> int:
    return time.ticks_ms()  # type: ignore[attr-defined,no-any-return]


def _periodic(ms: int, look: object) -> object:
    """A timer whose callback runs in the interrupt itself, where MicroPython can do that (from 1.26)."""
    try:
        return machine.Timer(period=ms, mode=machine.Timer.PERIODIC, callback=look, hard=True)
    except TypeError:
        return machine.Timer(period=ms, mode=machine.Timer.PERIODIC, callback=look)
