"""The whole watch under load: what else happens beside it, and how much memory it takes."""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.daemon import Daemon
from tests.lab.load import measure, table
from tests.lab.memory import family, pss_mb, words
from tests.stage import command, environment, gander

pytestmark = [pytest.mark.lab, pytest.mark.alone]
MOST_MB = 350
ORDERS = 100  # the README's figures are of 2,000: `python -m tests.lab.load STATE`


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
    clip = shared_data / "video" / "tiodh__vtest.mp4"
    settings = (f"models.champion={inception}", f"models.standby={birds}", "controller.kind=guard")
    arguments = [part for setting in settings for part in ("--set", setting)]
    daemon = subprocess.Popen(
        command("run", "--source", clip, "--for", 120, *arguments), env=environment(state), stdout=subprocess.DEVNULL
    )
    try:
        here = Daemon(daemon, state, state)
        here.wait(lambda: here.running() and all(model["ready"] for model in here.status()["models"]), 120)
        here.wait(lambda: "predict" in here.status()["latency_ms"], 120)
        parts: dict[str, float] = {}
        for _ in range(10):  # while both are asked
            time.sleep(1.0)
            now = {words(pid): pss_mb(pid) for pid in family(daemon.pid)}
            parts = max(parts, now, key=lambda found: sum(found.values()))
    finally:
        daemon.terminate()
        daemon.wait(120)
    with capsys.disabled():
        sys.stdout.write("\n" + "".join(f"{mb:7.1f} MB  {what}\n" for what, mb in parts.items()))
        sys.stdout.write(f"{sum(parts.values()):7.1f} MB  in all\n")
    assert sum(parts.values()) < MOST_MB
