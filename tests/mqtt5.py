"""A broker on loopback that speaks MQTT 5 as it is told to: with whatever reason codes, or with no sense at all."""

from __future__ import annotations

import contextlib
import socket
import struct
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

SERVER_REFERENCE, REASON_STRING = 28, 31
_CONNECT, _PUBLISH, _SUBSCRIBE, _PINGREQ, _DISCONNECT = 1, 3, 8, 12, 14


def packet(kind: int, body: bytes) -> bytes:
    assert len(body) < 128
    return bytes([kind << 4, len(body)]) + body


def properties(texts: dict[int, str]) -> bytes:
    body = b"".join(bytes([id_]) + struct.pack("!H", len(t.encode())) + t.encode() for id_, t in texts.items())
    return bytes([len(body)]) + body


@dataclass
class Told:
    """What the broker says. May be changed at any time."""

    connack: tuple[int, dict[int, str]] = (0, {})
    password: bytes = b""
    """Who has another is not let in."""
    puback: Callable[[str, bytes], int] = lambda topic, payload: 0
    """Reason code for a message."""
    at_once: bytes = b""
    """Sent after the CONNACK; then the connection is ended."""
    connections: int = 0
    taken: list[tuple[str, bytes]] = field(default_factory=list)
    """Messages it acknowledged as received."""


def goodbye(reason: int, texts: dict[int, str] | None = None) -> bytes:
    """A DISCONNECT."""
    return packet(_DISCONNECT, bytes([reason]) + properties(texts or {}))


@contextlib.contextmanager
def broker(told: Told) -> Iterator[int]:
    """Serves one client after the other. Yields its port."""
    listener = socket.create_server(("127.0.0.1", 0))
    ending = threading.Event()

    def serve() -> None:
        while not ending.is_set():
            with contextlib.suppress(OSError, struct.error, IndexError):  # it went in the middle of a packet
                client, _ = listener.accept()
                told.connections += 1
                with client, client.makefile("rb") as stream:
                    _talk(client, stream.read, told, ending)

    thread = threading.Thread(target=serve)
    thread.start()
    try:
        yield listener.getsockname()[1]
    finally:
        ending.set()
        with contextlib.suppress(OSError):  # wakes who waits for a client
            socket.create_connection(listener.getsockname(), 1).close()
        thread.join()
        listener.close()


def _talk(client: socket.socket, read: Callable[[int], bytes], told: Told, ending: threading.Event) -> None:
    client.settimeout(20)
    while not ending.is_set() and (head := read(1)):
        kind, body = head[0] >> 4, read(_length(read))
        if kind == _CONNECT:
            reason, texts = told.connack if body.endswith(told.password) else (134, {})
            client.sendall(packet(2, bytes([0, reason]) + properties(texts)) + told.at_once)
            if reason or told.at_once:
                return
        elif kind == _SUBSCRIBE:
            client.sendall(packet(9, body[:2] + b"\0" + bytes(20)))
        elif kind == _PUBLISH:
            client.sendall(packet(4, _taken(body, told)))
        elif kind == _PINGREQ:
            client.sendall(packet(13, b""))
        elif kind == _DISCONNECT:
            return


def _length(read: Callable[[int], bytes]) -> int:
    value, shift = 0, 0
    while byte := read(1):
        value |= (byte[0] & 127) << shift
        shift += 7
        if byte[0] < 128:
            break
    return value


def _taken(body: bytes, told: Told) -> bytes:
    """The body of the PUBACK for that of a PUBLISH."""
    end = 2 + struct.unpack("!H", body[:2])[0]
    topic, number, payload = body[2:end].decode(), body[end : end + 2], body[end + 3 :]  # it sends no properties
    reason = told.puback(topic, payload)
    if not reason:
        told.taken.append((topic, payload))
    return number + bytes([reason, 0])
