"""Memory of a process and of all it started (proportional set size, shared pages counted in part), and files in it."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

SHARED = Path("/dev/shm")


def family(pid: int) -> list[int]:
    """A process and its descendants."""
    found = [pid]
    for parent in found:
        for children in Path(f"/proc/{parent}/task").glob("*/children"):
            found += [int(child) for child in children.read_text().split()]
    return found


def pss_mb(pid: int) -> float:
    """Megabytes of one process."""
    return _rollup(pid, "Pss")


def private_mb(pid: int) -> float:
    """Megabytes that are no file's: they do not depend on who else has the same library open."""
    return _rollup(pid, "Pss_Anon")


def _rollup(pid: int, name: str) -> float:
    lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(f"{name}:")) / 1024


def words(pid: int) -> str:
    """What the process is, short."""
    arguments = Path(f"/proc/{pid}/cmdline").read_text().split("\0")
    return " ".join(argument for argument in arguments[1:5] if argument)[:60]


@contextmanager
def quick_folder(megabytes: int) -> Iterator[Path]:
    """A folder for so much: in memory, where a flush costs nothing, if there is ample room; gone afterwards."""
    roomy = SHARED.is_dir() and shutil.disk_usage(SHARED).free > 2 * megabytes * 10**6
    with tempfile.TemporaryDirectory(prefix="gander-lab-", dir=SHARED if roomy else None) as folder:
        yield Path(folder)
