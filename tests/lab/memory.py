"""Memory of a process and of all it started: proportional set size, shared pages counted in part."""

from __future__ import annotations

from pathlib import Path


def family(pid: int) -> list[int]:
    """A process and its descendants."""
    found = [pid]
    for parent in found:
        for children in Path(f"/proc/{parent}/task").glob("*/children"):
            found += [int(child) for child in children.read_text().split()]
    return found


def pss_mb(pid: int) -> float:
    """Megabytes of one process."""
    lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("Pss:")) / 1024


def words(pid: int) -> str:
    """What the process is, short."""
    arguments = Path(f"/proc/{pid}/cmdline").read_text().split("\0")
    return " ".join(argument for argument in arguments[1:5] if argument)[:60]
