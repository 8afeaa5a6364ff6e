"""What Home Assistant is told: every entity whole, each topic one of ours, and what is gone is taken out."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge.config_feed import MqttConfig
from edge.payloads import COMMANDS, command, level, request, states
from edge.publishers.announcing import Announcer
from edge.publishers.discovery import Appliance, announcement, components
from edge.publishers.mqtt_link import Message
from tests.mqtt import Ear, desk_broker, until
from tests.yard import STATUS, publishing, yard

THERE = Appliance("yard", "gander/yard", "1", ("cam", "door"), ("light", "siren"), ("count/jay", "count/Corvus _"))
TOPIC = "homeassistant/device/gander_yard/config"
KNOWN = STATUS | {"deterrents": [{"id": "light", "enabled": True}, {"id": "siren", "enabled": False}]}
VISIT = {"id": "v", "label": "jay", "kind": "threat", "p": 0.9, "started": "2026-01-01T00:00:00Z", "ended": None}
VISITOR = {"type": "visit_started", "wall": "2026-01-01T00:00:00Z", "camera": "cam", "visit": VISIT | {"actions": 0}}


def test_one_device_with_all_that_is_promised() -> None:
    told = announcement(THERE)
    assert told["dev"]["ids"] == ["gander_yard"]
    assert told["o"]["name"] == "gander"
    assert told["availability"] == [{"topic": "gander/yard/availability"}]
    platforms = sorted((component["p"], key) for key, component in told["cmps"].items())
    assert platforms == sorted([
        ("event", "event"), ("image", "picture"), ("update", "model"), ("switch", "armed"), ("select", "mode"),
        *[("binary_sensor", key) for key in ("motion", "problem", "connectivity", "camera_cam", "camera_door")],
        *[("sensor", key) for key in ("visitor", "score", "onset", "queue", "disk", "temperature", "count_jay")],
        ("sensor", next(key for key in told["cmps"] if key.startswith("count_corvus_"))),
        *[("button", key) for key in ("pause", "test_light", "test_siren")],
    ])  # fmt: skip
    assert told["cmps"]["connectivity"]["availability"] == [], "it says itself that the appliance is away"
    names = [component["name"] for component in told["cmps"].values()]
    assert len(set(names)) == len(names), "entity ids come from names"


def test_every_topic_is_one_of_those_that_are_told_or_obeyed() -> None:
    spoken = states(KNOWN, VISITOR, {"jay": 1, "Corvus +": 1}, {})
    told = {*spoken, "event", "image/last"}
    for key, component in components(THERE).items():
        for name, topic in component.items():
            if name.endswith("_topic"):
                assert topic.startswith("gander/yard/")
                known = COMMANDS if name == "command_topic" else told
                assert topic.removeprefix("gander/yard/") in known, (key, name)


def test_what_a_button_sends_is_understood() -> None:
    for component in components(THERE).values():
        payloads = [str(component[name]) for name in ("payload_press", "payload_install") if name in component]
        payloads += component.get("options", [])
        payloads += ["ON", "OFF"] if component["p"] == "switch" else []
        for payload in payloads:
            command(component["command_topic"].removeprefix("gander/yard/"), request(payload.encode()).value)


@given(st.lists(st.text(min_size=1), max_size=5, unique=True))
def test_every_label_has_a_key_of_its_own_that_home_assistant_takes(labels: list[str]) -> None:
    counted = tuple({f"count/{level(label)}" for label in labels})
    found = components(Appliance("yard", "gander/yard", "1", counted=counted))
    assert len([key for key in found if key.startswith("count_")]) == len(counted)
    assert all(set(key) <= set("abcdefghijklmnopqrstuvwxyz0123456789_-") for key in found)
    identities = {component["unique_id"] for component in found.values()}
    assert len(identities) == len(found)
    assert all(identity.startswith("gander_yard_") for identity in identities)


def test_without_commands_nothing_is_there_to_press() -> None:
    found = components(Appliance("yard", "gander/yard", "1", deterrents=("light",), commands=False, images=False))
    assert not [key for key, component in found.items() if "command_topic" in component]
    assert "picture" not in found


def test_what_is_gone_is_named_with_its_platform_alone() -> None:
    before = {"test_siren": "button", "count_fox": "sensor", "event": "event"}
    told = announcement(Appliance("yard", "gander/yard", "1", deterrents=("light",)), before)["cmps"]
    assert told["test_siren"] == {"p": "button"}
    assert told["count_fox"] == {"p": "sensor"}
    assert told["event"]["unique_id"] == "gander_yard_event"


def announcer(state: Path, **more: Any) -> Announcer:
    return Announcer(state, MqttConfig.model_validate(more), "yard")


def parts(messages: list[Message]) -> dict[str, Any]:
    """The entities of the one announcement there is."""
    (message,) = messages
    assert message.retain
    found: dict[str, Any] = json.loads(message.payload)["cmps"]
    return found


def test_entities_that_go_while_the_program_is_down_are_taken_out(tmp_path: Path) -> None:
    first = announcer(tmp_path)
    assert first.news(None, ["count/jay"]) == [], "nobody knows what there is"
    told = parts(first.news(KNOWN, ["count/jay"]))
    assert {"picture", "test_light", "count_jay", "camera_cam"} <= told.keys()
    assert "test_siren" not in told, "it is switched off"
    assert first.news(KNOWN, ["count/jay"]) == [], "nothing new"
    first.forget()
    assert parts(first.news(KNOWN, ["count/jay"])) == told

    second = announcer(tmp_path, images=False)
    told = parts(second.news(KNOWN | {"deterrents": []}, []))
    assert [told[key] for key in ("picture", "test_light", "count_jay")] == [
        {"p": p} for p in ("image", "button", "sensor")
    ]
    third = announcer(tmp_path)
    assert "unique_id" in parts(third.news(KNOWN, ["count/jay"]))["picture"], "and they come back"


def test_a_device_that_is_not_wanted_any_more_is_taken_out_once(tmp_path: Path) -> None:
    assert announcer(tmp_path, discovery=False).news(KNOWN, []) == [], "there never was one"
    announcer(tmp_path).news(KNOWN, [])
    off = announcer(tmp_path, discovery=False)
    assert off.news(None, []) == [Message(TOPIC, "", retain=True)]
    assert off.news(KNOWN, []) == []
    again = announcer(tmp_path, discovery=False)  # the broker did not acknowledge
    (removal,) = again.news(KNOWN, [])
    again.heard(removal)
    again.forget()
    assert again.news(KNOWN, []) == []
    assert announcer(tmp_path, discovery=False).news(KNOWN, []) == []


def test_another_prefix_takes_the_device_along(tmp_path: Path) -> None:
    announcer(tmp_path).news(KNOWN, [])
    removal, new = announcer(tmp_path, discovery_prefix="house").news(KNOWN, [])
    assert removal == Message(TOPIC, "", retain=True)
    assert new.topic == "house/device/gander_yard/config"


@pytest.mark.parametrize("damage", ["", "[]", '{"a": 1}', '{"a": [1]}', "\x00"])
def test_a_damaged_memory_is_none(tmp_path: Path, damage: str) -> None:
    (tmp_path / "announced.json").write_text(damage)
    assert "event" in parts(announcer(tmp_path).news(KNOWN, []))


def test_a_full_disk_stops_no_announcement(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    assert "event" in parts(announcer(tmp_path / "nowhere").news(KNOWN, []))
    assert "cannot be kept" in caplog.text


def test_told_on_connecting_when_asked_and_when_a_label_is_new(tmp_path: Path) -> None:
    with yard(tmp_path) as here, desk_broker() as port:
        ear = Ear(port)
        ear.client.subscribe("homeassistant/#", 1)
        ear.client.publish("homeassistant/status", "online", qos=1, retain=True).wait_for_publish(10)
        until(lambda: ear.of("homeassistant/status"))

        def told() -> list[dict[str, Any]]:
            return [message.json["cmps"] for message in ear.of(TOPIC)]

        with publishing(here, port):
            until(lambda: ear.last("yard/availability") == "online")
            until(lambda: len(told()) == 1)
            here.visitor("fox")
            until(lambda: len(told()) == 2 and "count_fox" in told()[1])
            time.sleep(3.5)  # longer than a birth is waited upon
            assert len(told()) == 2, "a birth that is retained is an old one"
            states_before = len(ear.of("yard/mode"))
            for _ in range(3):
                ear.client.publish("homeassistant/status", "online", qos=1).wait_for_publish(10)
            until(lambda: len(told()) == 3 and len(ear.of("yard/mode")) == states_before + 1)
        with publishing(here, port):
            until(lambda: len(told()) == 4)
        with publishing(here, port, discovery=False):
            until(lambda: ear.of(TOPIC)[-1].payload == b"")
        ear.close()
