"""One connection to an MQTT broker, from CONNECT to its end. None is ever resumed: what it still owed is sent anew."""

from __future__ import annotations

import contextlib
import logging
import socket
import ssl
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import paho.mqtt.client as paho
from paho.mqtt.enums import CallbackAPIVersion, MQTTProtocolVersion
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties
from paho.mqtt.reasoncodes import ReasonCode
from paho.mqtt.subscribeoptions import SubscribeOptions

from edge.config_feed import MqttConfig
from edge.errors import ConfigError, GanderError
from edge.publishers import Later

log = logging.getLogger(__name__)

_CONNECT_S = 5.0
_KEEPALIVE_S = 15
_IN_FLIGHT = 20  # what a broker takes that does not say otherwise; paho keeps to it
_SLICE_S = 0.2


class NoLink(GanderError):
    """A connection that did not come about; `old` where the broker does not know this version of MQTT."""

    def __init__(self, why: str, old: bool = False, refused: bool = False) -> None:
        super().__init__(why)
        self.old, self.refused = old, refused


@dataclass(frozen=True, slots=True)
class Message:
    """What is published: at least once (QoS 1)."""

    topic: str
    payload: str | bytes
    retain: bool = False


@dataclass(frozen=True, slots=True)
class Heard:
    """A message that came, `after_s` seconds after the connection was made."""

    topic: str
    payload: bytes
    retained: bool
    after_s: float


@dataclass(frozen=True, slots=True)
class Access:
    """How to get in, read from the configured files once."""

    config: MqttConfig
    client_id: str
    password: str | None
    tls: ssl.SSLContext | None

    @classmethod
    def read(cls, config: MqttConfig, client_id: str) -> Access:
        """Raises `ConfigError` for a file that is not there, unfit, or a password that everybody may read."""
        return cls(config, client_id, _password(config), _tls(config) if config.secure else None)


class Link:
    """One connection. `deliver` may be called by any thread."""

    def __init__(
        self,
        access: Access,
        version: MQTTProtocolVersion,
        will: Message,
        topics: Sequence[str],
        hear: Callable[[Heard], None],
    ) -> None:
        """Connect, and listen to `topics`. Raises `NoLink`.

        `version`: 5 or 3.1.1.
        """
        self._topics, self._hear, self._version = topics, hear, version
        self._answered, self._ended = threading.Event(), threading.Event()
        self._reason: ReasonCode | None = None
        self._refusals: dict[int, str] = {}
        self._retains, self._most, self._window, self._turn = True, 2**28, 100, threading.Lock()
        self._since_ns = time.monotonic_ns()
        self._client = self._make(access, will)
        config = access.config
        try:
            self._connect(config)
            self._wait(config)
        except BaseException:
            self._drop()
            raise

    @property
    def up(self) -> bool:
        return not self._ended.is_set()

    @property
    def since(self) -> datetime:
        """When the connection was made, by the clock as it goes now: setting it makes no event older."""
        return datetime.now(UTC) - timedelta(seconds=self._age_s())

    def _age_s(self) -> float:
        return (time.monotonic_ns() - self._since_ns) / 1e9

    def wait_end(self, wait_s: float) -> bool:
        return self._ended.wait(wait_s)

    def deliver(self, messages: Sequence[Message], patience_s: float) -> list[str]:
        """Publish in order and wait for the broker's word on each: "" or why it refuses. Raises `Later`.

        `Later.done` is how many it had acknowledged. A broker silent for `patience_s` ends the connection.
        """
        answers: list[str] = []
        while len(answers) < len(messages):
            with self._turn:
                window = messages[len(answers) : len(answers) + self._window]
                sent = [self._publish(message) for message in window]
                end = time.monotonic() + patience_s
                for info in sent:
                    answers.append(self._answer(info, end, len(answers)))
        return answers

    def _publish(self, message: Message) -> paho.MQTTMessageInfo | None:
        if len(message.payload) > self._most:
            return None
        return self._client.publish(message.topic, message.payload, qos=1, retain=message.retain and self._retains)

    def _answer(self, info: paho.MQTTMessageInfo | None, end: float, done: int) -> str:
        """The broker's word on one message."""
        if info is None:
            return "larger than the broker takes"
        while not _published(info):
            if not self.up or time.monotonic() > end:
                why = "does not acknowledge" if self.up else "is gone"
                self._drop()
                raise Later(f"the broker {why}", done)
            if info.rc:  # not even on its way
                self._ended.wait(_SLICE_S)
        return self._refusals.pop(info.mid, "")

    def close(self) -> None:
        """Say goodbye: the broker then keeps the last will to itself."""
        self._client.disconnect()
        self._ended.wait(1.0)
        self._drop()

    def _drop(self) -> None:
        self._ended.set()
        connection: Any = self._client.socket()
        if connection:
            with contextlib.suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)  # paho's own thread reads the end, and closes it
        self._client.loop_stop()

    def _make(self, access: Access, will: Message) -> paho.Client:
        client = paho.Client(
            CallbackAPIVersion.VERSION2,
            client_id=access.client_id,
            protocol=self._version,
            clean_session=None if self._version == MQTTProtocolVersion.MQTTv5 else True,
            reconnect_on_failure=False,
        )
        client.connect_timeout = _CONNECT_S
        client.max_inflight_messages = _IN_FLIGHT
        client.on_connect, client.on_disconnect = self._connected, self._disconnected
        client.on_publish, client.on_message, client.on_subscribe = self._acknowledged, self._came, self._subscribed
        client.will_set(will.topic, will.payload, qos=1, retain=will.retain)
        if access.config.user:
            client.username_pw_set(access.config.user, access.password)
        if access.tls:
            client.tls_set_context(access.tls)
        return client

    def _connect(self, config: MqttConfig) -> None:
        where = f"{config.host}:{config.service}"
        nothing_kept = Properties(PacketTypes.CONNECT)  # type: ignore[no-untyped-call]
        nothing_kept.SessionExpiryInterval = 0
        try:
            if self._version == MQTTProtocolVersion.MQTTv5:
                self._client.connect(
                    config.host, config.service, _KEEPALIVE_S, clean_start=True, properties=nothing_kept
                )
            else:
                self._client.connect(config.host, config.service, _KEEPALIVE_S)
        except ssl.SSLCertVerificationError as error:
            raise NoLink(
                f"{where}: its certificate is not trusted: {error.verify_message} (mqtt.ca)", refused=True
            ) from None
        except ssl.SSLError as error:
            raise NoLink(
                f"{where}: no TLS: {error.reason or error} (mqtt.tls, mqtt.certificate)", refused=True
            ) from None
        except (OSError, ValueError) as error:
            raise NoLink(f"{where}: {getattr(error, 'strerror', None) or error}") from None
        connection: Any = self._client.socket()
        if connection:  # it may have ended already
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)  # small packets are all there is
        self._client.loop_start()

    def _wait(self, config: MqttConfig) -> None:
        """For the broker's word on our coming."""
        where = f"{config.host}:{config.service}"
        end = time.monotonic() + _CONNECT_S
        while not self._answered.wait(0.05) and self.up and time.monotonic() < end:
            pass
        five = self._version == MQTTProtocolVersion.MQTTv5
        if self._reason is None:  # some old brokers fall silent at what they do not know
            raise NoLink(f"{where}: the broker {'closes' if self._ended.is_set() else 'does not answer'}", old=five)
        if self._reason.is_failure:
            old = five and self._reason.value == 132
            hint = " (mqtt.user, mqtt.password_file)" if self._reason.value in (134, 135) else ""
            raise NoLink(f"{where}: the broker refuses: {self._reason}{hint}", old=old, refused=True)

    def _connected(self, client: paho.Client, _: Any, flags: Any, reason: ReasonCode, properties: Any) -> None:
        self._since_ns = time.monotonic_ns()
        self._reason = reason
        if not reason.is_failure:
            self._retains = getattr(properties, "RetainAvailable", 1) != 0
            self._most = getattr(properties, "MaximumPacketSize", 2**28) - 1024  # less what frames a payload
            if (takes := getattr(properties, "ReceiveMaximum", _IN_FLIGHT)) < _IN_FLIGHT:
                self._window = takes  # then it is kept to here
            # In version 5 the sender's own wish to have it retained is seen, not only that it was.
            options = SubscribeOptions(qos=1, retainAsPublished=True)
            if self._topics and self._version == MQTTProtocolVersion.MQTTv5:
                client.subscribe([(topic, options) for topic in self._topics])
            elif self._topics:
                client.subscribe([(topic, 1) for topic in self._topics])
        self._answered.set()

    def _disconnected(self, client: paho.Client, _: Any, flags: Any, reason: ReasonCode, properties: Any) -> None:
        if flags.is_disconnect_packet_from_server:
            log.warning("the broker ends the connection: %s", reason)
        self._ended.set()

    def _acknowledged(self, client: paho.Client, _: Any, mid: int, reason: ReasonCode, properties: Any) -> None:
        if reason.is_failure:
            self._refusals[mid] = str(reason)

    def _subscribed(self, client: paho.Client, _: Any, mid: int, reasons: list[ReasonCode], properties: Any) -> None:
        if refused := [str(reason) for reason in reasons if reason.is_failure]:
            log.warning("the broker does not let us hear commands: %s", refused[0])

    def _came(self, client: paho.Client, _: Any, message: paho.MQTTMessage) -> None:
        self._hear(Heard(message.topic, bytes(message.payload), message.retain, self._age_s()))


def probe(config: MqttConfig, client_id: str, message: Message | None = None) -> str:
    """Connect once, publish `message` if there is one, and leave: what the broker is.

    Raises `ConfigError` for unfit files, `NoLink` with the reason, `Later` where the message is not acknowledged.
    """
    access, nothing = Access.read(config, client_id), Message(f"{config.root}/doctor", "")
    for version, name in ((MQTTProtocolVersion.MQTTv5, "5"), (MQTTProtocolVersion.MQTTv311, "3.1.1")):
        try:
            link = Link(access, version, nothing, (), lambda heard: None)
        except NoLink as error:
            if not error.old:
                raise
            continue
        with contextlib.closing(link):
            if message and (why := link.deliver([message], _CONNECT_S)[0]):
                raise NoLink(f"{message.topic}: the broker refuses it: {why}")
        return f"a broker of MQTT {name} lets us in"
    raise NoLink("it speaks neither MQTT 5 nor 3.1.1")


def _published(info: paho.MQTTMessageInfo) -> bool:
    try:
        info.wait_for_publish(_SLICE_S)
    except (RuntimeError, ValueError):  # paho's word for: no connection
        return False
    return info.is_published()


def _password(config: MqttConfig) -> str | None:
    if not config.password_file:
        return None
    path = Path(config.password_file)
    try:
        mode, text = path.stat().st_mode, path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or error
        raise ConfigError(f"mqtt.password_file {path}: cannot be read: {reason}") from None
    if mode & 0o007:
        raise ConfigError(f"mqtt.password_file {path}: everybody may read it; do `chmod o= {path}`")
    return text.removesuffix("\n").removesuffix("\r")


def _tls(config: MqttConfig) -> ssl.SSLContext:
    try:
        context = ssl.create_default_context(cafile=config.ca or None)
    except (OSError, ssl.SSLError) as error:
        raise ConfigError(f"mqtt.ca {config.ca}: not a certificate authority in PEM form: {error}") from None
    try:
        if config.certificate:
            context.load_cert_chain(config.certificate, config.key, password=lambda: "")
    except (OSError, ssl.SSLError) as error:
        raise ConfigError(f"mqtt.certificate {config.certificate}, mqtt.key {config.key}: {error}") from None
    return context
