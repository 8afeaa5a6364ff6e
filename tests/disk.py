"""Small disks in memory, to be filled."""

from __future__ import annotations

import contextlib
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest


def mount(place: Path, options: str) -> None:
    """A tmpfs there; skips with the reason where none can be had."""
    _mount("-t", "tmpfs", "-o", options, "tmpfs", place)


def _mount(*arguments: str | Path) -> None:
    mounted = subprocess.run(["mount", *arguments], capture_output=True, text=True, check=False)
    if mounted.returncode:
        pytest.skip(f"nothing can be mounted here: {mounted.stderr.strip()}")


@contextlib.contextmanager
def disk(place: Path, options: str) -> Iterator[Path]:
    """A new folder that is a disk of its own, until the end of the block."""
    place.mkdir()
    mount(place, options)
    with _unmounted(place):
        yield place


@contextlib.contextmanager
def bound(place: Path, folder: Path) -> Iterator[Path]:
    """A new folder in which another one is seen, of the same disk, until the end of the block."""
    place.mkdir()
    _mount("--bind", folder, place)
    with _unmounted(place):
        yield place


@contextlib.contextmanager
def _unmounted(place: Path) -> Iterator[None]:
    try:
        yield
    finally:
        subprocess.run(["umount", "-l", place], check=True)


def fill(folder: Path) -> Path:
    """Leave nothing free. Returns the file to delete."""
    path = folder / "ballast"
    with path.open("wb", buffering=0) as file:
        try:
            while True:
                file.write(bytes(4096))
        except OSError:
            return path
