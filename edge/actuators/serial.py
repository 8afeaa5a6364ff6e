"""The way to a Pico with Gander's firmware: a serial port, by USB or by UART."""

from __future__ import annotations

import contextlib
import errno
import grp
import os
import pwd
import select
import termios
import time
from collections.abc import Callable
from pathlib import Path

import serial
from serial.tools import list_ports

from edge.errors import ControllerError
from firmware.wire import LINE_MAX, Lines, seal, unseal

_PICO = 0x2E8A  # USB vendor id of Raspberry Pi
_UART = Path("/dev/serial0")  # the port on the Pi's own header
_GREETING_S = 1.5  # a Pico that has just been plugged in shows its port before its program runs
_ASK_S = 0.4
_DRAIN_S = 0.2
_HELLO = b"\n" + seal("0 ARM 0") + seal("0 STATE")
"""Ends what an earlier host left half said, turns everything off, asks for the greeting."""


class Serial:
    """One open port, a `Wire`. Exclusive: a second host is refused. Nothing here waits but opening and closing.

    pyserial opens and configures; reading and writing go to its descriptor, since its `write` with no patience spins
    for ever on a port that takes nothing.
    """

    def __init__(self, port: str, baud: int) -> None:
        """Raises `ControllerError` with what to do."""
        self.name = port
        self._heard = b""
        try:
            self._port = serial.Serial(port, baud, timeout=0, write_timeout=0, exclusive=True)
        except (OSError, ValueError, termios.error) as error:
            raise ControllerError(_why_closed(port, error)) from None

    def fileno(self) -> int:
        return int(self._port.fileno())

    def send(self, data: bytes) -> None:
        if os.write(self.fileno(), data) < len(data):
            raise BrokenPipeError(f"{self.name} takes no more")

    def receive(self) -> bytes:
        heard, self._heard = self._heard, b""
        return heard or self._read()

    def _read(self) -> bytes:
        if not select.select([self], [], [], 0)[0]:
            return b""
        try:
            data = os.read(self.fileno(), 4096)
        except BlockingIOError:
            return b""
        except OSError:
            data = b""
        if not data:  # readable, and yet nothing to read
            raise ControllerError(f"{self.name} is gone; is the Pico plugged in?")
        return data

    def close(self) -> str:
        until = time.monotonic() + _DRAIN_S
        with contextlib.suppress(OSError, termios.error):
            while self._port.out_waiting and time.monotonic() < until:
                time.sleep(0.005)
            self._port.reset_output_buffer()  # else the kernel waits half a minute for a port that takes nothing
        with contextlib.suppress(OSError):
            self._port.close()
        return ""

    def greeting(self) -> list[str]:
        """The words after HELLO, as long as they wait to be received."""
        for line in Lines().feed(self._heard):
            words = unseal(line) if line else None
            if words and words[0] == "HELLO":
                return words[1:]
        return []

    def greet(self, patience_s: float) -> None:
        """Wait for the controller's greeting, which `receive` then gives. Raises `ControllerError`, and is closed."""
        until, ask = time.monotonic() + patience_s, 0.0
        try:
            while (now := time.monotonic()) < until:
                if now >= ask:
                    self.send(_HELLO)
                    ask = now + _ASK_S
                select.select([self], [], [], min(ask, until) - now)
                self._heard = (self._heard + self._read())[-32 * LINE_MAX :]
                if self.greeting():
                    return
            raise ControllerError(_why_no_greeting(self.name, self._heard))
        except OSError as error:
            self.close()
            raise ControllerError(f"{self.name}: {error.strerror or error}; plug the Pico out and in again") from None
        except ControllerError:
            self.close()
            raise


def ports() -> list[str]:
    """Where a controller may be: Picos on USB, then the UART of the Pi's header."""
    found = sorted(port.device for port in list_ports.comports() if port.vid == _PICO)
    return found + [str(_UART)] * _UART.exists()


def find(port: str, baud: int, candidates: Callable[[], list[str]] = ports, patience_s: float = _GREETING_S) -> Serial:
    """Open the port, or where none is given the first of the candidates, that a controller answers on.

    Takes a few seconds at most, unless a driver hangs. Raises `ControllerError`: one line, "what; what to do".
    """
    why = ""
    for name in [port] if port else candidates():
        try:
            wire = Serial(name, baud)
            wire.greet(patience_s)
        except ControllerError as error:
            why = why or str(error)
        else:
            return wire
    nowhere = f"no Pico on USB, and no {_UART}; plug it in by a cable that carries data, or set controller.port"
    raise ControllerError(why or nowhere)


def _why_closed(port: str, error: Exception) -> str:
    number = error.errno if isinstance(error, OSError) else None
    if number in (errno.ENOENT, errno.ENODEV, errno.ENXIO):
        return f"there is no {port}; is the Pico plugged in, by a cable that carries data?"
    if number == errno.EPERM:  # file modes have another number
        return f"{port}: the service may not open it; wire the Pico to a ttyACM, ttyUSB, ttyAMA or ttyS port"
    if number == errno.EACCES:
        return f"{port}: permission denied; {to_open(os.getuid(), os.getgroups())}"
    if number in (errno.EWOULDBLOCK, errno.EBUSY):
        return f"{port} is in use; another gander, or a terminal as mpremote, must let go of it"
    return f"{port} cannot be used: {error}; set controller.port to the Pico's serial port"


def to_open(user: int, groups: list[int]) -> str:
    """What gives a user of these groups the right to a serial port."""
    try:
        name, dialout = pwd.getpwuid(user).pw_name, grp.getgrnam("dialout").gr_gid
    except KeyError:
        name, dialout = "$USER", -1
    if dialout in groups:
        return "turn the serial console off, which has it: `sudo raspi-config`, Interface Options, Serial Port; reboot"
    return f"`sudo usermod -aG dialout {name}`, then log in again, or restart the service"


def _why_no_greeting(port: str, heard: bytes) -> str:
    flash = "`deploy/flash.sh` puts Gander's firmware on it"
    if b">>>" in heard or b"Traceback" in heard:
        return f"{port}: MicroPython answers, but not Gander's firmware; {flash}"
    if heard:
        return f"{port}: something else answers than Gander's firmware; {flash}, or set controller.port to another"
    return f"{port}: nobody answers; {flash}; by UART look at the wires and at controller.baud"
