"""In the guest: how it says on the console what was done, and has the moments of it in the pins' own record."""

from __future__ import annotations

import fcntl
import json
import struct
import sys
import time
from pathlib import Path
from typing import Any

MARK = 27
_GET_LINE, _SET_LINE = 0xC16CB403, 0xC040B409  # the character device's GPIO_GET_LINEHANDLE, GPIOHANDLE_SET_LINE_VALUES
_OUTPUT = 2


class Mark:
    """The line that says "now". By the kernel's own calls: lgpio would bring a thread, and this process forks."""

    def __init__(self) -> None:
        request = bytearray(struct.pack("<64II64s32sIi", MARK, *[0] * 63, _OUTPUT, b"", b"mark", 1, 0))
        with Path("/dev/gpiochip0").open("rb") as chip:
            fcntl.ioctl(chip, _GET_LINE, request)
        self._line = struct.unpack_from("<i", request, len(request) - 4)[0]
        self._level = 0

    def turn(self) -> int:
        """Turn the line over; returns the moment (monotonic ns)."""
        self._level ^= 1
        fcntl.ioctl(self._line, _SET_LINE, bytes([self._level]) + bytes(63))
        return time.monotonic_ns()


def say(event: str, /, **facts: Any) -> None:
    line = json.dumps({"ns": time.monotonic_ns(), **facts, "event": event})
    sys.stdout.write(f"@@ {line}\n")
    sys.stdout.flush()
