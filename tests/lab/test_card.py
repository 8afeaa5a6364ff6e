"""The card: full at each kind of write, what goes first, and ten thousand pictures a day. `-s` prints.

Needs the right to mount a tmpfs (root); else these are skipped.
"""

from __future__ import annotations

import contextlib
import os
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from statistics import median

import numpy as np
import pytest

from edge.backup import backup
from edge.clock import Ids
from edge.config import MediaConfig, ModelsConfig
from edge.database import DELIVERIES, EVENTS, OWNER, reader
from edge.decoy import Decoys, content
from edge.deliveries import Deliveries
from edge.errors import GanderError
from edge.journal import Journal, events_after
from edge.media import Media
from edge.model_store import ModelStore
from edge.restore import restore
from edge.retention import SLICE, Retention
from edge.values import Box, Event, Frame, Visit
from tests.disk import fill, mount
from tests.edge.shelf import NOW, Shelf
from tests.lab.memory import private_mb, quick_folder
from tests.lab.soak import Hasty
from tests.mqtt import until
from tests.scenarios.test_full_disk import small
from tests.stage import bundle

__all__ = ["small"]
pytestmark = [pytest.mark.lab, pytest.mark.timeout(1200)]
LONG_S = 300
IMAGE = np.random.default_rng(3).integers(0, 255, (90, 160, 3), np.uint8)
Say = Callable[[str], None]


@pytest.fixture
def say(capsys: pytest.CaptureFixture[str]) -> Say:
    def out(text: str) -> None:
        with capsys.disabled():
            sys.stdout.write(f"\n{text}")

    return out


def event(number: int) -> Event:
    id_ = f"{number:08d}"
    return Event(id_, "visit", {"v": 1, "id": id_, "type": "visit", "wall": "2026-09-01T12:00:00.000Z"})


def ids(state: Path) -> list[str]:
    with reader(state / EVENTS) as connection:
        return [body["id"] for _, body in events_after(connection, 0, 10**6) if "id" in body]


def sound(state: Path) -> None:
    """No database is damaged, and nothing is left half written."""
    for name in (EVENTS, OWNER, DELIVERIES):
        if (state / name).exists():
            with contextlib.closing(sqlite3.connect(state / name)) as connection:
                assert connection.execute("PRAGMA integrity_check").fetchone()[0] == "ok", name
    half = [path for path in state.rglob(".*") if path.is_file()]
    assert half == []


class Full:
    """A state directory on a disk that is full, until it is freed."""

    def __init__(self, state: Path) -> None:
        self.state, self._ballast = state, fill(state)

    def free(self) -> None:
        self._ballast.unlink()


@contextlib.contextmanager
def journal(state: Path) -> Iterator[Journal]:
    made = Journal(state)
    try:
        yield made
    finally:
        made.close()


def test_full_while_an_event_is_written(small: Path, say: Say) -> None:
    with journal(small) as made:
        made.event(event(0))
        made.settle()
        full = Full(small)
        for number in range(1, 400):
            made.event(event(number))
        until(lambda: bool(made.trouble), LONG_S)
        assert "full" in made.trouble
        full.free()
        until(lambda: made.committed >= 400, LONG_S)
        assert (made.dropped, made.trouble) == (0, "")
    assert ids(small) == [f"{number:08d}" for number in range(400)]
    sound(small)
    say("| an event | waits in memory, at most `journal.queue`; written by itself, in order: 0 of 400 lost |")


def test_full_while_a_label_is_written(small: Path, say: Say) -> None:
    def work(owner: sqlite3.Connection) -> None:
        owner.execute(
            "INSERT INTO label VALUES (?, 'v', NULL, 'jay', 'me', '', ?)", (str(time.time_ns()), "x" * 60_000)
        )

    with journal(small) as made:
        full, said = Full(small), []
        for _ in range(5):
            try:
                made.ask(work)
            except GanderError as error:
                said.append(str(error))
        assert said, "refused in words, not later carried out after all"
        full.free()
        made.ask(work)
    with reader(small / OWNER) as owner:
        assert owner.execute("SELECT count(*) FROM label").fetchone()[0] == 6 - len(said)
    sound(small)
    say(f'| a label | refused at once: "{said[0].partition(": ")[2]}"; those kept before stay |')


def test_full_while_a_picture_is_written(small: Path, say: Say) -> None:
    with journal(small) as made:
        media = Media(small, MediaConfig(min_free=0.0, decoy_mb=0), made, Ids())
        try:
            now = datetime.now(UTC)
            frame = Frame("cam", 1, time.monotonic_ns(), 0.0, now, IMAGE, IMAGE[:, :, 0])
            visit = Visit("v", "cam", 0.0, 0.0, now, Box(0.4, 0.4, 0.2, 0.2))
            until(lambda: bool(media.keep(frame, visit, 0.2)), LONG_S)
            until(lambda: media.facts()["pictures"] == 3, LONG_S)
            full = Full(small)
            until(lambda: bool(media.keep(frame, visit, 0.2)), LONG_S)
            until(lambda: bool(media.facts()["problem"]), LONG_S)
            problem = media.facts()["problem"]
            made.event(event(1))
            full.free()
            until(lambda: not media.facts()["problem"], LONG_S)
            media.forget("v")
            before = media.facts()["pictures"]
            until(lambda: bool(media.keep(frame, visit, 0.2)), LONG_S)
            until(lambda: media.facts()["pictures"] == before + 3, LONG_S)
        finally:
            media.close()
    with reader(small / EVENTS) as connection:
        named = {row[0] for row in connection.execute("SELECT path FROM picture")}
    there = {str(path.relative_to(small / "pictures")) for path in (small / "pictures").rglob("*.jpg")}
    assert named == there
    assert ids(small) == ["00000001"]
    sound(small)
    say(
        "| a picture | decoys, then old pictures make room; else it is not kept, whole, and tried again after 5 s: "
        f'"{problem.partition(";")[0]}" |'
    )


def test_full_while_a_decoy_is_written(small: Path, say: Say) -> None:
    decoys = Decoys(small, 10**6)
    full = Full(small)
    with pytest.raises(OSError, match="No space"):
        decoys.keep(IMAGE, content(IMAGE))
    assert decoys.kept_bytes == 0
    full.free()
    assert decoys.keep(IMAGE, content(IMAGE)) > 0
    sound(small)
    say("| a decoy | not kept, and none any more while there is less than `media.min_free` |")


def test_full_while_a_model_is_installed(small: Path, tmp_path: Path, say: Say) -> None:
    file, store = bundle(small, tmp_path / "made"), ModelStore(small, ModelsConfig())
    full = Full(small)
    with pytest.raises(GanderError, match="cannot keep the bundle") as error:
        store.install(file)
    assert store.installed() == []
    full.free()
    store.install(file)
    assert [installed.name.partition("-")[0] for installed in store.installed()] == ["colours"]
    sound(small)
    say(f'| a model | refused: "{str(error.value).partition(": ")[2]}"; what was champion stays |')


def test_full_while_a_backup_is_made_and_brought_back(small: Path, tmp_path: Path, say: Say) -> None:
    state = tmp_path / "state"
    with journal(state) as made:
        for number in range(20):
            made.event(event(number))
    full = Full(small)
    with pytest.raises(GanderError, match="no backup was made") as error:
        backup(state, small / "gander.tar", "coop")
    backup(state, tmp_path / "gander.tar", "coop")
    with pytest.raises(GanderError):
        restore(small / "state", tmp_path / "gander.tar")
    assert [path.name for path in small.iterdir()] == ["ballast"], "nothing is left of either"
    full.free()
    backup(state, small / "gander.tar", "coop")
    restore(small / "state", small / "gander.tar")
    assert ids(small / "state") == ids(state)
    say(f'| a backup, a restore | refused, nothing is left of it: "{str(error.value).partition(": ")[2]}" |')


def test_full_while_a_delivery_is_noted(small: Path, say: Say) -> None:
    pages = Deliveries(small, "mqtt")
    pages.keep("00000001")
    full = Full(small)
    numbers = iter(range(1000))
    with pytest.raises(sqlite3.OperationalError, match="full"):
        all(pages.set_aside(f"{number:08d}", 1, "x" * 400) is None for number in numbers)
    kept = pages.place()
    assert kept is not None
    assert kept >= "00000000"
    full.free()
    pages.keep("00009999")
    pages.close()
    assert Deliveries(small, "mqtt").place() == "00009999"
    sound(small)
    say("| what was delivered | tried again; no more than a batch is sent meanwhile, nothing twice in order |")


def test_what_goes_first_on_a_disk_that_fills_up(tmp_path: Path, say: Say) -> None:
    """Decoys, then ordinary pictures, then those of threats; never a labelled one, never an event."""
    state = tmp_path / "card"
    state.mkdir()
    mount(state, "size=24m")
    try:
        shelf = Shelf(state, min_free=0.15, max_mb=100)
        ordinary, threat = shelf.visit(5), shelf.visit(6, "threat")
        labelled = shelf.picture(7, shelf.visit(7), 50_000, 50_000)
        shelf.label(visit=shelf.rows("SELECT visit_id FROM picture")[0])
        kinds = {
            "ordinary pictures": [shelf.picture(5, ordinary, 50_000, 50_000) for _ in range(60)],
            "pictures of threats": [shelf.picture(6, threat, 50_000, 50_000) for _ in range(60)],
        }
        rng = np.random.default_rng(1)
        for _ in range(30):
            crop = rng.integers(0, 255, (120, 120, 3), np.uint8)
            shelf.decoys.keep(crop, content(crop))
        order, events = [], 0
        with (state / "ballast").open("wb", buffering=0) as ballast, contextlib.suppress(OSError):
            while True:
                ballast.write(bytes(250_000))
                shelf.journal.event(event(events))
                events += 1
                shelf.retention.prune(30.0)
                there = {"decoys": shelf.decoys.kept_bytes > 0}
                there |= {kind: any(path.exists() for path in paths) for kind, paths in kinds.items()}
                order += [kind for kind, some in there.items() if not some and kind not in order]
                assert labelled.exists()
        assert order == ["decoys", *kinds]
        assert "disk is full" in shelf.retention.room(1000, NOW)
        (state / "ballast").unlink()
        shelf.journal.settle()
        assert ids(state) == [f"{number:08d}" for number in range(events)]
        assert shelf.retention.room(1000, NOW) == ""
        shelf.journal.close()
        sound(state)
        say(
            f"a disk that fills up costs, in this order: {', '.join(order)}; "
            f"none of {events} events, and nothing labelled"
        )
    finally:
        subprocess.run(["umount", "-l", state], check=True)


def test_ten_thousand_pictures_a_day(say: Say) -> None:
    """Three days of them in minutes: what a turn deletes is bounded, so is memory, and the room holds.

    Files and rows are as many and as large as they would be (25 kB, as of a visit), but they are blank, and come by no
    camera; they lie in memory where it has room, so that times are those of this code, not of a card.
    """
    most, size = 300, 25_000
    with quick_folder(most) as folder, contextlib.ExitStack() as stack:
        shelf, clock = Shelf(folder, max_mb=most, days=2), Hasty(NOW)
        stack.callback(shelf.journal.close)
        retention = Retention(folder, shelf.config, 400, shelf.journal, shelf.decoys, clock)
        turns, deleted, memory = [], [], []
        for tick in range(3 * 144):  # of ten minutes, which is how often a pass begins
            for number in range(70):
                shelf.picture(-tick / 6 - number / 1000, size=size, real=size)
            now = clock.wall(600.0 * tick)
            retention.begin()
            assert retention.room(size, now) == ""
            went = True
            while went:
                began = time.monotonic()
                pruned = retention.turn()
                turns.append(time.monotonic() - began)
                deleted.append(pruned.pictures)
                went = bool(pruned)
            memory.append(private_mb(os.getpid()))
        count, total = shelf.rows("SELECT count(*) FROM picture")[0], shelf.rows("SELECT sum(bytes) FROM picture")[0]
        assert count == len(shelf.files())
        assert 0 < max(deleted) <= SLICE
        assert total <= most * 10**6
        second, third = (median(day) for day in (memory[144:288], memory[288:]))
        assert third < second + 20
        turns.sort()
        say(
            f"{3 * 144 * 70} pictures in 3 days: {count} kept; {len(turns)} turns, p50 "
            f"{turns[len(turns) // 2] * 1e3:.0f} ms, p99 {turns[len(turns) * 99 // 100] * 1e3:.0f} ms, at most "
            f"{max(deleted)} pictures each; memory {third - second:+.1f} MB on the last day"
        )
