"""A file that a verb leaves: whole or not at all, and where it cannot be written, that in one line."""

from __future__ import annotations

from pathlib import Path

from edge.atomic import write_atomically
from edge.errors import StateError


def put(path: Path, text: str) -> None:
    """Write it, and its folder where there is none. Raises `StateError`."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(path, text.encode())
    except OSError as error:
        raise StateError.of(error, f"{path}: cannot be written: {error.strerror}") from None
