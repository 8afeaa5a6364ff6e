"""A machine of its own with systemd as PID 1: a writable layer over the tree, booted by systemd-nspawn."""

from __future__ import annotations

import contextlib
import os
import re
import signal
import subprocess
import time
from collections.abc import Callable, Mapping
from pathlib import Path

from tests.lab.container.tree import NotHere

LONG_S = 300.0  # a busy machine; every wait is for a condition
# systemd inside counts all that is in its control group as its own: two machines in one would end each other's.
_APART = 'for group in $1; do mkdir -p "$group" && echo $$ >"$group/cgroup.procs"; done; shift; exec "$@"'
_PATH = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


class Machine:
    """`layer`: an empty folder; `sees`: the host's folders, read-only, by their path inside. Raises `NotHere`."""

    def __init__(self, tree: Path, layer: Path, sees: Mapping[str, Path]) -> None:
        self._layer, self._sees = layer, sees
        self.root = layer / "root"
        self._console = layer / "console"
        self._nspawn: subprocess.Popen[bytes] | None = None
        self.leader = 0
        self._groups = _groups(f"gander-lab-{os.getpid()}")
        self._mount(tree)

    def _mount(self, tree: Path) -> None:
        # In memory: what is below may be an overlay itself, as in many containers, and then could not be the upper one.
        _mount("tmpfs", self._layer, "size=4g")
        for name in ("upper", "work", "root"):
            (self._layer / name).mkdir()
        _mount("overlay", self.root, f"lowerdir={tree},upperdir={self._layer}/upper,workdir={self._layer}/work")

    def boot(self) -> None:
        """Start it and wait until all that begins at boot has begun."""
        command = ["sh", "-c", _APART, "sh", " ".join(self._groups)]
        command += ["systemd-nspawn", "--quiet", "--boot", "--register=no", "--keep-unit", "--private-network"]
        command += [f"--machine=gander-lab-{os.getpid()}", f"--directory={self.root}"]
        command += [f"--bind-ro={folder}:{inside}" for inside, folder in self._sees.items()]
        with self._console.open("ab") as console:
            self._nspawn = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=console, stderr=console)
        try:
            self.until(self._started, "systemd did not start")
            self.until(self._booted, "it did not boot to the end")
        except AssertionError as why:
            raise NotHere(f"{why}: {self._console.read_text(errors='replace')[-500:]}") from None

    def _started(self) -> bool:
        assert self._nspawn
        assert self._nspawn.poll() is None, "systemd-nspawn ended"
        pid = self._nspawn.pid
        children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
        self.leader = next((int(child) for child in children if _is_init(child)), 0)
        return bool(self.leader) and self.run("true", check=False).returncode == 0

    def _booted(self) -> bool:
        return self.run("systemctl", "is-system-running", check=False).stdout.strip() in ("running", "degraded")

    def run(self, *command: str, check: bool = True, given: str = "") -> subprocess.CompletedProcess[str]:
        """A command inside, as root. `check`: its failure is the test's."""
        inside = ["nsenter", "-t", str(self.leader), "-a", "--wdns=/", "env", "-i", _PATH, "HOME=/root", "LANG=C.UTF-8"]
        done = subprocess.run(
            [*inside, *command], input=given, capture_output=True, text=True, check=False, timeout=LONG_S
        )
        assert not check or done.returncode == 0, f"{' '.join(command)}: {done.returncode}\n{done.stdout}{done.stderr}"
        return done

    def sh(self, script: str, check: bool = True) -> str:
        """What a shell script inside says, as root, its errors too."""
        done = self.run("sh", "-c", f"{{ {script}\n}} 2>&1", check=check)
        return done.stdout

    def types(self, line: str, check: bool = True) -> subprocess.CompletedProcess[str]:
        """What the owner types after logging in."""
        return self.run("runuser", "-l", "pi", "-c", line, check=check)

    def shows(self, unit: str, what: str) -> str:
        """A property of a unit."""
        return self.run("systemctl", "show", "--value", f"--property={what}", unit).stdout.strip()

    def until(self, holds: Callable[[], object], why: str) -> None:
        """Wait for a condition."""
        end = time.monotonic() + LONG_S
        while not holds():
            assert time.monotonic() < end, why
            time.sleep(0.2)

    def reboot(self) -> None:
        """As by its owner."""
        self.run("systemctl", "--no-block", "reboot")
        self.rebooted()

    def rebooted(self) -> None:
        """Wait for a reboot; what nspawn itself cannot begin again with `--register=no` is begun anew."""
        assert self._nspawn
        self._nspawn.wait(LONG_S)
        self.boot()

    def close(self) -> None:
        if self._nspawn and self._nspawn.poll() is None:
            self._nspawn.send_signal(signal.SIGTERM)  # systemd inside powers off
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._nspawn.wait(60)
            if self._nspawn.poll() is None and self.leader:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(self.leader, signal.SIGKILL)
                self._nspawn.wait(60)
        subprocess.run(["umount", "--lazy", self.root, self._layer], check=False)
        for group in self._groups:
            subprocess.run(["find", group, "-depth", "-type", "d", "-delete"], capture_output=True, check=False)


def _is_init(pid: str) -> bool:
    """Whether it is process 1 of a machine; what prepares one comes and goes before it."""
    try:
        numbers = re.findall(r"^NSpid:\s+(.*)$", Path(f"/proc/{pid}/status").read_text(), re.M)[0].split()
    except (OSError, IndexError):
        return False
    return len(numbers) > 1 and numbers[-1] == "1"


def _groups(name: str) -> list[str]:
    """A group of this name below the one this process is in, where systemd keeps its own: version 1, 2, or both."""
    found = []
    for line in Path("/proc/self/cgroup").read_text().splitlines():
        _, kind, path = line.split(":", 2)
        for top in {"": ("unified/", ""), "name=systemd": ("systemd/",)}.get(kind, ()):
            folder = Path(f"/sys/fs/cgroup/{top}{path.lstrip('/')}")
            if (folder / "cgroup.procs").exists():
                found.append(str(folder / name))
                break
    return found


def _mount(kind: str, where: Path, options: str) -> None:
    done = subprocess.run(
        ["mount", "-t", kind, kind, "-o", options, where], capture_output=True, text=True, check=False
    )
    if done.returncode:
        raise NotHere(f"no {kind} can be mounted here: {done.stderr.strip()}")
