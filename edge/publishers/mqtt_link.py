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
from edge.publishers import Later, Refused, secret

log = logging.getLogger(__name__)

_CONNECT_S = 5.0
_KEEPALIVE_S = 15
_IN_FLIGHT = 20  # what a broker takes that does not say otherwise; paho keeps to it
_SLICE_S = 0.2
_NO_LIMIT = 2**28
_TIMES = 3  # in a row
_ANY_BROKER = 4096  # bytes that any takes
_REMEMBERED_S = 3600.0
_HINTS = {
    133: "node.name",  # client identifier not valid
    134: "mqtt.user, mqtt.password_file",
    135: "mqtt.user, mqtt.password_file",  # not authorized
    142: "is another appliance called so, too? node.name",  # session taken over
    156: "mqtt.host",  # use another server
    157: "mqtt.host",  # server moved
}


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
    """How to get in, as the configured files say."""

    config: MqttConfig
    client_id: str
    password: str | None
    tls: ssl.SSLContext | None

    @classmethod
    def read(cls, config: MqttConfig, client_id: str) -> Access:
        """Raises `ConfigError` for a file that is not there, unfit, or a password that is empty or for all to read."""
        return cls(config, client_id, _password(config), _tls(config) if config.secure else None)


class Ceiling:
    """What a broker takes at most that does not say so: some end the connection over a message, again and again.

    No event comes near it: without this, one picture would keep all the rest from going out.
    """

    def __init__(self) -> None:
        self._most, self._failed, self._forget_at = _NO_LIMIT, list[int](), 0.0

    @property
    def most(self) -> int:
        """Bytes of a payload. Forgotten after a time: it may have been the network after all, or another broker."""
        return self._most if time.monotonic() < self._forget_at else _NO_LIMIT

    def took(self, size: int) -> None:
        """A payload of so many bytes was acknowledged."""
        if self._failed and size >= min(self._failed):
            self._failed = []

    def failed(self, size: int) -> None:
        """A connection ended over messages of which the largest had so many bytes."""
        self._failed = [*self._failed, size] if size > _ANY_BROKER else []
        if len(self._failed) == _TIMES:
            self._most, self._failed, self._forget_at = min(self._failed) - 1, [], time.monotonic() + _REMEMBERED_S
            log.warning(
                "the broker ends connections over %d bytes; nothing as large is sent for an hour", self._most + 1
            )


class Link:
    """One connection. `deliver` may be called by any thread."""

    def __init__(
        self,
        access: Access,
        version: MQTTProtocolVersion,
        will: Message,
        topics: Sequence[str],
        hear: Callable[[Heard], None],
        ceiling: Ceiling | None = None,
    ) -> None:
        """Connect, and listen to `topics`. Raises `NoLink`.

        `version`: 5 or 3.1.1; `ceiling`: what was learnt from connections before.
        """
        self._topics, self._hear, self._version = topics, hear, version
        self._answered, self._ended = threading.Event(), threading.Event()
        self._reason: ReasonCode | None = None
        self._words = self.farewell = ""
        """What the broker said when it ended the connection."""
        self._refusals: dict[int, str] = {}
        self._retains, self._most, self._window, self._turn = True, _NO_LIMIT, 100, threading.Lock()
        self._ceiling = ceiling or Ceiling()
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
                for number, info in enumerate(sent):
                    try:
                        answers.append(self._answer(info, end, len(answers)))
                    except Later:
                        self._ceiling.failed(max(len(message.payload) for message in window[number:]))
                        raise
                    self._ceiling.took(len(window[number].payload) if info else 0)
        return answers

    def _publish(self, message: Message) -> paho.MQTTMessageInfo | None:
        if len(message.payload) > min(self._most, self._ceiling.most):
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
            said = "closes" if self._ended.is_set() else "does not answer"
            hint = "; does it know mqtt.certificate?" if config.secure and self._ended.is_set() else ""
            raise NoLink(f"{where}: the broker {said}{hint}", old=five)
        if self._reason.is_failure:
            old = five and self._reason.value == 132
            raise NoLink(f"{where}: the broker refuses: {self._words}", old=old, refused=True)

    def _connected(self, client: paho.Client, _: Any, flags: Any, reason: ReasonCode, properties: Any) -> None:
        self._since_ns = time.monotonic_ns()
        self._reason, self._words = reason, _words(reason, properties)
        if not reason.is_failure:
            self._retains = getattr(properties, "RetainAvailable", 1) != 0
            self._most = getattr(properties, "MaximumPacketSize", _NO_LIMIT) - 1024  # less what frames a payload
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
            self.farewell = _words(reason, properties)
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


def refusal(topic: str, why: str, done: int) -> GanderError:
    """What a broker's no means: later, never, or (where it does not really say) never if it says so again and again."""
    words = f"{topic}: the broker refuses it: {why}"
    if why == "Quota exceeded":
        return Later(words, done)
    if why in ("Unspecified error", "Implementation specific error"):
        return GanderError(words)
    return Refused(words, done)


def _words(reason: ReasonCode, properties: Any) -> str:
    """A reason, what the broker says of it, and where to look."""
    found = [getattr(properties, name, "") for name in ("ServerReference", "ReasonString")]
    said = [str(reason), *("".join(c for c in text[:100] if c.isprintable()) for text in found if text)]
    hint = _HINTS.get(reason.value)
    return ", ".join(said) + (f" ({hint})" if hint else "")


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
        text = secret.read("mqtt.password_file", path).decode()
    except UnicodeDecodeError:
        raise ConfigError(f"mqtt.password_file {path}: cannot be read: it is no text") from None
    if not (password := text.removesuffix("\n").removesuffix("\r")):
        raise ConfigError(f"mqtt.password_file {path}: is empty; write the password into it")
    return password


def _tls(config: MqttConfig) -> ssl.SSLContext:
    try:
        context = ssl.create_default_context(cafile=config.ca or None)
    except (OSError, ssl.SSLError) as error:
        raise ConfigError(f"mqtt.ca {config.ca}: not a certificate authority in PEM form: {error}") from None
    try:
        if config.certificate:
            secret.read("mqtt.key", Path(config.key))
            context.load_cert_chain(config.certificate, config.key, password=lambda: "")
    except (OSError, ssl.SSLError) as error:
        raise ConfigError(f"mqtt.certificate {config.certificate}, mqtt.key {config.key}: {error}") from None
    return context
