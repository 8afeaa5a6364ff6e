"""`deploy/flash.sh` refuses in one line, and asks the firmware that runs to leave in words that it obeys."""

import os
import shutil
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from firmware.main import LEAVE
from tests.conftest import ROOT

TOOLS = ("sh", "dirname", "grep", "awk", "tr")


def flash(folder: Path, *arguments: str, mpremote: str = "", settings: str = "") -> str:
    """What it says, with nothing but `TOOLS` and that mpremote; from a tree with those settings. It must refuse."""
    for part in ("deploy", "firmware"):
        shutil.copytree(ROOT / part, folder / part, ignore=shutil.ignore_patterns("__pycache__"))
    if settings:
        (folder / "firmware" / "settings.py").write_text(settings)
    tools = folder / "tools"
    tools.mkdir()
    for tool in TOOLS:
        (tools / tool).symlink_to(shutil.which(tool) or tool)
    if mpremote:
        (tools / "mpremote").write_text(f"#!/bin/sh\n{mpremote}\n")
        (tools / "mpremote").chmod(stat.S_IRWXU)
    environment = {"PATH": str(tools), "PYTHON": sys.executable}
    command = ["sh", str(folder / "deploy" / "flash.sh"), *arguments]
    done = subprocess.run(command, env=environment, capture_output=True, text=True)
    assert done.returncode == 2, done.stderr
    assert done.stdout == ""
    assert done.stderr.count("\n") == 1, done.stderr
    return done.stderr


def test_it_asks_to_leave_in_the_firmwares_words() -> None:
    assert f"leave='{LEAVE.decode()}'" in (ROOT / "deploy/flash.sh").read_text()


def test_no_mpremote(tmp_path: Path) -> None:
    try:
        import mpremote  # type: ignore[import-not-found,unused-ignore] # noqa: F401
    except ImportError:
        assert "no mpremote; `pipx install mpremote`" in flash(tmp_path)
    else:
        pytest.skip("this Python has mpremote")


def test_wrong_settings(tmp_path: Path) -> None:
    text = (ROOT / "firmware/settings.py").read_text().replace('"max_on_ms": 5000', '"max_on_ms": 3600000')
    said = flash(tmp_path, mpremote="exit 1", settings=text)
    assert said.startswith("flash: firmware/settings.py: channel 0: max_on_ms must be a whole number from 1 to 5000")


@pytest.mark.parametrize(
    ("devices", "arguments", "complaint"),
    [
        ("true", [], "no Pico on USB"),
        ("echo /dev/ttyUSB0 A 10c4:ea60 Maker CP2102", [], "no Pico on USB"),
        ("echo /dev/ttyACM0 A 2e8a:0005; echo /dev/ttyACM1 B 2E8A:0005", [], "one of /dev/ttyACM0 /dev/ttyACM1"),
        ("echo /dev/none-such A 2e8a:0005", [], "there is no /dev/none-such"),
        ("true", ["/dev/none-such"], "there is no /dev/none-such"),
        ("true", ["--help"], "usage: deploy/flash.sh [PORT]"),
    ],
)
def test_no_pico_or_more_than_one(tmp_path: Path, devices: str, arguments: list[str], complaint: str) -> None:
    assert complaint in flash(tmp_path, *arguments, mpremote=devices)


def test_a_port_that_somebody_has_open(tmp_path: Path) -> None:
    if not shutil.which("flock"):
        pytest.skip("this machine has no flock")
    import fcntl

    primary, secondary = os.openpty()
    try:
        fcntl.flock(secondary, fcntl.LOCK_EX)  # as pyserial does
        done = subprocess.run(
            ["sh", str(ROOT / "deploy/flash.sh"), os.ttyname(secondary)],
            env={"PATH": f"{_stub(tmp_path)}:{os.environ['PATH']}", "PYTHON": sys.executable},
            capture_output=True,
            text=True,
        )
        assert done.returncode == 2
        assert "is in use; stop gander" in done.stderr
    finally:
        os.close(primary)
        os.close(secondary)


def _stub(folder: Path) -> Path:
    stub = folder / "stub"
    stub.mkdir()
    (stub / "mpremote").write_text("#!/bin/sh\nexit 1\n")
    (stub / "mpremote").chmod(stat.S_IRWXU)
    return stub


def test_shellcheck_has_nothing_to_say() -> None:
    if not shutil.which("shellcheck"):
        pytest.skip("this machine has no shellcheck")
    done = subprocess.run(["shellcheck", str(ROOT / "deploy/flash.sh")], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout
