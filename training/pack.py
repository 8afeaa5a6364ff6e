"""The bundle: manifest, golden answers and report around the chosen file, signed with the laptop's key."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from fnmatch import fnmatchcase
from pathlib import Path
from typing import TYPE_CHECKING

import cv2
import numpy as np
from numpy.typing import NDArray
from pydantic import JsonValue

from edge import keys
from edge.bundle import Bundle, Golden, write
from edge.config import LabelsConfig
from edge.errors import StateError
from edge.evidence import Kinds
from edge.manifest import Calibration, DataFacts, Manifest
from edge.self_test import render_crops, run_apart
from edge.values import Image, Kind
from training.dataset import Picture, load
from training.recipe import Recipe

if TYPE_CHECKING:  # it brings TensorFlow, which keys and `pack` do not need
    from training.convert import Converted

_SIDE = 256  # of golden pictures: enough to know an animal by, and small in a file
TAUGHT = "pictures.sha256"
"""The part of a bundle's report that names, by the hashes of their files, the pictures that taught it."""


def seen(bundle: Bundle, hashes: Sequence[str]) -> NDArray[np.bool_]:
    """Which of these pictures taught the bundle's model, bool[n]: of them its figures say nothing."""
    taught = set(bundle.report.get(TAUGHT, b"").decode().split())
    return np.array([digest in taught for digest in hashes], bool)


def laptop_key(path: Path | None = None) -> keys.SigningKey:
    """The key bundles are signed with; made at the first call. Raises `Refused` for a file that is no key."""
    path = path or keys.own_path()
    key_folder(path)
    return keys.load_or_generate(path, "laptop")


def key_folder(path: Path) -> None:
    """Make the folder of a key where there is none, for its owner only. Raises `StateError`."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    except OSError as error:
        raise StateError.of(
            error, f"{path.parent}: a key cannot be kept there: {error.strerror}; name another file"
        ) from None


def suggested_kinds(labels: Sequence[str], globs: LabelsConfig) -> LabelsConfig:
    """The recipe's globs, as far as they fit a label there is."""

    def fitting(patterns: Sequence[str]) -> list[str]:
        return [glob for glob in patterns if any(fnmatchcase(label, glob) for label in labels)]

    return LabelsConfig(threat=fitting(globs.threat), resident=fitting(globs.resident), person=fitting(globs.person))


def manifest(
    recipe: Recipe,
    labels: Sequence[str],
    converted: Converted,
    pictures: Sequence[Picture],
    hashes: Mapping[str, str],
    evaluation: dict[str, JsonValue] | None = None,
    evidence: Mapping[str, float] | None = None,
) -> Manifest:
    """What the bundle says of the model. `pictures` are those it was trained on."""
    now = datetime.now(UTC)
    counts = Counter(picture.label for picture in pictures)
    return Manifest(
        name=recipe.name,
        version=f"{now:%Y%m%d.%H%M%S}",
        serial=int(now.timestamp()),
        created=f"{now:%Y-%m-%dT%H:%M:%SZ}",
        origin="trained",
        labels=tuple(labels),
        input=converted.spec,
        outputs=converted.outputs,
        calibration=Calibration(temperature=converted.temperature),
        evaluation=evaluation,
        suggested_kinds=suggested_kinds(labels, recipe.labels),
        suggested_evidence=dict(evidence or {}),
        recipe=recipe.model_dump_json(),
        data=DataFacts(hashes=dict(hashes), counts={label: counts[label] for label in labels}),
        converter=converted.converter,
    )


def pack(
    out: Path,
    made: Manifest,
    model: bytes,
    held_out: Sequence[Picture],
    key: keys.SigningKey,
    report: Mapping[str, bytes],
) -> Bundle:
    """Write and return the bundle. Its golden pictures are rendered, and one of each label the owner held out.

    None of them shows a person: a bundle goes round. Raises `BundleError`, also where the model cannot be run.
    """
    kinds = Kinds(made.labels, made.suggested_kinds)
    of_kind = dict(zip(kinds.labels, kinds.of_label, strict=True))
    firsts: dict[str, Picture] = {}
    for picture in held_out:
        if of_kind.get(picture.label) is not Kind.PERSON:
            firsts.setdefault(picture.label, picture)
    crops = (*(_small(load(picture)) for picture in firsts.values()), *render_crops())
    expected: NDArray[np.float32] = run_apart(model, made, crops).p
    return write(out / made.file_name, made, model, Golden(crops, expected), key, report)


def repack(bundle: Bundle, recipe: Recipe, out: Path, key: keys.SigningKey) -> Bundle:
    """The same model under the recipe's kinds, as a new version. Raises `BundleError`, `StateError`."""
    now = datetime.now(UTC)
    made = bundle.manifest.model_copy(
        update={
            "version": f"{now:%Y%m%d.%H%M%S}",
            "serial": int(now.timestamp()),
            "created": f"{now:%Y-%m-%dT%H:%M:%SZ}",
            "suggested_kinds": suggested_kinds(bundle.labels, recipe.labels),
            "suggested_evidence": {
                "cost_false": recipe.evidence.cost_false,
                "cost_miss": recipe.evidence.cost_miss,
            },
        }
    )
    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise StateError.of(error, f"{out}: cannot be used: {error.strerror}") from None
    return write(out / made.file_name, made, bundle.model, bundle.golden, key, bundle.report)


def _small(image: Image) -> Image:
    scale = min(_SIDE / max(image.shape[:2]), 1.0)
    size = max(round(image.shape[1] * scale), 1), max(round(image.shape[0] * scale), 1)
    return np.ascontiguousarray(cv2.resize(image, size, interpolation=cv2.INTER_AREA))
