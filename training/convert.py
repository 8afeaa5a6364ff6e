"""From Keras to TFLite files, each compared with what it came from, and the choice between them."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import dataclass, replace
from importlib.metadata import version

import keras
import numpy as np
import tensorflow as tf
from numpy.typing import NDArray
from tensorflow.python.framework.convert_to_constants import convert_variables_to_constants_v2

from edge import tflite_file
from edge.manifest import Output, Outputs
from edge.preprocess import InputSpec
from edge.runtimes.tflite import quietly
from training.backbones import Backbone
from training.head import Head
from training.recipe import Variant

# The newest version of each operator that tflite-runtime 2.14 knows, of those these networks are made of: add,
# average pool, concatenation, convolution, depthwise, dequantize, fully connected, max pool, mul, reshape, mean, pad,
# relu6, hard swish, quantize.
_OLD_RUNTIME = {0: 4, 1: 2, 2: 3, 3: 6, 4: 6, 6: 5, 9: 11, 17: 2, 18: 5, 22: 1, 40: 2, 34: 2, 21: 2, 117: 1, 114: 2}
TITLES: dict[Variant, str] = {"float": "float32", "dynamic": "dynamic-range int8", "int8": "full int8"}


@dataclass(frozen=True, slots=True)
class Network:
    """Backbone and head as one: float32[n, side, side, 3] to logits float32[n, K] and embedding float32[n, D]."""

    model: keras.Model
    backbone: Backbone

    def logits(self, tensors: NDArray[np.generic]) -> NDArray[np.float32]:
        """What it says to float32[n, side, side, 3]: float32[n, K]."""
        return np.asarray(self.model.predict(tensors, batch_size=32, verbose=0)[0], np.float32)


@dataclass(frozen=True, slots=True)
class Converted:
    """One file. `agreement`: on which share of the held-out pictures it names the same label as Keras.

    `invoke_ms` is the median of this machine. `old_runtime`: whether tflite-runtime 2.14 has what it needs.
    """

    variant: Variant
    data: bytes
    spec: InputSpec
    outputs: Outputs
    old_runtime: bool
    agreement: float = 0.0
    accuracy: float = 0.0
    accuracy_lost: float = 0.0
    invoke_ms: float = 0.0
    temperature: float = 1.0

    @property
    def title(self) -> str:
        return TITLES[self.variant]

    def shown(self, tensor: NDArray[np.float32]) -> NDArray[np.generic]:
        """Its input for what Keras is shown, float32[side, side, 3]."""
        if self.spec.dtype == "float32":
            return tensor[None]
        steps = np.rint(tensor / self.spec.scale + self.spec.zero_point)
        return np.asarray(np.clip(steps, 0, 255)[None], np.uint8)

    @property
    def cells(self) -> tuple[str, str, str, str]:
        """For tables: agreement, accuracy, what was lost, whether the old runtime loads it."""
        shares = (f"{share:.1%}" for share in (self.agreement, self.accuracy, max(self.accuracy_lost, 0.0)))
        return (*shares, "loads" if self.old_runtime else "does not load")  # type: ignore[return-value]

    @property
    def converter(self) -> str:
        return f"tensorflow {version('tensorflow')}, {self.title}"


def network(backbone: Backbone, head: Head) -> Network:
    """Put the head on the backbone; batch normalisation stays as it was trained."""
    given = keras.Input(backbone.trunk.input_shape[1:])
    embedding = keras.layers.GlobalAveragePooling2D()(backbone.trunk(given, training=False))
    dense = keras.layers.Dense(len(head.bias))
    logits = dense(embedding)
    dense.set_weights([head.weights, head.bias])
    return Network(keras.Model(given, [logits, embedding]), backbone)


def convert(whole: Network, variant: Variant, examples: Sequence[NDArray[np.generic]]) -> Converted:
    """One file; `examples` float32[1, side, side, 3] show `int8` which values occur between the layers."""
    side = whole.backbone.side
    call = tf.function(lambda x: whole.model(x, training=False), autograph=False)
    concrete = call.get_concrete_function(tf.TensorSpec((1, side, side, 3), tf.float32, name="picture"))
    # Keras 3 leaves its weights as variables, which the calibration cannot read.
    converter = tf.lite.TFLiteConverter.from_concrete_functions([convert_variables_to_constants_v2(concrete)])
    if variant != "float":
        converter.optimizations = [tf.lite.Optimize.DEFAULT]
    if variant == "int8":
        converter.representative_dataset = lambda: ([example] for example in examples)
        converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS_INT8]
        converter.inference_input_type = tf.uint8
    with quietly(), warnings.catch_warnings(action="ignore"):
        data = bytes(converter.convert())
    found = tflite_file.read(data, TITLES[variant])
    given = found.inputs[0]
    spec = whole.backbone.spec()
    if variant == "int8":
        wanted = {"dtype": given.dtype, "scale": given.scale, "zero_point": given.zero_point}
        spec = InputSpec.model_validate(spec.model_dump() | wanted)
    old = all(version <= _OLD_RUNTIME.get(step, 0) for step, version in found.steps)
    return Converted(variant, data, spec, _bound(whole, found), old)


def _bound(whole: Network, found: tflite_file.ModelFile) -> Outputs:
    """Which output is which: their order is not Keras', their shapes tell."""
    logits, embedding = (tuple(int(n) for n in output.shape[1:]) for output in whole.model.outputs)
    by_shape = {
        tensor.shape[1:]: Output(name=tensor.name, index=index, shape=tensor.shape)
        for index, tensor in enumerate(found.outputs)
    }
    assert logits != embedding, "there are far fewer labels than features"
    return Outputs(logits=by_shape[logits], embedding=by_shape[embedding])


def compared(
    converted: Converted, said: NDArray[np.float32], meant: NDArray[np.float32], right: NDArray[np.int64]
) -> Converted:
    """With its figures: what the file `said` and Keras `meant`, logits float32[n, K], to pictures labelled `right`."""
    own, theirs = said.argmax(1), meant.argmax(1)
    accuracy = float(np.mean(own == right))
    lost = float(np.mean(theirs == right)) - accuracy
    return replace(converted, agreement=float(np.mean(own == theirs)), accuracy=accuracy, accuracy_lost=lost)


def choose(converted: Sequence[Converted], most_lost: float) -> tuple[Converted, str]:
    """The fastest that keeps nearly all of the accuracy, and why; where none does, the most accurate."""
    fast = sorted(converted, key=lambda one: one.invoke_ms)
    good = [one for one in fast if one.accuracy_lost <= most_lost]
    if not good:
        best = max(fast, key=lambda one: one.accuracy)
        return best, f"{best.title}: each loses more than {most_lost:.1%} of accuracy, and this the least"
    chosen = good[0]
    faster = [one for one in fast if one.invoke_ms < chosen.invoke_ms]
    why = f"{chosen.title}: {chosen.invoke_ms:.1f} ms, and it loses {max(chosen.accuracy_lost, 0.0):.1%} of accuracy"
    if faster:
        lost = ", ".join(f"{one.title} ({one.invoke_ms:.1f} ms) loses {one.accuracy_lost:.1%}" for one in faster)
        return chosen, f"{why}; {lost}, more than the {most_lost:.1%} allowed"
    return chosen, f"{why}; no other is as fast"
