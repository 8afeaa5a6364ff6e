"""The command socket: one JSON line asks, one answers. Only this machine's users who may open it are heard."""

from __future__ import annotations

import contextlib
import json
import logging
import os
import pwd
import socket
import struct
import threading
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from edge.errors import GanderError, NotRunning, Refused, StateError
from edge.unit import to_start

log = logging.getLogger(__name__)

SOCKET = "control.sock"
_MAX_LINE = 64 * 1024
_TIMEOUT_S = 90.0  # a model is verified, tried and loaded in that time
_READ_S = 2.0

Handler = Callable[..., Any]
"""(who, **arguments) -> an answer that JSON can carry. Raises `GanderError` to refuse."""


class Control:
    """Serves commands on a Unix socket in threads of its own. `handlers`: name -> what to do."""

    def __init__(self, path: Path, handlers: Mapping[str, Handler]) -> None:
        self._path, self._handlers, self._closing = path, handlers, False
        self._slots = threading.BoundedSemaphore(8)  # more askers than this wait
        path.unlink(missing_ok=True)  # ours to remove: the state directory's lock is held
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            self._socket.bind(str(path))
            path.chmod(0o660)
            self._socket.listen(8)
        except OSError as error:
            raise StateError(f"{path}: cannot listen for commands there: {error}; choose a shorter --state") from None
        self._thread = threading.Thread(target=self._serve, name="control", daemon=True)
        self._thread.start()

    def check(self) -> None:
        """Raises `GanderError` when nobody listens any more: the owner could not even disarm."""
        if not self._thread.is_alive() and not self._closing:
            raise GanderError(f"{self._path}: commands are no longer heard; see the log above")

    def close(self) -> None:
        self._closing = True
        self._path.unlink(missing_ok=True)
        with contextlib.suppress(OSError):
            self._socket.shutdown(socket.SHUT_RDWR)
        self._socket.close()

    def _serve(self) -> None:
        while True:
            self._slots.acquire()
            try:
                self._take(self._socket.accept()[0])
            except (OSError, RuntimeError) as error:
                self._slots.release()
                if self._closing:
                    return
                log.warning("%s: %s", self._path, error)  # out of descriptors or threads: the next may be heard
                time.sleep(0.1)

    def _take(self, connection: socket.socket) -> None:
        try:
            threading.Thread(target=self._answer, args=(connection,), name="command", daemon=True).start()
        except RuntimeError:
            connection.close()  # who asked is not left waiting
            raise

    def _answer(self, connection: socket.socket) -> None:
        try:
            with connection, contextlib.suppress(OSError):
                line = _line(connection, _READ_S)
                connection.settimeout(_READ_S)
                reply = self._handle(line, _peer(connection))
                connection.sendall(json.dumps(reply).encode() + b"\n")
        finally:
            self._slots.release()

    def _handle(self, line: bytes, who: str) -> dict[str, Any]:
        try:
            request = json.loads(line)
            name, arguments = request["command"], dict(request.get("arguments", {}))
            handler, via = self._handlers[name], str(request.get("via") or "")
        except (ValueError, TypeError, KeyError, AttributeError, RecursionError):
            return {"ok": False, "answer": f"not a command: {line[:80]!r}; known are {', '.join(self._handlers)}"}
        if via:
            who = f"{who} via {via[:20]}"
        try:
            return {"ok": True, "answer": handler(who, **arguments)}
        except (GanderError, TypeError, ValueError, OverflowError, OSError) as error:
            log.warning("%s of %s refused: %s", name, who, error)
            return {"ok": False, "refused": isinstance(error, ValueError), "answer": str(error) or type(error).__name__}


def ask(state: Path, command: str, /, *, via: str = "", timeout_s: float = _TIMEOUT_S, **arguments: Any) -> Any:
    """Send one command to the daemon of a state directory. Raises `NotRunning`, or `GanderError` when refused.

    `via` says by which way it came to this process, where it was not its user who asked.
    """
    path = state / SOCKET
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
            connection.settimeout(timeout_s)
            connection.connect(str(path))
            wanted = {"command": command, "arguments": arguments, "via": via}
            connection.sendall(json.dumps(wanted).encode() + b"\n")
            line = _line(connection, timeout_s)
    except (FileNotFoundError, ConnectionRefusedError):
        raise NotRunning(f"{path}: no gander runs there; {to_start()}") from None
    except OSError as error:
        raise GanderError(f"{path}: {error}") from None
    try:
        reply = json.loads(line)
    except ValueError:
        raise GanderError(f"{path}: the daemon ended before it answered") from None
    if not reply["ok"]:
        raise (Refused if reply.get("refused") else GanderError)(reply["answer"])
    return reply["answer"]


def _line(connection: socket.socket, timeout_s: float) -> bytes:
    """What comes until the end of a line or of all. Raises `TimeoutError` where that takes longer, byte by byte too."""
    data, until = b"", time.monotonic() + timeout_s
    while not data.endswith(b"\n") and len(data) <= _MAX_LINE:
        left_s = until - time.monotonic()
        if left_s <= 0:
            raise TimeoutError("timed out")
        connection.settimeout(left_s)
        part = connection.recv(4096)
        if not part:
            break
        data += part
    return data


def _peer(connection: socket.socket) -> str:
    """Who is on the other end, as the kernel says."""
    raw = connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, struct.calcsize("3i"))
    _, uid, _ = struct.unpack("3i", raw)
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return f"uid {uid}"


def me() -> str:
    """The name under which this process' own commands are kept."""
    try:
        return pwd.getpwuid(os.getuid()).pw_name
    except KeyError:
        return f"uid {os.getuid()}"
