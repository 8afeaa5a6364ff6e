"""Publisher: an MQTT broker. Events, the retained topics that say how things are, and commands the other way."""

from __future__ import annotations

import contextlib
import logging
import os
import random
import threading
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from paho.mqtt.enums import MQTTProtocolVersion

from edge import payloads
from edge.board import Board
from edge.config_feed import MqttConfig
from edge.errors import ConfigError, GanderError
from edge.journal import dump
from edge.publishers import Events, Later, secret
from edge.publishers.announcing import Announcer
from edge.publishers.mqtt_link import Access, Ceiling, Heard, Link, Message, NoLink, refusal
from edge.remote import Remote

log = logging.getLogger(__name__)

_PATIENCE_S = 10.0  # for the broker's acknowledgement
_TURN_S = 0.25
_SETTLED_S = 30.0  # a connection that lasts as long was a good one
_KEPT_S = 5.0  # what a broker kept comes within so long of connecting
_BORN_S = (0.5, 3.0)  # Home Assistant is told after so long: many appliances must not speak at once


_VERSIONS = {
    "": (MQTTProtocolVersion.MQTTv5, MQTTProtocolVersion.MQTTv311),
    "5": (MQTTProtocolVersion.MQTTv5,),
    "3.1.1": (MQTTProtocolVersion.MQTTv311,),
}


class Mqtt:
    """One broker, connected to for as long as it takes; a thread each for that, the retained topics, and commands."""

    name = "mqtt"
    batch = 100
    from_start = False  # nobody at a broker waits for last year's visits

    def __init__(self, config: MqttConfig, node: str, state: Path, people: bool) -> None:
        """`people`: pictures with a person may be published. Raises `ConfigError` for files that are unfit."""
        self._config, self._node, self._state, self._people = config, node, state, people
        self._base = f"{config.root}/{node}/"
        self._access: Access | None = Access.read(config, f"gander-{node}")
        self.trouble = ""
        self._link: Link | None = None
        self._ceiling, self._refused = Ceiling(), dict[str, str]()
        self._versions = _VERSIONS[config.version]
        self._online = False  # as the broker knows it
        self._linked, self._ending = threading.Event(), threading.Event()
        self._announcer = Announcer(state, config, node)
        self._birth = f"{config.discovery_prefix}/status" if config.discovery else ""
        self._tell_at = 0.0  # when all is to be told again; 0: it is not
        self._remote = Remote(state, config.ignore_s, "mqtt", self._answer) if config.commands else None
        self._threads = [
            threading.Thread(target=self._keep_linked, name="mqtt connection", daemon=True),
            threading.Thread(target=self._tell_states, name="mqtt states", daemon=True),
        ]
        for thread in self._threads:
            thread.start()

    def ready(self, wait_s: float) -> bool:
        """Raises `GanderError` when one of its threads has ended: then nothing here can be relied upon."""
        if not self._ending.is_set() and not all(thread.is_alive() for thread in self._threads):
            raise GanderError("mqtt: a thread has ended; see the log above")
        return self._linked.wait(wait_s)

    def send(self, events: Events) -> None:
        """Raises `Later` when the broker does not acknowledge, `Refused` when it will not have an event."""
        link = self._link
        if link is None or not link.up:
            raise Later("not connected")
        now, late_s = datetime.now(UTC), self._config.late_s
        topics = [payloads.event_topic(event, now, link.since, late_s) for event in events]
        answers = link.deliver(
            [Message(self._base + topic, dump(event)) for topic, event in zip(topics, events, strict=True)], _PATIENCE_S
        )
        for done, why in enumerate(answers):
            if why:
                raise refusal(self._base + topics[done], why, done)

    def close(self) -> None:
        """Say that the appliance is off line, and leave."""
        self._ending.set()
        if self._remote:
            self._remote.close()
        for thread in self._threads:
            thread.join(_PATIENCE_S + 1.0)
        link, self._link = self._link, None
        if link and link.up:
            if self._online:
                with contextlib.suppress(Later):
                    link.deliver([self._will()], 1.0)
            link.close()

    def _will(self) -> Message:
        return Message(f"{self._base}availability", "offline", retain=True)

    def _keep_linked(self) -> None:
        """Connect, and again when it ends: at once after a good connection, ever more slowly after failures."""
        wait_s, said, ended = 0.0, "", ""
        while not self._ending.wait(wait_s * random.uniform(0.8, 1.0)):
            began = time.monotonic()
            try:
                self._link = self._connect()
            except NoLink as error:
                self.trouble = f"{error}{secret.advice(os.environ) if error.refused else ''}"
                if self.trouble != said:
                    log.warning("mqtt: %s; tried again, ever more slowly", self.trouble)
                    said = self.trouble
                if error.refused:
                    self._access = None  # its files may have been wrong, and be mended
                wait_s = min(max(wait_s * 2, 5.0 if error.refused else 1.0), 60.0)
                continue
            if not ended:  # one that comes and goes is told once
                log.info("mqtt: connected to %s:%d", self._config.host, self._config.service)
            self.trouble = ""
            self._linked.set()
            while not self._ending.is_set() and not self._link.wait_end(_TURN_S):
                pass
            self._linked.clear()
            if not self._ending.is_set():
                good = time.monotonic() - began > _SETTLED_S
                wait_s, said = (0.5 if good else min(max(wait_s * 2, 0.5), 60.0)), ""
                why = f"the connection to {self._config.host} ended{self._link.farewell and ': ' + self._link.farewell}"
                self.trouble = why
                if good or why != ended:
                    log.warning("mqtt: %s; events wait for the next", why)
                ended = "" if good else why

    def _connect(self) -> Link:
        """With version 5, or 3.1.1 where the broker has no 5; what did is tried first from then on. Raises `NoLink`."""
        topics = [self._base + topic for topic in payloads.COMMANDS] if self._remote else []
        topics += [self._birth] if self._birth else []
        versions, self._versions = self._versions, _VERSIONS[self._config.version]
        try:
            access = self._access = self._access or Access.read(self._config, f"gander-{self._node}")
        except ConfigError as error:
            raise NoLink(str(error), refused=True) from None
        for version in versions:
            try:
                link = Link(access, version, self._will(), topics, self._hear, self._ceiling)
            except NoLink as error:
                if not error.old or version is versions[-1]:
                    raise
            else:
                self._versions = (version,)
                return link
        raise AssertionError("there is a version")

    def _hear(self, heard: Heard) -> None:
        topic = heard.topic.removeprefix(self._base)
        if heard.topic == self._birth:
            # What the broker had kept tells of an old birth; later it may be one that Home Assistant has it keep.
            old = heard.retained and heard.after_s < _KEPT_S
            if heard.payload == b"online" and not old and not self._tell_at:
                self._tell_at = time.monotonic() + random.uniform(*_BORN_S)
        elif self._remote and topic in payloads.COMMANDS:  # some brokers send what nobody subscribed to
            self._remote.hear(topic, heard.payload, heard.retained, heard.after_s)

    def _answer(self, answer: dict[str, Any]) -> None:
        """The answer to a command; of no use to anybody once the connection it came by is gone."""
        self._linked.wait(_PATIENCE_S)  # a command may come before its connection is known here
        link = self._link
        if link and link.up:
            with contextlib.suppress(Later):
                link.deliver([Message(f"{self._base}result", payloads.compact(answer))], _PATIENCE_S)

    def _tell_states(self) -> None:
        """The retained topics, when they change, on every new connection, and when Home Assistant is new there."""
        told: Link | None = None
        with contextlib.closing(Board(self._state, self._config.images, self._people, self._facts)) as board:
            while not self._ending.wait(_TURN_S):
                link = self._link
                if link is None or not link.up:
                    continue
                if link is not told or 0 < self._tell_at <= time.monotonic():
                    board.forget()
                    self._announcer.forget()
                    told, self._tell_at = link, 0.0
                self._tell(link, board)

    def _tell(self, link: Link, board: Board) -> None:
        """What is new."""
        news = board.news()
        messages = [Message(self._base + topic, what, retain=True) for topic, what in news]
        messages = [*self._announcer.news(*board.there()), *messages]
        self._online = dict(news).get("availability", "online" if self._online else "") == "online"
        with contextlib.suppress(Later):  # the next connection is told everything
            for message, why in zip(messages, link.deliver(messages, _PATIENCE_S), strict=True):
                if why and self._refused.get(message.topic) != why:
                    log.warning("mqtt: %s: the broker refuses it: %s", message.topic, why)
                    self._refused[message.topic] = why
                elif not why:
                    self._announcer.heard(message)

    def _facts(self) -> dict[str, int]:
        return {"commands_dropped": self._remote.dropped} if self._remote else {}
