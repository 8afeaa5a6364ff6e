"""Makes the timing subject: Inception v3 up to `mixed8` with ImageNet weights and any head, as dynamic-range TFLite.

`python tests/lab/inception.py WEIGHTS.h5 OUT` writes OUT/inception_v3.tflite and OUT/labels.txt. Needs TensorFlow.
"""

from __future__ import annotations

import sys
from pathlib import Path

LABELS = ("crow", "jay", "hen", "fox", "cat", "dog", "person", "nothing")


def make(weights: Path, out: Path) -> None:
    """Load the weights, put a random head on the pooled features, convert."""
    import keras
    import tensorflow as tf

    keras.utils.set_random_seed(1)
    base = keras.applications.InceptionV3(weights=None, include_top=False, input_shape=(299, 299, 3))
    trunk = keras.Model(base.input, base.get_layer("mixed8").output)
    trunk.load_weights(weights)
    pooled = keras.layers.GlobalAveragePooling2D()(trunk(trunk.input, training=False))
    scores = keras.layers.Dense(len(LABELS), activation="softmax")(pooled)
    converter = tf.lite.TFLiteConverter.from_keras_model(keras.Model(trunk.input, scores))
    converter.optimizations = [tf.lite.Optimize.DEFAULT]
    out.mkdir(parents=True, exist_ok=True)
    (out / "inception_v3.tflite").write_bytes(converter.convert())
    (out / "labels.txt").write_text("\n".join(LABELS) + "\n")


if __name__ == "__main__":
    make(Path(sys.argv[1]), Path(sys.argv[2]))
