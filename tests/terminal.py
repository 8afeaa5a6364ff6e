"""A serial port without a Pico: a pseudo-terminal at whose far end a test sits."""

from __future__ import annotations

import os
import select
import threading
import tty

from firmware.wire import seal


class Terminal:
    """`port` is its name. Whoever opens it and asks for the state is answered once, and then never read again."""

    def __init__(self, *answer: str, noise: bytes = b"", deaf: bool = False) -> None:
        self._far, near = os.openpty()
        tty.setraw(near)
        self._near = near  # held open, as a port that is plugged in
        self.port = os.ttyname(near)
        self.heard = b""
        self._answer = noise + b"".join(seal(line) for line in answer)
        self._closing = threading.Event()
        self._thread = threading.Thread(target=self._attend)
        if not deaf:
            self._thread.start()

    def _attend(self) -> None:
        while b"STATE" not in self.heard:
            if self._closing.is_set():
                return
            if select.select([self._far], [], [], 0.02)[0]:
                self.heard += os.read(self._far, 4096)
        os.write(self._far, self._answer)

    def close(self) -> None:
        self._closing.set()
        if self._thread.is_alive():
            self._thread.join()
        os.close(self._near)
        os.close(self._far)
