"""A small Inception: parallel looks of several widths at the same place, trained from nothing."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import cv2
import keras
import numpy as np
import tensorflow as tf
from numpy.typing import NDArray
from tensorflow.python.framework.convert_to_constants import convert_variables_to_constants_v2

Pictures = NDArray[np.uint8]
"""uint8[n, side, side, 3], RGB."""
Labels = NDArray[np.int64]
"""int64[n], which of the network's labels each picture shows."""

_BATCH = 64
_SMOOTHING = 0.02  # of the labels: a few rendered crops are wrongly named, and nothing is certain


def build(side: int, labels: int) -> keras.Model:
    """A network from float32[n, side, side, 3], pixels 0..255, to logits float32[n, labels]."""
    picture = keras.Input((side, side, 3))
    x = keras.layers.Rescaling(1 / 127.5, -1.0)(picture)
    x = _conv(x, 16, 3, strides=2)
    x = _conv(x, 24, 3, strides=2)
    x = _mixed(x, 16, 24, 12, 12)
    x = _reduced(x, 40)
    x = _mixed(x, 32, 48, 24, 24)
    x = _mixed(x, 32, 48, 24, 24)
    x = _reduced(x, 64)
    x = _mixed(x, 48, 80, 32, 32)
    # Pooled to 3x3 and not to 1x1: the visitor asked about is in the middle, a neighbour at the border is not meant.
    x = keras.layers.AveragePooling2D(2, padding="same")(x)
    x = keras.layers.Dropout(0.3)(keras.layers.Flatten()(x))
    return keras.Model(picture, keras.layers.Dense(labels)(x), name="inception")


def _conv(x: keras.KerasTensor, filters: int, size: int, strides: int = 1) -> keras.KerasTensor:
    x = keras.layers.Conv2D(filters, size, strides, "same", use_bias=False)(x)
    # Keras's own 0.99 would still remember the first batches at the end of so few.
    return keras.layers.ReLU()(keras.layers.BatchNormalization(momentum=0.95)(x))


def _mixed(x: keras.KerasTensor, one: int, three: int, five: int, pool: int) -> keras.KerasTensor:
    """The Inception block: 1x1, 3x3, 3x3 twice (a 5x5 for less), and a pool, side by side."""
    branches = (
        _conv(x, one, 1),
        _conv(_conv(x, three // 2, 1), three, 3),
        _conv(_conv(_conv(x, five // 2, 1), five, 3), five, 3),
        _conv(keras.layers.AveragePooling2D(3, 1, "same")(x), pool, 1),
    )
    return keras.layers.Concatenate()(branches)


def _reduced(x: keras.KerasTensor, filters: int) -> keras.KerasTensor:
    """Half the size, by a convolution and by a pool, side by side."""
    return keras.layers.Concatenate()([_conv(x, filters, 3, 2), keras.layers.MaxPooling2D(3, 2, "same")(x)])


def train(
    pictures: Pictures,
    labels: Labels,
    shares: Sequence[float],
    steps: int,
    seed: int,
    tick: Callable[[int, float], None],
) -> keras.Model:
    """A network trained on `pictures` in so many steps of 64, each label as often as its share of 1 says.

    `tick(step, loss)` hears of each step. The same input gives the same weights on the same machine with the same
    versions.
    """
    keras.utils.set_random_seed(seed)
    tf.config.experimental.enable_op_determinism()
    random = np.random.default_rng(seed)
    of_label = [np.flatnonzero(labels == label) for label in range(len(shares))]
    model = build(pictures.shape[1], len(shares))
    warm = steps // 10
    rate = keras.optimizers.schedules.CosineDecay(1e-4, max(steps - warm, 1), warmup_target=3e-3, warmup_steps=warm)
    optimizer = keras.optimizers.AdamW(rate, weight_decay=1e-3)
    model.compile(optimizer, keras.losses.CategoricalCrossentropy(from_logits=True, label_smoothing=_SMOOTHING))
    for step in range(steps):
        tick(step, float(model.train_on_batch(*_batch(pictures, of_label, shares, random))))
    return model


def _batch(
    pictures: Pictures, of_label: Sequence[Labels], shares: Sequence[float], random: np.random.Generator
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    wanted = random.choice(len(shares), size=_BATCH, p=shares)
    chosen = [int(random.choice(of_label[label])) for label in wanted]
    x = np.stack([augmented(pictures[index], random) for index in chosen])
    return x.astype(np.float32), np.eye(len(shares), dtype=np.float32)[wanted]


def augmented(picture: NDArray[np.uint8], random: np.random.Generator) -> NDArray[np.uint8]:
    """The picture uint8[h, w, 3] in another light, a little moved, perhaps mirrored, grey, blurred or noisy."""
    height, width = picture.shape[:2]
    move = cv2.getRotationMatrix2D((width / 2, height / 2), random.normal(0.0, 4.0), random.uniform(0.88, 1.15))
    move[:, 2] = move[:, 2] + random.uniform(-0.07, 0.07, 2) * (width, height)
    changed = cv2.warpAffine(picture, move, (width, height), borderMode=cv2.BORDER_REFLECT_101)
    if random.random() < 0.5:
        changed = cv2.flip(changed, 1)
    if random.random() < 0.15:
        changed = cv2.cvtColor(cv2.cvtColor(changed, cv2.COLOR_RGB2GRAY), cv2.COLOR_GRAY2RGB)
        warmth = np.ones(3)
    else:
        warmth = random.uniform(0.88, 1.12, 3)
    light = np.linspace(0.0, 1.0, 256)[:, None] * warmth * random.uniform(0.6, 1.35)
    table = np.clip(light, 0.0, 1.0) ** random.uniform(0.75, 1.3) * 255.0
    changed = cv2.LUT(changed, table[None].astype(np.uint8))
    if random.random() < 0.25:
        changed = cv2.GaussianBlur(changed, (0, 0), random.uniform(0.4, 1.4))
    if random.random() < 0.5:
        noise = random.standard_normal(changed.shape, np.float32) * np.float32(random.uniform(0.0, 8.0))
        return np.asarray(np.clip(changed + noise, 0.0, 255.0), np.uint8)
    return np.asarray(changed, np.uint8)


def convert(model: keras.Model, examples: Pictures) -> bytes:
    """The network as a TFLite file in whole numbers: uint8 pixels in, float32 logits out.

    `examples` show which values occur between the layers.
    """
    side = model.input_shape[1]
    call = tf.function(lambda x: model(x, training=False))
    concrete = call.get_concrete_function(tf.TensorSpec((1, side, side, 3), tf.float32, name="picture"))
    # Keras 3 leaves its weights as variables, which the calibration cannot read.
    converter = tf.lite.TFLiteConverter.from_concrete_functions([convert_variables_to_constants_v2(concrete)])
    converter.optimizations = [tf.lite.Optimize.DEFAULT]
    converter.representative_dataset = lambda: ([picture[None].astype(np.float32)] for picture in examples)
    converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS_INT8]
    converter.inference_input_type = tf.uint8
    return bytes(converter.convert())


def logits(model: keras.Model, pictures: Pictures) -> NDArray[np.float32]:
    """What the network itself says to pictures of its own size, float32[n, labels]."""
    return np.asarray(model.predict(pictures.astype(np.float32), batch_size=256, verbose=0), np.float32)
