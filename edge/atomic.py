"""A file that is there whole or not at all, also after a power cut."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path


def write_atomically(path: Path, data: bytes, mode: int = 0o644, *, replace: bool = True) -> None:
    """Write `data` beside `path` and move it into place.

    With `replace=False` an existing file is kept and `FileExistsError` raised. Other errors are `OSError`s.
    """
    fd, name = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
    temporary = Path(name)
    try:
        with os.fdopen(fd, "wb") as file:
            os.fchmod(fd, mode)
            file.write(data)
            file.flush()
            os.fsync(fd)
        if replace:
            temporary.replace(path)
        else:
            path.hardlink_to(temporary)  # unlike a rename, this fails where the name is taken
    finally:
        temporary.unlink(missing_ok=True)
    sync(path.parent)


def make_folder(folder: Path, mode: int = 0o777) -> None:
    """Have a folder that a power cut does not take away again, with all that is in it. Raises `OSError`."""
    if not folder.is_dir():
        make_folder(folder.parent)
        folder.mkdir(mode, exist_ok=True)
        sync(folder.parent)


def sync(folder: Path) -> None:
    """Have the card keep the names in a folder as they are now. Raises `OSError`."""
    fd = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)
