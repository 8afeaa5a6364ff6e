"""The SQLite files of the appliance: their tables, how older files are brought up to date, how they are opened."""

from __future__ import annotations

import contextlib
import logging
import sqlite3
import uuid
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

from edge.clock import iso
from edge.errors import StateError, WrongState
from edge.unit import to_start

log = logging.getLogger(__name__)

EVENTS = "events.db"
OWNER = "owner.db"
DELIVERIES = "deliveries.db"

# One script a version; a file of an older one gets the scripts it lacks, all in one transaction.
_SCRIPTS = {
    EVENTS: (
        """
        CREATE TABLE event (place INTEGER PRIMARY KEY AUTOINCREMENT, id TEXT UNIQUE NOT NULL, type TEXT NOT NULL,
            wall TEXT NOT NULL, visit_id TEXT, json TEXT NOT NULL);
        CREATE INDEX event_visit ON event (visit_id);
        CREATE TABLE visit (id TEXT PRIMARY KEY, camera TEXT NOT NULL, started TEXT NOT NULL, ended TEXT,
            kind TEXT, label TEXT, p REAL, actions INTEGER NOT NULL DEFAULT 0) WITHOUT ROWID;
        CREATE TABLE prediction (visit_id TEXT NOT NULL, seq INTEGER NOT NULL, model TEXT NOT NULL, role TEXT NOT NULL,
            fate TEXT NOT NULL, invoke_ms REAL, top TEXT, picture TEXT);
        CREATE INDEX prediction_visit ON prediction (visit_id);
        CREATE TABLE picture (id TEXT PRIMARY KEY, path TEXT NOT NULL, sha256 TEXT NOT NULL, bytes INTEGER NOT NULL,
            kind TEXT NOT NULL, visit_id TEXT, crop_of TEXT) WITHOUT ROWID;
        CREATE INDEX picture_visit ON picture (visit_id);
        """,
        # Pictures say when and where, and whether somebody is in them (2: nobody knows). What version 1 called the
        # frame had marks drawn in.
        """
        ALTER TABLE picture ADD COLUMN wall TEXT;
        ALTER TABLE picture ADD COLUMN camera TEXT;
        ALTER TABLE picture ADD COLUMN person INTEGER NOT NULL DEFAULT 0;
        UPDATE picture SET wall = wall_of(id), kind = CASE kind WHEN 'frame' THEN 'marked' ELSE kind END;
        UPDATE picture SET
            wall = coalesce(wall, (SELECT started FROM visit WHERE visit.id = picture.visit_id)),
            camera = coalesce((SELECT camera FROM visit WHERE visit.id = picture.visit_id),
                (SELECT json_extract(json, '$.camera') FROM event WHERE event.visit_id = picture.visit_id LIMIT 1)),
            person = coalesce((SELECT visit.kind = 'person' FROM visit WHERE visit.id = picture.visit_id), 0);
        CREATE INDEX picture_wall ON picture (wall);
        CREATE INDEX picture_person ON picture (wall) WHERE person = 1;
        """,
    ),
    OWNER: (
        """
        CREATE TABLE label (id TEXT PRIMARY KEY, visit_id TEXT, picture_id TEXT, label TEXT NOT NULL, who TEXT NOT NULL,
            wall TEXT NOT NULL, note TEXT) WITHOUT ROWID;
        CREATE TABLE setting (name TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;
        CREATE TABLE audit (id TEXT PRIMARY KEY, wall TEXT NOT NULL, who TEXT NOT NULL, command TEXT NOT NULL,
            answer TEXT NOT NULL) WITHOUT ROWID;
        """,
    ),
    DELIVERIES: (
        """
        CREATE TABLE place (publisher TEXT PRIMARY KEY, event_id TEXT NOT NULL) WITHOUT ROWID;
        CREATE TABLE delivery (publisher TEXT NOT NULL, event_id TEXT NOT NULL, state TEXT NOT NULL,
            tries INTEGER NOT NULL, next_try TEXT, why TEXT NOT NULL, PRIMARY KEY (publisher, event_id)) WITHOUT ROWID;
        """,
        # Sinks that people read: what waits for them, what they cost; and what nobody will be told any more.
        """
        CREATE TABLE held (publisher TEXT NOT NULL, event_id TEXT NOT NULL, PRIMARY KEY (publisher, event_id))
            WITHOUT ROWID;
        CREATE TABLE sent (publisher TEXT NOT NULL, wall TEXT NOT NULL, price REAL NOT NULL);
        CREATE INDEX sent_wall ON sent (publisher, wall);
        CREATE TABLE dropped (publisher TEXT PRIMARY KEY, id TEXT NOT NULL, wall TEXT NOT NULL, first TEXT NOT NULL,
            last TEXT NOT NULL, count INTEGER NOT NULL, why TEXT NOT NULL) WITHOUT ROWID;
        CREATE TABLE memo (publisher TEXT NOT NULL, name TEXT NOT NULL, value TEXT NOT NULL,
            PRIMARY KEY (publisher, name)) WITHOUT ROWID;
        CREATE TABLE active (publisher TEXT PRIMARY KEY) WITHOUT ROWID;
        """,
    ),
}
VERSIONS = {name: len(scripts) for name, scripts in _SCRIPTS.items()}


@contextlib.contextmanager
def transaction(connection: sqlite3.Connection) -> Iterator[None]:
    connection.execute("BEGIN IMMEDIATE")
    try:
        yield
        connection.execute("COMMIT")
    except BaseException:
        connection.rollback()
        raise


# Of every connection that writes, and why.
_SETTINGS = (
    # A commit is appended to one file and flushed once, where a rollback journal flushes three times; readers go on.
    "journal_mode = WAL",
    # The log is flushed at each commit: what was committed survives a power cut. NORMAL would flush only when it is
    # copied into the database, some hundred commits later.
    "synchronous = FULL",
    # Copied in at 4 MB: what the same few pages went through meanwhile is written once. More would save little more,
    # and be read back at each start.
    "wal_autocheckpoint = 1000",
    # After a long read by another process had let it grow: the file gets its usual size back.
    "journal_size_limit = 4194304",
    # What is sorted on the way, and what undoes half a statement, would else be written to /var/tmp: on the card.
    "temp_store = MEMORY",
)


@contextlib.contextmanager
def connect(path: Path) -> Iterator[sqlite3.Connection]:
    """The writer's connection. What it commits survives a power cut."""
    connection = sqlite3.connect(path, isolation_level=None, timeout=1.0, check_same_thread=False)
    try:
        for setting in _SETTINGS:
            connection.execute(f"PRAGMA {setting}")
        yield connection
    finally:
        connection.close()


@contextlib.contextmanager
def reader(path: Path) -> Iterator[sqlite3.Connection]:
    """A connection that cannot write. Raises `StateError` where there is nothing to read."""
    try:
        if not path.exists():
            raise WrongState(f"{path}: no journal there yet; {to_start()}")
        uri = f"{path.absolute().as_uri()}?mode=ro"
        connection = sqlite3.connect(uri, uri=True, timeout=5.0, check_same_thread=False)
    except (OSError, sqlite3.Error) as error:
        raise StateError(f"{path}: cannot be read: {error}") from None
    found = 0
    try:
        found = _version(connection, path)
        connection.row_factory = sqlite3.Row
        connection.execute("PRAGMA temp_store = MEMORY")
        yield connection
    except sqlite3.DatabaseError as error:
        if "no such" in str(error) and found < VERSIONS.get(path.name, 0):
            raise StateError(
                f"{path}: of an older gander (schema {found}), brought up to date once this one runs; {to_start()}"
            ) from None
        raise StateError(f"{path}: {error}") from None
    finally:
        connection.close()


def prepare(path: Path) -> None:
    """Create the tables, bring older ones up to date, or check that they are ours."""
    try:
        with connect(path) as connection:
            found = _version(connection, path)
            if found < VERSIONS[path.name]:
                connection.create_function("wall_of", 1, wall_of, deterministic=True)
                with transaction(connection):
                    for script in _SCRIPTS[path.name][found:]:
                        for statement in script.split(";"):
                            connection.execute(statement)
                    connection.execute(f"PRAGMA user_version = {VERSIONS[path.name]}")
                if found:
                    log.info("%s: brought from schema %d to %d", path, found, VERSIONS[path.name])
        if path.stat().st_mode & 0o777 != 0o660:  # only who made it may do that
            path.chmod(0o660)
    except (sqlite3.Error, OSError) as error:
        raise StateError(f"{path}: cannot be used: {error}") from None


def _version(connection: sqlite3.Connection, path: Path) -> int:
    """The schema of a file. Raises `StateError` for one that is newer than what is known here."""
    found = int(connection.execute("PRAGMA user_version").fetchone()[0])
    known = VERSIONS.get(path.name, found)
    if found > known:
        raise WrongState(f"{path}: written by a newer gander (schema {found}, this one knows {known}); update this one")
    return found


def wall_of(id_: str) -> str | None:
    """When an id of ours (UUIDv7) was given, as in the journal; None for another's."""
    try:
        value = uuid.UUID(id_)
        return iso(datetime.fromtimestamp((value.int >> 80) / 1000, UTC)) if value.version == 7 else None
    except (ValueError, OverflowError, OSError):
        return None
