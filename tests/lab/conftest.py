"""What the labs share: a cache outside the checkout, a state directory, a full-size model."""

from __future__ import annotations

import fcntl
import importlib.util
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.stage import gander


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """What takes longest must not begin last where two files run at a time."""
    items.sort(key=lambda item: not item.path.name.startswith(("test_pi3", "test_training", "test_arm64", "test_day")))


@pytest.fixture(scope="session")
def cache() -> Path:
    """What is costly to make, kept outside the checkout."""
    base = Path(os.environ.get("GANDER_CACHE") or Path.home() / ".cache" / "gander")
    folder = base / "lab"
    folder.mkdir(parents=True, exist_ok=True)
    return folder


@pytest.fixture(scope="session")
def state(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("lab") / "state"


@pytest.fixture(scope="session")
def inception(shared_data: Path, cache: Path, state: Path) -> Path:
    """Inception v3 to `mixed8` with a random head, dynamic-range, as a bundle."""
    made = cache / "inception_v3.tflite"
    with (cache / "inception.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # two test runs make it once
        if not made.exists():
            _convert(shared_data / "weights" / "inception_v3_to_mixed8.weights.h5", made)
    bundle = state.parent / "inception.gander"
    answer = gander(
        *("bundle", "import", "--tflite", made, "--labels", cache / "labels.txt", "--name", "inception"),
        *("--mean", 127.5, "--std", 127.5, "--out", bundle),
        state=state,
    )
    assert answer.status == 0, answer.err
    return bundle


def _convert(weights: Path, made: Path) -> None:
    if not importlib.util.find_spec("tensorflow"):
        pytest.skip("TensorFlow is not installed: `make setup-training`")
    script = Path(__file__).with_name("inception.py")
    env = {**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3"}
    done = subprocess.run(
        [sys.executable, script, weights, made.parent], env=env, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr[-2000:]
