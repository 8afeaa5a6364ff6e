"""Networks trained on ImageNet, cut where wanted, as trunks for a head of our own."""

from __future__ import annotations

import hashlib
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import keras

from edge.errors import Refused
from edge.preprocess import InputSpec
from training.recipe import BackboneRecipe

_HALF = (127.5, 127.5, 127.5)  # pixels 0..255 become -1..1, as all of these were trained


@dataclass(frozen=True, slots=True)
class Kind:
    """A family of networks. `cuts`: layers after which it is usually cut, from its end inwards."""

    make: Callable[..., keras.Model]
    size: int
    cuts: tuple[str, ...]
    options: Callable[[BackboneRecipe], dict[str, Any]] = lambda recipe: {}


def _mobilenet(recipe: BackboneRecipe) -> dict[str, Any]:
    return {"alpha": recipe.width}


KINDS = {
    "inception_v3": Kind(keras.applications.InceptionV3, 299, ("mixed10", "mixed9", "mixed8", "mixed7")),
    "mobilenet_v2": Kind(keras.applications.MobileNetV2, 224, ("out_relu",), _mobilenet),
    "mobilenet_v3": Kind(
        keras.applications.MobileNetV3Large,
        224,
        (),
        # Its scaling is ours to do: the one preprocessing is the appliance's.
        lambda recipe: {"alpha": recipe.width, "include_preprocessing": False},
    ),
}


@dataclass(frozen=True, slots=True)
class Backbone:
    """`trunk`: float32[n, side, side, 3] in -1..1 to its last maps; never trains its batch normalisation.

    `identity` names weights, cut and size: features made by equal ones are equal.
    """

    trunk: keras.Model
    side: int
    identity: str

    def spec(self) -> InputSpec:
        """What it is shown while training: the same pixels as the converted model."""
        return InputSpec(shape=(1, self.side, self.side, 3), dtype="float32", mean=_HALF, std=_HALF)


def build(recipe: BackboneRecipe, weights: Path | None) -> Backbone:
    """Make the network and fill it: from `weights`, else by Keras' own download.

    A file of weights for the network up to a cut is taken as well as one for all of it without its head. Raises
    `Refused` for a layer that is not there, weights of another network, and where there are none to be had.
    """
    kind = KINDS[recipe.kind]
    side = recipe.size or kind.size
    options = {"include_top": False, "input_shape": (side, side, 3), **kind.options(recipe)}
    whole = kind.make(weights=None, **options) if weights else _download(kind, options, recipe)
    trunk = _cut(whole, recipe)
    if weights:
        _fill(whole, trunk, kind, weights)
    trunk.trainable = False
    source = _digest(weights) if weights else "imagenet"
    return Backbone(trunk, side, f"{recipe.kind}-{recipe.width:g}-{trunk.layers[-1].name}-{side}-{source}")


def _cut(whole: keras.Model, recipe: BackboneRecipe) -> keras.Model:
    cut = recipe.cut or whole.layers[-1].name
    if cut not in [layer.name for layer in whole.layers]:
        usual = ", ".join(KINDS[recipe.kind].cuts) or whole.layers[-1].name
        raise Refused(f"backbone.cut: {recipe.kind} has no layer {cut!r}; usual ones are {usual}")
    return keras.Model(whole.input, whole.get_layer(cut).output, name=recipe.kind)


def _fill(whole: keras.Model, trunk: keras.Model, kind: Kind, weights: Path) -> None:
    """Weights for exactly what is used, or for more of the same network: to another usual cut, or to its end."""
    if not weights.is_file():
        raise Refused(f"{weights}: no file of weights there; give one made by Keras (.weights.h5)")
    why = ""
    for end in dict.fromkeys((trunk.layers[-1].name, whole.layers[-1].name, *kind.cuts)):
        model = keras.Model(whole.input, whole.get_layer(end).output)
        if trunk.layers[-1] not in model.layers:
            continue
        try:
            with warnings.catch_warnings(action="ignore", category=UserWarning):  # of each layer that is not there
                model.load_weights(weights)
        except (ValueError, OSError, KeyError) as error:
            why = why or (str(error).strip().splitlines() or ["no reason given"])[0]
        else:
            return
    raise Refused(f"{weights}: not the weights of {trunk.name} up to {trunk.layers[-1].name}: {why[:200]}")


def _download(kind: Kind, options: dict[str, Any], recipe: BackboneRecipe) -> keras.Model:
    try:
        return kind.make(weights="imagenet", **options)
    except Exception as error:  # noqa: BLE001 - Keras raises plain exceptions where the network fails
        why = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise Refused(
            f"the ImageNet weights of {recipe.kind} cannot be downloaded: {why[:250]}; get that file elsewhere, and "
            "give it as --weights FILE"
        ) from None


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()[:16]
