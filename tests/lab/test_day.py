"""A day of the whole daemon in minutes: nothing grows, nothing is left behind."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from statistics import median

import pytest

from edge.journal import EVENTS, Journal, reader
from tests.lab.memory import quick_folder
from tests.lab.mosquitto import Mosquitto, arrived, broker, ear, ended, feed, place
from tests.lab.soak import Sample, held
from tests.mqtt import Ear, until
from tests.stage import environment

__all__ = ["broker", "ear"]
pytestmark = pytest.mark.lab
HOURS = 24.0
LONG_S = 600.0


@pytest.mark.timeout(1700)
def test_a_day_leaves_nothing_behind(broker: Mosquitto, ear: Ear, capsys: pytest.CaptureFixture[str]) -> None:
    """24 hours of the whole daemon, and what publishes beside it, to a real broker."""
    with quick_folder(100) as folder:
        samples, events = a_day(folder, broker)
    until(lambda: len(arrived(ear)) >= events, LONG_S)
    quarter = len(samples) // 4
    settled, last = samples[quarter], samples[-1]
    with capsys.disabled():
        sys.stdout.write(f"\nafter {settled['hour']} h: {settled}\nafter {last['hour']} h: {last}\n")
    assert last["hour"] == HOURS
    assert last["pulses"] == pytest.approx(30 * HOURS, rel=0.1), "one for each visitor"
    early, late = samples[quarter:][:quarter], samples[-quarter:]
    for who, most_mb in {"watch": 10, "model": 5, "guard": 5, "feed": 5}.items():
        # Pictures in hand, of 2.8 MB each, come and go from hour to hour: hence a quarter of a day, not one look.
        assert median(at[f"{who}_mb"] for at in late) < median(at[f"{who}_mb"] for at in early) + most_mb, who
        # What is open for a moment, or closed late by SQLite, is not there at each look; a leak is.
        for what in ("threads", "descriptors"):
            assert min(at[f"{who}_{what}"] for at in late) <= min(at[f"{who}_{what}"] for at in early), (who, what)
    for sample in samples:
        assert sample["pictures"] == sample["picture_rows"], "no picture is forgotten"
        assert sample["pictures_mb"] <= 10
        assert sample["decoys_mb"] <= 5
        assert sample["logs_mb"] < 3 * 8, "a reader that never ends would let a database's log grow"
    assert {sample["other_files"] for sample in samples[quarter:]} == {settled["other_files"]}
    assert last["pictures"] == pytest.approx(settled["pictures"], rel=0.5)
    assert last["decoys"] == pytest.approx(settled["decoys"], rel=0.5)


def a_day(state: Path, broker: Mosquitto) -> tuple[list[Sample], int]:
    """Samples of each hour, and how many events were told."""
    Journal(state).close()
    line = [sys.executable, "-m", "tests.lab.soak", str(state), "--hours", str(HOURS)]
    samples = []
    with feed(state, broker.port, broker.password("dev")) as publish:
        try:
            until(lambda: place(state) is not None, LONG_S)  # it tells what comes from now on
            with subprocess.Popen(line, env=environment(state), stdout=subprocess.PIPE, text=True) as day:
                try:
                    samples = [json.loads(said) | held("feed", publish.pid) for said in day.stdout or ()]
                    assert day.wait(LONG_S) == 0
                finally:
                    day.kill()
            with reader(state / EVENTS) as events:
                owed = [row[0] for row in events.execute("SELECT id FROM event ORDER BY place")]
            until(lambda: place(state) == owed[-1], LONG_S)
            ended(publish)
        finally:
            publish.kill()
    return samples, len(owed)
