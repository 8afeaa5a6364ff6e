"""A folder as one zip file, to carry away."""

from __future__ import annotations

import os
import zipfile
from collections.abc import Callable
from pathlib import Path

SUFFIX = ".zip"
_SMALL_ALREADY = (".jpg", ".png")  # squeezing these only costs time


def pack(folder: Path, file: Path, progress: Callable[[str, int, int], None] = lambda *_: None) -> None:
    """Move all files of a folder into a new zip file, under the folder's name, and have the card keep it.

    One after the other, so that the disk need not hold all of it twice. Raises `OSError`.
    """
    paths = sorted(path for path in folder.rglob("*") if path.is_file())
    with file.open("xb") as raw:
        # A machine without a clock begins in 1970, a zip file's dates in 1980.
        with zipfile.ZipFile(raw, "w", strict_timestamps=False) as archive:
            for done, path in enumerate(paths, 1):
                squeeze = zipfile.ZIP_STORED if path.suffix in _SMALL_ALREADY else zipfile.ZIP_DEFLATED
                archive.write(path, path.relative_to(folder.parent), squeeze)
                path.unlink()
                raw.flush()
                os.fsync(raw.fileno())
                if not done % 50 or done == len(paths):
                    progress("packing", done, len(paths))
        raw.flush()
        os.fsync(raw.fileno())
