"""Turns any TFLite classifier and its label file into a bundle signed by this device."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from fnmatch import fnmatchcase
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from pydantic import ValidationError

from edge import tflite_file
from edge.bundle import Bundle, Golden, write
from edge.clock import iso
from edge.config import LabelsConfig
from edge.errors import BundleError
from edge.keys import SigningKey
from edge.labels import parse
from edge.manifest import Calibration, Manifest, Output, Outputs
from edge.preprocess import Channels, CropSpec, InputSpec
from edge.runtimes.tflite import probabilities
from edge.self_test import render_crops, run_apart
from edge.tflite_file import ModelFile, Tensor

_LARGEST = 200_000_000
_NORMALISATIONS = (
    "--mean 127.5 --std 127.5 (Teachable Machine, Keras MobileNet and Inception), "
    "--mean 0 --std 255 (0 to 1), --mean 0 --std 1 (pixels as they are: Keras EfficientNet)"
)
_SUGGESTIONS = LabelsConfig(
    threat=[
        *("Corvus *", "* (*Jay)", "Pica *", "*[Cc]row", "*[Rr]aven", "*[Mm]agpie", "jay", "Jay", "* [Jj]ay"),
        *(
            "*[Ff]ox",
            "*[Ff]ox[, ]*",
            "*[Rr]accoon*",
            "*[Ww]easel*",
            "*[Pp]olecat*",
            "mink",
            "Mink",
            "*[Mm]arten*",
            "*[Ss]toat*",
        ),
    ],
    resident=["Gallus gallus domesticus*", "[Hh]en", "[Hh]ens", "[Cc]hicken", "[Cc]hickens", "[Rr]ooster", "[Cc]ock"],
    person=["[Pp]erson", "[Pp]eople", "[Hh]uman", "[Mm]an", "[Ww]oman", "[Cc]hild"],
)


@dataclass(frozen=True, slots=True)
class Overrides:
    """What the owner says instead of, or in addition to, the file. None: as the file says.

    `mean` and `std` are in units of pixels (0..255): the model is shown (pixel - mean) / std.
    """

    mean: float | Channels | None = None
    std: float | Channels | None = None
    color: str | None = None
    resize: str | None = None
    margin: float | None = None
    temperature: float | None = None
    version: str | None = None
    kinds: LabelsConfig | None = None


def import_tflite(
    tflite_path: Path,
    labels_path: Path | None,
    *,
    key: SigningKey,
    out: Path,
    name: str | None = None,
    overrides: Overrides = Overrides(),
    now: datetime | None = None,
) -> tuple[Path, Bundle]:
    """Write a bundle to the file `out`, or into the folder `out`, and return where and what.

    Labels come from `labels_path`, or from the model file where it carries them. The model is tried once, in a
    process of its own. Raises `BundleError`, and then nothing has been written.
    """
    data = _bytes(tflite_path, "model")
    file = tflite_file.read(data, str(tflite_path))
    tensor = _one_picture(file, str(tflite_path))
    labels = _labels(file, labels_path, tflite_path)
    outputs = _outputs(file, len(labels), str(tflite_path), labels)
    created = now or datetime.now(UTC)
    try:
        draft = Manifest(
            name=name if name is not None else _slug(tflite_path.stem),
            version=overrides.version or f"{created:%Y%m%dT%H%M%S}",
            serial=int(created.timestamp()),
            created=iso(created),
            origin="imported",
            labels=labels,
            input=_input(tensor, file, overrides, str(tflite_path)),
            outputs=outputs,
            calibration=Calibration(temperature=overrides.temperature or 1.0),
            suggested_kinds=overrides.kinds or suggest_kinds(labels),
            converter="gander bundle import",
        )
    except ValidationError as error:
        first = error.errors()[0]
        what = ".".join(str(part) for part in first["loc"]) or "manifest"
        raise BundleError(f"{tflite_path}: {what}: {first['msg'].removeprefix('Value error, ')}") from None
    crops = render_crops()
    try:
        trial = run_apart(data, draft, crops)
    except BundleError as error:
        raise BundleError(f"{tflite_path}: {error}") from None
    draft = _scores_settled(draft, trial.scores, file)
    logits = draft.outputs.logits is not None
    expected = np.stack([probabilities(s, logits, draft.calibration.temperature) for s in trial.scores])
    path = out / draft.file_name if out.is_dir() else out
    return path, write(path, draft, data, Golden(crops, expected), key)


def suggest_kinds(labels: Sequence[str]) -> LabelsConfig:
    """Globs for well-known names among the labels; only a suggestion, the owner's `[labels]` replaces it."""

    def known(globs: list[str]) -> list[str]:
        return [glob for glob in globs if any(fnmatchcase(label, glob) for label in labels)]

    return LabelsConfig(
        threat=known(_SUGGESTIONS.threat), resident=known(_SUGGESTIONS.resident), person=known(_SUGGESTIONS.person)
    )


def _bytes(path: Path, what: str) -> bytes:
    try:
        with path.open("rb") as file:
            data = file.read(_LARGEST + 1)
    except OSError as error:
        raise BundleError(f"{path}: the {what} cannot be read: {error.strerror}") from None
    if len(data) > _LARGEST:
        raise BundleError(f"{path}: too large for a {what}: at most {_LARGEST} bytes")
    return data


def _slug(stem: str) -> str:
    return re.sub(r"[^a-z0-9._-]+", "-", stem.lower()).strip("-._")[:64] or "model"


def _one_picture(file: ModelFile, where: str) -> Tensor:
    """The one input, which must be one RGB picture."""
    if any("edgetpu" in step for step in file.custom_steps):
        raise BundleError(f"{where}: compiled for the Edge TPU; give the file without _edgetpu in its name")
    if len(file.inputs) != 1:
        raise BundleError(f"{where}: has {len(file.inputs)} inputs; a classifier of pictures has one")
    tensor = file.inputs[0]
    shape = list(tensor.shape)
    if len(shape) == 4 and shape[1] == 3 and shape[3] != 3:
        raise BundleError(f"{where}: its input is {shape}, colours first; export it with colours last, [1, H, W, 3]")
    if len(shape) != 4 or shape[0] != 1 or shape[3] != 3:
        raise BundleError(f"{where}: its input is {shape}; a classifier of colour pictures has [1, height, width, 3]")
    if tensor.dtype not in ("float32", "uint8", "int8"):
        raise BundleError(f"{where}: its input is {tensor.dtype}; float32, uint8 and int8 are known")
    return tensor


def _input(tensor: Tensor, file: ModelFile, overrides: Overrides, where: str) -> InputSpec:
    """The input contract. Only the normalisation of float inputs cannot be told from every file."""
    mean = overrides.mean if overrides.mean is not None else file.mean
    std = overrides.std if overrides.std is not None else file.std
    quantised = tensor.dtype != "float32"
    scale, zero_point = (tensor.scale or 1.0, tensor.zero_point) if quantised else (1.0, 0)
    if quantised and overrides.mean is None and overrides.std is None:
        # By TFLite's rule a quantised input takes the pixels as they are (int8: less 128), whatever was trained on;
        # so the normalisation is what makes its scale and zero point come out at that.
        mean, std = float(zero_point + (128 if tensor.dtype == "int8" else 0)), 1.0 / scale
    if mean == () or std == ():
        missing = " and ".join(f"--{name}" for name, value in (("mean", mean), ("std", std)) if value == ())
        raise BundleError(f"{where}: does not say how pixels are scaled: give {missing}; usual: {_NORMALISATIONS}")
    crop = CropSpec() if overrides.margin is None else CropSpec(margin=overrides.margin)
    return InputSpec.model_validate(
        {
            "shape": tensor.shape,
            "dtype": tensor.dtype,
            "scale": scale,
            "zero_point": zero_point,
            "mean": _channels(mean, "mean", where),
            "std": _channels(std, "std", where),
            "color": overrides.color or "rgb",
            "resize": overrides.resize or "area",
            "crop": crop,
        }
    )


def _channels(value: float | Sequence[float], what: str, where: str) -> Channels:
    values = (value,) if isinstance(value, int | float) else tuple(value)
    if len(values) not in (1, 3):
        raise BundleError(f"{where}: {what} has {len(values)} numbers; one, or one for each of red, green and blue")
    return (float(values[0]), float(values[len(values) // 2]), float(values[-1]))


def _labels(file: ModelFile, labels_path: Path | None, tflite_path: Path) -> tuple[str, ...]:
    if labels_path is not None:
        return parse(_bytes(labels_path, "label file"), str(labels_path))
    if file.label_file is None:
        raise BundleError(f"{tflite_path}: carries no labels: give its label file with --labels")
    return parse(file.label_file, f"{tflite_path}: the label file in it")


def _outputs(file: ModelFile, labels: int, where: str, names: Sequence[str]) -> Outputs:
    """Which output holds the scores, as logits until the model has been tried; another may be an embedding."""
    shapes = [list(tensor.shape) for tensor in file.outputs]
    flat = [i for i, t in enumerate(file.outputs) if t.shape and np.prod(t.shape) == t.shape[-1] >= 2]
    if len(flat) < len(shapes) or not 1 <= len(shapes) <= 2:
        kind = "looks like a detector" if len(shapes) >= 3 else "is not a classifier"
        raise BundleError(f"{where}: {kind}: its outputs are {shapes}; a classifier gives [1, number of labels]")
    fitting = [i for i in flat if file.outputs[i].shape[-1] == labels]
    if len(fitting) == 2:  # then the embedding has as many numbers as there are labels
        fitting = [i for i in fitting if file.last_steps[i] == "SOFTMAX"]
    if len(fitting) != 1:
        wanted = " or ".join(str(shape[-1]) for shape in shapes)
        raise BundleError(f"{where}: gives {wanted} scores, but there are {labels} labels{_hint(shapes, names)}")
    index = fitting[0]
    if file.last_steps[index] == "LOGISTIC":
        raise BundleError(
            f"{where}: ends in a sigmoid, one question for each label; Gander wants one answer of many (softmax)"
        )
    for tensor in (file.outputs[i] for i in flat):
        if tensor.dtype not in ("float32", "uint8", "int8") or (tensor.dtype != "float32" and not tensor.scale):
            raise BundleError(f"{where}: its output is bare {tensor.dtype}; float32, or uint8 and int8 with a scale")
    found = [Output(name=t.name, index=i, shape=t.shape) for i, t in enumerate(file.outputs)]
    return Outputs(logits=found[index], embedding=found[1 - index] if len(found) == 2 else None)


def _hint(shapes: list[list[int]], labels: Sequence[str]) -> str:
    scores = [shape[-1] for shape in shapes]
    if len(labels) + 1 in scores:
        return "; is a row `background` missing, the first in most label files, the last in some?"
    if len(labels) - 1 in scores and {labels[0].lower(), labels[-1].lower()} & {"background", "none"}:
        return "; this model has no background: delete that row of the label file"
    return ""


def _scores_settled(draft: Manifest, scores: NDArray[np.float32], file: ModelFile) -> Manifest:
    """Probabilities or logits: by a softmax at the end, else by whether every answer to the trial adds up to 1."""
    index = draft.outputs.scores.index
    rounding = file.outputs[index].scale / 2.0 * len(draft.labels)
    adds_up = bool((scores >= -0.01).all() and (np.abs(scores.sum(axis=1) - 1.0) <= 0.02 + rounding).all())
    if file.last_steps[index] != "SOFTMAX" and not adds_up:
        return draft
    outputs = Outputs(probabilities=draft.outputs.logits, embedding=draft.outputs.embedding)
    return draft.model_copy(update={"outputs": outputs})
