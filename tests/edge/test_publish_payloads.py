"""Topics and payloads: what is said to MQTT, and what is understood of what comes from there."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge import payloads
from edge.clock import iso
from edge.errors import Refused
from edge.payloads import COMMANDS, Command, command, event_topic, level, request, stale, states
from tests.yard import STATUS

NOW = datetime(2026, 5, 1, 12, tzinfo=UTC)


def visitor(**more: Any) -> dict[str, Any]:
    visit = {"id": "v", "label": "jay", "kind": "threat", "p": 0.9, "answers": 1, "actions": 0}
    visit |= {"started": iso(NOW), "ended": None}
    return {"type": "visit_started", "wall": iso(NOW), "camera": "cam", "visit": visit, "latency_ms": {}, **more}


@given(st.text())
def test_a_label_is_always_one_level_of_a_topic(text: str) -> None:
    found = level(text)
    assert 1 <= len(found) <= 100
    assert not set(found) & set("+#/\x00")
    found.encode()  # no half characters


@pytest.mark.parametrize(
    ("age_s", "connected_s", "late"),
    [(1, 100, False), (59, 100, False), (61, 100, True), (1, 0.5, True), (-5, 100, False)],
)
def test_old_events_and_those_of_an_outage_are_late(age_s: float, connected_s: float, late: bool) -> None:
    event = {"wall": iso(NOW - timedelta(seconds=age_s))}
    topic = event_topic(event, NOW, NOW - timedelta(seconds=connected_s), 60.0)
    assert topic == ("event/late" if late else "event")
    assert event_topic(event | {"replayed": True}, NOW, NOW - timedelta(seconds=connected_s), 60.0) == "event/late"


def test_states_say_how_it_is() -> None:
    counts = {"jay": 2, "Corvus +": 1, "Corvus #": 3}
    found = states(
        STATUS | {"mode": "armed", "acting": True, "visits": [{}]}, visitor(), counts, {"commands_dropped": 1}
    )
    status, last = json.loads(found.pop("status")), json.loads(found.pop("visitor/last"))
    model = json.loads(found.pop("model/state"))
    assert found == {
        "availability": "online",
        "mode": "armed",
        "deterrent/armed": "ON",
        "deterrent/state": "on",
        "motion": "ON",
        "count/jay": "2",
        "count/Corvus _": "4",
    }
    assert (status["healthy"], status["armed"], status["latency_ms"]["pin"]["p95"]) == (True, True, 28.0)
    assert status["commands_dropped"] == 1
    assert (last["name"], last["kind"], last["ended"]) == ("jay", "threat", None)
    assert "a jay is at cam" in last["words"]
    assert model["models"] == [{"name": "colours", "role": "champion", "ready": True}]


def test_states_of_what_is_not_there() -> None:
    assert states(STATUS | {"controller_ready": False}, None, {}, {})["deterrent/state"] == "unavailable"
    found = states(None, visitor(), {"jay": 1}, {})
    assert list(found)[-1] == "availability"
    assert (found["availability"], found["motion"], found["deterrent/state"]) == ("offline", "OFF", "unavailable")
    assert json.loads(found["status"])["healthy"] is False
    sick = states(STATUS | {"problems": [{"what": "no light", "advice": "look"}]}, None, {}, {})["status"]
    assert json.loads(sick)["problems"] == ["no light"]


def test_figures_that_always_move_are_no_news() -> None:
    before, later = (states(STATUS | {"uptime_s": s}, None, {}, {})["status"] for s in (1.0, 99.0))
    paused = states(STATUS | {"paused": True}, None, {}, {})["status"]
    assert before != later
    assert payloads.gist(before) == payloads.gist(later) != payloads.gist(paused)


@pytest.mark.parametrize(
    ("topic", "payload", "wanted"),
    [
        ("deterrent/armed/set", b"ON", Command("mode", {"mode": "armed"})),
        ("deterrent/armed/set", b"off\n", Command("mode", {"mode": "observe"})),
        ("deterrent/armed/set", b'{"value": true}', Command("mode", {"mode": "armed"})),
        ("mode/set", b"maintenance", Command("mode", {"mode": "maintenance"})),
        ("mode/set", b'{"value": "observe", "id": 7}', Command("mode", {"mode": "observe"})),
        ("deterrent/test/set", b"PRESS", Command("test_fire", {"deterrent": ""})),
        ("deterrent/test/set", b"", Command("test_fire", {"deterrent": ""})),
        ("deterrent/test/set", b"siren", Command("test_fire", {"deterrent": "siren"})),
        ("pause/set", b"3600", Command("pause", {"seconds": 3600.0})),
        ("pause/set", b'{"value": 0}', Command("pause", {"seconds": 0.0})),
        ("label/set", b"last blue jay", Command("label", {"visit": "last", "label": "blue jay"})),
        (
            "label/set",
            b'{"visit": "ab12", "label": "fox", "note": "at night", "id": "x"}',
            Command("label", {"visit": "ab12", "label": "fox", "note": "at night"}),
        ),
        ("model/install/set", b"jay-1.2.gander", Command("install", {"path": "jay-1.2.gander"})),
    ],
)
def test_commands_that_are_understood(topic: str, payload: bytes, wanted: Command) -> None:
    assert command(topic, request(payload).value) == wanted


@pytest.mark.parametrize(
    ("topic", "payload", "why"),
    [
        ("mode/set", b"\xff\xfe", "UTF-8"),
        ("mode/set", b"armed\x00", "control characters"),
        ("mode/set", b"a" * 3000, "3000 bytes"),
        ("mode/set", b'{"value": "armed"', "no JSON"),
        ("mode/set", b"{" * 2000, "no JSON"),
        ("mode/set", b'{"value": ["armed"]}', "plain value"),
        ("mode/set", b'{"value": "armed", "sent": "yesterday"}', "sent"),
        ("mode/set", b'{"value": "armed", "sent": [1]}', "sent"),
        ("mode/set", b'{"value": "armed", "sent": 1e300}', "sent"),
        ("mode/set", b'{"value": "armed", "id": {}}', "id"),
        ("deterrent/armed/set", b"MAYBE", "ON or OFF"),
        ("pause/set", b"soon", "seconds"),
        ("pause/set", b"nan", "seconds"),
        ("pause/set", b"1e999", "seconds"),
        ("label/set", b'{"visit": "last"}', "VISIT LABEL"),
        ("label/set", b'{"visit": "last", "label": "fox", "who": "me"}', "VISIT LABEL"),
        ("model/install/set", b"../evil.gander", "bare name"),
        ("model/install/set", b"/etc/passwd", "bare name"),
        ("model/install/set", b".hidden.gander", "bare name"),
        ("model/install/set", b"a.gander\nb.gander", "control characters"),
    ],
)
def test_commands_that_are_not(topic: str, payload: bytes, why: str) -> None:
    with pytest.raises(Refused, match=why):
        command(topic, request(payload).value)


def understood(topic: str, payload: bytes) -> str:
    """The command's name, or why it is refused; nothing else may come of it."""
    try:
        return command(topic, request(payload).value).name
    except Refused as error:
        return str(error)


@given(st.binary(max_size=4000), st.sampled_from(COMMANDS))
def test_whatever_comes_is_understood_or_refused(payload: bytes, topic: str) -> None:
    assert understood(topic, payload)


@given(st.recursive(st.none() | st.booleans() | st.integers() | st.floats() | st.text(), st.lists, max_leaves=5))
def test_whatever_the_json_holds(value: Any) -> None:
    for topic in COMMANDS:
        for payload in ({"value": value}, {"value": "x", "sent": value}, {"value": "x", "id": value}, {"visit": value}):
            assert understood(topic, json.dumps(payload).encode())


def test_what_was_not_sent_just_now_is_stale() -> None:
    assert stale(None, NOW) == ""
    assert [bool(stale(NOW - timedelta(seconds=s), NOW)) for s in (0, 29, 31, -29, -31)] == [
        False,
        False,
        True,
        False,
        True,
    ]
    assert request(b'{"value": "armed", "sent": 1777636800}').sent == NOW
    assert request(b'{"value": "armed", "sent": "2026-05-01T14:00:00+02:00"}').sent == NOW
