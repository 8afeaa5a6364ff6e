"""A small Debian with libcamera's virtual camera and the real picamera2, built once and kept outside the checkout."""

from __future__ import annotations

import fcntl
import hashlib
import os
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

from tests.lab import apt

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[2]
SUITE = "trixie"
PICAMERA2 = "0.3.38"
PACKAGES = (
    *("ca-certificates", "gcc", "libc6-dev", "python3", "python3-dev", "python3-venv"),
    *("python3-libcamera", "python3-numpy", "python3-pil", "python3-piexif", "python3-prctl", "python3-av"),
    *("python3-jsonschema", "python3-libarchive-c", "python3-tqdm"),
    *("systemd", "systemd-sysv", "dbus", "procps"),  # to try it shut in by its unit
)
# As on a Raspberry Pi: picamera2 belongs to the system's Python, Gander lives in an environment that sees it.
SCRIPT = f"""
set -eu
gcc -shared -fPIC -O2 -Wall -Werror -o /opt/virtual.so /opt/virtual.c -ldl
python3 -m venv /opt/installer
/opt/installer/bin/pip --python /usr/bin/python3 install --quiet --root-user-action ignore --break-system-packages \\
    picamera2=={PICAMERA2}
python3 -m venv --system-site-packages /opt/gander
/opt/gander/bin/pip install --quiet -r /opt/requirements.txt
mkdir -p /gander /opt/pictures
apt-get clean
"""
IN_TREE = """
set -eu
mount --bind "$1" "$2/gander"
mount -o remount,bind,ro "$2/gander"
mount -t tmpfs none "$2/tmp"
mount -t tmpfs none "$2/dev/shm"
mount -t proc proc "$2/proc"
mount --bind "$3" "$2/opt/pictures"
root=$2
shift 3
exec chroot "$root" "$@"
"""


class NotHere(Exception):
    """This host cannot run the tree; says why."""


@dataclass(frozen=True)
class Tree:
    """The built tree. Each run sees the checkout read-only at `/gander` and has a `/tmp` of its own."""

    root: Path

    def run(self, *command: str, pictures: Path, timeout: float = 60.0) -> subprocess.CompletedProcess[str]:
        """Run a command in the tree, with the folder of JPEGs that the virtual camera plays round and round."""
        env = {
            "PATH": "/opt/gander/bin:/usr/bin:/bin:/usr/sbin:/sbin",
            "HOME": "/root",
            "LANG": "C.UTF-8",
            "PYTHONPATH": "/gander",
            "PYTHONDONTWRITEBYTECODE": "1",
        }
        assignments = [f"{name}={value}" for name, value in {**env, "LD_PRELOAD": "/opt/virtual.so"}.items()]
        return subprocess.run(
            [
                *("unshare", "--mount", "--pid", "--fork", "--kill-child", "sh", "-c", IN_TREE, "tree"),
                *(str(ROOT), str(self.root), str(pictures), "env", "-i", *assignments, *command),
            ],
            capture_output=True,
            text=True,
            timeout=timeout,
            check=False,
        )


def built(cache: Path) -> Tree:
    """The tree in `cache`, built when it is not there or its recipe has changed. Raises `NotHere`."""
    _needs_root()
    folder = cache / "picamera"
    folder.mkdir(parents=True, exist_ok=True)
    tree = Tree(folder / "tree")
    with (folder / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # two test runs build it once
        stamp = tree.root / "opt" / "recipe"
        if not stamp.exists() or stamp.read_text() != recipe():
            _build(tree.root)
            stamp.write_text(recipe())
    return tree


def recipe() -> str:
    """Names everything the tree is made of."""
    parts = (SUITE, *PACKAGES, SCRIPT, *(path.read_text() for path in _copied().values()))
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()


def _copied() -> dict[str, Path]:
    return {
        "opt/virtual.c": HERE / "virtual.c",
        "opt/requirements.txt": ROOT / "requirements.txt",
        "usr/share/libcamera/pipeline/virtual/virtual.yaml": HERE / "virtual.yaml",
    }


def _needs_root() -> None:
    if os.geteuid() != 0:
        raise NotHere("a Debian tree can only be made and entered as root")
    if subprocess.run(["unshare", "--mount", "true"], capture_output=True, check=False).returncode != 0:
        raise NotHere("this host lets nobody mount anything (unshare --mount fails)")


def _build(root: Path) -> None:
    if not shutil.which("debootstrap") and (why := apt.install("debootstrap")):
        raise NotHere(f"debootstrap: {why}")
    shutil.rmtree(root, ignore_errors=True)
    try:  # from debootstrap's own default mirror
        _do("debootstrap", "--variant=minbase", f"--include={','.join(PACKAGES)}", SUITE, str(root))
    except AssertionError as error:
        raise NotHere(f"the tree is not built yet, and cannot be without a network: {error}") from None
    for name in ("etc/ssl/certs/ca-certificates.crt", "etc/resolv.conf"):
        if (Path("/") / name).exists():  # what the host trusts and asks, the tree must too
            shutil.copyfile(Path("/") / name, root / name)
    for name, source in _copied().items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(source, root / name)
    _do("chroot", str(root), "sh", "-c", SCRIPT)


def _do(*command: str) -> None:
    env = {**os.environ, "DEBIAN_FRONTEND": "noninteractive", "LANG": "C.UTF-8"}
    env |= {"PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"}
    env |= {"PIP_CERT": "/etc/ssl/certs/ca-certificates.crt"}
    done = subprocess.run(command, env=env, capture_output=True, text=True, check=False, timeout=1500)
    assert done.returncode == 0, f"{' '.join(command[:3])}: {(done.stdout + done.stderr)[-3000:]}"
