"""deploy/: what install.sh says it would do, whom it refuses, and what shellcheck says of every script."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
INSTALL = ROOT / "deploy" / "install.sh"
PIOS = 'PRETTY_NAME="Debian GNU/Linux 13 (trixie)"\nID=debian\nVERSION_ID="13"\n'
BOOKWORM = 'PRETTY_NAME="Debian GNU/Linux 12 (bookworm)"\nID=debian\nVERSION_ID="12"\n'


def pretended(root: Path, release: str = BOOKWORM) -> Path:
    """A tree in which a dry run looks instead of this machine."""
    (root / "etc").mkdir(parents=True)
    (root / "etc" / "os-release").write_text(release)
    for name in ("passwd", "group"):
        (root / "etc" / name).write_text("root:x:0:\nvideo:x:44:\ngpio:x:997:\n")
    return root


def raspberry(root: Path, config: str = "dtparam=audio=on\n") -> Path:
    pretended(root, PIOS)
    (root / "etc" / "rpi-issue").write_text("Raspberry Pi reference 2025-11-24\n")
    (root / "boot" / "firmware").mkdir(parents=True)
    (root / "boot" / "firmware" / "config.txt").write_text(config)
    return root


def typed(*words: str, root: Path | None = None, arch: str = "arm64", script: Path = INSTALL, user: int | None = None):  # type: ignore[no-untyped-def]
    env = {"PATH": os.environ["PATH"], "GANDER_ARCH": arch} | ({"GANDER_ROOT": str(root)} if root else {})
    command = ["sh", str(script), *words]
    return subprocess.run(command, env=env, user=user, capture_output=True, text=True, check=False, cwd="/")


@pytest.mark.parametrize(
    ("release", "arch", "words"),
    [
        ('ID=raspbian\nVERSION_ID="12"\n', "armhf", "32-bit Raspberry Pi OS; install the 64-bit one"),
        (BOOKWORM, "armhf", "armhf: a 64-bit system"),
        (BOOKWORM, "i386", "i386: a 64-bit system"),
        ('PRETTY_NAME="Ubuntu 24.04"\nID=ubuntu\nVERSION_ID="24.04"\n', "arm64", "Ubuntu 24.04 is not known"),
        ('PRETTY_NAME="Debian GNU/Linux 11"\nID=debian\nVERSION_ID="11"\n', "arm64", "Linux 11 was not tried"),
        ("PRETTY_NAME=Debian\nID=debian\n", "arm64", "Debian was not tried"),
        ("", "arm64", "this system is not known"),
    ],
)
def test_what_it_does_not_know_it_refuses_in_one_line(tmp_path: Path, release: str, arch: str, words: str) -> None:
    done = typed("--dry-run", root=pretended(tmp_path, release), arch=arch)
    assert done.returncode == 2
    assert words in done.stderr
    assert done.stderr.count("\n") == 1
    assert done.stdout == ""


def test_who_is_not_root_is_told_how(tmp_path: Path) -> None:
    script = shutil.copytree(ROOT / "deploy", tmp_path / "deploy") / "install.sh"
    for folder in (tmp_path, *tmp_path.parents[:-2]):
        if folder.owner() == Path(tmp_path).owner():
            folder.chmod(folder.stat().st_mode | 0o055)
    done = typed(script=script, user=65534 if os.geteuid() == 0 else None)
    assert (done.returncode, done.stderr) == (2, "install: run it as root: sudo sh deploy/install.sh\n")


@pytest.mark.parametrize(
    ("words", "why"),
    [
        (["--wheels"], "--wheels: what?"),
        (["--wheels", "/no/where"], "--wheels: no such folder"),
        (["--nonsense"], "--nonsense: no such option"),
        (["--camera", 'x"\nevil = "1'], "no quotes"),
        (["--camera", "x\nevil = 1"], "no quotes"),
        (["--camera", "rtsp://me:secret@camera.lan/s"], "no password here"),
    ],
)
def test_a_slip_is_refused_before_anything_is_done(tmp_path: Path, words: list[str], why: str) -> None:
    done = typed("--dry-run", *words, root=pretended(tmp_path))
    assert done.returncode == 2
    assert why in done.stderr
    assert "secret" not in done.stderr
    assert done.stdout == ""


def test_a_pretended_tree_is_only_looked_at(tmp_path: Path) -> None:
    done = typed(root=pretended(tmp_path))
    assert (done.returncode, done.stderr) == (2, "install: GANDER_ROOT is for --dry-run\n")


def test_a_raspberry_pi_gets_what_only_apt_has(tmp_path: Path) -> None:
    root = raspberry(tmp_path)
    before = sorted((path, path.stat().st_mtime_ns) for path in root.rglob("*"))
    done = typed("--dry-run", "--camera", "rtsp://camera.lan/s", root=root)
    assert done.returncode == 0, done.stderr
    assert "would: install Debian packages: python3 python3-venv python3-picamera2 python3-lgpio\n" in done.stdout
    assert "would: add dtparam=strict_gpiod to /boot/firmware/config.txt" in done.stdout
    assert "gander-watch use what is for the group gpio" in done.stdout
    assert "camera rtsp://camera.lan/s, mode observe, only the light" in done.stdout
    assert "And reboot once" in done.stdout
    for unit in (ROOT / "systemd").iterdir():
        written = "50-gander.conf" if unit.suffix == ".conf" else unit.name
        assert re.search(rf"^would: write /etc/systemd/.*{re.escape(written)}$", done.stdout, re.M), unit.name
    assert sorted((path, path.stat().st_mtime_ns) for path in root.rglob("*")) == before


@pytest.mark.parametrize(
    "config", ["dtparam=strict_gpiod\n", "[all]\n dtparam = strict_gpiod\n", "dtparam=i2c_arm=on,strict_gpiod\n"]
)
def test_a_boot_setting_that_is_there_is_left(tmp_path: Path, config: str) -> None:
    done = typed("--dry-run", root=raspberry(tmp_path, config))
    assert "dtparam" not in done.stdout
    assert "And reboot" not in done.stdout


def test_plain_debian_on_a_raspberry_pi_gets_what_debian_has(tmp_path: Path) -> None:
    root = pretended(tmp_path)
    (root / "proc" / "device-tree").mkdir(parents=True)
    (root / "proc" / "device-tree" / "model").write_bytes(b"Raspberry Pi 4 Model B Rev 1.5\0")
    done = typed("--dry-run", root=root)
    assert "would: install Debian packages: python3 python3-venv python3-lgpio\n" in done.stdout


def test_a_camera_is_not_silently_ignored(tmp_path: Path) -> None:
    root = pretended(tmp_path)
    (root / "etc" / "gander").mkdir()
    (root / "etc" / "gander" / "gander.toml").write_text("")
    done = typed("--dry-run", "--camera", "/dev/video0", root=root)
    assert (done.returncode, done.stdout) == (2, "")
    assert "/etc/gander/gander.toml is there already: set source in it" in done.stderr


def test_only_units_of_ours_are_removed(tmp_path: Path) -> None:
    root = pretended(tmp_path)
    old = root / "opt" / "gander" / "releases" / "0.1-old"
    for folder in (old / "share" / "systemd", root / "etc" / "systemd" / "system"):
        folder.mkdir(parents=True)
        (folder / "gander-former.service").write_text("")
    (root / "etc" / "systemd" / "system" / "gander-owners.timer").write_text("")
    said = typed("--dry-run", root=root).stdout
    assert "would: remove the units gander-former.service\n" in said
    assert "would: remove 0.1-old, which was never finished\n" in said
    removed = typed("--dry-run", "--uninstall", root=root).stdout
    assert "gander-former.service" in removed
    assert "gander-owners" not in removed


def test_plain_debian_gets_no_raspberrys_packages(tmp_path: Path) -> None:
    done = typed("--dry-run", root=pretended(tmp_path), arch="amd64")
    assert "would: install Debian packages: python3 python3-venv\n" in done.stdout
    assert "config.txt" not in done.stdout


def test_a_release_is_named_by_what_is_in_it(tmp_path: Path) -> None:
    checkout = tmp_path / "gander"
    checkout.mkdir()
    for name in ("edge", "firmware", "systemd", "deploy"):
        shutil.copytree(ROOT / name, checkout / name, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("requirements.txt", "README.md"):
        shutil.copy(ROOT / name, checkout)
    root, script = pretended(tmp_path / "root"), checkout / "deploy" / "install.sh"

    def release() -> str:
        return re.findall(
            r"would: make (\S+) the current release", typed("--dry-run", root=root, script=script).stdout
        )[0]

    first = release()
    (checkout / "edge" / "__pycache__").mkdir()
    (checkout / "edge" / "__pycache__" / "junk.pyc").write_text("")
    os.utime(checkout / "edge" / "app.py", (0, 0))
    assert release() == first, "what Python leaves there, and times, are no content"
    with (checkout / "edge" / "app.py").open("a") as file:
        file.write("# newer\n")
    assert release() != first
    assert first.partition("-")[0] == release().partition("-")[0]


def test_without_a_release_before_there_is_no_way_back(tmp_path: Path) -> None:
    done = typed("--dry-run", "--back", root=pretended(tmp_path))
    assert (done.returncode, done.stderr) == (2, "install: there is no release before this one\n")


FINISH, FORTH = "finish what an earlier run has not started", "make 2.0-b the current release"
START = ["have systemd read the units anew", "start gander.target"]


@pytest.mark.parametrize(
    ("marker", "words", "does"),
    [
        (None, ["--back"], [FORTH, *START]),
        ("install 1.0-a", ["--back"], [FINISH, FORTH, *START]),
        ("install 1.0-a", ["--back", "--no-start"], [FINISH, FORTH, *START[:1]]),
        ("", ["--back"], [FINISH, FORTH, *START]),  # all was done but the start
        ("back 1.0-a", ["--back"], [FINISH, *START]),
    ],
)
def test_a_way_back_that_was_cut_short_is_finished_and_goes_not_forth_again(
    tmp_path: Path, marker: str | None, words: list[str], does: list[str]
) -> None:
    opt = pretended(tmp_path) / "opt" / "gander"
    for name, link in (("1.0-a", "current"), ("2.0-b", "previous")):
        shutil.copytree(ROOT / "deploy", opt / "releases" / name / "share" / "deploy")
        (opt / "releases" / name / "complete").touch()
        (opt / link).symlink_to(f"releases/{name}")
    if marker is not None:
        (opt / "unstarted").write_text(marker)
    done = typed("--dry-run", *words, root=tmp_path)
    assert done.returncode == 0, done.stderr
    assert re.findall(r"^would: (?!write |enable )(.+)$", done.stdout, re.M) == does
    assert f"{'2.0-b' if FORTH in does else '1.0-a'} runs now" in done.stdout


def test_purge_names_all_that_it_removes_and_nothing_else(tmp_path: Path) -> None:
    ours = ["gander", "gander-watch-second", "gander-reboot", "gander.before-20261121-120000-000001"]
    for name in (*ours, "gander-photos"):
        (tmp_path / "var" / "lib" / name).mkdir(parents=True)
    (pretended(tmp_path) / "etc" / "gander").mkdir()
    said = typed("--dry-run", "--purge", root=tmp_path).stdout
    removed = re.findall(r"^would: remove (/\S+)$", said, re.M)
    assert removed == [*(f"/var/lib/{name}" for name in ours), "/etc/gander"]
    assert re.findall(r"/\S+", said.partition("\n")[0]) == removed


def test_models_are_pushed_by_their_names_with_spaces(tmp_path: Path) -> None:
    shutil.copytree(ROOT / "deploy", tmp_path / "deploy")
    (tmp_path / "bin").mkdir()
    train = tmp_path / "bin" / "gander-train"
    train.write_text('#!/bin/sh\nprintf "[%s]" "$@"\n')
    train.chmod(0o755)
    command = ["sh", tmp_path / "deploy" / "push.sh", "coop", "runs/my own.gander", "--trust", "b.gander", "--promote"]
    done = subprocess.run(
        command, env={"PATH": f"{train.parent}:{os.environ['PATH']}"}, capture_output=True, text=True, check=False
    )
    assert done.stdout == (
        "[push][runs/my own.gander][coop][--trust][--promote][push][b.gander][coop][--trust][--promote]"
    )


@pytest.mark.parametrize(
    ("script", "words", "why"),
    [
        ("push.sh", [], "usage"),
        ("push.sh", ["-oProxyCommand=evil"], "usage"),
        ("push.sh", ["coop", "--wheels", "relative"], "from / on"),
        ("push.sh", ["coop", "--wheels", "/a; reboot"], "only letters"),
        ("push.sh", ["coop", "--nonsense"], "what is that?"),
        ("rollback.sh", [], "usage"),
        ("rollback.sh", ["-oProxyCommand=evil"], "usage"),
        ("rollback.sh", ["coop", "--nonsense"], "what is that?"),
    ],
)
def test_a_laptops_slips_reach_nobody(script: str, words: list[str], why: str) -> None:
    done = typed(*words, script=ROOT / "deploy" / script)
    assert done.returncode == 2
    assert why in done.stderr


def shellcheck() -> None:
    """Every script that is deployed."""
    scripts = [path for path in (ROOT / "deploy").rglob("*") if path.is_file() and path.read_bytes().startswith(b"#!/")]
    scripts += sorted((ROOT / "deploy" / "steps").iterdir())
    assert len(scripts) > 8
    done = subprocess.run(["shellcheck", "-x", *scripts], cwd=ROOT, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (0, "")


def test_shellcheck_finds_nothing() -> None:
    if shutil.which("shellcheck") is None:
        pytest.skip("shellcheck is not installed: apt-get install shellcheck (`make lab` does)")
    shellcheck()
