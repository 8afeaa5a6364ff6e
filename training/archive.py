"""Pictures to be scored again: whatever a folder, a state directory or a table of pictures holds."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime
from pathlib import Path

from edge.books import is_inside
from edge.database import EVENTS, reader
from edge.errors import Refused
from edge.frames.folder import PICTURES, natural
from edge.retention import FOLDER
from training.dataset import Picture, Progress, read

_CROPS = """SELECT picture.id, picture.path, picture.visit_id, picture.camera, picture.wall
    FROM picture LEFT JOIN visit ON visit.id = picture.visit_id WHERE picture.kind = 'crop' ORDER BY picture.id"""


def pictures(archive: Path, progress: Progress = lambda *_: None) -> list[Picture]:
    """The pictures of an archive, in an order that stays. Raises `Refused` where there is none.

    Of an appliance's state directory (or its `pictures`) the crops, since those are what its models are shown; their
    group is the visit. A folder with `labels.csv`, a CSV or a COCO JSON as `dataset.read` reads them; of any other
    folder every picture in it, however deep, without a label.
    """
    state = archive.parent if archive.name == FOLDER else archive
    if (state / EVENTS).is_file():
        found = list(_crops(state))
    elif archive.is_dir() and not (archive / "labels.csv").is_file():
        found = [Picture(path, "", "") for path in _tree(archive)]
    else:
        found = list(read(archive, progress).pictures)
    if not found:
        raise Refused(
            f"{archive}: no picture there; give a folder of pictures, a state directory, a CSV or a COCO JSON"
        )
    return found


def _crops(state: Path) -> Iterator[Picture]:
    with reader(state / EVENTS) as journal:
        for row in journal.execute(_CROPS):
            path = state / FOLDER / row["path"]
            if is_inside(row["path"]) and path.is_file():  # else it has been tidied away since
                wall = datetime.fromisoformat(row["wall"]) if row["wall"] else None
                yield Picture(path, "", row["visit_id"] or "", camera=row["camera"] or "", wall=wall)


def _tree(folder: Path) -> list[Path]:
    try:
        found = [path for path in folder.rglob("*") if path.suffix.lower() in PICTURES and path.is_file()]
    except OSError as error:
        raise Refused(f"{folder}: {error.strerror}") from None
    return sorted(found, key=lambda path: (str(path.parent), natural(path)))
