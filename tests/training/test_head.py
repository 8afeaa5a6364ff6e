"""The head: what it learns, and that it is one layer."""

from __future__ import annotations

import numpy as np
import pytest

from training.head import surprise, temperature, train
from training.recipe import HeadRecipe

RECIPE = HeadRecipe()


def clouds(seed: int, labels: int, n: int = 200) -> tuple[np.ndarray, np.ndarray]:
    """Features float32[n, 2 looks, 6] on several scales, and labels int64[n]."""
    rng = np.random.default_rng(seed)
    right = rng.integers(0, labels, n)
    centres = np.random.default_rng(99).normal(0.0, 2.0, (labels, 6))
    shown = centres[right][:, None] + rng.normal(0.0, 0.6, (n, 2, 6))
    return (shown * (0.3, 1.0, 4.0, 2.0, 1.0, 0.0) + 7.0).astype(np.float32), right


@pytest.mark.parametrize("labels", [2, 3, 5])
def test_it_learns(labels: int) -> None:
    features, right = clouds(1, labels)
    unseen, truth = clouds(2, labels)
    head = train(features, right, labels, RECIPE, judge=(unseen[:, 0], truth))
    assert head.weights.shape == (6, labels)
    assert np.mean(head.logits(unseen[:, 0]).argmax(1) == truth) > 0.9
    assert head.strength in RECIPE.strengths


def test_labels_of_which_nothing_was_seen_are_never_said() -> None:
    features, right = clouds(3, 2)
    head = train(features, right * 2, 4, RECIPE, strength=0.1)
    assert set(head.logits(features[:, 0]).argmax(1)) == {0, 2}
    only = train(features[:5], np.full(5, 3), 4, RECIPE, strength=0.1)
    assert set(only.logits(features[:, 0]).argmax(1)) == {3}


def test_the_same_input_gives_the_same_head() -> None:
    features, right = clouds(4, 3)
    one, other = (train(features, right, 3, RECIPE, strength=0.1) for _ in range(2))
    assert np.array_equal(one.weights, other.weights)


def test_rare_labels_count_more() -> None:
    rng = np.random.default_rng(5)
    right = np.array([0] * 190 + [1] * 10)
    features = (right[:, None, None] + rng.normal(0.0, 1.0, (200, 1, 1))).astype(np.float32)
    said = [
        np.mean(train(features, right, 2, HeadRecipe(balance=balance), strength=1.0).logits(features[:, 0]).argmax(1))
        for balance in (0.0, 1.0)
    ]
    assert said[0] < said[1]


def test_the_temperature_mends_an_overconfident_model() -> None:
    rng = np.random.default_rng(6)
    right = rng.integers(0, 3, 500)
    logits = (np.eye(3)[np.where(rng.random(500) < 0.7, right, rng.integers(0, 3, 500))] * 12.0).astype(np.float32)
    fitting = temperature(logits, right)
    assert fitting > 2.0
    assert surprise(logits, right, fitting) < surprise(logits, right)
