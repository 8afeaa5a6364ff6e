"""A state directory with pictures as they were kept, for what deletes or dates them."""

from __future__ import annotations

import contextlib
import sqlite3
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from edge import retention
from edge.clock import Ids, ReplayClock, iso
from edge.config import MediaConfig
from edge.decoy import Decoys
from edge.journal import EVENTS, Journal, dump
from edge.retention import Pruned, Retention

NOW = datetime(2026, 9, 1, 12, tzinfo=UTC)


class Shelf:
    """A state directory with pictures as they were kept, and what deletes them."""

    def __init__(self, state: Path, clock: ReplayClock | None = None, **media: Any) -> None:
        self.state, self.ids = state, Ids()
        self.journal = Journal(state)
        self.config = MediaConfig(**{"min_free": 0.0, "max_mb": 10, **media})
        self.decoys = Decoys(state, 10**6)
        self.retention = Retention(state, self.config, 400, self.journal, self.decoys, clock or ReplayClock(NOW))

    def visit(self, hours_ago: float, kind: str = "other", actions: int = 0, dated: bool = True) -> str:
        at = NOW - timedelta(hours=hours_ago)
        id_ = self.ids.new(at)
        row = id_, "cam", iso(at), iso(at), kind, kind, 0.9, actions
        self.journal.write("INSERT INTO visit VALUES (?, ?, ?, ?, ?, ?, ?, ?)", *row)
        self.journal.write(
            "INSERT INTO event (id, type, wall, visit_id, json) VALUES (?, 'visit', ?, ?, ?)",
            *(self.ids.new(at), iso(at), id_, dump({"clock_ok": dated})),
        )
        return id_

    def picture(
        self, hours_ago: float, visit: str | None = None, size: int = 1000, real: int = 10, **more: Any
    ) -> Path:
        """`size` is what the journal says of it, `real` what the file holds."""
        at = NOW - timedelta(hours=hours_ago)
        id_ = self.ids.new(at)
        where = f"{iso(at)[:10]}/{id_}.jpg"
        path = self.state / "pictures" / where
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(bytes(real))
        row = {"kind": "crop", "crop_of": None, "camera": "cam", "person": 0, **more}
        self.journal.write(
            retention.INSERT,
            *(id_, where, "", size, row["kind"], visit, row["crop_of"], iso(at), row["camera"], row["person"]),
        )
        return path

    def label(self, visit: str | None = None, picture: str | None = None) -> None:
        row = self.ids.new(NOW), visit, picture, "jay", "me", iso(NOW), ""
        self.journal.ask(lambda owner: owner.execute("INSERT INTO label VALUES (?, ?, ?, ?, ?, ?, ?)", row))

    def rows(self, sql: str = "SELECT id FROM picture ORDER BY id") -> list[Any]:
        self.journal.ask(lambda owner: None)
        with contextlib.closing(sqlite3.connect(self.state / EVENTS)) as connection:
            return [row[0] for row in connection.execute(sql)]

    def prune(self) -> Pruned:
        done = self.retention.prune(30.0)
        assert sorted(path.stem for path in self.files()) == self.rows(), "a file and a row each"
        return done

    def files(self) -> list[Path]:
        return [path for path in (self.state / "pictures").rglob("*") if path.is_file()]
