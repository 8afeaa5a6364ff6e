"""The whole watch under load: what else happens beside it, how much memory it takes, whether anything grows."""

from __future__ import annotations

import contextlib
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from edge.journal import EVENTS, reader
from tests.lab.load import measure, table
from tests.lab.memory import family, pss_mb, words
from tests.lab.mosquitto import Mosquitto, arrived, broker, ear, ended, feed, place
from tests.lab.soak import soak
from tests.mqtt import Ear, until
from tests.stage import command, environment, gander

__all__ = ["broker", "ear"]
pytestmark = [pytest.mark.lab, pytest.mark.alone]
MOST_MB = 350
HOURS = 24.0
LONG_S = 600.0
ORDERS = 1000  # the README's figures are of 2,000: `python -m tests.lab.load STATE`


@pytest.fixture
def birds(shared_data: Path, state: Path) -> str:
    """The catalogue's MobileNet, installed."""
    assert gander("bundle", "fetch", "inat-birds", "--from", shared_data / "tflite", state=state).status == 0
    return "inat-birds"


def test_nothing_that_happens_beside_the_live_path_slows_it(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Figures are printed, not judged: this machine may be busy. What must hold is that every order was given."""
    found = measure(tmp_path / "models", "starter", ORDERS, [])
    with capsys.disabled():
        sys.stdout.write(f"\n{table(found)}\n")
    assert len(found["conditions"]) + len(found["left_out"]) == 8
    assert {figures["n"] for figures in found["conditions"].values()} == {ORDERS}


def test_two_models_and_all_processes_fit_into_memory(
    inception: Path, birds: str, state: Path, shared_data: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    clip = shared_data / "video" / "akamus082__videos_warren.mp4"
    settings = (f"models.champion={inception}", f"models.standby={birds}", "controller.kind=guard")
    arguments = [part for setting in settings for part in ("--set", setting)]
    daemon = subprocess.Popen(
        command("run", "--source", clip, "--for", 40, *arguments), env=environment(state), stdout=subprocess.DEVNULL
    )
    try:
        time.sleep(25.0)
        parts = {words(pid): pss_mb(pid) for pid in family(daemon.pid)}
    finally:
        daemon.terminate()
        daemon.wait(30)
    with capsys.disabled():
        sys.stdout.write("\n" + "".join(f"{mb:7.1f} MB  {what}\n" for what, mb in parts.items()))
        sys.stdout.write(f"{sum(parts.values()):7.1f} MB  in all\n")
    assert sum(parts.values()) < MOST_MB


@pytest.mark.timeout(1700)
def test_a_day_leaves_nothing_behind(
    broker: Mosquitto, ear: Ear, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """24 hours, with what publishes beside it, to a real broker."""
    owed: list[str] = []

    @contextlib.contextmanager
    def telling(state: Path) -> Iterator[int]:
        with feed(state, broker.port, broker.password("dev")) as process:
            until(lambda: place(state) is not None, LONG_S)  # it tells what comes from now on
            yield process.pid
            with reader(state / EVENTS) as events:
                owed.append(events.execute("SELECT id FROM event ORDER BY place DESC LIMIT 1").fetchone()[0])
            until(lambda: (place(state) or "") >= owed[0], LONG_S)
            ended(process)

    samples = soak(tmp_path / "models", HOURS, lambda sample: None, telling)
    settled, last = samples[len(samples) // 4], samples[-1]
    with capsys.disabled():
        sys.stdout.write(f"\nafter {settled['media_h']} h: {settled}\nafter {last['media_h']} h: {last}\n")
        sys.stdout.write(f"{len(arrived(ear))} events reached the broker\n")
    assert last["media_h"] == pytest.approx(HOURS)
    assert last["memory_mb"] < settled["memory_mb"] + 10
    assert last["model_mb"] < settled["model_mb"] + 5
    assert last["feed_mb"] < settled["feed_mb"] + 5
    for what in ("threads", "descriptors", "feed_threads", "feed_descriptors"):
        assert last[what] == settled[what], what
    assert last["pictures_mb"] < 12, "10 MB are allowed, and what came since the last pass"
    assert last["decoys"] == pytest.approx(settled["decoys"], rel=0.5)
