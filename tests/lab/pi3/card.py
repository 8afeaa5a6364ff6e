"""The SD card of the emulated Pi: Debian with systemd, the product's requirements, no Gander yet.

Gander comes with the boot archive: this checkout, its units and the settings are copied onto the card at its first
start, in the places where `deploy/install.sh` puts them. Nothing of another architecture runs while this is made.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import shutil
import subprocess
import sys
import zipfile
from dataclasses import dataclass
from pathlib import Path

from edge import keys
from edge.config import LabelsConfig
from edge.model_import import Overrides, import_tflite
from tests.lab.pi3.parts import HERE, LGPIO, ROOT, NotHere, Parts, bytecode, do, packed, platforms, recipe

PACKAGES = ("systemd", "systemd-sysv", "udev", "kmod", "python3", "busybox-static")
RELEASE = Path("opt/gander/releases/lab")
SITE = RELEASE / "lib" / "python3.11" / "site-packages"
_SIZE = 1 << 30  # a card's size is a power of two
_USERS = {"gander-watch": 990, "gander-publish": 991, "gander-reboot": 992}
_GROUPS = {"gander": 990, "gpio": 993, "video": 44, "render": 994, "dialout": 20}
# What Raspberry Pi OS has udev do for its pins.
_PINS = "z /dev/gpiochip0 0660 root gpio\n"
# Instead of all that Debian starts: each process costs the emulator seconds.
_NEEDED_UNITS = (
    *("systemd-journald.socket", "systemd-journald-dev-log.socket"),
    "systemd-journald.service",
    "systemd-tmpfiles-setup-dev.service",
    "systemd-tmpfiles-setup.service",
)
_NOT_NEEDED = ("doc", "man", "locale", "info", "perl5", "i18n")


@dataclass(frozen=True)
class Card:
    """`image`: the card, never written to: each machine has changes of its own."""

    parts: Parts
    image: Path


def made(cache: Path, parts: Parts) -> Card:
    """The card in `cache`, made when it is not there or its recipe has changed. Raises `NotHere`."""
    folder = cache / "pi3-card"
    folder.mkdir(parents=True, exist_ok=True)
    card = Card(parts, folder / "card.img")
    wanted = hashlib.sha256((recipe() + Path(__file__).read_text() + _requirements()).encode()).hexdigest()
    with (folder / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        stamp = folder / "recipe"
        if not stamp.exists() or stamp.read_text() != wanted:
            stamp.unlink(missing_ok=True)
            _make(folder, card.image)
            stamp.write_text(wanted)
    return card


def boot_archive(card: Card, out: Path) -> Path:
    """What the kernel starts from: drivers for the card, and this checkout to be put onto it."""
    copied = out.with_suffix(".tree")
    site, etc = copied / "checkout" / SITE, copied / "checkout" / "etc"
    for part in ("edge", "firmware"):
        shutil.copytree(ROOT / part, site / part, ignore=shutil.ignore_patterns("__pycache__"))
    lab = copied / "checkout" / "opt" / "lab"
    lab.mkdir(parents=True)
    for name in ("steward.py", "guest.py"):
        shutil.copyfile(HERE / name, lab / name)
    bytecode(copied / "checkout")
    _units(etc / "systemd")
    (etc / "gander" / "secrets" / "watch").mkdir(parents=True)
    shutil.copyfile(HERE / "gander.toml", etc / "gander" / "gander.toml")
    _own_model(etc / "gander", out.parent)
    shutil.copyfile(HERE / "init_card.sh", copied / "init")
    (copied / "init").chmod(0o755)
    for name in ("bin", "dev", "proc", "sys", "card"):
        (copied / name).mkdir()
    busybox = copied / "bin" / "busybox"
    shutil.copyfile(card.image.with_name("busybox"), busybox)
    busybox.chmod(0o755)
    with out.open("wb") as archive:
        archive.write(card.parts.drivers.read_bytes())
        archive.writelines(packed(copied))
    shutil.rmtree(copied)
    return out


def _own_model(etc: Path, folder: Path) -> None:
    """The starter's network as an owner's own model, since a demonstration fires no real pin. To it a hen is a threat,
    too: there is always one soon."""
    starter = ROOT / "edge" / "starter" / "starter.gander"
    with zipfile.ZipFile(starter) as bundle:
        (folder / "model.tflite").write_bytes(bundle.read("model.tflite"))
        (folder / "labels.txt").write_text("\n".join(json.loads(bundle.read("manifest.json"))["labels"]))
    key = keys.load_or_generate(folder / "lab.key")
    wanted = Overrides(mean=0.0, std=1.0, resize="area", margin=0.2, kinds=LabelsConfig(threat=["jay", "hen"]))
    files = folder / "model.tflite", folder / "labels.txt"
    import_tflite(*files, key=key, out=etc / "lab.gander", name="lab", overrides=wanted)
    shutil.copyfile(keys.public_path(folder / "lab.key"), etc / "lab.pub")


def _units(etc: Path) -> None:
    """As install.sh has them, and one for the lab's own console."""
    system = etc / "system"
    system.mkdir(parents=True)
    for unit in (ROOT / "systemd").glob("gander*"):
        shutil.copyfile(unit, system / unit.name)
    shutil.copyfile(HERE / "lab.service", system / "lab.service")
    for name, by in (
        ("gander.target", "multi-user.target"),
        ("lab.service", "multi-user.target"),
        ("gander-watch.service", "gander.target"),
        ("gander-reboot.path", "gander.target"),
        *((name, "sysinit.target") for name in _NEEDED_UNITS),
    ):
        wants = system / f"{by}.wants"
        wants.mkdir(exist_ok=True)
        (wants / name).symlink_to(f"/usr/lib/systemd/system/{name}" if name in _NEEDED_UNITS else f"../{name}")
    journald = etc / "journald.conf.d"
    journald.mkdir()
    shutil.copyfile(ROOT / "systemd" / "journald.conf", journald / "50-gander.conf")
    # system.conf is left out: QEMU's watchdog does not count down, it resets the chip as soon as somebody starts it.
    (etc.parent / "tmpfiles.d").mkdir()
    (etc.parent / "tmpfiles.d" / "pins.conf").write_text(_PINS)
    # An emulated processor beside other work is slower than any Pi: the limits of time are wider, nothing else.
    slow = system / "gander-watch.service.d"
    slow.mkdir()
    (slow / "lab.conf").write_text("[Service]\nTimeoutStartSec=15min\nWatchdogSec=5min\n")


def _make(folder: Path, image: Path) -> None:
    work = folder / "made"
    shutil.rmtree(work, ignore_errors=True)
    tree = work / "tree"
    try:
        options = ("--arch=arm64", "--variant=minbase", "--download-only", f"--include={','.join(PACKAGES)}")
        do("debootstrap", *options, "bookworm", str(work / "bookworm"))
        site = str(tree / SITE)
        wanted = work / "requirements.txt"
        wanted.write_text(_requirements() + f"{LGPIO}\n")
        do(sys.executable, "-m", "pip", "install", "--quiet", "--target", site, *platforms(), "-r", str(wanted))
    except AssertionError as error:
        raise NotHere(f"the card is not made yet, and cannot be without a network: {error}") from None
    _unpack(work / "bookworm", tree)
    _settle(tree)
    bytecode(tree)
    shutil.copyfile(tree / "usr" / "bin" / "busybox", image.with_name("busybox"))
    with image.open("wb") as card:
        card.truncate(_SIZE)
    do("mke2fs", "-q", "-F", "-t", "ext4", "-L", "card", "-d", str(tree), str(image))
    shutil.rmtree(work)


def _unpack(fetched: Path, tree: Path) -> None:
    for name in ("bin", "sbin", "lib"):
        (tree / "usr" / name).mkdir(parents=True)
        (tree / name).symlink_to(f"usr/{name}")
    for package in sorted(fetched.glob("var/cache/apt/archives/*.deb")):
        with subprocess.Popen(["dpkg-deb", "--fsys-tarfile", package], stdout=subprocess.PIPE) as unpacking:
            command = ["tar", "--extract", "--keep-directory-symlink", "--directory", str(tree)]
            subprocess.run(command, stdin=unpacking.stdout, check=True)
        assert unpacking.returncode == 0, package.name


def _settle(tree: Path) -> None:
    """What the packages' own scripts and install.sh would have done: users, groups, the environment."""
    for name in _NOT_NEEDED:
        shutil.rmtree(tree / "usr" / "share" / name, ignore_errors=True)
    etc = tree / "etc"
    base = tree / "usr" / "share" / "base-passwd"
    users = [f"{name}:x:{uid}:{_GROUPS['gander']}::/var/lib/gander:/usr/sbin/nologin" for name, uid in _USERS.items()]
    (etc / "passwd").write_text((base / "passwd.master").read_text().replace(":*:", ":x:") + "\n".join(users) + "\n")
    there = [line for line in (base / "group.master").read_text().splitlines() if line.split(":")[0] not in _GROUPS]
    groups = [f"{name}:x:{gid}:{'' if name == 'gander' else 'gander-watch'}" for name, gid in _GROUPS.items()]
    (etc / "group").write_text("\n".join((*there, *groups)).replace(":*:", ":x:") + "\n")
    (etc / "hostname").write_text("pi3\n")
    (etc / "machine-id").write_text("0123456789abcdef0123456789abcdef\n")
    release = tree / RELEASE
    (release / "pyvenv.cfg").write_text("home = /usr/bin\ninclude-system-site-packages = false\nversion = 3.11\n")
    (release / "bin").mkdir()
    (release / "bin" / "python").symlink_to("/usr/bin/python3.11")
    (tree / "opt" / "gander" / "current").symlink_to("releases/lab")


def _requirements() -> str:
    return (ROOT / "requirements.txt").read_text()
