"""Who writes how much to the card: visits, and a picture in which nothing moves. `-s` prints."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import pytest

from edge import climb, lens
from edge.card import written_by
from edge.control import ask
from edge.database import DELIVERIES, EVENTS, OWNER, reader
from edge.errors import GanderError
from edge.frames.synthetic import SyntheticSource
from edge.values import Image
from tests.lab import power
from tests.lab.test_card import Say, say
from tests.mjpeg import camera
from tests.mqtt import until
from tests.stage import command, environment

__all__ = ["say"]
pytestmark = [pytest.mark.lab, pytest.mark.timeout(1200)]
LONG_S = 300
VISITS = 30
STILL_S = 20.0  # some rounds


@dataclass
class Recorded:
    """A daemon and what publishes, whose every write into the state directory is recorded."""

    state: Path
    log: Path
    processes: tuple[subprocess.Popen[bytes], ...]

    def kernel(self) -> list[int]:
        """Bytes that each made dirty on a disk, as the kernel counts, mapped files too."""
        return [written_by(Path(f"/proc/{process.pid}/io")) for process in self.processes]

    def status(self) -> dict[str, Any]:
        """How it is; empty while it does not answer."""
        with contextlib.suppress(GanderError):
            found: dict[str, Any] = ask(self.state, "status")
            return found
        return {}


@contextlib.contextmanager
def recorded(folder: Path, source: str, *settings: str) -> Iterator[Recorded]:
    """Both, until the end of the block; what they leave behind as temporary files is nothing."""
    library = power.compile_recorder(folder)
    if library is None:
        pytest.skip("no C compiler: apt-get install gcc")
    state, log, told = folder / "state", folder / "log", folder / "told"
    state.mkdir()
    told.mkdir()
    quiet: dict[str, Any] = {
        "env": environment(state, TMPDIR=str(told), **power.recording(library, state, log)),
        "stderr": subprocess.DEVNULL,
    }
    arguments = [part for setting in settings for part in ("--set", setting)]
    out = f"jsonl.path={json.dumps(str(state / 'out.jsonl'))}"
    with (
        subprocess.Popen(command("watch", "--source", source, *arguments), **quiet) as watch,
        subprocess.Popen([sys.executable, "-m", "edge.cli_feed", "--set", out], **quiet) as publish,
    ):
        try:
            yield Recorded(state, log, (watch, publish))
        finally:
            for process in (watch, publish):
                process.send_signal(signal.SIGTERM)
    assert list(told.iterdir()) == [], "temporary files"


def known(table: Collection[str]) -> bool:
    """Whether all who write are on the list."""
    files = {"(the folder itself)", "decoy", "pictures", "lock", "publish.lock", "reserve", "out.jsonl"}
    files |= {lens.FILE, climb.FILE}
    databases = {f"{name}{end}" for name in (EVENTS, OWNER, DELIVERIES) for end in ("", "-wal", "-journal")}
    return set(table) <= files | databases


def test_who_writes_how_much(tmp_path: Path, say: Say) -> None:
    """The daemon and what publishes, recorded for a busy while: by file, and what the kernel counts."""
    settings = ("labels.threat=['*']", "policy.initial_mode=armed", "media.min_free=0", "policy.per_hour=1000")
    with recorded(tmp_path, "synthetic:drizzle", *settings) as life:
        until(lambda: _visits(life.state) >= VISITS, LONG_S)
        kernel, card = life.kernel()[0], ask(life.state, "status")["card"]
    visits = _visits(life.state)  # those that were open have ended with it
    table = power.written(power.read(life.log), life.state)
    say(
        f"{visits} visits; the kernel counts {kernel / 1e6:.2f} MB of watch, status says {card['written'] / 1e6:.2f} MB"
    )
    for name, (size, syncs) in table.items():
        say(f"| `{name}` | {size / visits / 1e3:.1f} KB a visit | {syncs / visits:.1f} flushes a visit |")
    say(f"| all | {sum(size for size, _ in table.values()) / visits / 1e3:.1f} KB a visit | |\n")
    assert known(table), f"somebody writes who is not on the list: {', '.join(table)}"


def test_a_picture_in_which_nothing_moves_writes_nothing(tmp_path: Path, say: Say) -> None:
    """A live camera on the empty yard, noise and all; and what is written once, at the start and the end."""
    scene = SyntheticSource("empty", size=(640, 360))
    noise = [_jpeg(scene.render(number / scene.fps)) for number in range(16)]
    with (
        camera(lambda number: noise[number % len(noise)], fps=scene.fps) as eye,
        recorded(tmp_path, eye.address, "health.service=true", "media.min_free=0") as life,
    ):
        until(lambda: _settled(life.status()) and (life.state / climb.FILE).exists(), LONG_S)
        until(lambda: _still(life), LONG_S)
        begun, frames = len(power.read(life.log)), life.status()["frames"]
        os.sync()  # from here on the kernel counts a page again that is made dirty
        kernel = life.kernel()
        time.sleep(STILL_S)
        still, now = power.read(life.log)[begun:], life.kernel()
        frames = life.status()["frames"] - frames
    table = power.written(power.read(life.log), life.state)
    say(f"{frames} pictures in which nothing moves: {len(still)} writes, the kernel counts {kernel} and {now} bytes")
    for name, (size, syncs) in table.items():
        say(f"| `{name}` | {size / 1e3:.1f} KB at start and end | {syncs} flushes |")
    assert still == []
    assert now == kernel
    assert frames > 0
    assert known(table), f"somebody writes who is not on the list: {', '.join(table)}"
    assert {lens.FILE, climb.FILE} <= set(table), "these write only beside a real camera, and are on the list for it"


def _settled(status: dict[str, Any]) -> bool:
    """Watching, told, and all that belongs to the start is written."""
    return bool(
        status
        and status["frames"] > 60
        and all(model["ready"] for model in status["models"])
        and status["cameras"][0]["lens"]["brightness"] is not None
        and status["publishers"]
        and not any(publisher["waiting"] for publisher in status["publishers"].values())
        and not status["journal"]["waiting"]
    )


def _still(life: Recorded) -> bool:
    """Whether nobody writes for longer than a flush takes, or than a look at what waits to be told is kept."""
    before = len(power.read(life.log))
    time.sleep(7.0)
    return len(power.read(life.log)) == before


def _jpeg(image: Image) -> bytes:
    return bytes(cv2.imencode(".jpg", cv2.cvtColor(image, cv2.COLOR_RGB2BGR))[1].tobytes())


def _visits(state: Path) -> int:
    with contextlib.suppress(GanderError), reader(state / EVENTS) as connection:
        found: Any = connection.execute("SELECT count(*) FROM event WHERE type = 'visit'").fetchone()
        return int(found[0])
    return 0
