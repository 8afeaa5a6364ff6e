"""MQTT against a real broker, the desk's own (3.1.1): what is said, when, and what is obeyed."""

from __future__ import annotations

import json
import socket
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from edge.config_feed import MqttConfig
from edge.errors import ConfigError
from edge.publishers.mqtt_link import Access
from tests import contract
from tests.mqtt import Ear, desk_broker, until
from tests.proxy import proxy
from tests.yard import Yard, publishing, yard


@pytest.fixture(scope="module")
def port() -> Iterator[int]:
    with desk_broker() as port:
        yield port


@pytest.fixture
def here(tmp_path: Path) -> Iterator[Yard]:
    with yard(tmp_path) as made:
        yield made


@pytest.fixture
def ear(port: int) -> Iterator[Ear]:
    ear = Ear(port)
    yield ear
    ear.close()
    assert contract.faults(ear.heard) == []


def test_a_visitor_as_it_is_told(here: Yard, port: int, ear: Ear) -> None:
    here.visitor("hen")
    here.journal.settle()
    picture = here.picture(b"\xff\xd8 a jay", person=0)
    with publishing(here, port):
        until(lambda: ear.last("yard/availability") == "online")
        until(lambda: ear.last("yard/count/hen") == "1")
        jay = here.visitor("jay", picture=picture)
        here.status |= {"visits": [{"id": "v"}], "acting": True}
        until(lambda: ear.events() == [jay])
        until(lambda: ear.last("yard/motion") == "ON" and ear.last("yard/deterrent/state") == "on")
        until(lambda: ear.last("yard/count/jay") == "1")
        until(lambda: ear.of("yard/image/last") and ear.of("yard/image/last")[-1].payload == b"\xff\xd8 a jay")
        assert json.loads(ear.last("yard/visitor/last") or "")["name"] == "jay"
        here.status |= {"visits": [], "acting": False}
        until(lambda: ear.last("yard/motion") == "OFF" and ear.last("yard/deterrent/state") == "off")
    until(lambda: ear.last("yard/availability") == "offline")
    assert ear.events("yard/event/late") == [], "a new appliance does not tell what was before"
    late = Ear(port)
    until(lambda: late.of("yard/availability"))
    assert {m.topic for m in late.heard if m.topic.startswith("yard/event") or m.topic == "yard/result"} == set()
    assert all(message.retain for message in late.heard), "what a late comer hears is retained"
    late.close()


def test_state_is_told_when_it_changes_and_not_over_and_over(here: Yard, port: int, ear: Ear) -> None:
    with publishing(here, port):
        until(lambda: ear.last("yard/availability") == "online")
        until(lambda: ear.last("yard/motion") == "OFF")
        # Not only what the broker kept from before: this is the last of what is told first.
        until(lambda: not all(message.retain for message in ear.of("yard/image/last")))
        time.sleep(0.5)
        told = len(ear.heard)
        time.sleep(2.6)  # the watch is asked again meanwhile
        assert ear.heard[told:] == []
        here.status |= {"mode": "armed", "problems": [{"what": "the lens is dirty", "advice": "wipe it"}]}
        until(lambda: ear.last("yard/deterrent/armed") == "ON" and ear.last("yard/mode") == "armed")
        until(lambda: json.loads(ear.last("yard/status") or "{}").get("problems") == ["the lens is dirty"])


@pytest.mark.parametrize(
    ("person", "allowed", "told"), [(0, False, True), (1, False, False), (2, False, False), (1, True, True)]
)
def test_a_picture_with_a_person_stays_here(
    here: Yard, port: int, ear: Ear, person: int, allowed: bool, told: bool
) -> None:
    data = b"\xff\xd8" + f"{person}{allowed}{time.monotonic()}".encode()
    here.visitor(picture=here.picture(data, person))
    with publishing(here, port, publish_people=allowed):
        until(lambda: ear.of("yard/visitor/last"))
        if told:
            until(lambda: data in [message.payload for message in ear.of("yard/image/last")])
        else:
            time.sleep(1.0)
            assert data not in [message.payload for message in ear.heard]


def test_a_watch_that_does_not_answer(tmp_path: Path, port: int, ear: Ear) -> None:
    with yard(tmp_path, socket=False) as here, publishing(here, port):
        until(lambda: ear.last("yard/availability") == "offline" and ear.last("yard/deterrent/state") == "unavailable")
        assert json.loads(ear.last("yard/status") or "")["healthy"] is False
        event = here.visitor()
        until(lambda: event in ear.events())


def results(ear: Ear) -> list[dict[str, Any]]:
    return [message.json for message in ear.of("yard/result")]


def test_commands_are_obeyed_and_answered_once(here: Yard, port: int, ear: Ear) -> None:
    now = datetime.now(UTC)
    with publishing(here, port):
        until(lambda: ear.last("yard/availability") == "online")
        ear.say("yard/mode/set", json.dumps({"value": "armed", "id": "a1", "sent": now.isoformat()}))
        ear.say("yard/pause/set", "600")
        ear.say("yard/model/install/set", "jay-2.gander")
        ear.say("yard/label/set", '{"visit": "last", "label": "fox"}')
        until(lambda: len(results(ear)) == 4)
        assert {"id": "a1", "command": "mode/set", "ok": True, "answer": "mode done"} in results(ear)
        done = {name: arguments for name, _, arguments in here.commands}
        assert [name for name in done if name != "install"] == ["mode", "pause", "label"], "an install goes its own way"
        assert done["install"] == {"path": str(here.state / "incoming" / "jay-2.gander")}
        assert all(who.endswith(" via mqtt") for _, who, _ in here.commands)
        ear.say("yard/mode/set", json.dumps({"value": "armed", "id": "a1"}))
        ear.say("yard/mode/set", "attack")
        until(lambda: len(results(ear)) == 6)
        assert [result["ok"] for result in results(ear)[4:]] == [False, False]
        assert "heard before" in results(ear)[4]["answer"]
        assert "there is no such mode" in results(ear)[5]["answer"]
        assert len(here.commands) == 5, "the same id was carried out once"


@pytest.mark.parametrize(
    ("payload", "why"),
    [
        (json.dumps({"value": "armed", "sent": (datetime.now(UTC) - timedelta(minutes=9)).isoformat()}), "ago"),
        (json.dumps({"value": "armed", "sent": time.time() + 10**6}), "from now"),
        (b"\xff\x00\xfe", "UTF-8"),
        (b"x" * 100_000, "100000 bytes"),
        ("{nonsense", "no JSON"),
    ],
    ids=["old", "of the future", "binary", "huge", "cut"],
)
def test_commands_that_are_old_or_nonsense_do_nothing(
    here: Yard, port: int, ear: Ear, payload: str | bytes, why: str
) -> None:
    with publishing(here, port):
        until(lambda: ear.last("yard/availability") == "online")
        ear.say("yard/mode/set", payload)
        until(lambda: results(ear))
        assert results(ear)[0]["ok"] is False
        assert why in results(ear)[0]["answer"]
        assert here.commands == []


def test_retained_and_early_commands_do_nothing(here: Yard, port: int, ear: Ear) -> None:
    ear.say("yard/deterrent/armed/set", "ON", retain=True)
    until(lambda: ear.of("yard/deterrent/armed/set"))
    try:
        with publishing(here, port, ignore_s=5.0):
            until(lambda: results(ear))
            assert "retained" in results(ear)[0]["answer"]
            ear.say("yard/deterrent/armed/set", "ON")
            until(lambda: "within 5 s of connecting" in results(ear)[-1]["answer"])
            assert here.commands == []
            until(lambda: time.monotonic() - results_at(ear) > 5.2)
            ear.say("yard/deterrent/armed/set", "ON")
            until(lambda: here.commands)
    finally:
        ear.say("yard/deterrent/armed/set", b"", retain=True)


def results_at(ear: Ear) -> float:
    return ear.of("yard/result")[0].at


def test_a_flood_is_dropped_and_counted(here: Yard, port: int, ear: Ear) -> None:
    with publishing(here, port):
        until(lambda: ear.last("yard/availability") == "online")
        for _ in range(100):
            ear.client.publish("gander/yard/mode/set", "observe", qos=1)
        until(lambda: len(here.commands) >= 5)
        time.sleep(2.5)
        assert len(here.commands) <= 20
        here.status |= {"mode": "armed"}  # so that the status is told again
        until(lambda: json.loads(ear.last("yard/status") or "{}").get("commands_dropped", 0) >= 80)


def test_commands_can_be_switched_off(here: Yard, port: int, ear: Ear) -> None:
    with publishing(here, port, commands=False):
        until(lambda: ear.last("yard/availability") == "online")
        ear.say("yard/mode/set", "armed")
        time.sleep(0.5)
        assert (here.commands, results(ear)) == ([], [])


def test_an_outage_makes_events_late_and_loses_none(here: Yard, port: int, ear: Ear) -> None:
    with proxy(port) as network, publishing(here, network.port):
        until(lambda: ear.last("yard/availability") == "online")
        first = here.visitor()
        until(lambda: ear.events() == [first])
        network.cut(stay=True)
        until(lambda: ear.last("yard/availability") == "offline")  # the last will
        missed = [here.visitor() for _ in range(30)]
        time.sleep(1.0)
        network.mend()
        until(lambda: ear.events("yard/event/late") == missed)
        until(lambda: ear.last("yard/availability") == "online")
        last = here.visitor()
        until(lambda: ear.events() == [first, last])


def test_a_broker_that_speaks_only_the_older_version_is_found_out(here: Yard, ear: Ear, port: int) -> None:
    began = time.monotonic()
    with publishing(here, port, version=""):
        until(
            lambda: any(m.at > began and not m.retain and m.text == "online" for m in ear.of("yard/availability")), 40
        )


def test_nobody_there_is_said_once(here: Yard, caplog: pytest.LogCaptureFixture) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))  # bound, but nobody listens
        with publishing(here, taken.getsockname()[1]):
            here.visitor()
            time.sleep(3.0)
    said = [record.getMessage() for record in caplog.records if record.levelname == "WARNING"]
    assert len(said) == 1
    assert "Connection refused" in said[0]


def secret(tmp_path: Path, text: str, mode: int) -> str:
    path = tmp_path / "password"
    path.write_text(text)
    path.chmod(mode)
    return str(path)


def test_the_password_file(tmp_path: Path) -> None:
    def access(**more: Any) -> Access:
        return Access.read(MqttConfig.model_validate({"host": "localhost", "user": "me", **more}), "x")

    assert access(password_file=secret(tmp_path, "s3 cret\n", 0o640)).password == "s3 cret"
    with pytest.raises(ConfigError, match="everybody may read it"):
        access(password_file=secret(tmp_path, "s3cret\n", 0o644))
    with pytest.raises(ConfigError, match="cannot be read"):
        access(password_file=str(tmp_path / "nowhere"))
    with pytest.raises(ConfigError, match="is empty"):
        access(password_file=secret(tmp_path, "\n", 0o640))
    (tmp_path / "binary").write_bytes(b"\xff\xfe")
    (tmp_path / "binary").chmod(0o600)
    with pytest.raises(ConfigError, match="it is no text"):
        access(password_file=str(tmp_path / "binary"))
    with pytest.raises(ConfigError, match=r"mqtt\.key .*everybody may read it"):
        access(tls=True, certificate="/x", key=secret(tmp_path, "-----BEGIN", 0o644))


BAD: list[tuple[dict[str, Any], str]] = [
    ({"password_file": "/x"}, "user"),
    ({"certificate": "/x"}, "give both"),
    ({"host": "localhost", "ca": "/x"}, "tls"),
    ({"root": "a/#"}, "pattern"),
]


@pytest.mark.parametrize(("section", "why"), BAD)
def test_sections_that_are_refused(section: dict[str, Any], why: str) -> None:
    with pytest.raises(ValueError, match=why):
        MqttConfig.model_validate(section)


def test_certificates_that_are_none(tmp_path: Path) -> None:
    (tmp_path / "ca").write_text("nothing of the kind")
    for field, check in (("ca", "certificate authority"), ("certificate", "mqtt.key")):
        files = {"ca": str(tmp_path / "ca")} if field == "ca" else {"certificate": str(tmp_path / "ca"), "key": "/x"}
        with pytest.raises(ConfigError, match=check):
            Access.read(MqttConfig.model_validate({"host": "broker.lan", **files}), "x")


@pytest.mark.parametrize("payload", ['{"id":"\\ud800","value":"armed"}', '{"value":' + "[" * 989 + "]" * 989 + "}"])
def test_a_message_that_cannot_be_answered_ends_nothing(here: Yard, port: int, ear: Ear, payload: str) -> None:
    with publishing(here, port):
        until(lambda: ear.last("yard/availability") == "online")
        ear.say("yard/mode/set", payload)
        ear.say("yard/mode/set", '{"id":"after","value":"observe"}')
        until(lambda: any(result["id"] == "after" and result["ok"] for result in results(ear)))


def test_a_picture_that_turns_out_to_show_a_person_is_withdrawn(here: Yard, port: int, ear: Ear) -> None:
    picture = here.picture(b"\xff\xd8 somebody", person=0)
    with publishing(here, port):
        until(lambda: ear.last("yard/availability") == "online")
        here.visitor("hen", picture=picture)
        until(lambda: ear.of("yard/image/last")[-1:] and ear.of("yard/image/last")[-1].payload)
        here.person(picture)
        until(lambda: ear.of("yard/image/last")[-1].payload == b"")
