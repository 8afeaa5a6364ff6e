"""A folder per class, as retrain.py of 2017 wanted it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from edge.errors import Refused
from edge.frames.folder import PICTURES, natural
from training.formats import Row


def read(folder: Path) -> Iterator[Row]:
    """The first level names the class; whatever lies below it shows that. Hidden files are passed over.

    Other files are rows too: what is no picture is found out, and said, by whoever opens them. Raises `Refused`.
    """
    try:
        classes = sorted(path for path in folder.iterdir() if path.is_dir() and not path.name.startswith("."))
    except OSError as error:
        raise Refused(f"{folder}: {error.strerror}; give a folder per class that may be read") from None
    if not classes:
        raise Refused(f"{folder}: neither labels.csv nor folders in it; give a folder per class, or a table")
    for named in classes:
        found = sorted((path for path in named.rglob("*") if _shown(path, named)), key=natural)
        if not any(path.suffix.lower() in PICTURES for path in found):
            raise Refused(f"{named}: no picture in this class; put some there, or remove the folder")
        for path in found:
            below = path.parent.relative_to(named).as_posix()
            yield Row(path, named.name, str(named), sublabel="" if below == "." else below)


def _shown(path: Path, folder: Path) -> bool:
    return path.is_file() and not any(part.startswith(".") for part in path.relative_to(folder).parts)
