"""What the appliance knows as files for people and for training: events, visits, labels and pictures in one folder."""

from __future__ import annotations

import csv
import os
import shutil
import sqlite3
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path, PurePosixPath
from typing import Any, Protocol

from edge.atomic import sync
from edge.clock import iso
from edge.database import EVENTS, OWNER, reader
from edge.errors import Refused, StateError
from edge.packing import SUFFIX, pack
from edge.retention import FOLDER

VISIT_COLUMNS = ("id", "camera", "started", "ended", "kind", "label", "p", "actions", "owner", "note")
# The first five are what `gander-train` reads.
LABEL_COLUMNS = (
    *("path", "label", "sublabel", "source", "seq_id"),
    *("visit_id", "camera", "wall", "kind_of_picture", "model_label", "p", "who", "note"),
)
_SLICE = 500  # rows read at a time: each slice is a read of its own, so that the journal's log is not kept from ending
_SPARE = 50 * 10**6  # bytes that stay free beside what is written

# What belongs to a visit goes with the moment the visit began.
_EVENTS = """SELECT place AS key, visit_id, json, json_valid(json) AS sound
    FROM event LEFT JOIN visit ON visit.id = visit_id
    WHERE place > ? AND coalesce(started, wall) >= ? AND coalesce(started, wall) < ? ORDER BY place LIMIT ?"""
_VISITS = "SELECT *, id AS key FROM visit WHERE id > ? AND started >= ? AND started < ? ORDER BY id LIMIT ?"
_SHOWN = """FROM picture LEFT JOIN visit ON visit.id = visit_id
    WHERE picture.id > ? AND coalesce(started, wall, '') >= ? AND coalesce(started, wall, '') < ?"""
_PICTURES = f"SELECT picture.*, picture.id AS key, label, p {_SHOWN} %s ORDER BY picture.id LIMIT ?"
_SIZE = f"SELECT count(*), coalesce(sum(bytes), 0) {_SHOWN} %s"
_CROPS = "AND picture.kind = 'crop'"


@dataclass(frozen=True, slots=True)
class Wanted:
    """Which part: from `since` to before `until`; only of visits the owner labelled; with or without pictures.

    `crops`: of the pictures only what the models saw.
    """

    since: datetime | None = None
    until: datetime | None = None
    labelled: bool = False
    pictures: bool = True
    crops: bool = False

    @property
    def span(self) -> tuple[str, str]:
        """As the journal writes moments; they sort as text."""
        return (iso(self.since) if self.since else "", iso(self.until) if self.until else "~")


@dataclass(slots=True)
class Exported:
    """What was written. `people`: pictures with a person; `vanished`: pictures whose files were gone."""

    events: int = 0
    visits: int = 0
    labels: int = 0
    unlabelled: int = 0
    pictures: int = 0
    bytes: int = 0
    people: int = 0
    vanished: int = 0
    damaged_events: int = 0


@dataclass(frozen=True, slots=True)
class Said:
    """The owner's latest word on a visit or a picture."""

    label: str
    who: str
    note: str


class Words:
    """All the owner said, in memory: one person's words are few."""

    def __init__(self, owner: sqlite3.Connection, events: sqlite3.Connection) -> None:
        self.of_visits: dict[str, Said] = {}
        self._of_moments: dict[str, Said] = {}
        self._visits: set[str] = set()
        for row in owner.execute("SELECT * FROM label ORDER BY id"):
            said = Said(row["label"], row["who"], row["note"] or "")
            if row["visit_id"]:
                self.of_visits[row["visit_id"]] = said
            if row["picture_id"]:
                sql = "SELECT coalesce(crop_of, id), visit_id FROM picture WHERE id = ?"
                if found := events.execute(sql, (row["picture_id"],)).fetchone():
                    self._of_moments[found[0]] = said
                    self._visits |= {found[1]} - {None}
        self._visits |= self.of_visits.keys()

    def on_picture(self, row: sqlite3.Row) -> Said | None:
        """What was said of this picture or another of its moment; else of its visit."""
        return self._of_moments.get(row["crop_of"] or row["id"]) or self.of_visits.get(row["visit_id"])

    def about(self, visit_id: str | None) -> bool:
        """Whether the owner said anything about the visit, or a picture of it."""
        return visit_id in self._visits


class Table(Protocol):
    """What `csv.writer` makes."""

    def writerow(self, row: Sequence[Any], /) -> Any: ...


Progress = Callable[[str, int, int], None]
"""What is written, how many are done, of how many."""


def export(state: Path, folder: Path, node: str, wanted: Wanted, progress: Progress = lambda *_: None) -> Exported:
    """Write all that is wanted into `folder`, which appears whole or not at all; only reads, also beside a daemon.

    A name that ends in `.zip` makes a zip file. Raises `Refused` for a folder that holds something or a file that is
    there, `StateError` where the disk or the journal cannot be used.
    """
    folder = folder.absolute()
    packed = folder.suffix.lower() == SUFFIX
    try:
        if folder.exists() and (packed or not folder.is_dir() or any(folder.iterdir())):
            raise Refused(f"{folder}: is there already and not empty; give another name")
        with ExitStack() as stack:
            owner, events = (stack.enter_context(reader(state / name)) for name in (OWNER, EVENTS))
            folder.parent.mkdir(parents=True, exist_ok=True)
            inside = stack.enter_context(tempfile.TemporaryDirectory(prefix=f".{folder.name}.", dir=folder.parent))
            building = Path(inside) / folder.stem  # so that nothing but the rename remains to be done
            building.mkdir()
            done = _Export(state, building, node, wanted, events, Words(owner, events), progress).run()
            sync(building)
            if packed:
                building = Path(inside) / f"{folder.stem}{SUFFIX}.new"
                pack(Path(inside) / folder.stem, building, progress)
            building.rename(folder)
            sync(folder.parent)
    except OSError as error:
        raise StateError.of(error, f"{folder}: not exported: {error.strerror}") from None
    return done


class _Export:
    """One export under way."""

    def __init__(
        self,
        state: Path,
        folder: Path,
        node: str,
        wanted: Wanted,
        events: sqlite3.Connection,
        words: Words,
        progress: Progress,
    ) -> None:
        self._pictures, self._folder, self._node, self._wanted = state / FOLDER, folder, node, wanted
        self._events, self._words, self._progress = events, words, progress
        self._done = Exported()

    def run(self) -> Exported:
        pictures, size = self._size()
        free = shutil.disk_usage(self._folder).free - _SPARE
        if self._wanted.pictures and not self._wanted.labelled and size > free:
            raise StateError(
                f"{self._folder.parent.parent}: {size / 1e6:.0f} MB of pictures are too many for the "
                f"{max(free, 0) / 1e6:.0f} MB free there; name a folder on another disk, --since or --no-pictures"
            )
        self._write_events()
        self._write_visits()
        if self._wanted.pictures:
            self._write_pictures(pictures)
        return self._done

    def _write_events(self) -> None:
        total = int(self._events.execute("SELECT count(*) FROM event").fetchone()[0])
        with self._file("events.jsonl") as file:
            for row in self._rows("events", _EVENTS, total, 0):
                if self._wanted.labelled and not self._words.about(row["visit_id"]):
                    continue
                if not row["sound"]:
                    self._done.damaged_events += 1
                    continue
                file.write(row["json"] + "\n")
                self._done.events += 1

    def _write_visits(self) -> None:
        total = int(self._events.execute("SELECT count(*) FROM visit").fetchone()[0])
        with self._file("visits.csv") as file:
            table = csv.writer(file, lineterminator="\n")
            table.writerow(VISIT_COLUMNS)
            for row in self._rows("visits", _VISITS, total, ""):
                if self._wanted.labelled and not self._words.about(row["id"]):
                    continue
                said = self._words.of_visits.get(row["id"])
                said = said or Said("", "", "")
                table.writerow([*(row[name] for name in VISIT_COLUMNS[:-2]), said.label, said.note])
                self._done.visits += 1

    def _write_pictures(self, total: int) -> None:
        with self._file("labels.csv") as labelled, self._file("unlabelled.csv") as others:
            known, unknown = (csv.writer(file, lineterminator="\n") for file in (labelled, others))
            for table in (known, unknown):
                table.writerow(LABEL_COLUMNS)
            (self._folder / FOLDER).mkdir()
            for row in self._rows("pictures", _PICTURES % self._which, total, ""):
                if self._wanted.labelled and not (self._words.about(row["visit_id"]) or self._words.on_picture(row)):
                    continue
                where = self._copy(row)
                if where and row["kind"] == "crop":
                    self._enter(known, unknown, row, where)

    def _copy(self, row: sqlite3.Row) -> str:
        """Copy one picture. Returns its path in the export, empty where there is none any more."""
        path = PurePosixPath(row["path"])
        if path.is_absolute() or ".." in path.parts:
            self._done.vanished += 1  # no path of ours: the row is damaged
            return ""
        target = self._folder / FOLDER / path
        target.parent.mkdir(parents=True, exist_ok=True)
        try:
            source = (self._pictures / path).open("rb")
        except FileNotFoundError:  # it was due, and deleted meanwhile
            self._done.vanished += 1
            return ""
        with source, target.open("xb") as copy:
            shutil.copyfileobj(source, copy)
            # One at a time: thousands waiting for the card would hold up the journal's own writing.
            copy.flush()
            os.fsync(copy.fileno())
            self._done.bytes += copy.tell()
        self._done.pictures += 1
        self._done.people += row["person"] == 1
        return f"{FOLDER}/{path}"

    def _enter(self, known: Table, unknown: Table, row: sqlite3.Row, where: str) -> None:
        said = self._words.on_picture(row)
        table = known if said else unknown
        said = said or Said("", "", "")
        source = f"{self._node}/{row['camera'] or ''}"
        visit = row["visit_id"], row["camera"], row["wall"], row["kind"], row["label"], row["p"]
        table.writerow((where, said.label, "", source, row["visit_id"], *visit, said.who, said.note))
        self._done.labels += table is known
        self._done.unlabelled += table is unknown

    def _rows(self, what: str, sql: str, total: int, key: int | str) -> Iterator[sqlite3.Row]:
        """All rows of a statement that takes the last key, the span and a limit."""
        done = 0
        while rows := self._events.execute(sql, (key, *self._wanted.span, _SLICE)).fetchall():
            for row in rows:
                yield row
                done += 1
                if not done % 50:
                    self._progress(what, done, max(total, done))
            key = rows[-1]["key"]
        self._progress(what, done, max(done, 1))

    @property
    def _which(self) -> str:
        return _CROPS if self._wanted.crops else ""

    def _size(self) -> tuple[int, int]:
        count, size = self._events.execute(_SIZE % self._which, ("", *self._wanted.span)).fetchone()
        return int(count), int(size)

    def _file(self, name: str) -> _Durable:
        return _Durable(self._folder / name)


class _Durable:
    """A new text file that is on the card when it is closed."""

    def __init__(self, path: Path) -> None:
        self._file = path.open("x", encoding="utf-8", newline="")

    def __enter__(self) -> _Durable:
        return self

    def write(self, text: str) -> int:
        return self._file.write(text)

    def __exit__(self, *error: object) -> None:
        with self._file:
            self._file.flush()
            os.fsync(self._file.fileno())


def what_fired(state: Path, since: datetime | None = None) -> list[dict[str, Any]]:
    """Every time a deterrent was to fire, tests too, the oldest first: what the printable log tells.

    Each: `wall`, `visit_id` (None: a test), `deterrent`, `pattern`, `on_ms`, `result`.
    """
    names = ("deterrent", "pattern", "on_ms", "result")
    columns = ", ".join(f"json_extract(json, '$.action.{name}') AS {name}" for name in names)
    sql = f"""SELECT wall, visit_id, {columns} FROM event WHERE type IN ('action', 'test_fire') AND wall >= ?
        AND json_valid(json) ORDER BY place"""  # noqa: S608
    with reader(state / EVENTS) as events:
        return [dict(row) for row in events.execute(sql, (iso(since) if since else "",))]
