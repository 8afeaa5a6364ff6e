"""The feed at a real mosquitto: passwords, TLS, refusals, broken brokers and networks; nothing lost, all in order."""

from __future__ import annotations

import sqlite3
import time
from datetime import UTC, datetime
from pathlib import Path

import pytest

from edge.clock import iso
from edge.database import DELIVERIES
from edge.values import Event
from tests import contract
from tests.lab.mosquitto import Mosquitto, access, arrived, broker, ear, here, place
from tests.mqtt import Ear, until
from tests.yard import Yard, publishing

__all__ = ["broker", "ear", "here"]
pytestmark = pytest.mark.lab


def test_a_story_in_version_5(here: Yard, broker: Mosquitto, ear: Ear) -> None:
    with publishing(here, broker.port, **access(broker)):
        until(lambda: ear.last("yard/availability") == "online")
        jay = here.visitor(picture=here.picture(b"\xff\xd8 jay", person=0))
        until(lambda: ear.events() == [jay])
        until(lambda: ear.of("yard/image/last") and ear.last("yard/count/jay") == "1")
        ear.say("yard/mode/set", "armed")
        until(lambda: here.commands)
        ear.say("yard/mode/set", "armed", retain=True)  # version 5 tells that the sender wants it retained
        until(lambda: any("retained" in message.text for message in ear.of("yard/result")))
        ear.say("yard/mode/set", b"", retain=True)
        time.sleep(0.5)
        assert len(here.commands) == 1
    until(lambda: ear.last("yard/availability") == "offline")
    assert "(p5," in (broker.folder / "log").read_text().split("gander-yard")[1][:60]


def secure(broker: Mosquitto, **more: str) -> dict[str, object]:
    """Settings of [mqtt] with TLS; files by their names, "": none."""
    files = {"ca": "ca.crt", "certificate": "client.crt", "key": "client.key"} | more
    paths = {name: str(broker.folder / file) for name, file in files.items() if file}
    return {"host": "localhost", "tls": True} | paths | access(broker)


def test_tls_with_an_authority_of_ones_own(here: Yard, broker: Mosquitto, ear: Ear) -> None:
    with publishing(here, broker.secure, **secure(broker)):
        until(lambda: ear.last("yard/availability") == "online")
        event = here.visitor()
        until(lambda: ear.events() == [event])


@pytest.mark.parametrize(
    ("more", "said"),
    [
        ({"ca": "stranger.crt"}, "its certificate is not trusted"),
        ({"ca": "", "certificate": "", "key": ""}, "its certificate is not trusted"),
        ({"expired": "yes"}, "its certificate is not trusted: certificate has expired (mqtt.ca)"),
        ({"certificate": "", "key": ""}, "mqtt.certificate"),
        ({"certificate": "stranger.crt", "key": "stranger.key"}, "mqtt.certificate"),
        ({"certificate": "old-client.crt", "key": "old-client.key"}, "mqtt.certificate"),
    ],
    ids=["strange broker", "authority not named", "expired", "no own", "strange own", "own expired"],
)
def test_certificates_that_will_not_do_are_said_once(
    here: Yard, broker: Mosquitto, ear: Ear, caplog: pytest.LogCaptureFixture, more: dict[str, str], said: str
) -> None:
    files = {name: file for name, file in more.items() if name != "expired"}
    with publishing(here, broker.expired if "expired" in more else broker.secure, **secure(broker, **files)):
        until(lambda: "tried again" in caplog.text)
        time.sleep(4.0)
    lines = [record.getMessage() for record in caplog.records if record.levelname == "WARNING"]
    assert len(lines) == 1
    assert said in lines[0]
    assert ear.of("yard/availability") == []


def test_a_wrong_password_is_said_once_and_tried_slowly(
    here: Yard, broker: Mosquitto, caplog: pytest.LogCaptureFixture
) -> None:
    event = here.visitor()
    with publishing(here, broker.port, **access(broker, password="not this")):
        time.sleep(13.0)
    said = [record.getMessage() for record in caplog.records]
    assert len(said) == 1
    assert "the broker refuses" in said[0]
    assert "mqtt.password_file" in said[0]
    assert "not this" not in caplog.text
    tries = (broker.folder / "log").read_text().count("New client connected") + (
        broker.folder / "log"
    ).read_text().count("not authorised")
    assert tries <= 4
    assert event in here.events()


NONSENSE: list[tuple[str, bytes]] = [
    ("UTF-8", b"\xff\x00\xfe"),
    ("1000000 bytes", b"x" * 1_000_000),
    ("no JSON", b'{"value": "armed"'),
    ("no JSON", b"{" * 2000),
    ("plain value", b'{"value": ["armed"]}'),
    ("control characters", b"armed\x00"),
    ("there is no such mode", b"attack"),
    ("is no time", b'{"value": "armed", "sent": "yesterday"}'),
    ("ago", b'{"value": "armed", "sent": "2026-01-01T00:00:00Z"}'),
    ("from now", b'{"value": "armed", "sent": 4102444800}'),
    ("heard before", b'{"value": "observe", "id": "one"}'),
]


def test_commands_that_are_nonsense_are_answered_and_nothing_more(here: Yard, broker: Mosquitto, ear: Ear) -> None:
    with publishing(here, broker.port, **access(broker)):
        until(lambda: ear.last("yard/availability") == "online")
        ear.say("yard/mode/set", b'{"value": "observe", "id": "one"}')
        for topic in ("yard/nonsense/set", "yard/mode/set/more", "yard/event/set", "other/mode/set", "yard/mode"):
            ear.say(topic, "armed")  # nobody hears these
        for n, (why, payload) in enumerate(NONSENSE):
            ear.say("yard/mode/set", payload)
            until(lambda n=n: len(ear.of("yard/result")) == n + 2)  # type: ignore[misc]
            answer = ear.of("yard/result")[-1].json
            assert (answer["ok"], answer["command"]) == (False, "mode/set")
            assert why in answer["answer"]
            time.sleep(0.8)  # slower than a flood
        assert [arguments for _, _, arguments in here.commands] == [{"mode": "observe"}, {"mode": "attack"}]
    assert {contract.wrong("result", message.payload) for message in ear.of("yard/result")} == {""}


def test_what_the_broker_refuses_is_set_aside(here: Yard, broker: Mosquitto, ear: Ear) -> None:
    with publishing(here, broker.port, **access(broker, "shy")):
        until(lambda: ear.last("yard/availability") == "online")
        refused = here.visitor()
        until(lambda: rows(here.state).get(refused) is not None)
        late = here.visitor(age_s=100)  # goes elsewhere, where it may
        until(lambda: late in arrived(ear))
    assert "Not authorized" in rows(here.state)[refused]
    assert refused not in arrived(ear)


def rows(state: Path) -> dict[str, str]:
    with sqlite3.connect(state / DELIVERIES) as connection:
        return dict(connection.execute("SELECT event_id, why FROM delivery WHERE state = 'refused'").fetchall())


@pytest.mark.parametrize("version", ["5", "3.1.1"])
@pytest.mark.parametrize(
    "broker", ["max_packet_size 20000", "message_size_limit 20000"], indirect=True, ids=["packet", "message"]
)
def test_what_is_too_large_for_the_broker_blocks_nothing(
    here: Yard, broker: Mosquitto, ear: Ear, version: str, caplog: pytest.LogCaptureFixture
) -> None:
    """Some brokers say how much they take, some say no, some end the connection, some swallow it."""
    with publishing(here, broker.port, **access(broker) | {"version": version}):
        until(lambda: ear.last("yard/availability") == "online")
        picture = b"\xff\xd8" + bytes(100_000)
        here.visitor(picture=here.picture(picture, person=0))
        large = "01a1fe00-0000-7000-8000-000000000000"
        body = {"v": 1, "id": large, "type": "health", "node": "yard", "wall": iso(datetime.now(UTC)), "clock_ok": True}
        here.journal.event(Event(large, "health", body | {"what": "jay" * 10_000, "problems": [], "replayed": False}))
        last = here.visitor()
        until(lambda: last in arrived(ear) and place(here.state) == last, 100)
    assert large not in arrived(ear)
    assert picture not in [message.payload for message in ear.of("yard/image/last")]
    assert sum("image/last" in record.getMessage() for record in caplog.records) <= 1, "no flood"
