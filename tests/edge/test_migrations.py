"""Every earlier schema of every database, made as it was then, with data: brought up to date by the product, whole."""

from __future__ import annotations

import hashlib
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from edge.backup import backup
from edge.clock import Ids, iso
from edge.database import DELIVERIES, EVENTS, OWNER, VERSIONS, prepare, reader
from edge.deliveries import Deliveries
from edge.errors import StateError
from edge.journal import Journal, events_after
from edge.restore import restore
from tests.edge.test_backup import Members, altered
from tests.season import START

# As they were released. Written down here a second time: a script in the product that is changed afterwards, instead of
# followed by another, would go unnoticed.
_AS_RELEASED = {
    EVENTS: {
        1: """
            CREATE TABLE event (place INTEGER PRIMARY KEY AUTOINCREMENT, id TEXT UNIQUE NOT NULL, type TEXT NOT NULL,
                wall TEXT NOT NULL, visit_id TEXT, json TEXT NOT NULL);
            CREATE INDEX event_visit ON event (visit_id);
            CREATE TABLE visit (id TEXT PRIMARY KEY, camera TEXT NOT NULL, started TEXT NOT NULL, ended TEXT,
                kind TEXT, label TEXT, p REAL, actions INTEGER NOT NULL DEFAULT 0) WITHOUT ROWID;
            CREATE TABLE prediction (visit_id TEXT NOT NULL, seq INTEGER NOT NULL, model TEXT NOT NULL,
                role TEXT NOT NULL, fate TEXT NOT NULL, invoke_ms REAL, top TEXT, picture TEXT);
            CREATE INDEX prediction_visit ON prediction (visit_id);
            CREATE TABLE picture (id TEXT PRIMARY KEY, path TEXT NOT NULL, sha256 TEXT NOT NULL, bytes INTEGER NOT NULL,
                kind TEXT NOT NULL, visit_id TEXT, crop_of TEXT) WITHOUT ROWID;
            CREATE INDEX picture_visit ON picture (visit_id);
        """,
        2: """
            CREATE TABLE event (place INTEGER PRIMARY KEY AUTOINCREMENT, id TEXT UNIQUE NOT NULL, type TEXT NOT NULL,
                wall TEXT NOT NULL, visit_id TEXT, json TEXT NOT NULL);
            CREATE INDEX event_visit ON event (visit_id);
            CREATE TABLE visit (id TEXT PRIMARY KEY, camera TEXT NOT NULL, started TEXT NOT NULL, ended TEXT,
                kind TEXT, label TEXT, p REAL, actions INTEGER NOT NULL DEFAULT 0) WITHOUT ROWID;
            CREATE TABLE prediction (visit_id TEXT NOT NULL, seq INTEGER NOT NULL, model TEXT NOT NULL,
                role TEXT NOT NULL, fate TEXT NOT NULL, invoke_ms REAL, top TEXT, picture TEXT);
            CREATE INDEX prediction_visit ON prediction (visit_id);
            CREATE TABLE picture (id TEXT PRIMARY KEY, path TEXT NOT NULL, sha256 TEXT NOT NULL, bytes INTEGER NOT NULL,
                kind TEXT NOT NULL, visit_id TEXT, crop_of TEXT, wall TEXT, camera TEXT,
                person INTEGER NOT NULL DEFAULT 0) WITHOUT ROWID;
            CREATE INDEX picture_visit ON picture (visit_id);
            CREATE INDEX picture_wall ON picture (wall);
            CREATE INDEX picture_person ON picture (wall) WHERE person = 1;
        """,
    },
    OWNER: {
        1: """
            CREATE TABLE label (id TEXT PRIMARY KEY, visit_id TEXT, picture_id TEXT, label TEXT NOT NULL,
                who TEXT NOT NULL, wall TEXT NOT NULL, note TEXT) WITHOUT ROWID;
            CREATE TABLE setting (name TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;
            CREATE TABLE audit (id TEXT PRIMARY KEY, wall TEXT NOT NULL, who TEXT NOT NULL, command TEXT NOT NULL,
                answer TEXT NOT NULL) WITHOUT ROWID;
        """,
    },
    DELIVERIES: {
        1: """
            CREATE TABLE place (publisher TEXT PRIMARY KEY, event_id TEXT NOT NULL) WITHOUT ROWID;
            CREATE TABLE delivery (publisher TEXT NOT NULL, event_id TEXT NOT NULL, state TEXT NOT NULL,
                tries INTEGER NOT NULL, next_try TEXT, why TEXT NOT NULL,
                PRIMARY KEY (publisher, event_id)) WITHOUT ROWID;
        """,
        2: """
            CREATE TABLE place (publisher TEXT PRIMARY KEY, event_id TEXT NOT NULL) WITHOUT ROWID;
            CREATE TABLE delivery (publisher TEXT NOT NULL, event_id TEXT NOT NULL, state TEXT NOT NULL,
                tries INTEGER NOT NULL, next_try TEXT, why TEXT NOT NULL,
                PRIMARY KEY (publisher, event_id)) WITHOUT ROWID;
            CREATE TABLE held (publisher TEXT NOT NULL, event_id TEXT NOT NULL, PRIMARY KEY (publisher, event_id))
                WITHOUT ROWID;
            CREATE TABLE sent (publisher TEXT NOT NULL, wall TEXT NOT NULL, price REAL NOT NULL);
            CREATE INDEX sent_wall ON sent (publisher, wall);
            CREATE TABLE dropped (publisher TEXT PRIMARY KEY, id TEXT NOT NULL, wall TEXT NOT NULL,
                first TEXT NOT NULL, last TEXT NOT NULL, count INTEGER NOT NULL, why TEXT NOT NULL) WITHOUT ROWID;
            CREATE TABLE memo (publisher TEXT NOT NULL, name TEXT NOT NULL, value TEXT NOT NULL,
                PRIMARY KEY (publisher, name)) WITHOUT ROWID;
            CREATE TABLE active (publisher TEXT PRIMARY KEY) WITHOUT ROWID;
        """,
    },
}
EVERY = [(name, version) for name, versions in _AS_RELEASED.items() for version in versions]
WALL = iso(START)
IDS = Ids("then")
VISIT, EVENT, PICTURE, LABEL = (IDS.new(START) for _ in range(4))
BODY = f'{{"v":1,"id":"{EVENT}","type":"visit","wall":"{WALL}","camera":"coop"}}'
_DATA = {
    EVENTS: (
        ("event (id, type, wall, visit_id, json)", (EVENT, "visit", WALL, VISIT, BODY)),
        ("visit", (VISIT, "coop", WALL, WALL, "threat", "jay", 0.9, 1)),
        ("prediction", (VISIT, 1, "m", "champion", "answered", 7.5, '["jay",0.9]', PICTURE)),
        ("picture (id, path, sha256, bytes, kind, visit_id)", (PICTURE, "2026-04-06/p.jpg", "x", 9, "crop", VISIT)),
    ),
    OWNER: (
        ("label", (LABEL, VISIT, None, "jay", "me", WALL, "")),
        ("setting", ("mode", "armed")),
        ("audit", (LABEL, WALL, "me", "arm", "done")),
    ),
    DELIVERIES: (
        ("place", ("mqtt", EVENT)),
        ("delivery", ("mqtt", EVENT, "waits", 3, WALL, "no broker")),
    ),
}


def made(path: Path, version: int) -> Path:
    """A database as that version left it, with a row in every table it had at first."""
    path.parent.mkdir(exist_ok=True)
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.execute("PRAGMA journal_mode = WAL")
        connection.executescript(_AS_RELEASED[path.name][version])
        for table, values in _DATA[path.name]:
            marks = ", ".join("?" * len(values))
            connection.execute(f"INSERT INTO {table} VALUES ({marks})", values)
        connection.execute(f"PRAGMA user_version = {version}")
    return path


def shape(path: Path) -> list[tuple[object, ...]]:
    """Tables with their columns, and indexes."""
    with closing(sqlite3.connect(path)) as connection:
        names = connection.execute("SELECT type, name FROM sqlite_master WHERE name NOT LIKE 'sqlite_%' ORDER BY name")
        return [
            (type_, name, *connection.execute(f"PRAGMA {'table' if type_ == 'table' else 'index'}_info({name})"))
            for type_, name in names.fetchall()
        ]


def test_every_version_there_was_is_tried() -> None:
    assert {name: max(versions) for name, versions in _AS_RELEASED.items()} == VERSIONS
    assert all(list(versions) == list(range(1, len(versions) + 1)) for versions in _AS_RELEASED.values())


@pytest.mark.parametrize(("name", "version"), EVERY)
def test_it_becomes_what_a_new_one_is_and_loses_nothing(name: str, version: int, tmp_path: Path) -> None:
    old = made(tmp_path / "old" / name, version)
    (tmp_path / "new").mkdir()
    for path in (old, tmp_path / "new" / name):
        prepare(path)
    assert shape(old) == shape(tmp_path / "new" / name)
    with closing(sqlite3.connect(old)) as connection:
        assert connection.execute("PRAGMA user_version").fetchone()[0] == VERSIONS[name]
        assert connection.execute("PRAGMA integrity_check").fetchone()[0] == "ok"
        for table, values in _DATA[name]:
            named = table.partition("(")[2].rstrip(")") or "*"
            assert connection.execute(f"SELECT {named} FROM {table.split()[0]}").fetchall() == [values], table
    before = old.read_bytes()
    prepare(old)
    assert old.read_bytes() == before, "once is enough"


@pytest.mark.parametrize("version", [1, 2])
def test_the_daemon_and_the_publisher_go_on_from_there(version: int, tmp_path: Path) -> None:
    for name in (EVENTS, OWNER, DELIVERIES):
        made(tmp_path / "state" / name, min(version, VERSIONS[name]))
    state = tmp_path / "state"
    journal = Journal(state)
    assert journal.ask(lambda owner: owner.execute("SELECT label FROM label").fetchone()[0]) == "jay"
    journal.close()
    with reader(state / EVENTS) as events:
        assert [body["id"] for _, body in events_after(events, 0)] == [EVENT]
        row = events.execute("SELECT wall, camera, person FROM picture").fetchone()
        # What version 1 did not say is found out from what it did.
        assert (row["wall"], row["camera"]) == ((WALL, "coop") if version == 1 else (None, None))
    pages = Deliveries(state, "mqtt")
    assert (pages.place(), pages.tries(EVENT), pages.held(), pages.dropped()) == (EVENT, 3, [], None)
    pages.hold([EVENT], EVENT)
    assert pages.held() == [EVENT]
    pages.close()


@pytest.mark.parametrize("version", [1, 2])
def test_an_older_state_is_backed_up_before_anything_was_started(version: int, tmp_path: Path) -> None:
    state, tar = tmp_path / "state", tmp_path / "gander.tar"
    for name in (EVENTS, OWNER, DELIVERIES):
        made(state / name, min(version, VERSIONS[name]))
    (state / "pictures" / "2026-04-06").mkdir(parents=True)
    (state / "pictures" / "2026-04-06" / "p.jpg").write_bytes(b"picture")
    before = {name: (state / name).read_bytes() for name in (EVENTS, OWNER, DELIVERIES)}
    assert backup(state, tar, "coop", everything=True).pictures == 1
    assert {name: (state / name).read_bytes() for name in before} == before
    came_back(tmp_path / "back", tar)


def test_a_backup_that_an_older_gander_made_comes_back(tmp_path: Path) -> None:
    for name in (EVENTS, OWNER, DELIVERIES):
        made(tmp_path / "state" / name, VERSIONS[name])
    backup(tmp_path / "state", tmp_path / "gander.tar", "coop")

    def as_then(members: Members, manifest: dict[str, Any]) -> None:
        for name in (EVENTS, OWNER, DELIVERIES):
            data = made(tmp_path / "then" / name, 1).read_bytes()
            members[name] = (members[name][0], data)
            manifest["files"][name] = {"sha256": hashlib.sha256(data).hexdigest(), "bytes": len(data)}

    came_back(tmp_path / "back", altered(tmp_path / "gander.tar", as_then))


def came_back(state: Path, tar: Path) -> None:
    """A fresh machine has it all, and begins in observe."""
    restore(state, tar)
    Journal(state).close()
    with reader(state / OWNER) as owner, reader(state / EVENTS) as events:
        assert owner.execute("SELECT value FROM setting WHERE name = 'mode'").fetchone()[0] == "observe"
        assert owner.execute("SELECT label FROM label").fetchone()[0] == "jay"
        assert [body["id"] for _, body in events_after(events, 0)] == [EVENT]
        assert events.execute("PRAGMA user_version").fetchone()[0] == VERSIONS[EVENTS]
    pages = Deliveries(state, "mqtt")
    assert pages.place() == EVENT, "nobody is told all of it again"
    pages.close()


@pytest.mark.parametrize("name", [EVENTS, OWNER, DELIVERIES])
def test_a_newer_one_is_refused_untouched(name: str, tmp_path: Path) -> None:
    path = made(tmp_path / name, VERSIONS[name])
    with closing(sqlite3.connect(path)) as connection:
        connection.execute(f"PRAGMA user_version = {VERSIONS[name] + 1}")
    before = path.read_bytes()
    with pytest.raises(StateError, match="newer gander"):
        prepare(path)
    assert path.read_bytes() == before
