"""A small, full file system as the state directory: refused in one line at the start, survived while running."""

from __future__ import annotations

import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pytest

from edge.clock import Ids
from edge.config import MediaConfig
from edge.control import ask
from edge.errors import GanderError
from edge.journal import EVENTS, Journal, events_after, reader
from edge.media import Media
from edge.reserve import missing
from edge.values import Box, Event, Frame, Visit
from tests.disk import disk, fill, mount
from tests.stage import Actor, bundle, clip, command, environment, gander


@pytest.fixture
def small(tmp_path: Path) -> Iterator[Path]:
    """Two megabytes of tmpfs."""
    with disk(tmp_path / "small", "size=2m") as place:
        yield place


def test_a_full_state_directory_is_refused_in_one_line(small: Path, tmp_path: Path) -> None:
    path = bundle(small, tmp_path / "made")
    fill(small)
    answer = gander("watch", "--set", f"models.champion='{path}'", "--for", "5", state=small)
    assert answer.status == 1
    assert len(answer.err.strip().splitlines()) == 1
    assert str(small) in answer.err


def test_a_disk_that_was_filled_while_nothing_ran_is_watched_from_again(small: Path, tmp_path: Path) -> None:
    """A clean end takes away the files beside the databases, which the next start needs room for."""
    path = bundle(small, tmp_path / "made")
    film = clip(tmp_path / "jay.avi", [Actor("red", 2.0, 12.0)], 25)
    arguments = ("--source", film, "--set", f"models.champion='{path}'", "--set", "policy.initial_mode=armed")
    assert gander("prune", state=small).status == 0
    assert not missing(small)
    ballast = fill(small)
    with subprocess.Popen(command("watch", *arguments), env=environment(small)) as daemon:
        try:
            wait(lambda: len(actions(small)) > 0)
            ballast.unlink()
            ask(small, "prune")
            assert not missing(small)
            daemon.send_signal(signal.SIGTERM)
            assert daemon.wait(30) == 0
        finally:
            daemon.kill()


@pytest.mark.parametrize("min_free", [pytest.param(0.0, marks=pytest.mark.lab), 0.15])
def test_a_disk_that_fills_up_costs_pictures_and_no_event(small: Path, tmp_path: Path, min_free: float) -> None:
    path = bundle(small, tmp_path / "made")
    film = clip(tmp_path / "jay.avi", [Actor("red", at, at + 2.0) for at in (4.0, 10.0, 16.0, 24.0, 34.0)], 45)
    settings = (f"models.champion='{path}'", "policy.initial_mode=armed", "deterrent.0.cooldown_s=1")
    settings += (f"media.min_free={min_free}",)
    arguments = [part for setting in settings for part in ("--set", setting)]
    log = tmp_path / "log"
    with (
        log.open("wb") as said,
        subprocess.Popen(command("watch", "--source", film, *arguments), env=environment(small), stderr=said) as daemon,
    ):
        try:
            wait(lambda: bool(ask(small, "status")))  # all its files are made
            ballast = fill(small)
            wait(lambda: bool(ask(small, "status")["latency_ms"].get("pin", {}).get("n", 0) >= 2))
            status = ask(small, "status")
            assert status["pictures"]["dropped"] > 0
            assert status["pictures"]["problem"]
            assert status["latency_ms"]["pin"]["max"] < 1000, "the pin does not wait for the disk"
            ballast.unlink()
            wait(lambda: len(actions(small)) >= 2)
            wait(lambda: not ask(small, "status")["pictures"]["problem"])
            wait(lambda: len(list((small / "pictures").rglob("*.jpg"))) >= 3)
            assert ask(small, "status")["journal"]["dropped"] == 0
            daemon.send_signal(signal.SIGTERM)
            assert daemon.wait(30) == 0
        finally:
            daemon.kill()
    lines = log.read_text().splitlines()
    assert sum("edge.journal" in line and "tried again" in line for line in lines) <= 2, lines
    assert sum("edge.media" in line for line in lines) <= 4, "one line a change, not one a picture"


def test_pictures_on_a_card_that_became_read_only(tmp_path: Path) -> None:
    """The kernel does that to a card that fails."""
    card, journal = tmp_path / "pictures", Journal(tmp_path)
    card.mkdir()
    mount(card, "size=2m,ro")
    media = Media(tmp_path, MediaConfig(min_free=0.0), journal, Ids())
    try:
        image = np.zeros((90, 160, 3), np.uint8)
        now = datetime.now(UTC)
        frame = Frame("cam", 1, 0, 0.0, now, image, image[:, :, 0])
        visit = Visit("v", "cam", 0.0, 0.0, now, Box(0.4, 0.4, 0.2, 0.2))
        wait(lambda: bool(media.keep(frame, visit, 0.2)))
        wait(lambda: "Read-only file system" in media.facts()["problem"])
        subprocess.run(["mount", "-o", "remount,rw", card], check=True)
        wait(lambda: not media.facts()["problem"])
        assert media.keep(frame, visit, 0.2)
        wait(lambda: media.facts()["pictures"] == 3)
    finally:
        media.close()
        journal.close()
        subprocess.run(["umount", "-l", card], check=True)


def test_the_journal_survives_a_full_disk_at_every_write(small: Path) -> None:
    journal = Journal(small)
    kept = 0
    for round_ in range(4):
        ballast = fill(small)
        for number in range(50):
            body = {"v": 1, "id": f"{round_}-{number:03d}", "type": "visit", "wall": "2026-01-01T12:00:00.000Z"}
            journal.event(Event(body["id"], "visit", body | {"pad": "x" * 500 * round_}))
        wait(lambda: bool(journal.trouble))
        with pytest.raises(GanderError):
            journal.ask(lambda owner: owner.execute("INSERT INTO setting VALUES ('a', 'b')"), 0.2)
        ballast.unlink()
        kept += 50
        wait(lambda n=kept: journal.committed >= n and not journal.trouble)  # type: ignore[misc]
    journal.close()
    with reader(small / EVENTS) as connection:
        assert [body["id"] for _, body in events_after(connection, 0)] == [
            f"{round_}-{number:03d}" for round_ in range(4) for number in range(50)
        ]
        assert connection.execute("PRAGMA integrity_check").fetchone()[0] == "ok"


def actions(state: Path) -> list[str]:
    with reader(state / EVENTS) as connection:
        return [body["id"] for _, body in events_after(connection, 0) if body["type"] == "action"]


def wait(condition: Callable[[], bool], seconds: float = 60) -> None:
    end = time.monotonic() + seconds
    while True:
        try:
            if condition():
                return
        except GanderError:  # not answering yet
            if time.monotonic() > end:
                raise
        assert time.monotonic() < end
        time.sleep(0.1)


def test_a_state_directory_that_cannot_be_made() -> None:
    answer = gander("arm", state=Path("/proc/gander"))
    assert answer.status == 2
    assert "cannot keep state there" in answer.err
