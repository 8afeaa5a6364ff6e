"""When Home Assistant is told of the appliance, and what it was told before."""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from edge import __version__
from edge.atomic import write_atomically
from edge.config_feed import MqttConfig
from edge.payloads import compact
from edge.publishers import discovery
from edge.publishers.discovery import Appliance
from edge.publishers.mqtt_link import Message

log = logging.getLogger(__name__)

_FILE = "announced.json"
_MOST = 500  # entities that are remembered


class Announcer:
    """For one thread. What was announced is remembered in the state directory, so that it can be taken back."""

    def __init__(self, state: Path, config: MqttConfig, node: str) -> None:
        self._path = state / _FILE
        self._topic = discovery.topic(config.discovery_prefix, node) if config.discovery else ""
        base = f"{config.root}/{node}"
        self._there = Appliance(node, base, __version__, images=config.images, commands=config.commands)
        self._before = _read(self._path)
        self._told: dict[str, str] = {}

    def forget(self) -> None:
        """Whoever was told knows nothing any more."""
        self._told = {}

    def news(self, status: Mapping[str, Any] | None, counted: Sequence[str]) -> list[Message]:
        """What is to be published, if anything. `status` None: nobody knows what there is, so nothing changes.

        `counted`: the `count/…` topics.
        """
        wanted = {topic: "" for topic in self._before if topic != self._topic}  # empty: the device is taken out
        if self._topic and status is not None:
            wanted[self._topic] = self._announcement(status, counted)
        new = {topic: text for topic, text in wanted.items() if self._told.get(topic) != text}
        self._told |= new
        return [Message(topic, text, retain=True) for topic, text in new.items()]

    def heard(self, message: Message) -> None:
        """The broker has it."""
        if not message.payload:
            self._keep({topic: keys for topic, keys in self._before.items() if topic != message.topic})

    def _announcement(self, status: Mapping[str, Any], counted: Sequence[str]) -> str:
        there = replace(
            self._there,
            cameras=tuple(camera["id"] for camera in status["cameras"]),
            deterrents=tuple(d["id"] for d in status.get("deterrents", ()) if d["enabled"]),
            counted=tuple(counted),
        )
        payload = discovery.announcement(there, self._before.get(self._topic))
        platforms = [(key, component["p"]) for key, component in payload["cmps"].items()]
        self._keep(self._before | {self._topic: dict(platforms[-_MOST:])})  # first: what is forgotten is never removed
        return compact(payload)

    def _keep(self, announced: dict[str, dict[str, str]]) -> None:
        if announced == self._before:
            return
        self._before = announced
        try:
            write_atomically(self._path, json.dumps(announced, indent=1).encode(), 0o660)
        except OSError as error:
            log.warning("%s: cannot be kept: %s; entities that go stay in Home Assistant", self._path, error.strerror)


def _read(path: Path) -> dict[str, dict[str, str]]:
    """Platforms by key, by topic. What is damaged is as if there were nothing."""
    try:
        kept = json.loads(path.read_text())
        return {str(topic): {str(key): str(p) for key, p in keys.items()} for topic, keys in kept.items()}
    except (OSError, ValueError, AttributeError):
        return {}
