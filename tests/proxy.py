"""A network that breaks when told: a TCP proxy on loopback that cuts, freezes or slows connections, or is closed."""

from __future__ import annotations

import contextlib
import select
import socket
import threading
import time
from collections.abc import Iterator


class Proxy:
    """Passes bytes between its own `port` and another."""

    def __init__(self, target: int) -> None:
        self._target = target
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        self._pairs: list[tuple[socket.socket, socket.socket]] = []
        self._frozen, self._closed, self._ending = False, False, False
        self._piece, self._delay_s = 65536, 0.0
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def cut(self, stay: bool = False) -> None:
        """End all connections; with `stay` let nobody in either, until `mend`."""
        self._closed = stay
        for pair in list(self._pairs):
            self._end(pair)

    def freeze(self) -> None:
        """Nothing passes any more, and nobody is told."""
        self._frozen = True

    def slow(self, piece: int, delay_s: float) -> None:
        """No more than `piece` bytes pass at once, and `delay_s` after they came."""
        self._piece, self._delay_s = piece, delay_s

    def mend(self) -> None:
        self._frozen = self._closed = False
        self._piece, self._delay_s = 65536, 0.0

    def close(self) -> None:
        self._ending = True
        self._thread.join()
        self.cut()
        self._listener.close()

    def _end(self, pair: tuple[socket.socket, socket.socket]) -> None:
        with contextlib.suppress(ValueError):
            self._pairs.remove(pair)
        for end in pair:
            with contextlib.suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)
            end.close()

    def _run(self) -> None:
        while not self._ending:
            ends = {} if self._frozen else {end: pair for pair in list(self._pairs) for end in pair}
            with contextlib.suppress(OSError, ValueError):  # one that was cut meanwhile
                readable, _, _ = select.select([self._listener, *ends], [], [], 0.05)
                for end in readable:
                    if end is self._listener:
                        self._accept()
                    else:
                        self._pass(end, ends[end])

    def _accept(self) -> None:
        near, _ = self._listener.accept()
        if self._closed:
            near.close()
            return
        try:
            far = socket.create_connection(("127.0.0.1", self._target), 5)
        except OSError:
            near.close()
            return
        self._pairs.append((near, far))
        if self._closed:  # meanwhile
            self._end((near, far))

    def _pass(self, end: socket.socket, pair: tuple[socket.socket, socket.socket]) -> None:
        other = pair[1] if end is pair[0] else pair[0]
        try:
            data = end.recv(self._piece)
            if data:
                time.sleep(self._delay_s)
                other.sendall(data)
                return
        except OSError:
            pass
        self._end(pair)


@contextlib.contextmanager
def proxy(target: int) -> Iterator[Proxy]:
    made = Proxy(target)
    try:
        yield made
    finally:
        made.close()
