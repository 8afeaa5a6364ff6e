"""The head: a small network on the backbone's features, trained in seconds."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import keras
import numpy as np
import tensorflow as tf
from numpy.typing import NDArray

from training.recipe import HeadRecipe

Tick = Callable[[int, float], None]
"""(epochs done, loss on the validation set)."""
Learn = Callable[[tf.Tensor, tf.Tensor, tf.Tensor], None]


@dataclass(frozen=True, slots=True)
class Trained:
    """The head, from float32[n, D] to logits float32[n, K]; the epochs it took to its best."""

    model: keras.Model
    epochs: int

    def logits(self, features: NDArray[np.float32]) -> NDArray[np.float32]:
        """float32[n, D] to float32[n, K]."""
        return np.asarray(self.model(features, training=False), np.float32)


def train(
    features: NDArray[np.float32],
    labels: NDArray[np.int64],
    classes: int,
    recipe: HeadRecipe,
    seed: int,
    judge: tuple[NDArray[np.float32], NDArray[np.int64]] | None = None,
    epochs: int = 0,
    tick: Tick = lambda epoch, loss: None,
) -> Trained:
    """Train on float32[n, looks, D], int64[n]: each epoch takes one look at each picture, drawn by chance.

    With `judge` (features float32[m, D], labels int64[m]) it ends when they are no longer better understood, and the
    best state is kept; without, after `epochs`. The same input and seed give the same weights on the same machine.
    """
    keras.utils.set_random_seed(seed)
    tf.config.experimental.enable_op_determinism()
    random = np.random.default_rng(seed)
    model = _build(features, classes, recipe)
    weights = class_weights(labels, classes, recipe.balance)
    steps = -(-len(labels) // recipe.batch)
    rate = keras.optimizers.schedules.CosineDecay(recipe.rate, steps * (epochs or recipe.epochs), alpha=0.02)
    optimizer = keras.optimizers.AdamW(rate, weight_decay=recipe.weight_decay)
    learn = learner(model, optimizer, recipe.smoothing)
    best, best_loss, best_epoch = model.get_weights(), np.inf, 0
    for epoch in range(1, (epochs or recipe.epochs) + 1):
        order = random.permutation(len(labels))
        for chosen in np.array_split(order, steps):
            looks = random.integers(0, features.shape[1], len(chosen))
            right = labels[chosen]
            learn(tf.constant(features[chosen, looks]), tf.constant(right), tf.constant(weights[right]))
        if judge is None:
            tick(epoch, 0.0)
            continue
        found = surprise(np.asarray(model(judge[0], training=False), np.float32), judge[1])
        tick(epoch, found)
        if found < best_loss:
            best, best_loss, best_epoch = model.get_weights(), found, epoch
        elif epoch - best_epoch >= recipe.patience:
            break
    if judge is None:
        return Trained(model, epochs or recipe.epochs)
    model.set_weights(best)
    return Trained(model, best_epoch)


def learner(model: keras.Model, optimizer: keras.optimizers.Optimizer, smoothing: float) -> Learn:
    """One step: takes what the model is shown, the right labels int64[n] and what each counts float32[n]."""
    measure = keras.losses.CategoricalCrossentropy(from_logits=True, label_smoothing=smoothing)
    classes = model.outputs[0].shape[-1]
    optimizer.build(model.trainable_variables)

    @tf.function(autograph=False, reduce_retracing=True)  # type: ignore[untyped-decorator]  # TensorFlow has no types
    def learn(shown: tf.Tensor, right: tf.Tensor, weights: tf.Tensor) -> None:
        with tf.GradientTape() as tape:
            logits = tf.nest.flatten(model(shown, training=True))[0]
            loss = measure(tf.one_hot(right, classes), logits, sample_weight=weights)
        optimizer.apply_gradients(
            zip(tape.gradient(loss, model.trainable_variables), model.trainable_variables, strict=True)
        )

    taught: Learn = learn
    return taught


def surprise(logits: NDArray[np.float32], labels: NDArray[np.int64], temperature: float = 1.0) -> float:
    """Mean cross-entropy of logits float32[n, K], in nats."""
    z = logits.astype(np.float64) / temperature
    z -= z.max(1, keepdims=True)
    return float(np.mean(np.log(np.exp(z).sum(1)) - z[np.arange(len(labels)), labels]))


def temperature(logits: NDArray[np.float32], labels: NDArray[np.int64]) -> float:
    """The one that makes the right labels likeliest (Guo et al., On Calibration of Modern Neural Networks, 2017)."""
    return min((round(float(t), 3) for t in np.geomspace(0.3, 5.0, 80)), key=lambda t: surprise(logits, labels, t))


def _build(features: NDArray[np.float32], classes: int, recipe: HeadRecipe) -> keras.Model:
    """Features are first brought to one scale, by the first looks; conversion folds that into the weights."""
    first = np.asarray(features[:, 0])
    varies = first.var(0)
    normal = keras.layers.Normalization(mean=first.mean(0), variance=varies + 0.01 * varies.mean() + 1e-12)
    given = keras.Input((features.shape[-1],))
    x = keras.layers.Dropout(recipe.dropout)(normal(given))
    if recipe.hidden:
        x = keras.layers.Dense(recipe.hidden, activation="relu")(x)
        x = keras.layers.Dropout(recipe.dropout)(x)
    return keras.Model(given, keras.layers.Dense(classes)(x), name="head")


def class_weights(labels: NDArray[np.int64], classes: int, balance: float) -> NDArray[np.float32]:
    """What one picture of each label counts, 1 on average."""
    counts = np.bincount(labels, minlength=classes)
    weights = (1.0 / np.maximum(counts, 1)) ** balance
    return (weights / np.average(weights, weights=counts)).astype(np.float32)
