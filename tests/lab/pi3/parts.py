"""What the emulated Raspberry Pi 3 is made of: Debian's kernel and Python for arm64, and this checkout.

The kernel is trixie's, which can do both habits (`persist_gpio_outputs`); the Python is bookworm's 3.11, for which
lgpio is published. Nothing of another architecture runs while it is built: packages are unpacked, wheels are fetched.
"""

from __future__ import annotations

import fcntl
import hashlib
import lzma
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from tests.lab import apt

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[2]
PYTHON = "python3.11"
KERNEL = "linux-image-arm64"
DRIVERS = ("crc32c_generic", "bcm2835", "ext4", "autofs4", "bcm2835_wdt")
PACKAGES = (
    *("busybox", "libc6", "python3.11-minimal", "libpython3.11-minimal", "libpython3.11-stdlib", "libexpat1"),
    *("zlib1g", "libffi8", "libuuid1", "liblzma5", "libbz2-1.0", "libgcc-s1", "libcrypt1"),
)
WHEELS = ("gpiozero", "pydantic")
LGPIO = "lgpio==0.2.2.0"
NEEDED = {
    **{"qemu-system-aarch64": "qemu-system-arm", "fdtput": "device-tree-compiler"},
    **{"debootstrap": "debootstrap", "mke2fs": "e2fsprogs"},
}
_BOARD = "a02082"  # Raspberry Pi 3 B, which its firmware would have written into the device tree


class NotHere(Exception):
    """This host cannot build or run the emulated Pi; says why."""


@dataclass(frozen=True)
class Parts:
    """Files that QEMU starts from. `base` is an archive without the checkout."""

    kernel: Path
    tree: Path
    base: Path
    drivers: Path  # for a card, an archive too


def built(cache: Path) -> Parts:
    """The parts in `cache`, made when they are not there or their recipe has changed. Raises `NotHere`."""
    folder = cache / "pi3"
    folder.mkdir(parents=True, exist_ok=True)
    parts = Parts(*(folder / name for name in ("vmlinuz", "pi3.dtb", "base.cpio", "drivers.cpio")))
    with (folder / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # two test runs build it once
        _install()
        stamp = folder / "recipe"
        if not stamp.exists() or stamp.read_text() != recipe():
            stamp.unlink(missing_ok=True)
            _build(folder, parts)
            stamp.write_text(recipe())
    return parts


def recipe() -> str:
    """Names everything the parts are made of."""
    return hashlib.sha256("\n".join((*PACKAGES, *_wheels(), Path(__file__).read_text())).encode()).hexdigest()


def initramfs(parts: Parts, out: Path) -> Path:
    """The base with this checkout's appliance, firmware and the lab's own scripts appended."""
    copied = out.with_suffix(".tree")
    for part in ("edge", "firmware"):
        shutil.copytree(ROOT / part, copied / "gander" / part, ignore=shutil.ignore_patterns("__pycache__", "starter"))
    for name in ("agent.py", "guest.py", "playing.py"):
        shutil.copyfile(HERE / name, copied / "gander" / name)
    shutil.copyfile(HERE / "init.sh", copied / "init")
    (copied / "init").chmod(0o755)
    bytecode(copied)
    with out.open("wb") as archive:
        archive.write(parts.base.read_bytes())
        archive.writelines(packed(copied))
    shutil.rmtree(copied)
    return out


def packed(tree: Path) -> Iterator[bytes]:
    """A folder as an archive in the kernel's format (newc); everything belongs to root."""
    for number, path in enumerate(sorted(tree.rglob("*")), 1):
        mode = path.lstat().st_mode
        target = os.fsencode(path.readlink()) if path.is_symlink() else b""
        data = path.read_bytes() if path.is_file() and not path.is_symlink() else target
        yield _entry(str(path.relative_to(tree)), number, mode, data)
    yield _entry("TRAILER!!!", 0, 0, b"")


def _entry(name: str, number: int, mode: int, data: bytes) -> bytes:
    words = (number, mode, 0, 0, 1, 0, len(data), 0, 0, 0, 0, len(name.encode()) + 1, 0)
    head = b"070701" + b"".join(b"%08X" % word for word in words) + name.encode() + b"\0"
    return head + b"\0" * (-len(head) % 4) + data + b"\0" * (-len(data) % 4)


def _install() -> None:
    missing = sorted({package for tool, package in NEEDED.items() if not shutil.which(tool, path=PATH)})
    if not missing:
        return
    if why := apt.install(*missing):
        raise NotHere(f"{', '.join(missing)}: {why}")


def _build(folder: Path, parts: Parts) -> None:
    if os.geteuid() != 0:
        raise NotHere("debootstrap, which fetches Debian's packages for arm64, works only as root")
    made = folder / "made"
    shutil.rmtree(made, ignore_errors=True)
    root = made / "root"
    site = root / "opt" / "site"
    try:  # from debootstrap's own default mirror
        for suite, packages in (("trixie", (KERNEL,)), ("bookworm", PACKAGES)):
            options = ("--arch=arm64", "--variant=minbase", "--download-only", f"--include={','.join(packages)}")
            do("debootstrap", *options, suite, str(made / suite))
        do(sys.executable, "-m", "pip", "install", "--quiet", "--target", str(site), *platforms(), LGPIO, *_wheels())
    except AssertionError as error:
        raise NotHere(f"the parts are not built yet, and cannot be without a network: {error}") from None
    for package in PACKAGES:
        _unpack(made / "bookworm", package, root)
    shutil.rmtree(root / "usr" / "share")
    for name in ("setuptools", "bin"):
        shutil.rmtree(site / name, ignore_errors=True)
    _take_kernel(made, root, parts)
    for name in ("dev", "proc", "sys", "run", "tmp"):
        (root / name).mkdir()
    bytecode(root)
    with parts.base.open("wb") as archive:
        archive.writelines(packed(root))
    shutil.rmtree(made)


def _take_kernel(made: Path, root: Path, parts: Parts) -> None:
    image = made / "image"
    _unpack(made / "trixie", "linux-image-[0-9]", image)
    shutil.copyfile(next(image.glob("boot/vmlinuz-*")), parts.kernel)
    shutil.copyfile(next(image.glob("usr/lib/linux-image-*/broadcom/bcm2837-rpi-3-b.dtb")), parts.tree)
    do("fdtput", "-p", "--type", "x", str(parts.tree), "/system", "linux,revision", _BOARD)
    # The watchdog is what restarts a Pi: without its driver there is no reboot.
    watchdog = next(image.glob("usr/lib/modules/*/kernel/drivers/watchdog/bcm2835_wdt.ko.xz"))
    (root / "bcm2835_wdt.ko").write_bytes(lzma.decompress(watchdog.read_bytes()))
    drivers = made / "drivers"
    _take_drivers(image, drivers / "drivers")
    with parts.drivers.open("wb") as archive:
        archive.writelines(packed(drivers))


def _take_drivers(image: Path, to: Path) -> None:
    """`DRIVERS` and what they need, and the order to load them in."""
    there = {path.name.removesuffix(".ko.xz").replace("-", "_"): path for path in image.rglob("*.ko.xz")}
    order: list[str] = []

    def take(name: str) -> None:
        if name in order or name not in there:  # what is not there is in the kernel itself
            return
        module = lzma.decompress(there[name].read_bytes())
        for needed in re.findall(rb"\0depends=([\w,-]*)\0", module):
            for other in filter(None, needed.decode().split(",")):
                take(other.replace("-", "_"))
        order.append(name)
        (to / name).write_bytes(module)

    to.mkdir(parents=True)
    for driver in DRIVERS:
        take(driver)
    (to / "order").write_text("".join(f"{name}\n" for name in order))


def _unpack(fetched: Path, package: str, to: Path) -> None:
    name = f"{package}*_arm64.deb" if package.endswith("]") else f"{package}_*.deb"
    do("dpkg-deb", "--extract", str(next(fetched.glob(f"var/cache/apt/archives/{name}"))), str(to))


def bytecode(tree: Path) -> None:
    """Bytecode for the guest, when the host has the same Python: saves the guest half a minute."""
    python = shutil.which(PYTHON, path=PATH)
    if python:
        options = ("-q", "--invalidation-mode", "unchecked-hash", "-s", str(tree), "-p", "/")
        subprocess.run([python, "-m", "compileall", *options, str(tree)], capture_output=True, check=False)


def platforms() -> list[str]:
    """What tells pip whose wheels to fetch."""
    tags = [f"--platform=manylinux_2_{glibc}_aarch64" for glibc in (36, 35, 34, 31, 28, 27, 17)]
    return [
        *("--only-binary=:all:", *tags, "--platform=manylinux2014_aarch64"),
        *("--implementation=cp", "--python-version=3.11"),
    ]


def _wheels() -> list[str]:
    """What the product pins, of what the guest needs."""
    lines = (ROOT / "requirements.txt").read_text().splitlines()
    return [line for line in lines if re.match(rf"({'|'.join(WHEELS)})\b", line)]


PATH = f"{os.environ.get('PATH', '')}:/usr/sbin:/usr/bin:/sbin:/bin"


def do(*command: str) -> None:
    """Run to a good end. Raises `AssertionError` with what it said."""
    env = {**os.environ, "DEBIAN_FRONTEND": "noninteractive", "LANG": "C.UTF-8", "PATH": PATH}
    done = subprocess.run(command, env=env, capture_output=True, text=True, check=False, timeout=1200)
    assert done.returncode == 0, f"{' '.join(command[:3])}: {(done.stdout + done.stderr)[-2000:]}"
