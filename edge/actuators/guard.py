"""The way to a controller, and the one that ends at the pin guard: a process of its own on this Pi."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Protocol

from edge.config import DeterrentConfig
from edge.errors import ControllerError
from edge.pin_guard import PINS


class Wire(Protocol):
    """The way to one controller, open. For the guard a socket; a serial port does as well."""

    name: str  # where it leads

    def fileno(self) -> int:
        """For `select`."""
        ...

    def send(self, data: bytes) -> None:
        """Send all of one line without waiting; raises OSError."""
        ...

    def receive(self) -> bytes:
        """What has come, b"" for nothing; raises `ControllerError` at the end."""
        ...

    def close(self) -> str:
        """Let go. Returns what the controller's end had to say for itself, or ""."""
        ...


class Guard:
    """The pin guard process and the socket to it. It turns everything off when the socket closes."""

    name = "this Pi's own pins"

    def __init__(self, deterrents: Sequence[DeterrentConfig], environment: Mapping[str, str] | None = None) -> None:
        """`environment`: variables of the guard beside this process's own (see `pin_guard`)."""
        keys = {"channel", "pin", "active_high", "max_on_ms", "rest_ms"}
        channels = [d.model_dump(include=keys) | {"hour_ms": round(d.hour_s * 1000)} for d in deterrents if d.enabled]
        if folder := os.environ.get("RUNTIME_DIRECTORY"):  # a service's; for ExecStopPost=, see systemd/
            (Path(folder) / PINS).write_text(json.dumps(channels))
        self._socket, theirs = socket.socketpair()
        with theirs:
            # A session of its own: Ctrl-C is for the host, which then lets go; the guard outlives it to turn off.
            self._process = subprocess.Popen(
                [sys.executable, "-m", "edge.pin_guard", json.dumps(channels)],
                stdin=theirs.fileno(),
                stdout=theirs.fileno(),
                stderr=subprocess.PIPE,
                cwd=Path(__file__).parents[2],
                env={**os.environ, **(environment or {})},
                start_new_session=True,
            )
        self._socket.setblocking(False)

    @property
    def pid(self) -> int:
        return self._process.pid

    def fileno(self) -> int:
        return self._socket.fileno()

    def send(self, data: bytes) -> None:
        if self._socket.send(data) < len(data):
            raise BrokenPipeError("the guard does not read")

    def receive(self) -> bytes:
        try:
            data = self._socket.recv(4096)
        except BlockingIOError:
            return b""
        except OSError:
            data = b""
        if not data:
            raise ControllerError("the guard has ended")
        return data

    def close(self) -> str:
        self._socket.close()
        try:
            self._process.wait(0.5)
        except subprocess.TimeoutExpired:
            self._process.kill()  # frozen; SIGKILL reaches a stopped process too
            self._process.wait()
        assert self._process.stderr
        with self._process.stderr as stderr:
            said = stderr.read(65536).decode(errors="replace").strip()
        return said.rpartition("\n")[2]
