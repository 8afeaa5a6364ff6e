"""Ports for servers that begin later, or end and begin again."""

from __future__ import annotations

import contextlib
import random
import socket


def free_port() -> int:
    """One of 127.0.0.1 at which nobody listens. It stays free: connections that go out begin at higher ones."""
    while True:
        port = random.SystemRandom().randrange(20_000, 32_000)
        with contextlib.suppress(OSError), socket.create_server(("127.0.0.1", port)):
            return port
