"""Files that hold secrets, read with care."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

from edge.errors import ConfigError


def read(name: str, path: Path, most: int = -1) -> bytes:
    """A file's first `most` bytes (-1: all). `name`: of the setting that names it.

    Raises `ConfigError`, which tells nothing of what is in it: it cannot be read, or everybody may.
    """
    try:
        with path.open("rb") as file:
            if os.fstat(file.fileno()).st_mode & 0o007:
                raise ConfigError(f"{name} {path}: everybody may read it; do `chmod o= {path}`")
            return file.read(most)
    except OSError as error:
        raise ConfigError(f"{name} {path}: cannot be read: {error.strerror}") from None


def advice(environment: Mapping[str, str]) -> str:
    """What to do once one is mended: a service has copies of them, made at its start."""
    return "; once mended, `sudo systemctl restart gander-publish`" if "CREDENTIALS_DIRECTORY" in environment else ""


def hidden(*paths: str) -> bool:
    """Whether one of these is there for others only, as a service's secrets are for an owner who is not root."""
    for path in filter(None, paths):
        try:
            Path(path).open("rb").close()
        except PermissionError:
            return True
        except OSError:  # said when it is read
            continue
    return False
