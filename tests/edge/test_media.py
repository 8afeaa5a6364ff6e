"""Pictures: what is kept of a moment, what marks it as one with a person, and that the loop never waits for a card."""

from __future__ import annotations

import contextlib
import logging
import sqlite3
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from edge import decoy
from edge.clock import Ids, ReplayClock, iso
from edge.config import MediaConfig
from edge.errors import GanderError
from edge.frames.synthetic import SyntheticSource
from edge.journal import EVENTS, Journal
from edge.marking import SIZE, caption, mark
from edge.media import Media
from edge.preprocess import square_crop
from edge.values import Box, Frame, Image, Kind, Visit

START = datetime(2026, 6, 1, 12, tzinfo=UTC)
BOX = Box(0.4, 0.5, 0.08, 0.1)
YARD = SyntheticSource("day", 0, 15.0, (640, 360)).render(3.0)


def frame(at: float = 0.0, camera: str = "cam", image: Image = YARD) -> Frame:
    wall = START + timedelta(seconds=at)
    return Frame(camera, round(at * 15), 0, at, wall, image, np.zeros((4, 4), np.uint8))


def visit(id_: str = "v1", camera: str = "cam", **more: Any) -> Visit:
    made = Visit(id_, camera, 0.0, 0.0, START, BOX, kind=Kind.THREAT, label="jay", label_p=0.9, answers=3)
    return replace(made, **more)


class Desk:
    """Media and its journal in one state directory."""

    def __init__(self, state: Path, **config: Any) -> None:
        self.state, self.journal, self.open = state, Journal(state), True
        settings = MediaConfig(**{"min_free": 0.0, "queue": 64, "per_visit": 20, **config})
        self.media = Media(state, settings, self.journal, Ids(), clock=ReplayClock(START))

    def close(self) -> None:
        if self.open:
            self.media.close(60.0)
            self.journal.close(60.0)
        self.open = False

    def rows(self, table: str = "picture") -> list[dict[str, Any]]:
        """After everything is written."""
        self.close()
        with contextlib.closing(sqlite3.connect(self.state / EVENTS)) as connection:
            connection.row_factory = sqlite3.Row
            return [dict(row) for row in connection.execute(f"SELECT * FROM {table}")]

    def picture(self, row: dict[str, Any]) -> Image:
        return np.asarray(cv2.imread(str(self.state / "pictures" / row["path"])), np.uint8)[:, :, ::-1]


@pytest.fixture
def desks(tmp_path: Path) -> Iterator[Callable[..., Desk]]:
    made: list[Desk] = []

    def make(**config: Any) -> Desk:
        made.append(Desk(tmp_path, **config))
        return made[-1]

    yield make
    for desk in made:
        desk.close()


def wait(condition: Callable[[], object], seconds: float = 20.0) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.02)


def test_a_moment_gives_three_pictures(desks: Callable[..., Desk]) -> None:
    desk = desks(quality=95)
    marked_id = desk.media.keep(frame(), visit(), 0.2)
    by_kind = {row["kind"]: row for row in desk.rows()}
    assert set(by_kind) == {"frame", "crop", "marked"}
    whole, crop, marked = (by_kind[kind] for kind in ("frame", "crop", "marked"))
    assert marked["id"] == marked_id
    assert marked["crop_of"] == crop["crop_of"] == whole["id"]
    for row in by_kind.values():
        assert (row["visit_id"], row["camera"], row["person"], row["wall"]) == ("v1", "cam", 0, iso(START))
        data = (desk.state / "pictures" / row["path"]).read_bytes()
        assert len(data) == row["bytes"]
        assert b"Exif" not in data
        assert b"\xff\xe1" not in data[:64], "no place and no time inside"
    clean, shown = desk.picture(whole), square_crop(YARD, BOX, 0.2)
    assert clean.shape == YARD.shape
    assert np.abs(clean.astype(int) - YARD).mean() < 3, "nothing is drawn into the full view"
    assert desk.picture(crop).shape == shown.shape
    assert np.abs(desk.picture(crop).astype(int) - shown).mean() < 4, "the model saw exactly this"
    assert desk.picture(marked).shape[1] == SIZE[0]


@pytest.mark.parametrize(
    "box", [Box(0, 0, 1, 1), Box(0, 0, 0.01, 0.01), Box(0.99, 0.2, 0.01, 0.8), Box(0.5, 0.5, 0, 0)]
)
@pytest.mark.parametrize("shape", [(360, 640), (640, 360), (64, 64), (65, 800)])
def test_any_box_in_any_picture_can_be_marked(box: Box, shape: tuple[int, int]) -> None:
    image = np.full((*shape, 3), 200, np.uint8)
    before = image.copy()
    marked = mark(image, visit(box=box, label="ein sehr langer Name für einen Häher, der in keine Zeile passt"))
    assert marked.dtype == np.uint8
    assert marked.shape[1] <= SIZE[0]
    assert marked.shape[0] > 64
    assert np.array_equal(image, before), "the picture itself stays clean"


def test_the_visitor_is_framed_where_he_is() -> None:
    marked = mark(np.zeros((720, 1280, 3), np.uint8), visit(box=Box(0.45, 0.4, 0.1, 0.2)))
    reds = np.argwhere((marked[:600, :, 0] > 200) & (marked[:600, :, 1] < 90))
    (top, left), (bottom, right) = reds.min(0), reds.max(0)
    assert abs((left + right) / 2 - 400) < 5
    assert abs((top + bottom) / 2 - 300) < 5
    assert 0.2 < (bottom - top) / 600 < 0.5, "with generous surroundings"


def test_captions_in_words() -> None:
    assert caption(visit(label="Aphelocoma californica (California Scrub-Jay)")) == "California Scrub-Jay 90%"
    assert caption(visit(label=None, answers=0)) == "Somebody, not asked yet"


def test_at_most_so_many_moments_of_a_visit(desks: Callable[..., Desk]) -> None:
    desk = desks(per_visit=2)
    kept = [desk.media.keep(frame(at), visit(), 0.2) for at in (0, 1, 2)]
    assert [id_ is not None for id_ in kept] == [True, True, False]
    desk.media.forget("v1")
    assert desk.media.keep(frame(3), visit(), 0.2)
    assert len(desk.rows()) == 9


def test_pictures_around_a_person_are_marked_before_and_after(desks: Callable[..., Desk]) -> None:
    desk = desks()
    times = (0, 25, 35, 40, 70, 99, 101, 200)
    for at in times:
        if at == 40:
            for seen in (34.5, 36.0, 40.0):
                desk.media.person(frame(seen))
        desk.media.keep(frame(at), visit(), 0.2)
        desk.media.keep(frame(at, camera="other"), visit("v2", "other"), 0.2)
    rows = desk.rows()
    people = sorted({row["wall"] for row in rows if row["person"]})
    assert people == [iso(START + timedelta(seconds=at)) for at in (25, 35, 40, 70, 99)]
    assert {row["camera"] for row in rows if row["person"]} == {"cam"}, "somebody at another camera"


def test_a_picture_shows_a_person_at_once_also_while_the_card_stalls(desks: Callable[..., Desk]) -> None:
    desk = desks()
    desk.media.keep(frame(), visit(), 0.2)
    wait(lambda: desk.media.facts()["pictures"] == 3)
    with desk.media._turn:  # as long as a card may hold a write
        desk.media.keep(frame(1), visit(), 0.2)
        desk.media.person(frame(2))
        desk.journal.settle()
        with contextlib.closing(sqlite3.connect(desk.state / EVENTS)) as connection:
            assert connection.execute("SELECT person FROM picture").fetchall() == [(1,)] * 3
    assert {row["person"] for row in desk.rows()} == {1}, "also the one that got its rows later"


def test_who_was_there_before_a_restart_still_is(desks: Callable[..., Desk], tmp_path: Path) -> None:
    first = desks()
    for ended in (iso(START), "a damaged row"):
        first.journal.write(
            "INSERT INTO visit VALUES (?, 'cam', ?, ?, 'person', 'person', 0.9, 0)",
            *(Ids().new(START), iso(START), ended),
        )
    first.close()
    second = desks()
    for at in (30, 90):
        second.media.keep(frame(at), visit(), 0.2)
    assert {(row["wall"][17:19], row["person"]) for row in second.rows()} == {("30", 1), ("30", 0)}
    second.media.check()


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_a_thread_that_has_died_is_noticed(desks: Callable[..., Desk], monkeypatch: pytest.MonkeyPatch) -> None:
    def no_memory(*_: object) -> None:
        raise MemoryError

    desk = desks()
    desk.media.check()
    monkeypatch.setattr("edge.media.Media._save", no_memory)
    desk.media.keep(frame(), visit(), 0.2)
    desk.media._thread.join(30)
    with pytest.raises(GanderError, match="no longer looked after"):
        desk.media.check()


def test_the_decoy_keeps_what_was_shown_and_names_the_question(desks: Callable[..., Desk]) -> None:
    desk = desks()
    crop = square_crop(YARD, BOX, 0.2)
    for seq in (4, 9):
        desk.media.decoy(crop, "v1", seq)
    rows = desk.rows("prediction")
    assert [(r["visit_id"], r["seq"], r["model"], r["role"], r["fate"], r["invoke_ms"]) for r in rows] == [
        ("v1", seq, "decoy", "decoy", "answered", None) for seq in (4, 9)
    ]
    assert rows[0]["picture"] == rows[1]["picture"]
    assert np.array_equal(decoy.load(desk.state, rows[0]["picture"]), crop)
    assert len(list((desk.state / "decoy").rglob("*.png"))) == 1


def test_no_decoy_where_it_is_off(desks: Callable[..., Desk]) -> None:
    desk = desks(decoy_mb=0)
    desk.media.decoy(YARD, "v1", 1)
    assert desk.rows("prediction") == []
    assert not (desk.state / "decoy").exists()


def test_a_card_that_stalls_keeps_nobody_waiting(desks: Callable[..., Desk]) -> None:
    desk = desks(queue=2)
    wait(lambda: desk.media._pass_at)  # the first pass is over
    with desk.media._turn:  # as long as a card may hold a write
        began = time.monotonic()
        kept = [desk.media.keep(frame(at), visit(), 0.2) for at in range(20)]
        for at in range(20):
            desk.media.person(frame(at))
            desk.media.decoy(YARD, "v1", at)
        assert time.monotonic() - began < 10.0  # who waited would wait for what is held here
    assert 2 <= sum(id_ is not None for id_ in kept) <= 3
    assert desk.media.dropped >= 17
    assert len({row["id"] for row in desk.rows()} & set(kept)) == len([id_ for id_ in kept if id_])


def test_a_card_that_refuses_is_said_once_and_used_again(
    desks: Callable[..., Desk], tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("edge.media._PAUSE_S", 0.05)
    (tmp_path / "pictures").write_text("no folder")
    desk = desks()
    with caplog.at_level(logging.WARNING, "edge.media"):
        wait(lambda: desk.media.keep(frame(), visit(), 0.2))
        wait(lambda: desk.media.dropped > 0)
        assert "no picture is kept" in desk.media.facts()["problem"]
        for id_ in ("v2", "v3"):
            wait(lambda id_=id_: desk.media.keep(frame(), visit(id_), 0.2))
        wait(lambda: desk.media.dropped > 2)
        assert len(caplog.records) == 1, caplog.text
        (tmp_path / "pictures").unlink()
        wait(lambda: desk.media.keep(frame(), visit("v4"), 0.2))
        wait(lambda: desk.media.facts()["pictures"] and not desk.media.facts()["problem"])
    assert [record.message.rpartition(": ")[2] for record in caplog.records][1:] == ["pictures are kept again"]


def test_labels_that_fill_the_budget_stop_new_pictures_and_say_so(
    desks: Callable[..., Desk], monkeypatch: pytest.MonkeyPatch
) -> None:
    desk = desks(max_mb=10)
    path = desk.state / "pictures" / "2026-06-01" / "big.jpg"
    path.parent.mkdir(parents=True)
    path.write_bytes(b"big")
    desk.journal.write(
        "INSERT INTO picture (id, path, sha256, bytes, kind, visit_id, wall) "
        "VALUES ('big', ?, '', 9990000, 'crop', 'old', ?)",
        *("2026-06-01/big.jpg", iso(START)),
    )
    word = "l1", "old", None, "jay", "me", iso(START), ""
    desk.journal.ask(lambda owner: owner.execute("INSERT INTO label VALUES (?, ?, ?, ?, ?, ?, ?)", word))
    desk.media.prune()
    assert desk.media.keep(frame(), visit(), 0.2)
    wait(lambda: desk.media.facts()["problem"])
    assert "labelled pictures alone fill" in desk.media.facts()["problem"]
    assert desk.media.keep(frame(1), visit(), 0.2) is None, "no event names a picture that will not be"
    assert desk.media.facts()["labelled_bytes"] == 9990000
    assert path.exists()
    assert [row["id"] for row in desk.rows()] == ["big"]


@pytest.mark.timeout(600)  # some hundred syncs
def test_the_budget_holds_while_pictures_come(desks: Callable[..., Desk]) -> None:
    noise = np.random.default_rng(1).integers(0, 256, (360, 640, 3), np.uint8)
    desk = desks(max_mb=10, queue=1, quality=100)
    for number in range(60):
        wait(lambda n=number: desk.media.keep(frame(n, image=noise), visit(f"v{n}"), 0.2))
    facts_bytes = desk.media.facts()["bytes"]
    rows = desk.rows()
    on_card = sum(path.stat().st_size for path in (desk.state / "pictures").rglob("*.jpg"))
    assert sum(row["bytes"] for row in rows) == on_card <= 10**7
    assert 8 * 10**6 < facts_bytes <= 10**7
    visits = {row["visit_id"] for row in rows}
    assert "v59" in visits
    assert "v0" not in visits, "the oldest went"


def test_prune_answers_in_words(desks: Callable[..., Desk]) -> None:
    desk = desks(days=1)
    wait(lambda: desk.media._pass_at)  # the first pass is over
    desk.media.keep(frame(-90000), visit(), 0.2)
    wait(lambda: desk.media.facts()["pictures"] == 3)
    desk.journal.settle()
    assert desk.media.prune().startswith("deleted 3 pictures")
    assert desk.media.prune() == "nothing was due"


def test_pictures_are_saved_while_much_is_deleted(desks: Callable[..., Desk], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("edge.retention._SETTLE_S", 20.0)  # the card of a test machine may take seconds
    desk = desks(days=1)
    wait(lambda: desk.media._pass_at)  # the first pass is over
    old = START - timedelta(days=40)
    folder = desk.state / "pictures" / iso(old)[:10]
    folder.mkdir(parents=True)
    for number in range(3000):
        (folder / f"{number}.jpg").touch()
        desk.journal.write(
            "INSERT INTO picture (id, path, sha256, bytes, kind, wall) VALUES (?, ?, '', 9, 'crop', ?)",
            *(str(number), f"{folder.name}/{number}.jpg", iso(old)),
            precious=True,
        )
        if number % 500 == 0:
            desk.journal.ask(lambda owner: None)
    said: list[str] = []
    cleaner = threading.Thread(target=lambda: said.append(desk.media.prune()))
    cleaner.start()
    desk.media.keep(frame(), visit(), 0.2)
    wait(lambda: len(list((desk.state / "pictures" / iso(START)[:10]).glob("*.jpg"))) == 3)
    cleaner.join()
    assert not folder.exists()
    wait(lambda: desk.media.facts()["pictures"] == 3)
    assert said[0].startswith("deleted")


def test_what_a_day_may_write_ends_it_until_the_next(desks: Callable[..., Desk]) -> None:
    desk = desks(per_day_mb=1)
    noise = np.random.default_rng(1).integers(0, 256, (360, 640, 3), np.uint8)
    for number in range(20):
        desk.media.keep(frame(number, image=noise), visit(f"v{number}"), 0.2)
        desk.media.decoy(noise[:200, :200], f"v{number}", number)
    wait(lambda: desk.media.facts()["problem"])
    assert "media.per_day_mb" in desk.media.facts()["problem"]
    written = desk.media.facts()["written_today"]
    files = [path for name in ("pictures", "decoy") for path in (desk.state / name).rglob("*") if path.is_file()]
    assert 500_000 < written == sum(path.stat().st_size for path in files) <= 10**6
    with desk.media._turn:  # none of those that still wait is refused in between
        desk.media._resume_at = 0.0
        assert desk.media.keep(frame(86400, image=noise), visit("next"), 0.2)
    wait(lambda: not desk.media.facts()["problem"])
    assert "next" in {row["visit_id"] for row in desk.rows()}


def test_closing_ends_in_time_while_the_card_hangs(desks: Callable[..., Desk]) -> None:
    desk = desks()
    with desk.media._turn:
        began = time.monotonic()
        desk.media.keep(frame(), visit(), 0.2)
        desk.media.close(0.3)
        assert time.monotonic() - began < 5.0
