"""The contract of the feed: each payload is as its schema says, and the page lists what there is."""

from __future__ import annotations

import json
import tomllib
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from jsonschema import Draft202012Validator

from edge.clock import Ids, LiveClock, iso
from edge.errors import GanderError
from edge.journal import EVENTS, events_after, reader
from edge.owner import Owner
from edge.payloads import COMMANDS, MOST_BYTES, command, request
from edge.values import Action, Mode, Reason
from tests import contract
from tests.mqtt import Ear, desk_broker, until
from tests.season import HEN, START, Came, Fired, season
from tests.yard import publishing, yard

FILES = sorted(path.name for path in contract.FOLDER.glob("*.json"))
WORDS = {
    "observe",
    "armed",
    "ON",
    "off",
    "PRESS",
    "siren",
    "3600",
    "1.5e2",
    "-1",
    "nan",
    "last fox",
    "fox",
    "jay-2.gander",
}


def parts(schema: Any) -> Iterator[dict[str, Any]]:
    """A schema and all within."""
    if isinstance(schema, dict):
        yield schema
        schema = list(schema.values())
    if isinstance(schema, list):
        for part in schema:
            yield from parts(part)


@pytest.mark.parametrize("file", FILES)
def test_each_schema_is_one_and_tells_what_every_field_means(file: str) -> None:
    schema = contract.schema(file)
    Draft202012Validator.check_schema(schema)
    assert schema["$id"] == f"gander:{file.removesuffix('.json')}:1"
    fields = [field for part in parts(schema) for field in part.get("properties", {}).items()]
    meant = {name for name, field in fields if {"description", "$ref"} & field.keys()}
    assert {name for name, _ in fields} <= meant, "what does it mean?"
    for part in parts(schema):
        for example in part.get("examples", ()):
            assert Draft202012Validator(part | {"$defs": schema.get("$defs", {})}).is_valid(example)


def test_the_page_lists_every_schema_and_every_topic() -> None:
    rows = contract.documented()
    assert sorted({file for file, _ in rows.values()}) == FILES
    assert [topic for topic in rows if topic.endswith("/set")] == list(COMMANDS)
    for topic, (file, retained) in rows.items():
        assert topic.removesuffix("/LABEL") in contract.schema(file)["title"], file
        assert retained is (topic not in ("event", "event/late", "result", *COMMANDS))
    assert str(MOST_BYTES) in (contract.FOLDER / "README.md").read_text()


def test_the_schemas_are_part_of_the_package() -> None:
    project = tomllib.loads((Path(__file__).parents[2] / "pyproject.toml").read_text())
    assert "publishers/schemas/*" in project["tool"]["setuptools"]["package-data"]["edge"]


def body(**more: Any) -> bytes:
    wall = iso(START)
    head = {"v": 1, "id": Ids("x").new(START), "node": "yard", "wall": wall, "clock_ok": True, "replayed": False}
    return json.dumps(head | more).encode()


def test_what_the_record_and_the_owner_tell_is_as_documented(tmp_path: Path) -> None:
    day = [
        Came(START, 9.0, fired=[Fired(1.0), Fired(3.0, "siren", "silent", None)]),
        Came(START + timedelta(hours=1), 5.0, held=[(1.0, reason) for reason in Reason if reason is not Reason.THREAT]),
        Came(START + timedelta(hours=2), 4.0, label=HEN, left=False, blind_s=0.5),
    ]
    with season(tmp_path) as teller:
        for came in day:
            teller.tell(came)
        record, at = teller.record, START + timedelta(hours=3)
        record.health([{"what": "the lens is dirty", "advice": "wipe it"}])
        record.health([])
        record.champion(record._lineup)
        fired = Action(teller.orders.new(at), "light", "1x1000/0", 1, 2_000_001, 1000, "on")
        for action in (fired, replace(fired, acknowledged_at_ns=0, result="silent")):
            record.test_fire(action, "gander", at)
        Owner(teller.journal, Mode.OBSERVE, LiveClock(), "node").set_mode("armed", "gander via mqtt")
    with reader(tmp_path / EVENTS) as connection:
        events = [event for _, event in events_after(connection, 0, 1000)]
    assert [w for event in events if (w := contract.wrong("event", json.dumps(event).encode()))] == []
    types = {part["properties"]["type"]["const"] for part in contract.schema("event.json")["$defs"].values()
             if "const" in part.get("properties", {}).get("type", {})}  # fmt: skip
    assert {event["type"] for event in events} == types - {"dropped"}, "of each type one"


def test_what_is_not_documented_is_found() -> None:
    dropped = {"type": "dropped", "publisher": "mqtt", "count": 3, "why": "too old", "first": Ids("a").new(START)}
    good = dropped | {"last": Ids("b").new(START)}
    assert contract.wrong("event", body(**good)) == ""
    for bad in (dropped, good | {"new": 1}, good | {"count": 0}, good | {"type": "rumour"}, good | {"last": "noon"}):
        assert contract.wrong("event", body(**bad)), bad
    with_more = json.dumps({"champion": "a", "demo": False, "models": [{"name": "a", "role": "champion", "up": 1}]})
    assert contract.wrong("model/state", with_more.encode())
    assert contract.wrong("mode", b"attack")
    assert contract.wrong("weather", b"rain") == "weather: not documented"
    assert contract.wrong("result", b"{}", retained=True) == "result: retained"


def test_every_topic_is_said_and_is_as_documented(tmp_path: Path) -> None:
    with yard(tmp_path) as here, desk_broker() as port:
        ear = Ear(port)
        here.status |= {"visits": [{"id": "v"}]}
        with publishing(here, port):
            until(lambda: ear.last("yard/availability") == "online")
            here.visitor("Corvus + (crow/raven)", age_s=600)
            here.visitor(picture=here.picture(b"\xff\xd8 a jay", person=0))
            for topic, value in zip(COMMANDS, ("ON", "attack", "PRESS", "60", "last fox", "../x"), strict=True):
                ear.say(f"yard/{topic}", json.dumps({"value": value, "id": topic}))
            until(lambda: len(ear.of("yard/result")) == len(COMMANDS))
            topics = set(contract.documented())
            until(lambda: {contract.name(m.topic.removeprefix("yard/")) for m in list(ear.heard)} >= topics)
        late = Ear(port)
        until(lambda: late.of("yard/image/last") and late.of("yard/availability"))
        with yard(tmp_path / "silent", socket=False) as silent, publishing(silent, port):
            until(lambda: json.loads(ear.last("yard/status") or "{}").get("mode") is None)
        until(lambda: ear.last("yard/availability") == "offline")
        assert contract.faults(ear.heard) + contract.faults(late.heard) == []
        kept = {contract.name(message.topic.removeprefix("yard/")) for message in late.heard if message.retain}
        assert kept == {topic for topic, (_, retained) in contract.documented().items() if retained}
        ear.close()
        late.close()


def test_that_events_were_dropped_is_said_as_documented(tmp_path: Path) -> None:
    with yard(tmp_path, socket=False) as here, desk_broker() as port:
        ear = Ear(port)
        with publishing(here, port):
            until(lambda: ear.last("yard/availability") == "offline")
            first = here.visitor()
            until(lambda: first in ear.events())
        gone = [here.visitor(age_s=60) for _ in range(3)]
        kept = [here.visitor() for _ in range(100)]
        until(lambda: here.events()[-1] == kept[-1])
        with publishing(here, port, most=100):
            until(lambda: kept[-1] in ear.events() + ear.events("yard/event/late"))
        told = [m.json for m in ear.heard if m.topic.startswith("yard/event") and m.json["type"] == "dropped"]
        assert [(e["publisher"], e["count"], e["first"], e["last"]) for e in told] == [("mqtt", 3, gone[0], gone[-1])]
        assert not {*gone} & {*ear.events(), *ear.events("yard/event/late")}
        assert contract.faults(ear.heard) == []
        ear.close()


texts = st.sampled_from(sorted(WORDS)) | st.text(alphabet="ONofarmed last.-@/{}\t5", max_size=12) | st.text(max_size=8)
plain = texts | st.booleans() | st.integers(-(10**6), 10**6) | st.floats(allow_nan=False, allow_infinity=False)
values = plain | st.none() | st.dictionaries(st.sampled_from(("visit", "label", "note", "who")), plain | st.none())
ids = st.none() | st.text(max_size=110) | st.integers() | st.lists(st.none(), max_size=1)
envelopes = st.fixed_dictionaries(
    {"value": values}, optional={"id": ids, "sent": st.none() | st.integers(0, 2 * 10**9)}
)


@settings(deadline=None)
@given(texts | values.filter(lambda value: isinstance(value, dict)) | envelopes, st.sampled_from(COMMANDS))
def test_the_schemas_allow_what_is_understood(said: Any, topic: str) -> None:
    """What a schema allows is understood; what it does not is refused, here or by the daemon."""
    payload = (said if isinstance(said, str) else json.dumps(said)).encode("utf-8", "surrogatepass")
    file, _ = contract.documented()[topic]
    try:
        wanted = command(topic, request(payload).value)
        understood = wanted.name != "mode" or wanted.arguments["mode"] in set(Mode)
        understood = understood and bool(wanted.arguments.get("label", "x").split())
    except GanderError:
        understood = False
    try:
        instance = contract.opened(payload.strip())
    except ValueError:
        assert not understood
        return
    allowed = contract.reader(file).is_valid(instance)
    assert allowed or not understood or topic == "deterrent/test/set", "understood, and not documented"
    printable = not isinstance(instance, str) or instance.isprintable()
    assert understood or not (allowed and printable), "documented, and not understood"


def test_the_time_a_command_was_sent() -> None:
    now = datetime.now(UTC)
    for sent in (iso(now), now.isoformat(), now.timestamp(), int(now.timestamp()), None):
        payload = json.dumps({"value": "armed", "sent": sent}).encode()
        assert contract.reader("mode-set.json").is_valid(contract.opened(payload))
        request(payload)
