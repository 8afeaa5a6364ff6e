"""From a picture and a box to the tensor a model wants: the one implementation, on the Pi and in training alike."""

from __future__ import annotations

from typing import Annotated, Any, Literal

import cv2
import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field, model_validator

from edge.values import Box, Image

MARGIN = 0.2
"""Share of a box's longer side that is added on each side of it, unless the model says otherwise."""
_LEAST_SIDE = 32
"""Pixels; a smaller square holds no picture to recognise, only the blur of enlarging it."""

Finite = Annotated[float, Field(allow_inf_nan=False)]
Channels = tuple[Finite, Finite, Finite]
Pixels = Annotated[int, Field(ge=8, le=2048)]


class Spec(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class CropSpec(Spec):
    """How the picture is cut for the model: a square with this margin on each side of the box."""

    margin: float = Field(default=MARGIN, ge=0.0, le=2.0, allow_inf_nan=False)


class InputSpec(Spec):
    """What a model wants to be shown.

    A pixel 0..255 becomes (pixel - mean) / std, per channel; a quantised input then holds that / scale + zero_point,
    rounded and clipped. float32: scale 1, zero_point 0.
    """

    shape: tuple[Literal[1], Pixels, Pixels, Literal[3]]
    dtype: Literal["float32", "uint8", "int8"]
    scale: float = Field(default=1.0, gt=0.0, allow_inf_nan=False)
    zero_point: int = Field(default=0, ge=-128, le=255)
    mean: Channels
    std: Channels
    color: Literal["rgb", "bgr"] = "rgb"
    resize: Literal["area", "bilinear"] = "area"
    crop: CropSpec = CropSpec()

    @model_validator(mode="after")
    def _possible(self) -> InputSpec:
        if not all(1e-6 <= abs(std) <= 1e6 for std in self.std):
            raise ValueError("std: each must be between 0.000001 and 1000000")
        if self.dtype == "float32" and (self.scale, self.zero_point) != (1.0, 0):
            raise ValueError("a float32 input has scale 1 and zero_point 0")
        return self


def crop_box(image: Image, box: Box, margin: float = MARGIN) -> Box:
    """The rectangle that `square_crop` cuts, in fractions of the picture."""
    height, width = image.shape[:2]
    left, top, w, h = _window(width, height, box, margin)
    return Box(left / width, top / height, w / width, h / height)


def square_crop(image: Image, box: Box, margin: float = MARGIN) -> Image:
    """Cut the square around `box` with `margin` from uint8[H, W, 3]; a view, never a copy.

    At the border the square is moved inward. One that is larger than the picture first gives up its margin, then its
    squareness (`prepare` stretches it), but never a part of the visitor. Of 94 jays in pictures cut to 16:9 the bird
    model finds 82 so, 74 between black bars, 70 in the middle square; mirrored edges give 86, but cost a copy.
    """
    height, width = image.shape[:2]
    left, top, w, h = _window(width, height, box, margin)
    return image[top : top + h, left : left + w]


def _window(width: int, height: int, box: Box, margin: float) -> tuple[int, int, int, int]:
    """Left, top, width, height in pixels: inside the picture and at least one pixel large."""
    box_w, box_h = box.w * width, box.h * height
    side = max(max(box_w, box_h) * (1.0 + 2.0 * margin), _LEAST_SIDE)
    fitting = min(side, width, height)
    w = min(max(round(max(fitting, box_w)), 1), width)
    h = min(max(round(max(fitting, box_h)), 1), height)
    centre_x, centre_y = box.centre
    left = min(max(round(centre_x * width - w / 2), 0), width - w)
    top = min(max(round(centre_y * height - h / 2), 0), height - h)
    return left, top, w, h


def prepare(crop: Image, spec: InputSpec, out: NDArray[np.generic] | None = None) -> NDArray[np.generic]:
    """Resize uint8[h, w, 3] RGB to the model's input, whatever the crop's proportions, and bring it to its dtype.

    Returns [1, H, W, 3] in `spec.dtype`; written into `out` where that is given (same shape and dtype, contiguous).
    Pixels stay uint8 until the last pass, which looks up what each of the 256 values becomes.
    """
    tensor: NDArray[Any] = np.empty(spec.shape, spec.dtype) if out is None else out
    quantised = spec.dtype != "float32"
    pixels = tensor[0].view(np.uint8) if quantised else np.empty(spec.shape[1:], np.uint8)
    _resize(crop, pixels, spec.resize)
    if spec.color == "bgr":
        cv2.cvtColor(pixels, cv2.COLOR_RGB2BGR, dst=pixels)
    table = _table(spec)
    if quantised:
        table = table.view(np.uint8)
        if table.ndim == 1 and np.array_equal(table, _IDENTITY):
            return tensor
        cv2.LUT(pixels, table, dst=pixels)
    else:
        cv2.LUT(pixels, table, dst=tensor[0])
    return tensor


_IDENTITY = np.arange(256, dtype=np.uint8)


def _resize(crop: Image, pixels: NDArray[np.uint8], method: str) -> None:
    """Shrinking averages over areas, so that fine structure does not turn into noise; enlarging interpolates."""
    height, width = pixels.shape[:2]
    shrinks = crop.shape[0] >= height and crop.shape[1] >= width
    how = cv2.INTER_AREA if method == "area" and shrinks else cv2.INTER_LINEAR
    cv2.resize(crop, (width, height), dst=pixels, interpolation=how)


def _table(spec: InputSpec) -> NDArray[Any]:
    """What each pixel value becomes: [256] in the model's dtype, or [1, 256, 3] where the channels differ."""
    same = len(set(spec.mean)) == len(set(spec.std)) == 1
    mean, std = (spec.mean[0], spec.std[0]) if same else (np.array(spec.mean), np.array(spec.std))
    values = np.arange(256.0) if same else np.arange(256.0)[None, :, None]
    real = np.asarray((values - mean) / std)
    if spec.dtype == "float32":
        return real.astype(np.float32)
    bounds = np.iinfo(spec.dtype)
    return np.clip(np.rint(real / spec.scale + spec.zero_point), bounds.min, bounds.max).astype(spec.dtype)
