"""A Debian tree for systemd-nspawn and the wheels of requirements.txt, made once and kept in the cache."""

from __future__ import annotations

import fcntl
import hashlib
import os
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

from tests.lab import apt

REPOSITORY = Path(__file__).resolve().parents[3]
SUITE = os.environ.get("GANDER_LAB_SUITE", "bookworm")  # or trixie
_PACKAGES = "systemd,systemd-sysv,dbus,python3,python3-venv,ca-certificates,sudo,openssh-server,procps,iproute2"
_CERTIFICATES = Path("etc/ssl/certs/ca-certificates.crt")
_TOOLS = {"systemd-nspawn": "systemd-container", "debootstrap": "debootstrap", "nsenter": "util-linux"}


class NotHere(Exception):
    """Why this host cannot do it."""


@dataclass(frozen=True, slots=True)
class Parts:
    """A tree that nobody may change, and a folder of wheels."""

    tree: Path
    wheels: Path


def built(cache: Path) -> Parts:
    """Both, from the cache or made now. Raises `NotHere`."""
    tools()
    folder = cache / "container"
    folder.mkdir(exist_ok=True)
    tree = folder / f"{SUITE}-{_digest(_PACKAGES.encode())}"
    wheels = folder / f"wheels-{SUITE}-{_digest((REPOSITORY / 'requirements.txt').read_bytes())}"
    with (folder / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # two test runs build it once
        if not tree.exists():
            _debootstrap(tree)
        if not wheels.exists():
            _download(tree, wheels)
    return Parts(tree, wheels)


def _digest(recipe: bytes) -> str:
    return hashlib.sha256(recipe).hexdigest()[:8]


def tools() -> None:
    """What a machine is booted with, installed where it is missing. Raises `NotHere`."""
    if os.geteuid() != 0:
        raise NotHere("systemd-nspawn needs root: sudo make lab ARGS='-k test_install'")
    missing = [package for tool, package in _TOOLS.items() if shutil.which(tool) is None]
    if missing and (why := apt.install(*missing)):
        raise NotHere(f"{', '.join(missing)}: {why}")


def _debootstrap(tree: Path) -> None:
    building = tree.with_suffix(".part")
    shutil.rmtree(building, ignore_errors=True)
    _run("debootstrap", "--variant=minbase", f"--include={_PACKAGES}", SUITE, building)
    shutil.copy(Path("/") / _CERTIFICATES, building / _CERTIFICATES)
    (building / "var" / "log" / "journal").mkdir(exist_ok=True)
    _run("chroot", building, "useradd", "--create-home", "--shell", "/bin/bash", "pi")
    _run("chroot", building, "chmod", "700", "/home/pi")
    (building / "etc" / "hostname").write_text("coop\n")
    (building / "etc" / "hosts").write_text("127.0.0.1 localhost coop\n")
    (building / "etc" / "sudoers.d" / "pi").write_text("pi ALL=(ALL) NOPASSWD: ALL\n")
    for archive in (building / "var" / "cache" / "apt" / "archives").glob("*.deb"):
        archive.unlink()
    building.rename(tree)


def _download(tree: Path, wheels: Path) -> None:
    """By the tree's own Python, so that they fit it."""
    building = wheels.with_suffix(".part")
    shutil.rmtree(building, ignore_errors=True)
    shutil.rmtree(tree / "tmp" / "lab", ignore_errors=True)
    made = tree / "tmp" / "lab"
    made.mkdir()
    shutil.copy(REPOSITORY / "requirements.txt", made)
    resolver = tree / "etc" / "resolv.conf"
    resolver.write_bytes(Path("/etc/resolv.conf").read_bytes())
    try:
        _run("chroot", tree, "python3", "-m", "venv", "/tmp/lab/venv")
        pip = ("/tmp/lab/venv/bin/pip", "download", "-q", "--only-binary", ":all:")
        subprocess.run(
            ["chroot", tree, *pip, "-r", "/tmp/lab/requirements.txt", "-d", "/tmp/lab/wheels"], check=True
        )  # a pin that has no wheel for it is a fault of ours, no reason to skip
        shutil.copytree(made / "wheels", building)
    finally:
        shutil.rmtree(made)
    building.rename(wheels)


def _run(*command: str | Path) -> None:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise NotHere(f"{command[0]} failed: {(done.stderr or done.stdout).strip()[-500:]}")
