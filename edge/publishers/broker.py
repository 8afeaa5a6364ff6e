"""A small MQTT broker for a desk, on loopback only; a process of its own: `python -m edge.publishers.broker PORT`."""

from __future__ import annotations

import asyncio
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


def free_port() -> int:
    """The usual port on loopback, or any other where that is taken."""
    for port in (_USUAL, 0):
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
            return int(probe.getsockname()[1])
    raise OSError("there is no free port on 127.0.0.1")


async def serve(port: int) -> None:
    """Serve until standard input ends, which it does with the process that began this one."""
    from amqtt.broker import Broker

    broker = Broker(
        {
            "listeners": {"default": {"type": "tcp", "bind": f"127.0.0.1:{port}", "max_connections": 64}},
            "plugins": {"amqtt.plugins.authentication.AnonymousAuthPlugin": {"allow_anonymous": True}},
        }
    )
    await broker.start()
    await asyncio.get_running_loop().run_in_executor(None, sys.stdin.buffer.read)
    os._exit(0)  # it keeps nothing, and its own way to end waits for ever for a client that was killed


def main() -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for who began this: it ends the others first
    logging.disable(logging.CRITICAL)  # it tells of every client's every step
    asyncio.run(serve(int(sys.argv[1])))


if __name__ == "__main__":
    main()
