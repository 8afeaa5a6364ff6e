"""The journal: `events.db` and `owner.db`, written by one thread with a bounded queue; a slow card delays nobody."""

from __future__ import annotations

import contextlib
import fcntl
import json
import logging
import os
import queue
import sqlite3
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any, Literal

from edge import reserve
from edge.atomic import make_folder
from edge.database import EVENTS as EVENTS
from edge.database import OWNER as OWNER
from edge.database import connect as connect
from edge.database import prepare
from edge.database import reader as reader
from edge.database import transaction as transaction
from edge.errors import StateError, WrongState
from edge.values import Event

log = logging.getLogger(__name__)

_PATIENCE_S = 5.0  # between two tries to write


@dataclass(frozen=True, slots=True)
class Row:
    """One statement to be carried out by the writer. `precious` rows are refused last when the queue fills."""

    sql: str
    values: tuple[Any, ...]
    precious: bool = False


class Journal:
    """The only writer of both databases. Holds the state directory's lock while it is open."""

    def __init__(self, state: Path, queue_size: int = 2000, patient: bool = False) -> None:
        """Open or create. Raises `StateError` when the directory is unwritable, newer, or another daemon's.

        `patient` (a replay as fast as it can): who adds waits for room instead of dropping.
        """
        self._patient = patient
        with contextlib.ExitStack() as stack:
            stack.callback(os.close, lock(state))
            # Here and not in the thread: on a disk that fills up right after the start they could not be opened.
            self._events, self._owner = _open(state, stack)
            self._let_go = stack.pop_all().close
        self.state = state
        self.dropped = 0
        self._dropped_at = 0.0  # monotonic
        self.committed = 0
        self.trouble = ""
        """Why nothing can be written at present; empty: it can."""
        self._queue: queue.Queue[Row | tuple[Work, Future[Any]] | None] = queue.Queue(queue_size)
        self._size = queue_size
        self._thread = threading.Thread(target=self._write, name="journal", daemon=True)
        self._thread.start()

    @property
    def waiting(self) -> int:
        return self._queue.qsize()

    @property
    def dropped_s(self) -> float | None:
        """Seconds since a record was dropped; None: none was."""
        return time.monotonic() - self._dropped_at if self.dropped else None

    def check(self) -> None:
        """Raises `StateError` when the writer is gone: then the daemon must not go on as if it kept a record."""
        if not self._thread.is_alive():
            raise StateError(f"{self.state}: the journal's writer has ended; see the log above")

    def event(self, event: Event) -> None:
        """Add an event. Never waits."""
        visit = event.body.get("visit") or {}
        row = (event.id, event.type, event.body["wall"], visit.get("id"), dump(event.body))
        sql = "INSERT OR IGNORE INTO event (id, type, wall, visit_id, json) VALUES (?, ?, ?, ?, ?)"
        self._put(Row(sql, row, precious=True))

    def write(self, sql: str, *values: Any, precious: bool = False) -> bool:
        """Add one statement for `events.db`; returns whether there was room.

        Never waits; dropped and counted when the queue is more than half full.
        """
        return self._put(Row(sql, values, precious))

    def ask(self, work: Work, timeout_s: float = 10.0) -> Any:
        """Have the writer run `work(owner.db)` in one transaction, wait, and return what it did.

        Raises `StateError` when that does not come about in time; then it will not be done later either.
        """
        future = self.later(work)
        try:
            return future.result(timeout_s)
        except TimeoutError:
            future.cancel()
            raise StateError(f"{self.state}: the journal does not answer (card full or locked): not kept") from None

    def settle(self, timeout_s: float = 10.0) -> None:
        """Wait until all that was added is committed. Raises `StateError` when that takes longer."""
        self.ask(lambda owner: None, timeout_s)

    def later(self, work: Work) -> Future[Any]:
        """Have the writer run `work(owner.db)` when it comes to it."""
        future: Future[Any] = Future()
        try:
            self._queue.put_nowait((work, future))
        except queue.Full:
            future.set_exception(StateError(f"{self.state}: the journal's queue is full: the card is too slow or full"))
        return future

    def close(self, timeout_s: float = 10.0) -> None:
        """Write what waits (for as long as `timeout_s`), then let go of the lock."""
        with contextlib.suppress(queue.Full):
            self._queue.put(None, timeout=timeout_s)
        self._thread.join(timeout_s)
        if self._thread.is_alive():
            log.error("%d records could not be written before the end", self.waiting)
            return  # the end of this process lets go of all
        self._let_go()

    def _put(self, row: Row) -> bool:
        if not row.precious and not self._patient and self._queue.qsize() > self._size // 2:
            return self._drop()
        try:
            self._queue.put(row, block=self._patient)
        except queue.Full:
            return self._drop()
        return True

    def _drop(self) -> Literal[False]:
        self._dropped_at = time.monotonic()
        self.dropped += 1
        return False

    def _write(self) -> None:
        """The writer thread: commit what waits in groups, try again for as long as the card refuses."""
        ending = False
        while not ending:
            batch, ending = self._batch()
            rows = [item for item in batch if isinstance(item, Row)]
            if rows:
                self._commit(self._events, rows)
            for item in batch:
                if isinstance(item, tuple):
                    _run(item, self._owner)

    def _batch(self) -> tuple[list[Row | tuple[Work, Future[Any]]], bool]:
        """What waits now, at least one thing; and whether it is the last."""
        batch = []
        item = self._queue.get()
        while item is not None:
            batch.append(item)
            if len(batch) >= 256:
                return batch, False
            try:
                item = self._queue.get_nowait()
            except queue.Empty:
                return batch, False
        return batch, True

    def _commit(self, events: sqlite3.Connection, rows: list[Row]) -> None:
        wait_s = 0.1
        while True:
            try:
                with transaction(events):
                    for row in rows:
                        events.execute(row.sql, row.values)
            except sqlite3.OperationalError as error:  # locked, disk full, card gone: later, in the same order
                if str(error) != self.trouble:
                    log.warning("%s: %s; what happens waits in memory and is tried again", EVENTS, error)
                self.trouble = str(error)
                time.sleep(wait_s)
                wait_s = min(wait_s * 2, _PATIENCE_S)
            except (sqlite3.Error, ValueError, OverflowError) as error:
                if isinstance(error, sqlite3.DatabaseError) and type(error) is sqlite3.DatabaseError:
                    raise  # damaged: not to be written to any more
                self._commit_singly(events, rows, error)
                return
            else:
                self.committed += len(rows)
                if self.trouble:
                    log.warning("%s: written again; %d wait, %d were dropped", EVENTS, self.waiting, self.dropped)
                self.trouble = ""
                return

    def _commit_singly(self, events: sqlite3.Connection, rows: list[Row], error: Exception) -> None:
        """One row in the group cannot be written at all: it goes, the others stay."""
        if len(rows) == 1:
            self._drop()
            log.error("%s: a row that cannot be written: %s", EVENTS, error)
            return
        for row in rows:
            self._commit(events, [row])


Files = tuple[sqlite3.Connection, sqlite3.Connection]


def _open(state: Path, stack: contextlib.ExitStack) -> Files:
    """The writer's connections, which `stack` closes; on a full disk at the reserve's cost. Raises `StateError`."""
    try:
        return stack.enter_context(_opened(state))
    except StateError as error:
        if isinstance(error, WrongState) or not reserve.spend(state):
            raise
        log.warning("%s: what the disk holds in reserve is given up for it", error)
        return stack.enter_context(_opened(state))


@contextlib.contextmanager
def _opened(state: Path) -> Iterator[Files]:
    """Both databases, with all files they need beside them made."""
    for name in (EVENTS, OWNER):
        prepare(state / name)
    try:
        with connect(state / EVENTS) as events, connect(state / OWNER) as owner:
            for connection in (events, owner):
                connection.execute("PRAGMA user_version").fetchone()
            yield events, owner
    except sqlite3.Error as error:
        raise StateError(f"{state}: the journal cannot be used: {error}") from None


Work = Callable[[sqlite3.Connection], Any]


def _run(item: tuple[Work, Future[Any]], owner: sqlite3.Connection) -> None:
    work, future = item
    if not future.set_running_or_notify_cancel():
        return  # who asked was told that it failed
    try:
        with transaction(owner):
            result = work(owner)
    except (sqlite3.Error, ValueError, TypeError, OverflowError) as error:
        future.set_exception(StateError(f"{OWNER}: {error}"))
    else:
        future.set_result(result)


def dump(value: Any) -> str:
    """JSON as it is stored and sent: compact, UTF-8, keys in the order given."""
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"))


def events_after(connection: sqlite3.Connection, place: int, limit: int = 500) -> list[tuple[int, dict[str, Any]]]:
    """Events committed after `place` (0: from the start), in the order of their commit, each with its own place.

    A damaged one is passed over.
    """
    sound = "CASE WHEN json_valid(json) THEN json_extract(json, '$.id') END IS NOT NULL"
    rows = connection.execute(
        f"SELECT place, json FROM event WHERE place > ? AND {sound} ORDER BY place LIMIT ?",  # noqa: S608 - no input
        (place, limit),
    )
    return [(row[0], json.loads(row[1])) for row in rows]


def last_place(connection: sqlite3.Connection) -> int:
    """The place of the newest event."""
    return int(connection.execute("SELECT coalesce(max(place), 0) FROM event").fetchone()[0])


def recent_visits(
    state: Path, since: datetime | None, label: str | None = None, actions: bool = False
) -> list[dict[str, Any]]:
    """Visits, oldest first, each with what the owner said of it (the latest word), or None."""
    with reader(state / OWNER) as owner:
        said = {row["visit_id"]: row["label"] for row in owner.execute("SELECT visit_id, label FROM label ORDER BY id")}
    with reader(state / EVENTS) as events:
        rows = events.execute(
            "SELECT * FROM visit WHERE started >= ? AND actions >= ? ORDER BY id",
            (since.isoformat() if since else "", int(actions)),
        )
        visits = [dict(row) | {"owner": said.get(row["id"])} for row in rows]
    return [v for v in visits if label is None or label in (v["label"], v["owner"])]


def lock(state: Path, name: str = "lock") -> int:
    """Take the state directory for this process; the descriptor returned holds it. Raises `StateError`.

    One process writes the journal, another, with a lock of another name, publishes it.
    """
    try:
        make_folder(state, 0o2770)
        fd = os.open(state / name, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o660)
    except OSError as error:
        text = f"{state}: cannot keep state there: {error.strerror}; choose another with --state"
        raise StateError.of(error, text) from None
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        os.close(fd)
        raise StateError(f"{state}: another gander is at work there; stop it, or choose another --state") from None
    return fd
