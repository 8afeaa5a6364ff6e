"""Debian's packages for the labs, installed where they are missing: by one process at a time, the others wait."""

from __future__ import annotations

import fcntl
import os
import shutil
import subprocess
import tempfile
from pathlib import Path

_LOCK = Path(tempfile.gettempdir()) / "gander-lab-apt.lock"


def install(*packages: str) -> str:
    """Have them. Returns why not, empty where all went well."""
    if os.geteuid() != 0 or not shutil.which("apt-get"):
        return f"not installed, and cannot be from here: apt-get install {' '.join(packages)}"
    env = {**os.environ, "DEBIAN_FRONTEND": "noninteractive", "LANG": "C.UTF-8"}
    with _LOCK.open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        for command in (("update",), ("install", "--yes", "--no-install-recommends", *packages)):
            done = subprocess.run(
                ["apt-get", "--quiet=2", *command], env=env, capture_output=True, text=True, check=False
            )
            if done.returncode:
                return f"apt-get {command[0]}: {done.stderr.strip()[-500:]}"
    return ""
