"""systemd, as far as a service can tell: the socket that it speaks to."""

from __future__ import annotations

import socket
import time


class Manager:
    """systemd's end of the socket."""

    def __init__(self, address: str) -> None:
        self.address = address
        self.all: list[str] = []
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.bind("\0" + address[1:] if address.startswith("@") else address)

    def heard(self, seconds: float = 0.0) -> list[str]:
        """What has come since last asked; where nothing has, what comes within so long."""
        lines: list[str] = []
        try:
            self._socket.settimeout(seconds or 0.001)
            while True:
                lines += self._socket.recv(4096).decode().split("\n")
                self._socket.settimeout(0.001)
        except TimeoutError:
            self.all += lines
            return lines

    def until(self, line: str, seconds: float = 40.0) -> None:
        """Wait until this line has come, ever."""
        end = time.monotonic() + seconds
        while line not in self.all:
            assert time.monotonic() < end, self.all
            self.heard(0.5)

    def close(self) -> None:
        self._socket.close()
