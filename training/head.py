"""The head: a linear classifier on the backbone's features, fitted in seconds."""

from __future__ import annotations

import warnings
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression

from training.recipe import HeadRecipe

_NEVER = -30.0  # the logit of a label of which nothing was seen


@dataclass(frozen=True, slots=True)
class Head:
    """Logits are features float32[n, D] @ `weights` float32[D, K] + `bias` float32[K]. `strength`: see `HeadRecipe`."""

    weights: NDArray[np.float32]
    bias: NDArray[np.float32]
    strength: float

    def logits(self, features: NDArray[np.float32]) -> NDArray[np.float32]:
        """float32[n, D] to float32[n, K]."""
        return np.asarray(features @ self.weights + self.bias, np.float32)


def train(
    features: NDArray[np.float32],
    labels: NDArray[np.int64],
    classes: int,
    recipe: HeadRecipe,
    judge: tuple[NDArray[np.float32], NDArray[np.int64]] | None = None,
    strength: float = 0.0,
) -> Head:
    """Fit on every look, float32[n, looks, D] with labels int64[n]: multinomial logistic regression.

    Of the recipe's strengths the one is taken with which `judge` (features float32[m, D], labels int64[m]) is best
    understood; without a judge it is `strength`. The same input gives the same head.
    """
    if judge is None:
        return _fit(features, labels, classes, recipe, strength)
    heads = [_fit(features, labels, classes, recipe, one) for one in recipe.strengths]
    return min(heads, key=lambda head: surprise(head.logits(judge[0]), judge[1]))


def _fit(
    features: NDArray[np.float32], labels: NDArray[np.int64], classes: int, recipe: HeadRecipe, strength: float
) -> Head:
    """Features are brought to one scale first; that is then folded into the weights."""
    looks, size = features.shape[1:]
    weights, bias = np.zeros((size, classes), np.float32), np.full(classes, _NEVER, np.float32)
    if len(np.unique(labels)) < 2:  # of little there may be but one label
        bias[labels] = 0.0
        return Head(weights, bias, strength)
    shown = np.array(features, np.float32).reshape(-1, size)
    mean, varies = shown.mean(0), shown.var(0)
    scale = np.sqrt(varies + 0.01 * varies.mean() + 1e-12)
    shown -= mean
    shown /= scale
    model = LogisticRegression(C=strength, max_iter=recipe.iterations, class_weight=_class_weights(labels, recipe))
    with warnings.catch_warnings(action="ignore", category=ConvergenceWarning):  # near enough: the judge decides
        model.fit(shown, labels.repeat(looks))
    there = model.classes_
    coefficients, intercept = model.coef_, model.intercept_
    if len(there) == 2:  # one line between two
        coefficients, intercept = np.concatenate([-coefficients, coefficients]) / 2, np.array([-1, 1]) * intercept / 2
    weights[:, there] = (coefficients / scale).T
    bias[there] = intercept - (coefficients / scale) @ mean
    return Head(weights, bias, strength)


def _class_weights(labels: NDArray[np.int64], recipe: HeadRecipe) -> dict[int, float]:
    """What one picture of each label counts, 1 on average."""
    there, counts = np.unique(labels, return_counts=True)
    weights = class_weights(counts, recipe.balance)
    return dict(zip(there.tolist(), weights.tolist(), strict=True))


def class_weights(counts: NDArray[np.int64], balance: float) -> NDArray[np.float32]:
    """What one picture of each label counts, 1 on average, given how many there are of each."""
    weights = (1.0 / np.maximum(counts, 1)) ** balance
    return np.asarray(weights / np.average(weights, weights=np.maximum(counts, 1)), np.float32)


def surprise(logits: NDArray[np.float32], labels: NDArray[np.int64], temperature: float = 1.0) -> float:
    """Mean cross-entropy of logits float32[n, K], in nats."""
    z = logits.astype(np.float64) / temperature
    z -= z.max(1, keepdims=True)
    return float(np.mean(np.log(np.exp(z).sum(1)) - z[np.arange(len(labels)), labels]))


def temperature(logits: NDArray[np.float32], labels: NDArray[np.int64]) -> float:
    """The one that makes the right labels likeliest (Guo et al., On Calibration of Modern Neural Networks, 2017)."""
    return min((round(float(t), 3) for t in np.geomspace(0.3, 5.0, 80)), key=lambda t: surprise(logits, labels, t))
