"""A small MQTT broker for a desk, on loopback only; a process of its own: `python -m edge.publishers.broker FD`."""

from __future__ import annotations

import asyncio
import functools
import importlib.util
import logging
import os
import signal
import socket
import sys

_USUAL = 1883


def available() -> bool:
    """Whether the package is there (the extra `desk`)."""
    return importlib.util.find_spec("amqtt") is not None


def listen() -> socket.socket:
    """A socket that listens on loopback, at the usual port, or at any other where that is taken.

    Whoever serves inherits it: so the port is nobody else's in between, nor while a broker that died is started again.
    """
    for port in (_USUAL, 0):
        listener = socket.socket()
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listener.bind(("127.0.0.1", port))
            listener.listen()
        except OSError:
            listener.close()
        else:
            return listener
    raise OSError("there is no free port on 127.0.0.1")


def command(listener: socket.socket) -> list[str]:
    """What to start as a process that inherits `listener`."""
    return [sys.executable, "-m", "edge.publishers.broker", str(listener.fileno())]


async def serve(listener: socket.socket) -> None:
    """Serve until standard input ends, which it does with the process that began this one."""
    from amqtt.broker import Broker

    broker = Broker(
        {
            "listeners": {"default": {"type": "external"}},
            "plugins": {"amqtt.plugins.authentication.AnonymousAuthPlugin": {"allow_anonymous": True}},
        }
    )
    await broker.start()
    await asyncio.start_server(functools.partial(broker.stream_connected, listener_name="default"), sock=listener)
    await asyncio.get_running_loop().run_in_executor(None, sys.stdin.buffer.read)
    os._exit(0)  # it keeps nothing, and its own way to end waits for ever for a client that was killed


def main() -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for who began this: it ends the others first
    logging.disable(logging.CRITICAL)  # it tells of every client's every step
    asyncio.run(serve(socket.socket(fileno=int(sys.argv[1]))))


if __name__ == "__main__":
    main()
