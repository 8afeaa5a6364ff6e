"""The stage's fixtures: a state directory with the colour model as champion, clips, and the real daemon on them."""

from __future__ import annotations

import contextlib
import shutil
import signal
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests import stage
from tests.daemon import Daemon
from tests.mjpeg import camera
from tests.stage import FPS, Actor, Live, clip, command, environment


@pytest.fixture(scope="session")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("prepared")
    state = folder / "state"
    path = stage.bundle(state, folder)
    assert stage.gander("bundle", "install", path, state=state).status == 0
    assert stage.gander("bundle", "promote", "colours", state=state).status == 0
    return state


@pytest.fixture
def state(prepared: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(prepared, tmp_path / "state"))


@pytest.fixture(scope="session")
def jay_at_6_s(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return clip(tmp_path_factory.mktemp("clip") / "jay.avi", [Actor("red", 6.0, 15.0)], 40)


@pytest.fixture
def live() -> Iterator[Live]:
    made = Live()
    with camera(made.picture, FPS) as served:
        made.address = served.address
        yield made


@pytest.fixture
def start(state: Path, tmp_path: Path, jay_at_6_s: Path) -> Iterator[Callable[..., Daemon]]:
    running: list[subprocess.Popen[bytes]] = []

    def make(*settings: str, pins: str = "mock", film: Path | None = jay_at_6_s) -> Daemon:
        history = tmp_path / "pins.jsonl"
        # A guard may take its time to answer, and has rested when somebody comes.
        unhurried = ("controller.patience_ms=1000", "deterrent.0.rest_ms=100")
        wanted = ("controller.kind=guard", "policy.initial_mode=armed", *unhurried, *settings)
        arguments = [part for setting in wanted for part in ("--set", setting)]
        env = environment(state, GANDER_PIN_HISTORY=str(history), GPIOZERO_PIN_FACTORY=pins)
        source = ["--source", film] if film else []
        running.append(subprocess.Popen(command("watch", *source, *arguments), env=env))
        return Daemon(running[-1], state, history)

    yield make
    for process in running:
        with contextlib.suppress(ProcessLookupError):
            process.send_signal(signal.SIGCONT)
        process.kill()
        process.wait()
