"""COCO Camera Traps: one JSON of images, annotations and categories, as the big collections of such pictures use."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from edge.errors import Refused
from edge.values import Box
from training.formats import Row
from training.formats.table import moment

_SHAPE = "it needs images (id, file_name), annotations (image_id, category_id) and categories (id, name)"


def read(file: Path) -> Iterator[Row]:
    """Each annotation is a row: with its box where it has one and the size of the picture is said. Raises `Refused`."""
    try:
        content = json.loads(file.read_text("utf-8"))
        names = {category["id"]: str(category["name"]) for category in content["categories"]}
        images = {image["id"]: image for image in content["images"]}
        annotations = [(images[one["image_id"]], names[one["category_id"]], one) for one in content["annotations"]]
        missing = [name for image, _, _ in annotations if not (file.parent / (name := image["file_name"])).is_file()]
    except OSError as error:
        raise Refused(f"{file}: {error.strerror}; give a COCO Camera Traps JSON") from None
    except (ValueError, KeyError, TypeError) as error:
        raise Refused(f"{file}: not COCO Camera Traps ({type(error).__name__}: {error}); {_SHAPE}") from None
    if missing:
        more = f" (and {len(missing) - 1} more)" if len(missing) > 1 else ""
        raise Refused(f"{file}: no file {missing[0]!r}{more}; paths are relative to {file.parent}")
    whole: set[tuple[str, str]] = set()
    for number, (image, label, one) in enumerate(annotations):
        box, camera = _box(one, image), str(image.get("location", ""))
        if box is None and (image["file_name"], label) in whole:
            continue  # two of a kind on one picture
        if box is None:
            whole.add((image["file_name"], label))
        yield Row(
            file.parent / image["file_name"],
            label,
            f"{file.name} annotation {number}",
            group=str(image.get("seq_id") or ""),
            source=camera,
            camera=camera,
            wall=moment(str(image.get("datetime") or image.get("date_captured") or "")),
            box=box,
        )


def _box(annotation: Mapping[str, Any], image: Mapping[str, Any]) -> Box | None:
    """Pixels to fractions, as far as they lie in the picture; None where there is no box, or none of it does."""
    try:
        x, y, w, h = (float(number) for number in annotation["bbox"])
        width, height = float(image["width"]), float(image["height"])
        left, top = max(x / width, 0.0), max(y / height, 0.0)
        right, bottom = min((x + w) / width, 1.0), min((y + h) / height, 1.0)
        return Box(left, top, right - left, bottom - top) if right > left and bottom > top else None
    except (KeyError, TypeError, ValueError, ZeroDivisionError):
        return None
