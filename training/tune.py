"""Fine-tuning: the backbone's top blocks learn too, slowly; its batch normalisation stays as it was trained."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import keras
import numpy as np
import tensorflow as tf
from numpy.typing import NDArray

from edge.errors import Refused, StateError
from edge.frames.picture import read_picture
from edge.preprocess import prepare
from edge.runtimes.tflite import cores
from training.convert import Network
from training.dataset import Picture
from training.head import class_weights, surprise
from training.looks import look
from training.recipe import Recipe

_FIRST_LOOK = 1000  # those below are the ones whose features are kept

Progress = Callable[[str, int, int], None]
Learn = Callable[[tf.Tensor, tf.Tensor, tf.Tensor], None]
"""One step: what the model is shown, the right labels int64[n], what each counts float32[n]."""
Shown = tuple[Sequence[Picture], Sequence[str], NDArray[np.int64]]
"""Pictures, the hashes of their files, the labels they have int64[n]."""


def tune(
    whole: Network, recipe: Recipe, train: Shown, judge: Shown | None, epochs: int, folder: Path, progress: Progress
) -> int:
    """Train what `recipe.tune` names, in place; each epoch looks at every picture in a new light.

    With `judge` the state after the epoch that understands it best is taken, else the last. Returns after how many
    that was; 0: it is best left alone. The state after each epoch is kept in `folder`, so that an interrupted run goes
    on where it was. Raises `Refused` for a layer that is not there, `StateError` for a full disk.
    """
    keras.utils.set_random_seed(recipe.seed)
    tf.config.experimental.enable_op_determinism()
    _thaw(whole, recipe.tune.above)
    steps = -(-len(train[0]) // recipe.tune.batch)
    rate = keras.optimizers.schedules.CosineDecay(recipe.tune.rate, steps * recipe.tune.epochs, alpha=0.05)
    optimizer = keras.optimizers.Adam(rate)
    learn = _learner(whole.model, optimizer, recipe.tune.smoothing)
    weights = class_weights(np.bincount(train[2], minlength=whole.model.outputs[0].shape[-1]), recipe.head.balance)
    state, run = [*whole.model.variables, *optimizer.variables], _name(whole, recipe, train, judge)
    best, best_loss, best_epoch = whole.model.get_weights(), _loss(whole, recipe, judge), 0
    for epoch in range(1, epochs + 1):
        kept = folder / f"{run}-{epoch}.npz"
        if kept.exists():
            _restore(state, kept)
        else:
            for step, (tensors, right) in enumerate(_batches(whole, recipe, train, epoch), 1):
                learn(tf.constant(tensors), tf.constant(right), tf.constant(weights[right]))
                progress(f"tuning, epoch {epoch} of {epochs}", step, steps)
            _keep(state, kept)
        loss = _loss(whole, recipe, judge)
        if loss <= best_loss:
            best, best_loss, best_epoch = whole.model.get_weights(), loss, epoch
        elif epoch - best_epoch >= recipe.tune.patience:
            break
    whole.model.set_weights(best)
    return best_epoch


def _thaw(whole: Network, above: str) -> None:
    trunk = whole.backbone.trunk
    names = [layer.name for layer in trunk.layers]
    if above not in names:
        raise Refused(f"tune.above: {trunk.name} has no layer {above!r}; mixed7 would be one of Inception v3")
    trunk.trainable = True
    for place, layer in enumerate(trunk.layers):
        layer.trainable = place > names.index(above) and not isinstance(layer, keras.layers.BatchNormalization)


def _learner(model: keras.Model, optimizer: keras.optimizers.Optimizer, smoothing: float) -> Learn:
    measure = keras.losses.CategoricalCrossentropy(from_logits=True, label_smoothing=smoothing)
    classes = model.outputs[0].shape[-1]
    optimizer.build(model.trainable_variables)

    @tf.function(autograph=False, reduce_retracing=True)  # type: ignore[untyped-decorator]  # TensorFlow has no types
    def learn(shown: tf.Tensor, right: tf.Tensor, weights: tf.Tensor) -> None:
        with tf.GradientTape() as tape:
            loss = measure(tf.one_hot(right, classes), model(shown, training=False)[0], sample_weight=weights)
        optimizer.apply_gradients(
            zip(tape.gradient(loss, model.trainable_variables), model.trainable_variables, strict=True)
        )

    taught: Learn = learn
    return taught


def _batches(
    whole: Network, recipe: Recipe, shown: Shown, epoch: int | None
) -> Iterator[tuple[NDArray[np.generic], NDArray[np.int64]]]:
    """Tensors float32[n, side, side, 3] and labels int64[n]; without `epoch` the pictures as they are, in order."""
    pictures, hashes, right = shown
    spec = whole.backbone.spec()

    def tensor(place: int) -> NDArray[Any]:
        picture, number = pictures[place], 0 if epoch is None else _FIRST_LOOK + epoch
        shown = look(read_picture(picture.path), picture, recipe.looks, number, hashes[place])
        return np.asarray(prepare(shown, spec)[0])

    order = (
        np.arange(len(right)) if epoch is None else np.random.default_rng([recipe.seed, epoch]).permutation(len(right))
    )
    batches = np.array_split(order, -(-len(order) // recipe.tune.batch))
    with ThreadPoolExecutor(cores()) as pool:
        ahead = [pool.submit(tensor, int(place)) for place in batches[0]]
        for number, batch in enumerate(batches):
            tensors = np.stack([future.result() for future in ahead])
            following = batches[number + 1] if number + 1 < len(batches) else ()
            ahead = [pool.submit(tensor, int(place)) for place in following]
            yield tensors, right[batch]


def _loss(whole: Network, recipe: Recipe, judge: Shown | None) -> float:
    """Of nobody who judges: 0, however good it is."""
    if judge is None:
        return 0.0
    logits = np.concatenate([whole.logits(tensors) for tensors, _ in _batches(whole, recipe, judge, None)])
    return surprise(logits, judge[2])


def _name(whole: Network, recipe: Recipe, train: Shown, judge: Shown | None) -> str:
    """Equal names mean the same run: the pictures, which part of each, and their labels."""
    facts = [whole.backbone.identity, recipe.model_dump_json()]
    for pictures, hashes, right in (train, judge) if judge else (train,):
        rows = zip(hashes, pictures, right.tolist(), strict=True)
        facts += [repr([(digest, picture.box, picture.crop, label) for digest, picture, label in rows])]
    return f"tune-{hashlib.sha256(repr(facts).encode()).hexdigest()[:16]}"


def _keep(state: Sequence[keras.Variable], path: Path) -> None:
    """Everything the next epoch depends on."""
    unfinished = path.with_name(f".{path.name}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        np.savez(unfinished, *[variable.numpy() for variable in state])
        unfinished.replace(path)
    except OSError as error:
        unfinished.unlink(missing_ok=True)
        raise StateError(f"{path}: the state of tuning cannot be kept: {error}; make room and start again") from None


def _restore(state: Sequence[keras.Variable], path: Path) -> None:
    with np.load(path, allow_pickle=False) as kept:
        for number, variable in enumerate(state):
            variable.assign(kept[f"arr_{number}"])
