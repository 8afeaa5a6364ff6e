"""Debian for arm64 with Gander installed as on a Pi, on a machine of another kind: QEMU runs every program of it.

Built once for each suite and kept outside the checkout: `system` is Debian, `environment` what pip puts beside it.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import platform
import re
import shutil
import subprocess
import sys
import tarfile
import tempfile
import tomllib
from dataclasses import dataclass
from pathlib import Path

from tests.lab import apt

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[2]
CODE = ("edge", "firmware", "training", "pyproject.toml", "README.md", "LICENSE", "requirements.txt")
# A screen's, which picamera2 wants to import: Raspberry Pi OS alone has it, and no part of it is called.
KMS = """\
class Named(type):
    def __getattr__(cls, name):
        return name


class PixelFormats(metaclass=Named):
    pass
"""
PIDNG = "pidng==4.0.9"  # published as source only; picamera2 needs its Python, not its C


@dataclass(frozen=True, slots=True)
class Suite:
    """A Debian release, the Python packages it brings, and what only Raspberry Pi OS has, so from pip here."""

    name: str
    python: str
    packages: tuple[str, ...]
    beside: tuple[str, ...]


SUITES = {
    "bookworm": Suite("bookworm", "3.11", ("python3-numpy", "python3-numexpr"), ("simplejpeg==1.9.0",)),
    "trixie": Suite(
        *("trixie", "3.13", ("python3-libcamera", "python3-numpy", "python3-numexpr", "python3-prctl")),
        ("picamera2==0.3.38", "simplejpeg==1.9.0", "piexif==1.1.3", "pillow==13.0.0", "videodev2==0.0.4"),
    ),
}

# $1 is QEMU. Where the host has not mounted binfmt_misc itself, this ends with the last program that runs here.
REGISTER = r"""
set -eu
formats=/proc/sys/fs/binfmt_misc
[ -e $formats/register ] || mount -t binfmt_misc binfmt_misc $formats
if [ ! -e $formats/gander-aarch64 ]; then
    printf ':gander-aarch64:M::%s:%s:%s:FP' \
        '\x7f\x45\x4c\x46\x02\x01\x01\x00\x00\x00\x00\x00\x00\x00\x00\x00\x02\x00\xb7\x00' \
        '\xff\xff\xff\xff\xff\xff\xff\x00\xff\xff\xff\xff\xff\xff\xff\xff\xfe\xff\xff\xff' \
        "$1" >$formats/register || [ -e $formats/gander-aarch64 ]
fi
shift
"""
ENTER = r"""
mount -t proc proc "$1/proc"
for volatile in tmp dev/shm; do
    mkdir -p "$1/$volatile"
    mount -t tmpfs none "$1/$volatile"
done
mount --bind "$2" "$1/gander"
mount -o remount,bind,ro "$1/gander"
mount --bind "$3" "$1/files"
root=$1
shift 3
status=0 # not by exec: a program that crashes as a namespace's first one would wait for ever for its own signal
chroot "$root" "$@" || status=$?
exit $status
"""
APART = ("unshare", "--mount", "--pid", "--fork", "--kill-child", "sh", "-c")
# Nobody reads the manuals, nobody pulls the plug, and what is never imported is not compiled.
DPKG = """\
force-unsafe-io
path-exclude=/usr/share/doc/*
path-exclude=/usr/share/man/*
path-exclude=/usr/share/locale/*
path-exclude=/usr/bin/py3compile
"""
# This machine's own do what they do at once; under the emulator they are most of the time a build takes.
LENT = (
    *(
        "dpkg-deb",
        "dpkg-split",
        "tar",
        "gzip",
        "rm",
        "sed",
        "grep",
        "cat",
        "cp",
        "mv",
        "ln",
        "mkdir",
        "rmdir",
        "mktemp",
    ),
    *(
        "chmod",
        "chown",
        "touch",
        "readlink",
        "find",
        "stat",
        "sort",
        "cut",
        "head",
        "tail",
        "tr",
        "basename",
        "dirname",
    ),
)


class NotHere(Exception):
    """This host cannot build or run the tree; says why."""


@dataclass(frozen=True, slots=True)
class Tree:
    """A built tree. Each run sees the checkout read-only at `/gander`, and has a `/tmp` of its own."""

    suite: Suite
    root: Path
    qemu: str

    def run(
        self, *command: object, files: Path = HERE, timeout: float = 600.0, **variables: str
    ) -> subprocess.CompletedProcess[str]:
        """Run a command in the tree; it sees the folder `files` at `/files`, and may write there."""
        known = {
            "PATH": "/opt/gander/bin:/usr/bin:/bin:/usr/sbin:/sbin",
            "HOME": "/root",
            "LANG": "C.UTF-8",
            "COLUMNS": "160",
            "DEBIAN_FRONTEND": "noninteractive",
            "SSL_CERT_FILE": "/etc/ssl/certs/ca-certificates.crt",
            "PIP_CERT": "/etc/ssl/certs/ca-certificates.crt",
        }
        assignments = [f"{name}={value}" for name, value in {**known, **variables}.items()]
        return subprocess.run(
            [
                *APART,
                *(REGISTER + ENTER, "tree", self.qemu, str(self.root), str(ROOT), str(files)),
                *("env", "-i", *assignments, *map(str, command)),
            ],
            capture_output=True,
            text=True,
            timeout=timeout,
            check=False,
        )

    def must(self, *command: object, files: Path = HERE, **variables: str) -> str:
        """The same, for what has to succeed; returns what it printed."""
        done = self.run(*command, files=files, timeout=5000, **variables)
        assert done.returncode == 0, f"{self.suite.name}: {command[:3]}: {(done.stdout + done.stderr)[-3000:]}"
        return done.stdout


def built(cache: Path, suite: Suite, qemu: str) -> Tree:
    """The suite's tree in `cache`, built when it is not there or its recipe has changed. Raises `NotHere`."""
    folder = cache / "arm64"
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / f"{suite.name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # two test runs build it once
        tree = Tree(suite, folder / suite.name, qemu)
        system = _hash(suite.name, *suite.packages, DPKG)
        if _stamp(tree, "system") != system:
            _system(tree)
            (tree.root / "opt" / "system").write_text(system)
        constraints = tree.must("sh", "-c", CONSTRAINTS)
        environment = _hash(ENVIRONMENT, BESIDE, PIDNG, KMS, *suite.beside, constraints, *_dependencies())
        if _stamp(tree, "environment") != environment:
            _environment(tree, constraints)
            (tree.root / "opt" / "environment").write_text(environment)
    return tree


# What the installer holds pip to where apt's picamera2 is: asked of the installer itself.
CONSTRAINTS = ". /gander/deploy/steps/release.sh; installed() { true; }; numpy_of_apt"
ENVIRONMENT = """
set -eu
rm -rf /opt/gander
python3 -m venv --system-site-packages /opt/gander
cp -r /files /tmp/gander
/opt/gander/bin/pip install --quiet --disable-pip-version-check --no-cache-dir --no-compile \\
    --only-binary :all: --constraint /opt/constraints.txt --requirement /tmp/gander/requirements.txt /tmp/gander
"""
# As on a Raspberry Pi: picamera2 belongs to the system's Python. Its needs are named, since PyPI has not all of them.
BESIDE = """
set -eu
/opt/gander/bin/pip --python /usr/bin/python3 install --quiet --disable-pip-version-check --no-cache-dir --no-compile \\
    --no-deps --only-binary :all: --root-user-action ignore --break-system-packages "$@"
"""


def _dependencies() -> list[str]:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    requirements = (ROOT / "requirements.txt").read_text()
    return [requirements, *project["project"]["dependencies"], *project["build-system"]["requires"]]


def _hash(*parts: str) -> str:
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()


def _stamp(tree: Tree, name: str) -> str:
    stamp = tree.root / "opt" / name
    return stamp.read_text() if stamp.exists() else ""


def emulator() -> str:
    """The static QEMU for arm64 programs. Raises `NotHere` where it cannot be had or its programs not be started."""
    if os.geteuid() != 0:
        raise NotHere("a Debian tree can only be made and entered as root")
    if platform.machine() == "aarch64":
        raise NotHere("this machine is arm64 itself: its own tests say what these would")
    _install("debootstrap", "debootstrap")
    names = ("qemu-aarch64-static", "qemu-aarch64")
    if not any(shutil.which(name) for name in names):
        _install("qemu-aarch64-static", "qemu-user-static")
    qemu = next(filter(None, map(shutil.which, names)), None)
    if not qemu:
        raise NotHere("there is no qemu-aarch64 (Debian: qemu-user-static)")
    done = subprocess.run([*APART, REGISTER, "register", qemu], capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise NotHere(f"this host lets nobody register programs of another kind (binfmt_misc): {done.stderr.strip()}")
    return qemu


def _install(program: str, package: str) -> None:
    if shutil.which(program, path=_PATH):
        return
    if why := apt.install(package):
        raise NotHere(f"{program}: {why}")


def _system(tree: Tree) -> None:
    """Debian itself. QEMU runs its programs for arm64; debootstrap's own work is done by this machine's."""
    shutil.rmtree(tree.root, ignore_errors=True)
    settings = tree.root / "etc" / "dpkg" / "dpkg.cfg.d" / "lab"
    settings.parent.mkdir(parents=True)
    settings.write_text(DPKG)
    _lend(tree.root)
    include = ",".join(("python3-venv", *tree.suite.packages))
    options = ("--arch=arm64", "--variant=minbase", f"--include={include}", tree.suite.name, str(tree.root))
    try:  # from debootstrap's own default mirror
        _do(*APART, REGISTER + 'exec "$@"', "system", tree.qemu, "debootstrap", *options)
    except AssertionError as error:
        raise NotHere(f"the tree is not built yet, and cannot be without a network: {error}") from None
    _take_back(tree.root)
    for name in ("etc/ssl/certs/ca-certificates.crt", "etc/resolv.conf"):
        if (Path("/") / name).exists():  # what the host trusts and asks, the tree must too
            (tree.root / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(Path("/") / name, tree.root / name)
    for name in ("gander", "files"):
        (tree.root / name).mkdir()


def _lend(root: Path) -> None:
    """Programs of this machine with their libraries, where the tree finds them first and owns none by that name."""
    (root / "usr" / "sbin").mkdir(parents=True)
    libraries: set[str] = set()
    for name in LENT:
        program = shutil.which(name, path=_PATH)
        if program:
            shutil.copy(program, root / "usr" / "sbin" / name)
            libraries.update(re.findall(r"(/\S+) \(0x", _do("ldd", program)))
    for library in libraries:
        copied = root / "usr" / library.removeprefix("/usr").lstrip("/")
        copied.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(library, copied)
    (root / "lib64").symlink_to("usr/lib64")


def _take_back(root: Path) -> None:
    for name in LENT:
        (root / "usr" / "sbin" / name).unlink(missing_ok=True)
    (root / "lib64").unlink(missing_ok=True)
    shutil.rmtree(root / "usr" / "lib64")
    shutil.rmtree(root / "usr" / "lib" / f"{platform.machine()}-linux-gnu")


def _environment(tree: Tree, constraints: str) -> None:
    """What the installer makes beside the system's Python, and what Raspberry Pi OS would have had in that."""
    (tree.root / "opt" / "constraints.txt").write_text(constraints)
    with tempfile.TemporaryDirectory(prefix="gander-arm64-") as name:
        folder = Path(name)
        _sources(folder / "code")
        tree.must("sh", "-c", ENVIRONMENT, files=folder / "code")
        tree.must("sh", "-c", BESIDE, "beside", *tree.suite.beside)
        if "picamera2" in " ".join(tree.suite.beside):
            _pidng(folder, tree.root / f"usr/local/lib/python{tree.suite.python}/dist-packages")


def _sources(to: Path) -> None:
    """The checkout's own, since building a wheel writes beside it."""
    to.mkdir()
    for name in CODE:
        if (ROOT / name).is_dir():
            shutil.copytree(ROOT / name, to / name, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copyfile(ROOT / name, to / name)


def _pidng(scratch: Path, to: Path) -> None:
    options = ("--quiet", "--disable-pip-version-check", "--no-deps", "--no-binary", ":all:", "--dest", str(scratch))
    _do(sys.executable, "-m", "pip", "download", *options, PIDNG)
    with tarfile.open(next(scratch.glob("pidng-*.tar.gz"))) as source:
        source.extractall(scratch, filter="data")
    shutil.copytree(next(scratch.glob("pidng-*/src/pidng")), to / "pidng", dirs_exist_ok=True)
    (to / "kms.py").write_text(KMS)


_PATH = f"{os.environ.get('PATH', '')}:/usr/sbin:/usr/bin:/sbin:/bin"


def _do(*command: str) -> str:
    env = {**os.environ, "DEBIAN_FRONTEND": "noninteractive", "LANG": "C.UTF-8", "PATH": _PATH}
    done = subprocess.run(command, env=env, capture_output=True, text=True, check=False, timeout=5000)
    assert done.returncode == 0, f"{' '.join(command[-6:])}: {(done.stdout + done.stderr)[-2000:]}"
    return done.stdout
