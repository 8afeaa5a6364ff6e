"""A small, full file system as the state directory: refused in one line at the start, survived while running."""

from __future__ import annotations

import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from edge.control import ask
from edge.errors import GanderError
from edge.journal import EVENTS, events_after, reader
from tests.stage import Actor, bundle, clip, command, environment, gander


@pytest.fixture
def small(tmp_path: Path) -> Iterator[Path]:
    """Two megabytes of tmpfs."""
    place = tmp_path / "small"
    place.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=2m", "tmpfs", place], capture_output=True, text=True, check=False
    )
    if mounted.returncode:
        pytest.skip(f"a tmpfs cannot be mounted here: {mounted.stderr.strip()}")
    yield place
    subprocess.run(["umount", "-l", place], check=True)


def fill(folder: Path) -> Path:
    path = folder / "ballast"
    with path.open("wb", buffering=0) as file:
        try:
            while True:
                file.write(bytes(4096))
        except OSError:
            return path


def test_a_full_state_directory_is_refused_in_one_line(small: Path, tmp_path: Path) -> None:
    path = bundle(small, tmp_path / "made")
    fill(small)
    answer = gander("watch", "--set", f"models.champion='{path}'", "--for", "5", state=small)
    assert answer.status == 2
    assert len(answer.err.strip().splitlines()) == 1
    assert str(small) in answer.err


def test_a_disk_that_fills_up_costs_pictures_and_no_event(small: Path, tmp_path: Path) -> None:
    path = bundle(small, tmp_path / "made")
    film = clip(tmp_path / "jay.avi", [Actor("red", at, at + 2.0) for at in (4.0, 10.0, 16.0)], 40)
    settings = (f"models.champion='{path}'", "policy.initial_mode=armed", "deterrent.0.cooldown_s=1")
    arguments = [part for setting in settings for part in ("--set", setting)]
    with subprocess.Popen(command("watch", "--source", film, *arguments), env=environment(small)) as daemon:
        try:
            wait(lambda: (small / EVENTS).exists())
            ballast = fill(small)
            wait(lambda: bool(ask(small, "status")["latency_ms"].get("pin", {}).get("n", 0) >= 2))
            status = ask(small, "status")
            assert status["pictures_dropped"] > 0
            assert status["latency_ms"]["pin"]["max"] < 1000, "the pin does not wait for the disk"
            ballast.unlink()
            wait(lambda: len(actions(small)) >= 2)
            assert ask(small, "status")["journal"]["dropped"] == 0
            daemon.send_signal(signal.SIGTERM)
            assert daemon.wait(30) == 0
        finally:
            daemon.kill()


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
