"""The real daemon, with a test in systemd's place."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests import mjpeg
from tests.daemon import PIN, Daemon
from tests.manager import Manager

WATCHDOG_S = 3.0  # it feeds three times as often


@pytest.fixture
def manager(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Manager]:
    made = Manager(str(tmp_path / "notify"))
    (tmp_path / "run").mkdir()
    monkeypatch.setenv("NOTIFY_SOCKET", made.address)
    monkeypatch.setenv("WATCHDOG_USEC", str(round(WATCHDOG_S * 1e6)))
    monkeypatch.setenv("RUNTIME_DIRECTORY", str(tmp_path / "run"))
    yield made
    made.close()


def test_from_start_to_stop(start: Callable[..., Daemon], manager: Manager, tmp_path: Path) -> None:
    with mjpeg.camera() as camera:
        camera.stop()
        daemon = start(f"camera.0.source='{camera.address}'", "camera.0.stale_s=1", film=None)
        manager.until("EXTEND_TIMEOUT_USEC=60000000")
        fed(manager, 2)
        assert "READY=1" not in manager.all, "the loop turns, and no picture was there"
        camera.start()
        manager.until("READY=1")
        daemon.wait(lambda: daemon.status()["cameras"][0]["frames"] > 0)
        camera.stop()
        daemon.wait(lambda: bool(daemon.status()["cameras"][0]["trouble"]))
        fed(manager, 4)  # longer than systemd would wait: a camera being opened again is progress
        daemon.process.send_signal(signal.SIGSTOP)
        daemon.wait(lambda: stopped(daemon.process.pid))
        manager.heard()
        assert manager.heard(WATCHDOG_S) == [], "a stuck loop is silent, and so is all else of it"
        daemon.process.send_signal(signal.SIGCONT)
        fed(manager, 1)
        assert not environment_of(daemon.guard()) & {"NOTIFY_SOCKET", "WATCHDOG_USEC"}, "no child may speak for it"
        daemon.process.send_signal(signal.SIGTERM)
        manager.until("STOPPING=1")
        assert daemon.process.wait(60) == 0
    assert manager.all.count("READY=1") == 1
    assert any(line.startswith("STATUS=armed; camera cam") for line in manager.all)


def test_what_follows_the_end_turns_the_pins_off(
    start: Callable[..., Daemon], manager: Manager, tmp_path: Path
) -> None:
    pins = tmp_path / "run" / "pins.json"
    daemon = start("deterrent.0.on_ms=4500", "deterrent.0.count=1")
    daemon.wait_on()
    guard = daemon.guard()
    os.kill(guard, signal.SIGSTOP)  # so that it neither turns off nor is replaced
    daemon.process.kill()
    daemon.process.wait()
    os.kill(guard, signal.SIGKILL)
    assert daemon.levels()[-1][1] == 1, "nobody was left to turn it off"
    assert json.loads(pins.read_text())[0]["pin"] == PIN
    env = {**os.environ, "GPIOZERO_PIN_FACTORY": "mock", "GANDER_PIN_HISTORY": str(daemon.history)}
    command = [sys.executable, "-m", "edge.pin_guard", f"@{pins}"]  # as in ExecStopPost=
    done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, env=env, timeout=60, check=True)
    assert done.stderr == b""
    assert daemon.levels()[-1][1] == 0
    pins.unlink()
    assert subprocess.run(command, stdin=subprocess.DEVNULL, env=env, check=False).returncode == 0, "none were driven"


def fed(manager: Manager, times: int) -> None:
    """The watchdog is fed so often from now on."""
    manager.heard()
    before = manager.all.count("WATCHDOG=1")
    while manager.all.count("WATCHDOG=1") < before + times:
        assert manager.heard(60.0), "nothing for a minute"


def environment_of(pid: int) -> set[str]:
    return {part.partition(b"=")[0].decode() for part in Path(f"/proc/{pid}/environ").read_bytes().split(b"\0")}


def stopped(pid: int) -> bool:
    """Whether the kernel has stopped all of it."""
    threads = Path(f"/proc/{pid}/task").iterdir()
    with contextlib.suppress(OSError):  # one that has ended meanwhile
        return all((thread / "stat").read_text().rpartition(")")[2].split()[0] == "T" for thread in threads)
    return False
