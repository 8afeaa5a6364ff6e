"""What a broker of MQTT 5 may say instead of yes, at wire level: on connecting, to a message, and as a goodbye."""

from __future__ import annotations

import contextlib
import json
import sqlite3
from collections.abc import Iterator
from pathlib import Path

import pytest
from paho.mqtt.enums import MQTTProtocolVersion

from edge.config_feed import MqttConfig
from edge.database import DELIVERIES
from edge.publishers.mqtt import Mqtt
from edge.publishers.mqtt_link import Access, Link, Message, NoLink, probe
from tests.mqtt import until
from tests.mqtt5 import REASON_STRING, SERVER_REFERENCE, Told, broker, goodbye
from tests.yard import Yard, publishing, yard


@pytest.fixture
def here(tmp_path: Path) -> Iterator[Yard]:
    with yard(tmp_path) as made:
        yield made


def ids(told: Told) -> list[str]:
    """Events the broker took, in order."""
    return [json.loads(payload)["id"] for topic, payload in list(told.taken) if topic.startswith("gander/yard/event")]


def online(told: Told) -> bool:
    return ("gander/yard/availability", b"online") in told.taken


def aside(state: Path) -> dict[str, str]:
    with sqlite3.connect(state / DELIVERIES) as connection:
        return dict(connection.execute("SELECT event_id, why FROM delivery WHERE state = 'refused'").fetchall())


@pytest.mark.parametrize(
    ("connack", "said"),
    [
        ((134, {}), "Bad user name or password (mqtt.user, mqtt.password_file)"),
        ((135, {REASON_STRING: "ask the\nboss"}), "Not authorized, ask theboss (mqtt.user, mqtt.password_file)"),
        ((133, {}), "Client identifier not valid (node.name)"),
        ((157, {SERVER_REFERENCE: "broker2.lan"}), "Server moved, broker2.lan (mqtt.host)"),
        ((156, {}), "Use another server (mqtt.host)"),
        ((136, {}), "Server unavailable"),
        ((151, {}), "Quota exceeded"),
    ],
)
def test_a_broker_that_lets_nobody_in_is_told_with_where_to_look(
    connack: tuple[int, dict[int, str]], said: str
) -> None:
    with broker(Told(connack)) as port, pytest.raises(NoLink) as refused:
        probe(MqttConfig(host="127.0.0.1", port=port, version="5"), "x")
    assert str(refused.value) == f"127.0.0.1:{port}: the broker refuses: {said}"
    assert refused.value.refused


def test_a_password_that_is_mended_counts_without_a_new_start(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    told, password = Told(password=b"right"), tmp_path / "password"
    password.touch(0o600)
    password.write_text("wrong\n")
    monkeypatch.setenv("CREDENTIALS_DIRECTORY", str(tmp_path))
    with broker(told) as port:
        config = MqttConfig(host="127.0.0.1", port=port, version="5", user="me", password_file=str(password))
        with contextlib.closing(Mqtt(config, "yard", tmp_path, people=False)) as mqtt:
            until(lambda: mqtt.trouble)
            assert "Bad user name or password" in mqtt.trouble
            assert mqtt.trouble.endswith("; once mended, `sudo systemctl restart gander-publish`"), (
                "of a service's copy"
            )
            password.write_text("right\n")
            until(lambda: mqtt.ready(1.0))
            assert mqtt.trouble == ""


@pytest.mark.parametrize("reason", [135, 153])
def test_what_the_broker_never_takes_is_set_aside(here: Yard, reason: int) -> None:
    told, bad = Told(), "no such event"
    told.puback = lambda topic, payload: reason if bad.encode() in payload and "/event" in topic else 0
    with broker(told) as port, publishing(here, port, version="5"):
        until(lambda: online(told))
        first = here.visitor()
        until(lambda: ids(told) == [first])
        bad = here.visitor()
        last = here.visitor()
        until(lambda: last in ids(told))
    assert bad not in ids(told)
    assert list(aside(here.state)) == [bad]
    assert "the broker refuses it" in aside(here.state)[bad]


@pytest.mark.parametrize("reason", [131, 151])
def test_what_the_broker_does_not_take_now_is_sent_again(here: Yard, reason: int) -> None:
    told, noes = Told(), [reason] * 2
    told.puback = lambda topic, payload: noes.pop() if noes and "/event" in topic else 0
    with broker(told) as port, publishing(here, port, version="5"):
        until(lambda: online(told))
        events = [here.visitor() for _ in range(3)]
        until(lambda: set(ids(told)) == set(events), 60)
    assert aside(here.state) == {}


@pytest.mark.parametrize(
    ("last_words", "said"),
    [
        (goodbye(142), "Session taken over (is another appliance called so, too? node.name)"),
        (goodbye(139, {REASON_STRING: "back at noon"}), "Server shutting down, back at noon"),
        (goodbye(157, {SERVER_REFERENCE: "broker2.lan"}), "Server moved, broker2.lan (mqtt.host)"),
        (goodbye(151), "Quota exceeded"),
        (b"\xd0\x00", ""),
        (b"\xf0\xff\xff\xff\xff\xff", ""),
        (b"\x40\x03\x00\x01\x7b", ""),
    ],
    ids=["taken over", "shutting down", "moved", "quota", "nothing", "garbage", "an unheard-of reason"],
)
def test_why_a_broker_ends_a_connection(last_words: bytes, said: str) -> None:
    with broker(Told(at_once=last_words)) as port:
        access = Access.read(MqttConfig(host="127.0.0.1", port=port), "x")
        link = Link(access, MQTTProtocolVersion.MQTTv5, Message("will", ""), (), lambda heard: None)
        assert link.wait_end(30)
        assert link.farewell == said
        link.close()


def test_a_broker_that_ends_connections_is_told_once_and_forgiven(here: Yard, caplog: pytest.LogCaptureFixture) -> None:
    told = Told(at_once=goodbye(157, {SERVER_REFERENCE: "broker2.lan"}))
    with broker(told) as port, publishing(here, port, version="5"):
        until(lambda: told.connections >= 2)
        event = here.visitor()
        lines = [r.getMessage().partition(";")[0] for r in caplog.records if "events wait" in r.getMessage()]
        assert lines == ["mqtt: the connection to 127.0.0.1 ended: Server moved, broker2.lan (mqtt.host)"]
        told.at_once = b""
        until(lambda: event in ids(told), 60)
