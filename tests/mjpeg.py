"""A network camera: Motion JPEG over HTTP on loopback, that can misbehave in every way cameras do."""

from __future__ import annotations

import contextlib
import socket
import threading
import time
from base64 import b64encode
from collections.abc import Callable, Iterator

import cv2
import numpy as np

from tests.ports import free_port

_HEAD = b"HTTP/1.0 200 OK\r\nContent-Type: multipart/x-mixed-replace; boundary=frame\r\n\r\n"


def jpeg(number: int = 0, size: tuple[int, int] = (320, 240), grey: bool = False) -> bytes:
    """A plain picture whose red tells its number."""
    picture = np.zeros((size[1], size[0], 3), np.uint8)
    picture[:] = (40, 80, number * 3 % 200 + 40)
    return bytes(cv2.imencode(".jpg", cv2.cvtColor(picture, cv2.COLOR_BGR2GRAY) if grey else picture)[1].tobytes())


class MjpegCamera:
    """Serves `picture(n)` for ever; `mode` can be changed at any time.

    `good`; `frozen`: connected, nothing comes; `silent`: no answer to the request; `cut`: ends at once; `garbage`: not
    pictures; `401` and `404`.
    """

    def __init__(self, picture: Callable[[int], bytes] = jpeg, fps: float = 30.0, password: str = "") -> None:
        self.mode, self.picture, self.fps = "good", picture, fps
        self.connections = 0
        self._allowed = b"Basic " + b64encode(password.encode()) if password else b""
        self._listener: socket.socket | None = None
        self.port = free_port()
        self.start()

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self.port}/stream.mjpg?x=1"

    def start(self) -> None:
        """Listen, each time on the same port."""
        self._listener = socket.create_server(("127.0.0.1", self.port))
        threading.Thread(target=self._accept, args=(self._listener,), daemon=True).start()

    def stop(self) -> None:
        """Gone from the network."""
        if self._listener:
            self._listener.shutdown(socket.SHUT_RDWR)
            self._listener.close()
        self._listener = None

    def _accept(self, listener: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while True:
                connection, _ = listener.accept()
                self.connections += 1
                threading.Thread(target=self._serve, args=(connection, listener), daemon=True).start()

    def _serve(self, connection: socket.socket, listener: socket.socket) -> None:
        with contextlib.suppress(OSError), connection:
            request = connection.recv(4096)
            while self.mode == "silent":
                time.sleep(0.05)
            if self.mode in ("401", "404") or (self._allowed and self._allowed not in request):
                status = b"404 Not Found" if self.mode == "404" else b"401 Unauthorized"
                ask = b'WWW-Authenticate: Basic realm="camera"\r\n'
                connection.sendall(b"HTTP/1.0 " + status + b"\r\n" + ask + b"Content-Length: 0\r\n\r\n")
                return
            connection.sendall(_HEAD)
            for number in range(10**9):
                while self.mode == "frozen":
                    time.sleep(0.05)
                if self.mode == "cut" or self._listener is not listener:
                    return
                data = bytes(range(256)) * 12 if self.mode == "garbage" else self.picture(number)
                length = str(len(data)).encode()
                part = b"--frame\r\nContent-Type: image/jpeg\r\nContent-Length: " + length
                connection.sendall(part + b"\r\n\r\n" + data + b"\r\n")
                time.sleep(1 / self.fps)


@contextlib.contextmanager
def camera(picture: Callable[[int], bytes] = jpeg, fps: float = 30.0, password: str = "") -> Iterator[MjpegCamera]:
    made = MjpegCamera(picture, fps, password)
    try:
        yield made
    finally:
        made.mode = "cut"
        made.stop()
