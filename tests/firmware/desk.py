"""A desk's Pico: the firmware's own loop on a pseudo-terminal. `python -m tests.firmware.desk LINK`.

LINK becomes a link to the terminal that a host opens. Each change of an output is a JSON line on standard output:
`{"ns": monotonic, "channel": number, "level": 0|1}`; the first of each channel is its level at the start.
"""

from __future__ import annotations

import argparse
import json
import os
import select
import sys
import time
import tty
from pathlib import Path
from typing import Any

from firmware import settings
from firmware.deterrent import MASK
from firmware.main import run

_UNSENT_MAX = 1024


class Board:
    """As `firmware.pins.Board`; `switch_file`: the arm switch is open while that file is there."""

    def __init__(self, link: Path, channels: dict[int, dict[str, Any]], switch_file: Path | None) -> None:
        self.channels = channels
        self._switch_file = switch_file
        self._shown: dict[int, bool] = {}
        self._unsent = b""
        self.show([(number, False) for number in channels])
        self._port, slave = os.openpty()
        tty.setraw(slave)
        link.unlink(missing_ok=True)
        link.symlink_to(os.ttyname(slave))
        os.close(slave)  # so that a host that has gone is noticed; the terminal stays raw
        os.set_blocking(self._port, False)

    def now(self) -> int:
        return time.monotonic_ns() // 1_000_000 & MASK

    def armed_switch(self) -> bool:
        return self._switch_file is None or not self._switch_file.exists()

    def show(self, outputs: list[tuple[int, bool]]) -> None:
        for channel, on in outputs:
            if self._shown.get(channel) is not on:
                self._shown[channel] = on
                change = {"ns": time.monotonic_ns(), "channel": channel, "level": int(on)}
                sys.stdout.write(json.dumps(change) + "\n")
                sys.stdout.flush()

    def read(self) -> bytes:
        try:
            return os.read(self._port, 64)
        except OSError:  # nothing has come, or nobody has the port open
            return b""

    def write(self, line: bytes) -> None:
        if len(self._unsent) + len(line) <= _UNSENT_MAX:
            self._unsent += line
        self._flush()

    def wait(self, ms: int) -> None:
        self._flush()
        poll = select.poll()
        poll.register(self._port, select.POLLIN)
        if any(event & select.POLLHUP for _, event in poll.poll(ms)):
            time.sleep(ms / 1000)  # nobody has it open

    def led(self, on: bool) -> None:
        """It has none."""

    def feed(self) -> None:
        """It has no watchdog."""

    def _flush(self) -> None:
        try:
            self._unsent = self._unsent[os.write(self._port, self._unsent) :] if self._unsent else b""
        except BlockingIOError:
            pass
        except OSError:
            self._unsent = b""  # nobody has it open: a Pico loses that, too


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("link", type=Path)
    parser.add_argument("--max-on-ms", type=int, default=5000)
    parser.add_argument("--hour-ms", type=int, default=60_000)
    parser.add_argument("--rest-ms", type=int, default=100)
    parser.add_argument("--switch", type=Path, help="the arm switch is open while this file is there")
    given = parser.parse_args()
    limits = {"max_on_ms": given.max_on_ms, "hour_ms": given.hour_ms, "rest_ms": given.rest_ms}
    channels: dict[int, dict[str, Any]] = {n: {**about, **limits} for n, about in settings.CHANNELS.items()}
    run(Board(given.link, channels, given.switch))


if __name__ == "__main__":
    main()
