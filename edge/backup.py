"""One file that holds what cannot be made again: journal, models, keys, configuration, labelled pictures."""

from __future__ import annotations

import hashlib
import io
import json
import os
import re
import sqlite3
import tarfile
import tempfile
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import IO, Any

from edge import __version__, keys
from edge.atomic import sync
from edge.clock import iso
from edge.database import DELIVERIES, EVENTS, OWNER, prepare, reader
from edge.errors import Refused, StateError
from edge.export import Words
from edge.retention import FOLDER

FORMAT = 1
MANIFEST = "manifest.json"
KEY = "device.key"
CONFIG = "gander.toml"
# In this order: the journal is copied last, so what the owner said and what was delivered is all of events it has.
DATABASES = (DELIVERIES, OWNER, EVENTS)
FOLDERS = ("models", "keys")
_NAME = r"[^./\0][^/\0]*"
# All that a backup may hold. Nothing in it climbs out of a state directory, since no name begins with a dot.
ALLOWED = re.compile(
    "|".join(
        (
            *(re.escape(name) for name in (*DATABASES, MANIFEST, CONFIG, KEY, f"{KEY}.pub")),
            f"(?:{'|'.join(FOLDERS)})/{_NAME}",
            f"{FOLDER}/{_NAME}/{_NAME}",
        )
    )
)
_SLICE = 500
_COMPRESSED = (".gz", ".tgz", ".xz", ".bz2", ".zst", ".zip")

Progress = Callable[[str, int, int], None]
"""What is written, how many are done, of how many."""


@dataclass(slots=True)
class BackedUp:
    """What was written. `key`: also the device's private key, `config`: also the configuration in use;
    `people`: pictures with a person; `vanished`: pictures whose files were gone."""

    key: bool = False
    config: bool = False
    events: int = 0
    visits: int = 0
    labels: int = 0
    models: int = 0
    pictures: int = 0
    people: int = 0
    vanished: int = 0
    bytes: int = 0


def backup(
    state: Path,
    file: Path,
    node: str,
    *,
    config: Path | None = None,
    everything: bool = False,
    progress: Progress = lambda *_: None,
) -> BackedUp:
    """Write a backup that is there whole or not at all, readable by its owner only; also beside a running daemon.

    `config`: the file of the configuration in use. `everything`: all pictures, not only those the owner labelled.
    Raises `Refused` where the file is there already, `StateError` where the disk or the journal cannot be used.
    """
    file = file.absolute()
    if file.suffix.lower() in _COMPRESSED:
        raise Refused(f"{file}: a backup is a plain .tar, since models and pictures get no smaller; name it so")
    if file.exists():
        raise Refused(f"{file}: is there already; name another file, or remove it first")
    if not file.parent.is_dir():
        raise Refused(f"{file.parent}: there is no such folder")
    try:
        # The copies of the databases lie beside the file: a temporary folder in memory could be too small.
        with tempfile.TemporaryDirectory(prefix=f".{file.name}.", dir=file.parent) as name:
            building, copies = Path(name) / "backup", Path(name)
            for database in DATABASES:
                _copy_database(state / database, copies / database)
            fd = os.open(building, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600)
            with os.fdopen(fd, "wb") as raw:
                with tarfile.open(fileobj=raw, mode="w", format=tarfile.PAX_FORMAT) as tar:
                    done = _Backup(state, copies, tar, everything, progress).run(node, config)
                raw.flush()
                os.fsync(fd)
            done.bytes = building.stat().st_size
            building.rename(file)
            sync(file.parent)
    except OSError as error:
        raise StateError.of(error, f"{file}: no backup was made: {error.strerror or error}") from None
    except sqlite3.Error as error:
        raise StateError(f"{file}: no backup was made: a database cannot be copied: {error}") from None
    return done


def _copy_database(source: Path, target: Path) -> None:
    """A consistent copy in one step: in several, every write of the daemon would have it begin again.

    Writers go on meanwhile. Where there is no `deliveries.db` nothing was published yet.
    """
    if source.name == DELIVERIES and not source.exists():
        return
    try:
        with reader(source) as connection, closing(sqlite3.connect(target, isolation_level=None)) as copy:
            try:
                connection.backup(copy)
            except sqlite3.OperationalError as error:
                raise OSError(str(error)) from None  # of the copy's disk; nothing is wrong with the source
        prepare(target)  # who updates and backs up before anything was started still has an older schema
    except StateError as error:
        raise type(error)(str(error).replace(str(target), f"the copy of {source.name}")) from None


class _Backup:
    """One backup under way: files go into the archive one after the other, each noted with its checksum."""

    def __init__(self, state: Path, copies: Path, tar: tarfile.TarFile, everything: bool, progress: Progress) -> None:
        self._state, self._copies, self._tar = state, copies, tar
        self._everything, self._progress = everything, progress
        self._files: dict[str, dict[str, Any]] = {}
        self._now = datetime.now(UTC)
        self._done = BackedUp()

    def run(self, node: str, config: Path | None) -> BackedUp:
        with closing(sqlite3.connect(self._copies / EVENTS, isolation_level=None)) as events:
            events.row_factory = sqlite3.Row
            events.execute("PRAGMA synchronous = OFF")  # a copy, which a power cut ends anyway
            with reader(self._copies / OWNER) as owner:
                words = Words(owner, events)
                self._done.labels = _count(owner, "label")
            self._pictures(events, words)
            self._done.events, self._done.visits = _count(events, "event"), _count(events, "visit")
        for name in DATABASES:
            if (self._copies / name).exists():
                self._add(self._copies / name, name)
        for path in (self._state / KEY, keys.public_path(self._state / KEY)):
            if path.exists() and self._add(path, path.name):
                self._done.key |= path.name == KEY
        self._done.config = config is not None and self._add(config, CONFIG)
        for folder in FOLDERS:
            for path in sorted((self._state / folder).glob("[!.]*")):
                if path.is_file() and self._add(path, f"{folder}/{path.name}"):
                    self._done.models += path.suffix == ".gander"
        self._manifest(node)
        return self._done

    def _pictures(self, events: sqlite3.Connection, words: Words) -> None:
        """Add the pictures; the copied journal then knows of no others, so that their bytes are not counted."""
        events.execute("CREATE TEMP TABLE kept (id TEXT PRIMARY KEY) WITHOUT ROWID")
        total, seen = _count(events, "picture"), 0
        for row in _all_pictures(events):
            seen += 1
            if not seen % 50:
                self._progress("pictures", seen, total)
            if not (self._everything or words.on_picture(row)):
                continue
            if not self._add(self._state / FOLDER / row["path"], f"{FOLDER}/{row['path']}"):
                self._done.vanished += 1
                continue
            events.execute("INSERT INTO kept VALUES (?)", (row["id"],))
            self._done.pictures += 1
            self._done.people += row["person"] == 1
        events.execute("DELETE FROM picture WHERE id NOT IN (SELECT id FROM kept)")
        self._progress("pictures", seen, max(seen, 1))

    def _add(self, path: Path, name: str) -> bool:
        """Add one file as it is at this moment; whether it was still there, under a name that can be restored."""
        if not ALLOWED.fullmatch(name):
            return False
        try:
            source = path.open("rb")
        except FileNotFoundError:
            return False
        with source:
            size, hashing = os.fstat(source.fileno()).st_size, Hashing(source)
            self._tar.addfile(self._head(name, size), hashing)
        self._files[name] = {"sha256": hashing.hexdigest(), "bytes": size}
        return True

    def _manifest(self, node: str) -> None:
        """Comes last: a file that was cut has none."""
        manifest = {"format": FORMAT, "gander": __version__, "node": node, "wall": iso(self._now)}
        manifest |= {"all_pictures": self._everything, "files": self._files}
        data = json.dumps(manifest, indent=1).encode()
        self._tar.addfile(self._head(MANIFEST, len(data)), io.BytesIO(data))

    def _head(self, name: str, size: int) -> tarfile.TarInfo:
        head = tarfile.TarInfo(name)
        head.size, head.mode, head.mtime = size, 0o600, int(self._now.timestamp())
        return head


class Hashing(io.RawIOBase):
    """Reads another file and knows the SHA-256 of what was read."""

    def __init__(self, file: IO[bytes]) -> None:
        self._file, self._digest = file, hashlib.sha256()

    def read(self, size: int = -1) -> bytes:
        data = self._file.read(size)
        self._digest.update(data)
        return data

    def hexdigest(self) -> str:
        return self._digest.hexdigest()


def _all_pictures(events: sqlite3.Connection) -> Iterator[sqlite3.Row]:
    sql, last = f"SELECT * FROM picture WHERE id > ? ORDER BY id LIMIT {_SLICE}", ""  # noqa: S608 - a constant
    while rows := events.execute(sql, (last,)).fetchall():
        yield from rows
        last = rows[-1]["id"]


def _count(connection: sqlite3.Connection, table: str) -> int:
    return int(connection.execute(f"SELECT count(*) FROM {table}").fetchone()[0])  # noqa: S608 - our own names
