"""A little of the disk is set aside, so that on a full one the journal still opens: only then can room be made."""

from __future__ import annotations

import logging
import os
import shutil
from pathlib import Path

log = logging.getLogger(__name__)

NAME = "reserve"
_MOST = 4 * 2**20  # bytes: what the files beside both databases grow to
_SHARE = 16  # of a small disk no more than that part


def size(total: int) -> int:
    """How many bytes of a disk of so many are set aside; as many more are left to the journal."""
    return min(_MOST, total // _SHARE)


def missing(state: Path) -> int:
    """How many bytes are still to be set aside. Raises `OSError`."""
    path = state / NAME
    return max(size(shutil.disk_usage(state).total) - (path.stat().st_size if path.exists() else 0), 0)


def make(state: Path) -> None:
    """Set it aside, as far as the disk allows. Raises `OSError` where there is no such folder."""
    if not missing(state):
        return
    spend(state)
    fd = os.open(state / NAME, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o660)
    try:
        os.posix_fallocate(fd, 0, missing(state))
    except OSError as error:  # a quota; a file system that cannot
        log.debug("%s: %s", state / NAME, error)
        spend(state)
    finally:
        os.close(fd)


def spend(state: Path) -> bool:
    """Give it up; whether there was any."""
    try:
        (state / NAME).unlink()
    except OSError:  # none; or a card that became read-only, which needs no room
        return False
    return True
