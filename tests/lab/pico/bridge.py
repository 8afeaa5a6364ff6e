"""A pseudo-terminal whose far end is an emulated Pico's USB: what a host opens as a Pico's port."""

from __future__ import annotations

import contextlib
import os
import select
import threading
import tty

from tests.lab.pico.chip import Pico

_SLICE_MS = 4.0  # of the Pico's time, between two looks at the host's bytes


class Bridge:
    """`port` is its name. The Pico's time passes as fast as it can, which is slower than the host's.

    What the host sends in one of its seconds reaches the Pico in a fraction of one of its own: the Pico hears its host
    ping more often than it will, and each answer takes the host longer than it will.
    """

    def __init__(self, pico: Pico) -> None:
        self.pico = pico
        self.lock = threading.Lock()  # to be held by whoever touches the Pico meanwhile
        self._far, self._near = os.openpty()
        tty.setraw(self._near)
        os.set_blocking(self._far, False)
        self.port = os.ttyname(self._near)
        self._closing = threading.Event()
        self._thread = threading.Thread(target=self._carry)
        self._thread.start()

    def _carry(self) -> None:
        while not self._closing.is_set():
            data = os.read(self._far, 4096) if select.select([self._far], [], [], 0)[0] else b""
            with self.lock:
                if data:
                    self.pico.raw(data)
                said = self.pico.run(_SLICE_MS)
            with contextlib.suppress(BlockingIOError):  # a host that does not read
                os.write(self._far, said.encode("latin1"))

    def close(self) -> None:
        self._closing.set()
        self._thread.join()
        os.close(self._near)
        os.close(self._far)
