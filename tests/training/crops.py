"""Rendered crops as picture files, for whoever needs an archive the starter bundle can be tried on."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np

from edge.preprocess import InputSpec
from training.dataset import Picture
from training.rendered import LABELS, Take, cut


def render(folder: Path, spec: InputSpec, seconds: float = 30.0) -> list[Picture]:
    """Write crops of a rendered scene below `folder`, each label in a folder of its own."""
    crops = cut(Take("day", 5, seconds, fps=2.0), spec)
    pictures = []
    for number, (crop, place) in enumerate(zip(crops.pictures, crops.labels, strict=True)):
        label = LABELS[place]
        path = folder / label / f"{number:03d}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        assert cv2.imwrite(str(path), cv2.cvtColor(np.ascontiguousarray(crop), cv2.COLOR_RGB2BGR))
        pictures.append(Picture(path, label, f"{label}-{number // 3}", "rendered"))
    return pictures
