"""The laptop on real pictures: a fit with ImageNet's weights, and what its model does on the appliance."""

from __future__ import annotations

import csv
import fcntl
import hashlib
import importlib.util
import json
import os
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest

from tests.conftest import ROOT
from tests.lab.test_tflite_runtime import other, run  # noqa: F401 - a fixture
from tests.stage import gander

pytestmark = [
    pytest.mark.lab,
    pytest.mark.timeout(3600),
    pytest.mark.skipif(
        importlib.util.find_spec("tensorflow") is None, reason="needs TensorFlow: `make setup-training`"
    ),
]

VARIANTS = """
import sys
from pathlib import Path
import numpy as np
import keras
from training.backbones import KINDS, Backbone, build
from training.convert import convert, network
from training.head import Head
from training.recipe import BackboneRecipe
for name, kind in KINDS.items():
    keras.utils.set_random_seed(1)
    whole = kind.make(weights=None, include_top=False, input_shape=(96, 96, 3))
    whole.save_weights(Path(sys.argv[1]) / "w.weights.h5")
    backbone = build(BackboneRecipe(kind=name, size=96), Path(sys.argv[1]) / "w.weights.h5")
    size = backbone.trunk.output_shape[-1]
    made = network(backbone, Head(np.ones((size, 3), np.float32), np.zeros(3, np.float32), 1.0))
    shown = [np.random.default_rng(n).uniform(-1, 1, (1, 96, 96, 3)).astype(np.float32) for n in range(3)]
    for variant in ("float", "dynamic", "int8"):
        one = convert(made, variant, shown)
        (Path(sys.argv[1]) / f"{name}-{variant}-{one.old_runtime}.tflite").write_bytes(one.data)
"""
LOAD = "import sys, tflite_runtime.interpreter as t; t.Interpreter(sys.argv[1]).allocate_tensors()"


@pytest.fixture
def variants(cache: Path) -> list[Path]:
    """Each backbone in each kind of file, made once for this code and these packages; named by what is said of it."""
    code = sorted((ROOT / "training").rglob("*.py"))
    texts = (VARIANTS, *(path.read_text() for path in (*code, ROOT / "requirements.txt", ROOT / "pyproject.toml")))
    folder, wanted = cache / "variants", hashlib.sha256("\0".join(texts).encode()).hexdigest()
    folder.mkdir(exist_ok=True)
    with (folder / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # two test runs make them once
        stamp = folder / "recipe"
        if not stamp.exists() or stamp.read_text() != wanted:
            stamp.unlink(missing_ok=True)
            for path in folder.glob("*.tflite"):
                path.unlink()
            run(sys.executable, "-c", VARIANTS, folder)
            stamp.write_text(wanted)
        return sorted(folder.glob("*.tflite"))


def test_which_files_the_old_runtime_loads_is_known(other: Path, variants: list[Path]) -> None:  # noqa: F811
    assert len(variants) == 9
    for path in variants:
        loads = subprocess.run([other, "-c", LOAD, path], capture_output=True, check=False).returncode == 0
        assert path.stem.endswith(str(loads)), path.name


def test_from_real_pictures_to_the_pin(
    shared_data: Path, cache: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Trained without the test split, whose crows it then must act on, with the standby beside it.

    One kind of file, each picture looked at once: the others are other tests', and what they gain is a matter of
    figures. Looking four times takes twenty minutes where no features are kept yet.
    """
    home = {"GANDER_CACHE": str(cache), "XDG_CONFIG_HOME": str(tmp_path / "config"), "TF_CPP_MIN_LOG_LEVEL": "3"}
    recipe = tmp_path / "held.toml"
    whole = (ROOT / "training" / "recipes" / "inception_v3.toml").read_text()
    for more, less in ((', "int8", "float"', ""), ("count = 4 ", "count = 1 ")):
        assert more in whole
        whole = whole.replace(more, less)
    recipe.write_text(whole + "\n[data]\nrefit = false\n")
    words = ("--data", shared_data / "images", "--out", tmp_path / "run", "--json")
    weights = shared_data / "weights" / "inception_v3_to_mixed8.weights.h5"
    command = [sys.executable, "-m", "training.cli", "fit", recipe, *words, "--weights", weights]
    done = subprocess.run(command, env={**os.environ, **home}, capture_output=True, text=True, cwd=ROOT, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    summary = json.loads(done.stdout.splitlines()[-1])["summary"]
    table, visits = crows(tmp_path / "run" / "split.csv", tmp_path / "crows.csv")
    (bundle,) = (tmp_path / "run").glob("*.gander")
    state = tmp_path / "state"
    gander("bundle", "trust", tmp_path / "config" / "gander" / "laptop.key.pub", state=state)
    answer = gander(
        "replay", table, "--no-motion", "--speed", "max", "--champion", bundle, "--json", state=state, timeout=600
    )
    found = answer.summary["sequences"]
    with capsys.disabled():
        figures = {key: summary[key] for key in ("n", "accuracy", "balanced_accuracy", "visit_accuracy", "seconds")}
        sys.stdout.write(f"\nheld out: {figures}\nreplayed: {found}\n")
    assert summary["accuracy"] >= 0.9
    assert found["crow"]["n"] == visits["crow"] >= 5
    assert found["crow"]["acted"] >= 0.95 * found["crow"]["n"]
    assert found["empty"]["acted"] == 0


def crows(split: Path, table: Path) -> tuple[Path, Counter[str]]:
    """The fixed camera's visits of the test split with two pictures or more, as a table; visits by label."""
    rows = [row for row in csv.DictReader(split.open()) if row["part"] == "test" and "crowcam" in row["path"]]
    sizes = Counter(row["seq_id"] for row in rows)
    kept = [row for row in rows if sizes[row["seq_id"]] > 1]
    with table.open("w", newline="") as file:
        writer = csv.DictWriter(file, ("path", "label", "seq_id"), extrasaction="ignore")
        writer.writeheader()
        writer.writerows(kept)
    return table, Counter({row["seq_id"]: row["label"] for row in kept}.values())
