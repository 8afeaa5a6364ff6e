"""Exports: what is in the folder, what is not, and that it is there whole or not at all."""

from __future__ import annotations

import csv
import json
import os
import sqlite3
import tracemalloc
import zipfile
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from edge import export as module
from edge.clock import Ids, iso
from edge.console import visits_log
from edge.database import EVENTS, OWNER, prepare
from edge.errors import GanderError, Refused, StateError
from edge.export import LABEL_COLUMNS, VISIT_COLUMNS, Wanted, export, what_fired
from edge.journal import recent_visits
from edge.packing import pack

BEGIN = datetime(2026, 9, 1, 6, tzinfo=UTC)


class Shelf:
    """A state directory with visits an hour apart, each with one event and the three pictures of one moment."""

    def __init__(self, state: Path) -> None:
        state.mkdir()
        for name in (EVENTS, OWNER):
            prepare(state / name)
        self.state, self._ids = state, Ids()
        self.events = sqlite3.connect(state / EVENTS)
        self.owner = sqlite3.connect(state / OWNER)

    def visit(self, hours: float, label: str = "jay", person: int = 0, actions: int = 0) -> dict[str, str]:
        """Ids of the visit and of its pictures by kind."""
        wall = BEGIN + timedelta(hours=hours)
        ids = {name: self._ids.new(wall) for name in ("visit", "frame", "crop", "marked")}
        row = (ids["visit"], "yard", iso(wall), iso(wall + timedelta(seconds=9)), "threat", label, 0.9, actions)
        self.events.execute("INSERT INTO visit VALUES (?, ?, ?, ?, ?, ?, ?, ?)", row)
        self.event(wall, "action" if actions else "visit", ids["visit"])
        folder = self.state / "pictures" / iso(wall)[:10]
        folder.mkdir(parents=True, exist_ok=True)
        for kind in ("frame", "crop", "marked"):
            path = folder / f"{ids[kind]}.jpg"
            path.write_bytes(f"{kind} of {ids['visit']}".encode())
            of = None if kind == "frame" else ids["frame"]
            where = str(path.relative_to(self.state / "pictures"))
            row_ = (ids[kind], where, "", path.stat().st_size, kind, ids["visit"], of, iso(wall), "yard", person)
            self.events.execute("INSERT INTO picture VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)", row_)
        self.events.commit()
        return ids

    def event(self, wall: datetime, type_: str, visit_id: str | None) -> None:
        id_ = self._ids.new(wall)
        action = {"deterrent": "light", "pattern": "3x400/200", "on_ms": 1200, "result": "on"}
        text = json.dumps({"id": id_, "type": type_, "wall": iso(wall), "action": action, "who": "häher"})
        sql = "INSERT INTO event (id, type, wall, visit_id, json) VALUES (?, ?, ?, ?, ?)"
        self.events.execute(sql, (id_, type_, iso(wall), visit_id, text))
        self.events.commit()

    def said(self, label: str, visit: str | None = None, picture: str | None = None, note: str = "") -> None:
        row = (self._ids.new(datetime.now(UTC)), visit, picture, label, "ann", iso(datetime.now(UTC)), note)
        self.owner.execute("INSERT INTO label VALUES (?, ?, ?, ?, ?, ?, ?)", row)
        self.owner.commit()


@pytest.fixture
def shelf(tmp_path: Path) -> Shelf:
    return Shelf(tmp_path / "state")


def rows(path: Path) -> list[dict[str, str]]:
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def test_all_that_is_known_as_files(shelf: Shelf, tmp_path: Path) -> None:
    jay, nobody = shelf.visit(0), shelf.visit(1, "hen", person=1)
    shelf.said("scrub jay", jay["visit"])
    shelf.said('blue "jay", =1+1\u00e4', jay["visit"], note="two\nlines")
    out = tmp_path / "out"
    done = export(shelf.state, out, "coop", Wanted())
    assert (done.events, done.visits, done.pictures, done.people, done.labels, done.unlabelled) == (2, 2, 6, 3, 1, 1)
    events = [json.loads(line) for line in (out / "events.jsonl").read_text(encoding="utf-8").splitlines()]
    assert [event["who"] for event in events] == ["häher"] * 2
    visits = rows(out / "visits.csv")
    assert tuple(visits[0]) == VISIT_COLUMNS
    assert [(visit["id"], visit["owner"]) for visit in visits] == [
        (jay["visit"], 'blue "jay", =1+1ä'),
        (nobody["visit"], ""),
    ]
    (label,), (other,) = rows(out / "labels.csv"), rows(out / "unlabelled.csv")
    assert tuple(label) == tuple(other) == LABEL_COLUMNS
    assert LABEL_COLUMNS[:5] == ("path", "label", "sublabel", "source", "seq_id")
    assert (label["label"], label["source"], label["seq_id"]) == ('blue "jay", =1+1ä', "coop/yard", jay["visit"])
    assert (label["who"], label["note"], label["model_label"], label["p"]) == ("ann", "two\nlines", "jay", "0.9")
    assert (other["label"], other["seq_id"], other["model_label"]) == ("", nobody["visit"], "hen")
    for row, ids in ((label, jay), (other, nobody)):
        assert row["kind_of_picture"] == "crop"
        assert (out / row["path"]).read_text() == f"crop of {ids['visit']}"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["out", "state"], "nothing half made is left"


def test_a_word_on_one_picture_is_for_its_moment_and_goes_before_that_on_the_visit(
    shelf: Shelf, tmp_path: Path
) -> None:
    one, two = shelf.visit(0), shelf.visit(1)
    shelf.said("magpie", picture=one["marked"])
    shelf.said("jay", visit=one["visit"])
    shelf.said("crow", picture=two["frame"])
    export(shelf.state, tmp_path / "out", "coop", Wanted())
    assert [row["label"] for row in rows(tmp_path / "out" / "labels.csv")] == ["magpie", "crow"]


def test_a_part_of_it(shelf: Shelf, tmp_path: Path) -> None:
    visits = [shelf.visit(hour) for hour in range(6)]
    shelf.said("fox", visits[3]["visit"])

    def ids(name: str, **wanted: Any) -> list[int]:
        export(shelf.state, tmp_path / name, "coop", Wanted(**wanted))
        found = [row["id"] for row in rows(tmp_path / name / "visits.csv")]
        events = (tmp_path / name / "events.jsonl").read_text().splitlines()
        assert len(events) == len(found), "events go with their visits"
        if wanted.get("pictures", True):
            assert len(list((tmp_path / name / "pictures").rglob("*.jpg"))) == 3 * len(found)
        return [number for number, visit in enumerate(visits) if visit["visit"] in found]

    def at(hours: float) -> datetime:
        return BEGIN + timedelta(hours=hours)

    assert ids("since", since=at(4)) == [4, 5], "the first moment is part of it"
    assert ids("until", until=at(2)) == [0, 1], "the last is not"
    assert ids("both", since=at(0.5), until=at(2.5)) == [1, 2]
    assert ids("labelled", labelled=True) == [3]
    assert ids("bare", pictures=False) == list(range(6))
    assert sorted(path.name for path in (tmp_path / "bare").iterdir()) == ["events.jsonl", "visits.csv"]


def test_pictures_that_vanish_and_rows_that_are_damaged_are_counted(shelf: Shelf, tmp_path: Path) -> None:
    ids, other = shelf.visit(0), shelf.visit(1)
    next((shelf.state / "pictures").rglob(f"{ids['crop']}.jpg")).unlink()
    shelf.events.execute("UPDATE picture SET path = '../../secret.jpg' WHERE id = ?", (other["crop"],))
    shelf.events.execute("UPDATE event SET json = '{\"half' WHERE visit_id = ?", (other["visit"],))
    shelf.events.commit()
    (shelf.state.parent / "secret.jpg").write_text("not a picture of ours")
    done = export(shelf.state, tmp_path / "out", "coop", Wanted())
    assert (done.vanished, done.pictures, done.events, done.damaged_events) == (2, 4, 1, 1)
    assert rows(tmp_path / "out" / "unlabelled.csv") == []


def test_what_is_there_is_not_written_over(shelf: Shelf, tmp_path: Path) -> None:
    shelf.visit(0)
    full, file, empty = tmp_path / "full", tmp_path / "file", tmp_path / "empty"
    full.mkdir()
    (full / "mine").write_text("mine")
    file.write_text("mine")
    empty.mkdir()
    for taken in (full, file):
        with pytest.raises(Refused, match="not empty"):
            export(shelf.state, taken, "coop", Wanted())
    assert ((full / "mine").read_text(), file.read_text()) == ("mine", "mine")
    assert export(shelf.state, empty, "coop", Wanted()).visits == 1


def test_what_fails_leaves_nothing(shelf: Shelf, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shelf.visit(0)
    with pytest.raises(KeyboardInterrupt):
        export(shelf.state, tmp_path / "new" / "out", "coop", Wanted(), _interrupted)
    assert list((tmp_path / "new").iterdir()) == []
    monkeypatch.setattr(module, "_SPARE", 10**18)
    with pytest.raises(StateError, match="free there"):
        export(shelf.state, tmp_path / "new" / "out", "coop", Wanted())
    assert list((tmp_path / "new").iterdir()) == []
    with pytest.raises(GanderError, match="no journal there"):
        export(tmp_path / "nowhere", tmp_path / "out", "coop", Wanted())


def _interrupted(what: str, done: int, of: int) -> None:
    if what == "pictures":
        raise KeyboardInterrupt


def test_memory_does_not_grow_with_the_journal(shelf: Shelf, tmp_path: Path) -> None:
    text = json.dumps({"type": "visit", "pad": "x" * 800})
    many = ((f"e{n:08}", "visit", iso(BEGIN + timedelta(seconds=n)), None, text) for n in range(100_000))
    shelf.events.executemany("INSERT INTO event (id, type, wall, visit_id, json) VALUES (?, ?, ?, ?, ?)", many)
    shelf.events.commit()
    tracemalloc.start()
    try:
        done = export(shelf.state, tmp_path / "out", "coop", Wanted())
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert done.events == 100_000
    with (tmp_path / "out" / "events.jsonl").open() as file:
        assert sum(1 for _ in file) == 100_000
    assert peak < 10 * 2**20, "the journal has 80 MB"


def test_the_log_for_a_neighbour(shelf: Shelf) -> None:
    shelf.visit(0, "jay", actions=1)
    fox = shelf.visit(1, "Vulpes vulpes (red fox)")
    shelf.said("狐狸" * 20, fox["visit"])
    shelf.visit(30, "hen" + "n" * 60)
    shelf.event(BEGIN + timedelta(hours=31), "test_fire", None)
    siren = {"id": "horn", "kind": "siren", "enabled": True, "quiet": "22:00-07:00"}
    gone = siren | {"id": "old", "enabled": False}
    light = {"id": "light", "kind": "light", "enabled": True, "quiet": ""}
    fired, about = (
        what_fired(shelf.state),
        "coop, printed 2026-09-03 08:00, visits since 2026-09-01 00:00, only visits acted upon",
    )
    text = visits_log(recent_visits(shelf.state, None), fired, [light, siren, gone], about)
    lines = text.splitlines()
    assert max(len(line) + sum("狐狸".count(sign) for sign in line) for line in lines) <= 80
    assert lines[1].startswith("coop, printed 2026-09-03 08:00")
    assert "horn (siren): quiet hours 22:00 to 07:00; acted 0 times" in lines
    assert "light: acted 2 times; it makes no noise" in lines
    assert "old" not in text
    assert sum(line.startswith("2 visits; light 3x400/200 ms, 1x, 1.2 s in all") for line in lines) == 1
    assert sum(line.startswith("1 visit; light") for line in lines) == 1, "a test fired, and is told"
    jay = next(line for line in lines if " jay " in line)
    assert jay.split()[1:6] == ["yard", "jay", "90%", "9", "s"]
    assert "nobody came" in visits_log([], [], [])


def test_the_log_says_of_quiet_hours_what_happened_not_what_was_configured() -> None:
    def told(*hours: int, result: str = "on") -> str:
        visits, fired = [], []
        for number, hour in enumerate(hours):
            wall = datetime(2026, 9, 1 + number, hour, 30).astimezone().isoformat()
            about = {"camera": "yard", "label": "jay", "p": 0.9, "kind": "threat", "actions": 1}
            visits.append({"id": str(number), "started": wall, "ended": None, **about})
            order = {"deterrent": "horn", "pattern": "1x900/0", "on_ms": 900, "result": result}
            fired.append({"wall": wall, "visit_id": str(number), **order})
        horn = {"id": "horn", "kind": "siren", "enabled": True, "quiet": "22:00-07:00"}
        return next(line for line in visits_log(visits, fired, [horn]).splitlines() if line.startswith("horn"))

    assert told(8, 12).endswith("acted 2 times, never in those hours")
    assert told(8, 23, 3).endswith("acted 3 times, 2 in those hours"), "it was configured otherwise then"
    assert told(23, result="expired").endswith("acted 0 times"), "what did not act was not heard"


def test_a_zip_file_holds_the_same(shelf: Shelf, tmp_path: Path) -> None:
    jay = shelf.visit(0)
    shelf.said("scrub jay", jay["visit"], note="on the feeder")
    shelf.visit(1, "hen")
    file = tmp_path / "coop.zip"
    plain = export(shelf.state, tmp_path / "coop", "coop", Wanted())
    assert export(shelf.state, file, "coop", Wanted()) == plain
    with zipfile.ZipFile(file) as archive:
        assert archive.testzip() is None
        archive.extractall(tmp_path / "out")
    files = [
        {path.relative_to(folder): path.read_bytes() for path in folder.rglob("*") if path.is_file()}
        for folder in (tmp_path / "coop", tmp_path / "out" / "coop")
    ]
    assert files[0] == files[1]
    assert len(files[0]) == 10
    assert rows(tmp_path / "coop" / "visits.csv")[0]["note"] == "on the feeder"
    with pytest.raises(Refused, match="is there already"):
        export(shelf.state, file, "coop", Wanted())
    assert sorted(path.name for path in tmp_path.iterdir()) == ["coop", "coop.zip", "out", "state"]


def test_a_machine_without_a_clock_packs_too(tmp_path: Path) -> None:
    folder = tmp_path / "coop"
    folder.mkdir()
    (folder / "visits.csv").write_text("id")
    os.utime(folder / "visits.csv", (0, 0))
    pack(folder, tmp_path / "coop.zip")
    with zipfile.ZipFile(tmp_path / "coop.zip") as archive:
        assert archive.read("coop/visits.csv") == b"id"
