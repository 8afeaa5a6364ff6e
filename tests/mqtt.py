"""An ear at an MQTT broker: hears everything, remembers it, and says things."""

from __future__ import annotations

import contextlib
import json
import subprocess
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import paho.mqtt.client as paho
from paho.mqtt.enums import CallbackAPIVersion, MQTTProtocolVersion

from edge.publishers import broker


@dataclass(frozen=True, slots=True)
class Message:
    """What was heard, when (monotonic seconds)."""

    topic: str
    payload: bytes
    retain: bool
    at: float

    @property
    def text(self) -> str:
        return self.payload.decode()

    @property
    def json(self) -> Any:
        return json.loads(self.payload)


class Ear:
    """Connected to a broker on loopback, subscribed to everything under `gander/`."""

    def __init__(self, port: int, configure: Callable[[paho.Client], None] = lambda client: None) -> None:
        self.heard: list[Message] = []
        self.subscribed = 0  # times, once for each connection
        self.client = paho.Client(CallbackAPIVersion.VERSION2, protocol=MQTTProtocolVersion.MQTTv311)
        configure(self.client)
        self.client.on_connect = lambda client, *_: client.subscribe("gander/#", 1)
        self.client.on_subscribe = self._listening
        self.client.on_message = lambda _, __, m: self.heard.append(
            Message(m.topic.removeprefix("gander/"), m.payload, m.retain, time.monotonic())
        )
        self.client.reconnect_delay_set(0.2, 1)
        until(lambda: self._connect(port))
        self.client.loop_start()
        until(lambda: self.subscribed)

    def _listening(self, *_: object) -> None:
        self.subscribed += 1

    def _connect(self, port: int) -> bool:
        with contextlib.suppress(OSError):
            self.client.connect("127.0.0.1", port)
            return True
        return False

    def of(self, topic: str) -> list[Message]:
        return [message for message in list(self.heard) if message.topic == topic]

    def last(self, topic: str) -> str | None:
        found = self.of(topic)
        return found[-1].text if found else None

    def events(self, topic: str = "yard/event") -> list[str]:
        """Ids of the events heard, in order."""
        return [message.json["id"] for message in self.of(topic)]

    def say(self, topic: str, payload: str | bytes, retain: bool = False) -> None:
        self.client.publish(f"gander/{topic}", payload, qos=1, retain=retain).wait_for_publish(10)

    def close(self) -> None:
        self.client.disconnect()
        self.client.loop_stop()


def until(condition: Callable[[], object], seconds: float = 30) -> None:
    """Wait for something; fails when it does not come."""
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "it did not come"
        time.sleep(0.02)


@contextlib.contextmanager
def desk_broker() -> Iterator[int]:
    """The desk's own broker, as `gander run` starts it. Yields its port."""
    with broker.listen() as listener:
        process = subprocess.Popen(broker.command(listener), stdin=subprocess.PIPE, pass_fds=[listener.fileno()])
        port = listener.getsockname()[1]
    try:
        yield port
    finally:
        assert process.stdin
        process.stdin.close()
        try:
            process.wait(10)
        finally:
            process.kill()
            process.wait()
