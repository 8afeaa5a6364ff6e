"""The appliance on cameras other people made: an ffmpeg restream, and an RTSP server, that are cut, frozen and back."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from edge.control import ask
from edge.errors import NotRunning
from tests import mjpeg, stage
from tests.lab import apt
from tests.ports import free_port
from tests.stage import Actor, clip, command, environment, gander

pytestmark = [pytest.mark.lab, pytest.mark.alone]
SYSTEM_PYTHON = "/usr/bin/python3"
RTSP_SERVER = Path(__file__).with_name("rtsp_server.py")
RTSP_PACKAGES = ("gir1.2-gst-rtsp-server-1.0", "gstreamer1.0-plugins-good", "gstreamer1.0-plugins-ugly", "python3-gi")
HAS_RTSP = (SYSTEM_PYTHON, "-c", "import gi; gi.require_version('GstRtspServer', '1.0')")


def install(present: Callable[[], bool], *packages: str) -> None:
    """Have them, or skip with the reason."""
    why = "" if present() else apt.install(*packages)
    if not present():
        pytest.skip(f"{', '.join(packages)}: {why}")


@dataclass
class Server:
    """Somebody else's program that sends pictures, always on the same port."""

    words: list[str]
    port: int
    process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        quiet = subprocess.DEVNULL
        self.process = subprocess.Popen(self.words, stdout=quiet, stderr=quiet, start_new_session=True)

    def kill(self) -> None:
        if self.process:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self.process.pid, signal.SIGKILL)
            self.process.wait()

    def freeze(self) -> None:
        assert self.process
        os.killpg(self.process.pid, signal.SIGSTOP)


@dataclass
class Watching:
    """A daemon with one camera."""

    state: Path

    def camera(self) -> dict[str, Any]:
        with contextlib.suppress(NotRunning):
            cameras: list[dict[str, Any]] = ask(self.state, "status")["cameras"]
            return cameras[0]
        return {"trouble": "not up", "frames": 0, "reopened": 0}

    def until(self, condition: Callable[[dict[str, Any]], bool], seconds: float = 200.0) -> dict[str, Any]:
        end = time.monotonic() + seconds
        while not condition(camera := self.camera()):
            assert time.monotonic() < end, camera
            time.sleep(0.1)
        return camera

    def delivers(self) -> dict[str, Any]:
        """Wait until it has no trouble, and pictures come."""
        before = self.until(lambda camera: camera["trouble"] == "" and camera["frames"] > 0)["frames"]
        return self.until(lambda camera: camera["trouble"] == "" and camera["frames"] > before + 15)


@contextlib.contextmanager
def watching(state: Path, *settings: str) -> Iterator[Watching]:
    arguments = [part for setting in settings for part in ("--set", setting)]
    with (state.parent / "events.jsonl").open("wb") as out, (state.parent / "log").open("wb") as log:
        words = command("watch", "--for", 1500, "--json", "--set", "camera.0.stale_s=2", *arguments)
        daemon = subprocess.Popen(words, env=environment(state), stdout=out, stderr=log)
        try:
            yield Watching(state)
            daemon.send_signal(signal.SIGTERM)
            assert daemon.wait(30) == 0
        finally:
            daemon.kill()
            daemon.wait()


@pytest.fixture
def state(tmp_path: Path) -> Path:
    """With the colour model as champion."""
    state = tmp_path / "state"
    made = stage.bundle(state, tmp_path)
    assert gander("bundle", "install", made, state=state).status == 0
    assert gander("bundle", "promote", "colours", state=state).status == 0
    return state


@pytest.fixture
def restream(tmp_path: Path) -> Iterator[Server]:
    """Motion JPEG as Frigate or ffmpeg send it on: every ten seconds a red disc walks in."""
    install(lambda: shutil.which("ffmpeg") is not None, "ffmpeg")
    film = clip(tmp_path / "jay.avi", [Actor("red", 3.0, 7.0)], 10)
    port = free_port()
    address = f"http://127.0.0.1:{port}/yard.mjpg"
    # It serves one client, whoever that is, and ends.
    again = ["sh", "-c", 'while :; do "$@"; sleep 0.1; done', "sh"]
    words = [*again, "ffmpeg", "-re", "-stream_loop", "-1", "-i", str(film), "-c:v", "mjpeg", "-q:v", "4"]
    server = Server([*words, "-f", "mpjpeg", "-listen", "1", address], port)
    yield server
    server.kill()


def test_a_restream_that_is_late_cut_frozen_and_restarted(restream: Server, state: Path) -> None:
    source = f'camera.0.source="http://127.0.0.1:{restream.port}/yard.mjpg"'
    with watching(state, source, "policy.initial_mode=armed") as watch:
        watch.until(lambda camera: "connection refused" in camera["trouble"])
        restream.start()
        first = watch.delivers()["reopened"]

        restream.kill()
        watch.until(lambda camera: camera["trouble"] != "")
        restream.start()
        again = watch.delivers()["reopened"]
        assert again > first

        restream.freeze()
        watch.until(lambda camera: "no picture for 2 s" in camera["trouble"])
        restream.kill()
        restream.start()
        assert watch.delivers()["reopened"] > again
        restarted = len(kept(state, "visit_started"))
        watch.until(lambda camera: len(kept(state, "visit_started")) > restarted)
        watch.until(lambda camera: bool(kept(state, "action")))
    log = (state.parent / "log").read_text()
    assert log.count("\n") < 20, log


def test_a_camera_that_sends_garbage(state: Path) -> None:
    with mjpeg.camera() as camera, watching(state, f'camera.0.source="{camera.address}"') as watch:
        first = watch.delivers()["reopened"]
        camera.mode = "garbage"
        watch.until(lambda camera: "sends what is no picture" in camera["trouble"])
        camera.mode = "good"
        assert watch.delivers()["reopened"] > first


def kept(state: Path, type_: str) -> list[dict[str, Any]]:
    return gander("events", "--json", state=state).events(type_)


@pytest.mark.parametrize("kind", ["h264", "jpeg"])
def test_an_rtsp_camera_with_a_password_that_is_frozen_and_restarted(kind: str, state: Path, tmp_path: Path) -> None:
    install(lambda: subprocess.run(HAS_RTSP, capture_output=True, check=False).returncode == 0, *RTSP_PACKAGES)
    server = Server([SYSTEM_PYTHON, str(RTSP_SERVER), kind, "hen:b@d/word", str(port := free_port())], port)
    secret = tmp_path / "secret"
    secret.write_text("hen:wrong-word\n")
    secret.chmod(0o600)
    source = f'camera.0.source="rtsp://127.0.0.1:{port}/yard"'
    server.start()
    try:
        with watching(state, source, f'camera.0.credentials="{secret}"') as watch:
            watch.until(lambda camera: "check user and password" in camera["trouble"])
            secret.write_text("hen:b@d/word\n")
            first = watch.delivers()["reopened"]
            server.freeze()
            watch.until(lambda camera: "no picture for 2 s" in camera["trouble"])
            server.kill()
            watch.until(lambda camera: "connection refused" in camera["trouble"])
            server.start()
            assert watch.delivers()["reopened"] > first
    finally:
        server.kill()
    said = (state.parent / "log").read_text() + (state.parent / "events.jsonl").read_text()
    assert "word" not in said.replace("password", "")
    assert "%2F" not in said
