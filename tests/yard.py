"""A yard to publish: a real journal and control socket, with a status and visitors as the test wants them."""

from __future__ import annotations

import contextlib
import sqlite3
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from edge.clock import Ids, iso
from edge.config import Config
from edge.control import SOCKET, Control
from edge.database import DELIVERIES
from edge.errors import GanderError, Refused
from edge.journal import EVENTS, Journal, events_after, reader
from edge.publish import publish
from edge.values import Event
from tests.mqtt import until

STATUS: dict[str, Any] = {
    "mode": "observe",
    "paused": False,
    "model": "colours",
    "demo": False,
    "models": [{"name": "colours", "role": "champion", "ready": True, "starts": 1, "fates": {}}],
    "controller_ready": True,
    "acting": False,
    "visits": [],
    "cameras": [{"id": "cam", "trouble": ""}],
    "problems": [],
    "latency_ms": {"pin": {"n": 3, "p50": 20.0, "p95": 28.0, "p99": 29.0, "max": 30.0}},
    "journal": {"waiting": 0, "committed": 0, "dropped": 0},
    "disk": {"free": 10**9, "total": 2 * 10**9},
    "temperature": 51.2,
    "uptime_s": 12.3,
}


@dataclass
class Yard:
    """What goes on at a henhouse, without the henhouse."""

    state: Path
    journal: Journal
    ids: Ids = field(default_factory=Ids)
    status: dict[str, Any] = field(default_factory=lambda: dict(STATUS))
    commands: list[tuple[str, str, dict[str, Any]]] = field(default_factory=list)

    def visitor(
        self,
        label: str = "jay",
        type_: str = "visit_started",
        age_s: float = 0.0,
        picture: str = "",
        kind: str = "threat",
        met: str = "",
    ) -> str:
        """Somebody came, and met a deterrent. Returns the event's id."""
        wall = datetime.now(UTC) - timedelta(seconds=age_s)
        visit, id_ = self.ids.new(wall), self.ids.new(wall)
        started = iso(wall)
        facts = {"id": visit, "label": label, "kind": kind, "p": 0.9, "answers": 1, "actions": int(bool(met))}
        body = {"v": 1, "id": id_, "type": type_, "node": "yard", "wall": started, "clock_ok": True, "camera": "cam"}
        body |= {"media_time": 1.0, "visit": facts | {"started": started, "ended": None}, "action": None}
        body |= {"reason": "observe", "model": {"name": "colours", "version": "1", "role": "champion"}}
        body |= {"top": [[label, 0.9]], "latency_ms": {}, "picture": picture or None, "replayed": False}
        if type_ == "visit":
            body["visit"] |= {"ended": iso(wall + timedelta(seconds=2)), "left": True, "blind_s": 0.0}
            body["pulses"] = [{"id": id_, "deterrent": met, "at_s": 0.5, "on_ms": 1600}] if met else []
        row = (visit, started, kind, label)
        self.journal.write("INSERT INTO visit VALUES (?, 'cam', ?, NULL, ?, ?, 0.9, 0)", *row)
        self.journal.event(Event(id_, type_, body))
        return id_

    def picture(self, data: bytes, person: int) -> str:
        """A picture is kept. Returns its id."""
        id_ = self.ids.new(datetime.now(UTC))
        path = self.state / "pictures" / f"{id_}.jpg"
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(data)
        self.journal.write(
            "INSERT INTO picture (id, path, sha256, bytes, kind, visit_id, crop_of, person) "
            "VALUES (?, ?, '', ?, 'marked', NULL, NULL, ?)",
            *(id_, path.name, len(data), person),
        )
        return id_

    def person(self, picture: str) -> None:
        """A person was seen who may be on it."""
        self.journal.write("UPDATE picture SET person = 1 WHERE id = ?", picture)

    def events(self) -> list[str]:
        """Ids of everything committed."""
        with reader(self.state / EVENTS) as connection:
            return [body["id"] for _, body in events_after(connection, 0, 10**6)]

    def obey(self, name: str, who: str, arguments: dict[str, Any]) -> str:
        self.commands.append((name, who, arguments))
        if arguments.get("mode") == "attack":
            raise Refused("mode attack: there is no such mode")
        return f"{name} done"


@contextlib.contextmanager
def yard(state: Path, socket: bool = True) -> Iterator[Yard]:
    """A yard; with `socket`, somebody answers there."""
    with contextlib.ExitStack() as stack:
        journal = Journal(state, 100_000)
        stack.callback(journal.close)
        made = Yard(state, journal)

        def handler(name: str) -> Any:
            return lambda who, **arguments: made.obey(name, who, arguments)

        if socket:
            names = ("mode", "pause", "label", "install", "test_fire")
            handlers = {name: handler(name) for name in names} | {"status": lambda who: made.status}
            stack.callback(Control(state / SOCKET, handlers).close)
        yield made


def _begun(state: Path) -> bool:
    """Whether the outbox knows from where it tells."""
    with contextlib.suppress(GanderError, sqlite3.Error), reader(state / DELIVERIES) as pages:
        return pages.execute("SELECT 1 FROM place WHERE publisher = 'mqtt'").fetchone() is not None
    return False


@contextlib.contextmanager
def publishing(here: Yard, port: int, **more: Any) -> Iterator[None]:
    """Publish the yard as the node `yard`, until the block ends."""
    mqtt = {"host": "127.0.0.1", "port": port, "version": "3.1.1", "ignore_s": 0.0} | more
    people = mqtt.pop("publish_people", False)
    config = Config.model_validate({"node": {"name": "yard"}, "mqtt": mqtt, "media": {"publish_people": people}})
    ending, failed = threading.Event(), []

    def run() -> None:
        try:
            publish(config, here.state, ending)
        except Exception as error:  # noqa: BLE001 - told to the test
            failed.append(error)

    thread = threading.Thread(target=run)
    thread.start()
    try:
        until(lambda: failed or _begun(here.state))
        yield
    finally:
        ending.set()
        thread.join(30)
        assert not failed
        assert not thread.is_alive()
