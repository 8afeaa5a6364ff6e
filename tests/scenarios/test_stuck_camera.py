"""The real daemon and a camera of its own that hangs: told, ended, started again, and in the end a reboot asked for."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path

import pytest

from edge.climb import FILE, REQUEST
from edge.errors import CameraStuck
from tests.daemon import Daemon
from tests.stage import command, environment

STAND_IN = Path(__file__).parents[1] / "stuck_camera"
SETTINGS = (
    *("camera.0.source=picamera", "camera.0.size=[320,180]", "camera.0.stale_s=1"),
    *("health.climb_after_s=3", "health.restarts=1", "health.reboots=1"),
)


def watch(state: Path, mode: Path, **more: str) -> Daemon:
    """`gander watch` on the stand-in camera, as systemd would start it."""
    path = os.pathsep.join([str(STAND_IN), os.environ.get("PYTHONPATH", "")])
    env = environment(state, PYTHONPATH=path, STUCK_CAMERA=str(mode), **more)
    arguments = [part for setting in SETTINGS for part in ("--set", setting)]
    return Daemon(subprocess.Popen(command("watch", *arguments), env=env), state, state / "none")


def told(daemon: Daemon) -> list[str]:
    return [event["what"] for event in daemon.events("health")]


@pytest.mark.lab
def test_a_camera_that_hangs_is_climbed_for(state: Path, tmp_path: Path) -> None:
    mode, runtime = tmp_path / "mode", tmp_path / "run"
    runtime.mkdir()
    service = {"NOTIFY_SOCKET": str(tmp_path / "nobody"), "RUNTIME_DIRECTORY": str(runtime)}
    mode.write_text("good")
    daemon = watch(state, mode, **service)
    try:
        daemon.wait(lambda: daemon.running() and daemon.status()["frames"] > 3)
        mode.write_text("hangs")
        assert daemon.process.wait(120) == CameraStuck.STATUS
    finally:
        daemon.process.kill()
        daemon.process.wait()
    assert told(daemon)[-1].startswith(
        "camera cam: no picture for 3 s although it worked: Gander restarts itself (1 of 1"
    )
    kept = json.loads((state / FILE).read_text())
    assert (len(kept["restarts"]), kept["worked"], kept["reboots"]) == (1, ["cam"], [])
    mode.write_text("gone")
    again = watch(state, mode, **service)
    try:
        again.wait((runtime / REQUEST).exists, 120)
        wanted = (runtime / REQUEST).read_text()
        assert "a restart did not help: Gander asks for a reboot (1 of 1 in 7 days)" in wanted
        assert any(what.startswith(wanted.rstrip("\n")) for what in told(again)), "told before it is asked for"
        status = again.status()["ladder"]
        assert (status["climbs"], status["restarts"], status["reboots"]) == (True, 1, 1)
        mode.write_text("good")
        again.wait(lambda: again.status()["cameras"][0]["lens"]["brightness"] is not None, 120)
        assert again.status()["frames"] > 3
        assert again.process.poll() is None
    finally:
        again.process.kill()
        again.process.wait()
    assert len(json.loads((state / FILE).read_text())["reboots"]) == 1


def test_on_a_desk_nothing_climbs_whoever_started_it(state: Path, tmp_path: Path) -> None:
    env = environment(state, NOTIFY_SOCKET=str(tmp_path / "nobody"))
    run = subprocess.Popen(command("run", "--source", "synthetic:empty"), env=env, stdout=subprocess.DEVNULL)
    daemon = Daemon(run, state, state / "none")
    try:
        daemon.wait(daemon.running, 120)
        assert daemon.status()["ladder"]["climbs"] is False
    finally:
        run.terminate()
        run.wait(60)
