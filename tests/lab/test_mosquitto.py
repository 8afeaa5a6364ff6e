"""The feed at a real mosquitto: passwords, TLS, refusals, broken brokers and networks; nothing lost, all in order."""

from __future__ import annotations

import json
import sqlite3
import subprocess
import sys
import time
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path

import paho.mqtt.client as paho
import pytest

from edge.database import DELIVERIES
from tests.lab.mosquitto import PASSWORDS, Mosquitto, mosquitto
from tests.mqtt import Ear, until
from tests.proxy import proxy
from tests.stage import command, environment
from tests.yard import Yard, publishing, yard

pytestmark = pytest.mark.lab


@pytest.fixture
def broker(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Mosquitto]:
    folder = tmp_path / "broker"
    folder.mkdir()
    broker = mosquitto(folder, durable=getattr(request, "param", True))
    broker.start()
    yield broker
    broker.kill()


@pytest.fixture
def here(tmp_path: Path) -> Iterator[Yard]:
    with yard(tmp_path / "state") as made:
        yield made


def listen(client: paho.Client) -> None:
    """As `ear`, with a session that the broker keeps."""
    client.username_pw_set("ear", PASSWORDS["ear"])
    client._clean_session, client._client_id = False, b"ear"


@pytest.fixture
def ear(broker: Mosquitto) -> Iterator[Ear]:
    ear = Ear(broker.port, listen)
    yield ear
    ear.close()


def access(broker: Mosquitto, user: str = "dev", password: str | None = None) -> dict[str, object]:
    return {"user": user, "password_file": broker.password(user, password), "version": ""}


def arrived(ear: Ear) -> list[str]:
    """Events by their first arrival, on time or late."""
    heard = [m.json["id"] for m in list(ear.heard) if m.topic in ("yard/event", "yard/event/late")]
    return list(dict.fromkeys(heard))


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


def test_tls_with_an_authority_of_ones_own(
    here: Yard, broker: Mosquitto, ear: Ear, caplog: pytest.LogCaptureFixture
) -> None:
    files = {"ca": "ca.crt", "certificate": "client.crt", "key": "client.key"}
    tls: dict[str, object] = {name: str(broker.folder / file) for name, file in files.items()}
    tls |= {"host": "localhost", "tls": True} | access(broker)
    with publishing(here, broker.secure, **tls):
        until(lambda: ear.last("yard/availability") == "online")
        event = here.visitor()
        until(lambda: ear.events() == [event])
    with publishing(here, broker.secure, **tls | {"ca": str(broker.folder / "stranger.crt")}):
        until(lambda: "certificate is not trusted" in caplog.text)
    strange = {"certificate": str(broker.folder / "stranger.crt"), "key": str(broker.folder / "stranger.key")}
    with publishing(here, broker.secure, **tls | strange):
        until(lambda: "tried again" in caplog.text.split("not trusted")[1])
        time.sleep(1.0)
        assert ear.last("yard/availability") == "offline"


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


def place(state: Path) -> str:
    with sqlite3.connect(state / DELIVERIES) as connection:
        return str(connection.execute("SELECT event_id FROM place").fetchone()[0])


def test_a_broker_killed_again_and_again(
    here: Yard, broker: Mosquitto, ear: Ear, capsys: pytest.CaptureFixture[str]
) -> None:
    with publishing(here, broker.port, **access(broker)):
        until(lambda: ear.last("yard/availability") == "online")
        for _ in range(6):
            for _ in range(40):
                here.visitor()
            time.sleep(0.3)
            broker.kill()
            here.visitor()
            time.sleep(0.3)
            broker.start()
            time.sleep(1.0)
        last = here.visitor()
        until(lambda: last in arrived(ear), 90)
    everything, heard = here.events(), len(ear.events()) + len(ear.events("yard/event/late"))
    with capsys.disabled():
        twice = heard - len(arrived(ear))
        sys.stdout.write(f"\nbroker killed 6 times: {len(everything)} events, {heard} heard, {twice} twice, 0 lost\n")
    assert arrived(ear) == everything


def test_a_network_that_freezes_and_is_cut(here: Yard, broker: Mosquitto, ear: Ear) -> None:
    with proxy(broker.port) as network, publishing(here, network.port, **access(broker)):
        until(lambda: ear.last("yard/availability") == "online")
        for breakdown in (network.freeze, network.cut, network.freeze):
            for _ in range(20):
                here.visitor()
            breakdown()
            for _ in range(20):
                here.visitor()
            time.sleep(3.0)
            network.mend()
            last = here.visitor()
            until(lambda last=last: last in arrived(ear), 90)  # type: ignore[misc]
    assert arrived(ear) == here.events()
    until(lambda: ear.last("yard/availability") == "offline")


def feed(here: Yard, broker: Mosquitto) -> subprocess.Popen[bytes]:
    """`gander publish`, the process."""
    settings = ("mqtt.user=dev", f"mqtt.password_file='{broker.password('dev')}'", "node.name=yard")
    arguments = [part for setting in settings for part in ("--set", setting)]
    line = command("publish", "--mqtt", f"127.0.0.1:{broker.port}", *arguments)
    return subprocess.Popen(line, env=environment(here.state))


def test_the_publisher_killed_at_any_point(here: Yard, broker: Mosquitto, ear: Ear) -> None:
    for round_ in range(5):
        process = feed(here, broker)
        if round_ == 0:
            until(lambda: ear.last("yard/availability") == "online")
        for _ in range(150):
            here.visitor()
        seen = len(arrived(ear))
        until(lambda seen=seen: len(arrived(ear)) > seen)  # type: ignore[misc]
        time.sleep(0.02 * round_)
        process.kill()
        process.wait()
        until(lambda: ear.last("yard/availability") == "offline")
    process = feed(here, broker)
    last = here.visitor()
    until(lambda: last in arrived(ear), 60)
    process.terminate()
    assert process.wait(20) == 0
    assert arrived(ear) == here.events()


@pytest.mark.parametrize("broker", [False], indirect=True)
def test_ten_thousand_events_after_three_days(
    here: Yard, broker: Mosquitto, ear: Ear, capsys: pytest.CaptureFixture[str]
) -> None:
    with publishing(here, broker.port, **access(broker)):
        until(lambda: ear.last("yard/availability") == "online")
    for number in range(10_000):
        here.visitor(age_s=72 * 3600 - number)
    until(lambda: len(here.events()) == 10_000)
    last = here.events()[-1]
    process, began = feed(here, broker), time.monotonic()  # a process of its own, as in life
    until(lambda: place(here.state) == last, 120)
    sent_s = time.monotonic() - began
    until(lambda: len(ear.heard) >= 10_000 and len(arrived(ear)) == 10_000, 120)
    process.terminate()
    assert process.wait(20) == 0
    with capsys.disabled():
        sys.stdout.write(f"\n10,000 events queued: sent and acknowledged in {sent_s:.1f} s\n")
    assert ear.events() == []
    assert ear.events("yard/event/late") == here.events(), "once each, in order"
    pictures = [message.at for message in ear.of("yard/visitor/last")]
    assert all(after - before > 0.1 for before, after in pairwise(pictures)), "state is not told for each"
    assert json.loads(ear.last("yard/status") or "")["v"] == 1
