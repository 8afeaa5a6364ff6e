"""From pictures to a bundle that verifies: trained for real, on rendered crops and a network with chance weights."""

from __future__ import annotations

import csv
import importlib.util
import json
import os
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest

from edge import keys
from edge.bundle import verify
from edge.errors import Refused
from edge.frames.picture import read_picture
from edge.preprocess import InputSpec, prepare, square_crop
from edge.self_test import self_test
from edge.values import Box
from tests.disk import fill
from tests.scenarios.test_full_disk import small  # noqa: F401 - a fixture
from tests.stage import command, environment, gander
from training.rendered import LABELS, Take, cut

pytestmark = [
    pytest.mark.skipif(
        importlib.util.find_spec("tensorflow") is None, reason="needs TensorFlow: `make setup-training`"
    ),
    pytest.mark.timeout(600),
]

SIDE = 64
RECIPE = """
name = "small"
seed = 3
[backbone]
kind = "mobilenet_v2"
cut = "block_6_expand_relu"
size = 64
width = 0.35
[looks]
count = 2
least_area = 0.7
grey = 0.0
[convert]
examples = 20
variants = ["dynamic"]
most_lost = 0.05
[labels]
threat = ["jay*", "fox*"]
resident = ["hen*"]
person = ["person*"]
"""


@pytest.fixture(scope="session")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Rendered crops as a folder with labels.csv; each film is some visits."""
    folder = tmp_path_factory.mktemp("pictures")
    spec = InputSpec(shape=(1, SIDE, SIDE, 3), dtype="uint8", mean=(0.0, 0.0, 0.0), std=(1.0, 1.0, 1.0))
    with (folder / "labels.csv").open("w", newline="") as file:
        table = csv.writer(file)
        table.writerow(("path", "label", "seq_id", "source"))
        for seed in range(7):
            crops = cut(Take("day", 300 + seed, seconds=34.0, fps=1.5, size=(640, 360)), spec)
            for number, (picture, label) in enumerate(zip(crops.pictures, crops.labels, strict=True)):
                if LABELS[label] == "hen" and number % 4:
                    continue  # of hens there are more than are needed
                name = f"{seed}-{number}.png"
                cv2.imwrite(str(folder / name), cv2.cvtColor(picture, cv2.COLOR_RGB2BGR))
                visit = f"{seed}-{LABELS[label]}-{number // 6}"
                table.writerow((name, LABELS[label], visit, f"yard{seed % 2}"))
    return folder


@pytest.fixture(scope="session")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A network that has learnt nothing: its features are chance, and yet a head can be trained on them."""
    import keras

    keras.utils.set_random_seed(5)
    path = tmp_path_factory.mktemp("weights") / "chance.weights.h5"
    keras.applications.MobileNetV2(
        weights=None, include_top=False, input_shape=(SIDE, SIDE, 3), alpha=0.35
    ).save_weights(path)
    return path


@pytest.fixture(scope="session")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("cache")


def train(*arguments: object, cache: Path) -> subprocess.CompletedProcess[str]:
    """Run `gander-train` as a user would."""
    home = {"GANDER_CACHE": str(cache), "XDG_CONFIG_HOME": str(cache / "config"), "TF_CPP_MIN_LOG_LEVEL": "3"}
    command = [sys.executable, "-m", "training.cli", *map(str, arguments)]
    return subprocess.run(command, env={**os.environ, **home}, capture_output=True, text=True, timeout=500, check=False)


@pytest.fixture(scope="session")
def fitted(pictures: Path, weights: Path, cache: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder a fit left."""
    folder = tmp_path_factory.mktemp("runs") / "a"
    recipe = folder.parent / "small.toml"
    recipe.write_text(RECIPE)
    done = train("fit", recipe, "--data", pictures, "--weights", weights, "--out", folder, "--json", cache=cache)
    assert done.returncode == 0, done.stderr[-2000:]
    return folder


def bundle_of(folder: Path) -> Path:
    (path,) = folder.glob("*.gander")
    return path


def test_a_fit_leaves_one_signed_bundle_that_verifies(fitted: Path, cache: Path) -> None:
    bundle = verify(bundle_of(fitted), [keys.load_public(cache / "config" / "gander" / "laptop.key.pub")])
    assert self_test(bundle).worst <= 0.06
    assert bundle.labels == tuple(sorted(LABELS))
    assert bundle.manifest.suggested_kinds.threat == ["jay*"]
    assert bundle.manifest.evaluation is not None
    assert bundle.manifest.evaluation["balanced_accuracy"] >= 0.6, "chance is 0.25"
    assert (cache / "config" / "gander" / "laptop.key").stat().st_mode & 0o777 == 0o600
    assert b"PRIVATE" not in bundle_of(fitted).read_bytes()


def test_the_appliance_accepts_it_from_who_is_trusted(fitted: Path, cache: Path, tmp_path: Path) -> None:
    stranger = gander("bundle", "install", bundle_of(fitted), state=tmp_path / "a")
    assert stranger.status == 2
    assert "unknown key" in stranger.err
    public = cache / "config" / "gander" / "laptop.key.pub"
    assert gander("bundle", "trust", public, state=tmp_path / "a").status == 0
    for words in (("install", bundle_of(fitted)), ("promote", "small")):
        assert gander("bundle", *words, state=tmp_path / "a").status == 0
    assert "champion: small" in gander("bundle", "list", state=tmp_path / "a").out
    home = {**environment(tmp_path / "b"), "XDG_CONFIG_HOME": str(cache / "config")}
    own = subprocess.run(command("bundle", "verify", bundle_of(fitted)), env=home, capture_output=True, check=False)
    assert own.returncode == 0, "who trained it on this machine needs no introduction"


def test_no_group_is_on_both_sides(fitted: Path) -> None:
    rows = list(csv.DictReader((fitted / "split.csv").open()))
    sides: dict[str, set[str]] = {}
    for row in rows:
        sides.setdefault(row["seq_id"], set()).add(row["part"])
    assert {len(parts) for parts in sides.values()} == {1}
    assert {row["part"] for row in rows} == {"train", "validation", "test"}


def test_evaluate_gives_the_figures_of_any_data(fitted: Path, pictures: Path, cache: Path) -> None:
    done = train("evaluate", bundle_of(fitted), pictures, "--json", cache=cache)
    assert done.returncode == 0, done.stderr[-2000:]
    summary = json.loads(done.stdout.splitlines()[-1])["summary"]
    assert {"n", "accuracy", "balanced_accuracy", "recall", "visit_accuracy", "by_source"} <= set(summary)
    assert summary["n"] == len((pictures / "labels.csv").read_text().splitlines()) - 1
    assert set(summary["by_source"]) == {"yard0", "yard1"}
    assert summary["seen"] == summary["n"], "with refit all of them have taught it"


def test_a_second_fit_computes_no_features_and_says_the_same(
    fitted: Path, pictures: Path, weights: Path, cache: Path, tmp_path: Path
) -> None:
    recipe, out, runs = fitted.parent / "small.toml", tmp_path / "b", tmp_path / "runs.db"
    champion = bundle_of(fitted)
    words = ("--data", pictures, "--weights", weights, "--out", out, "--mlflow", runs, "--champion", champion, "--json")
    features = {path.name: path.stat().st_mtime_ns for path in (cache / "features").iterdir()}
    done = train("fit", recipe, *words, cache=cache)
    assert done.returncode == 0, done.stderr[-2000:]
    assert features == {path.name: path.stat().st_mtime_ns for path in (cache / "features").iterdir()}
    first, second = (verify(bundle_of(folder), [laptop(cache)]) for folder in (fitted, out))
    records = [json.loads((folder / "run.json").read_text()) for folder in (fitted, out)]
    assert records[0]["metrics"] == records[1]["metrics"]
    assert registered(runs, "small", "challenger") == records[1]["bundle"]["sha256"] == second.sha256
    assert first.model == second.model
    assert first.manifest.calibration == second.manifest.calibration
    assert first.manifest.data == second.manifest.data
    summary = json.loads(done.stdout.splitlines()[-1])["summary"]
    assert "compared on the visits it has not seen, of which there is none" in summary["notes"][-1]
    assert json.loads((out / "report.json").read_text())["rival"] is None, "with refit it was taught what is held out"


def registered(runs: Path, name: str, alias: str) -> str:
    """The hash of the bundle that MLflow knows under an alias."""
    from mlflow import MlflowClient

    client = MlflowClient(f"sqlite:///{runs}", f"sqlite:///{runs}")
    version = client.get_model_version_by_alias(name, alias)
    return str(client.get_run(version.run_id).data.tags["bundle"])


def laptop(cache: Path) -> keys.PublicKey:
    return keys.load_public(cache / "config" / "gander" / "laptop.key.pub")


def test_a_picture_gives_the_same_tensor_in_training_and_on_the_device(
    fitted: Path, pictures: Path, weights: Path, cache: Path
) -> None:
    from training.backbones import build
    from training.dataset import Picture, load
    from training.recipe import load as load_recipe

    taught = build(load_recipe(fitted.parent / "small.toml").backbone, weights).spec()
    manifest = verify(bundle_of(fitted), [laptop(cache)]).manifest
    for box in (None, Box(0.2, 0.3, 0.4, 0.2), Box(0.0, 0.0, 1.0, 1.0)):
        path = pictures / "0-0.png"
        seen = prepare(load(Picture(path, "", "", box=box)), taught)
        frame = read_picture(path)
        shown = prepare(square_crop(frame, box, manifest.input.crop.margin) if box else frame, manifest.input)
        real = (shown.astype(np.float32) - manifest.input.zero_point) * manifest.input.scale
        assert np.abs(real - seen).max() <= (manifest.input.scale / 2 + 1e-6 if shown.dtype != np.float32 else 0.0)


@pytest.mark.parametrize(
    ("change", "why"),
    [
        ('kind = "mobilenet_v2"', "kind"),
        ("seed = 3", "seed"),
    ],
)
def test_recipes_that_are_refused(change: str, why: str, tmp_path: Path, pictures: Path, cache: Path) -> None:
    recipe = tmp_path / "bad.toml"
    recipe.write_text(RECIPE.replace(change, change.split("=")[0] + '= "nonsense"'))
    done = train("fit", recipe, "--data", pictures, "--out", tmp_path / "out", cache=cache)
    assert done.returncode == 2
    assert len(done.stderr.splitlines()) == 1
    assert why in done.stderr
    assert not (tmp_path / "out").exists()


def test_weights_of_another_network_are_refused(pictures: Path, weights: Path, tmp_path: Path) -> None:
    from training.dataset import read
    from training.fit import Fit
    from training.recipe import load

    (tmp_path / "other.toml").write_text(RECIPE.replace("width = 0.35", "width = 1.0"))
    fit = Fit(
        load(tmp_path / "other.toml"), read(pictures), tmp_path / "out", keys.generate(tmp_path / "key", "laptop")
    )
    with pytest.raises(Refused, match="not the weights of mobilenet_v2") as refused:
        fit.run(weights)
    assert "\n" not in str(refused.value)
    assert not (tmp_path / "out").exists()


def test_a_folder_with_the_bundle_of_another_recipe_is_refused(pictures: Path, tmp_path: Path) -> None:
    from training.dataset import Dataset
    from training.fit import Fit
    from training.recipe import Recipe

    key = keys.generate(tmp_path / "key", "laptop")
    (tmp_path / "small-night-20260501.120000.gander").write_bytes(b"of another")
    with pytest.raises(Refused, match=r"holds small-night-20260501\.120000\.gander of another recipe"):
        Fit(Recipe(name="small"), Dataset(pictures, "table", ()), tmp_path, key)
    Fit(Recipe(name="small-night"), Dataset(pictures, "table", ()), tmp_path, key)


def test_a_full_disk_is_said_and_nothing_is_lost(
    fitted: Path,
    pictures: Path,
    weights: Path,
    small: Path,  # noqa: F811
    tmp_path: Path,
) -> None:
    ballast = fill(small)
    words = ("fit", fitted.parent / "small.toml", "--data", pictures, "--weights", weights, "--out", tmp_path / "out")
    done = train(*words, "--key", tmp_path / "key", cache=small)
    assert done.returncode == 1
    assert "features cannot be kept" in done.stderr
    assert len(done.stderr.splitlines()) == 1
    assert not list((tmp_path / "out").glob("*.gander"))
    ballast.unlink()


def test_backbones_are_cut_where_wanted(tmp_path: Path) -> None:
    import keras

    from training.backbones import build
    from training.recipe import BackboneRecipe

    whole = keras.applications.InceptionV3(weights=None, include_top=False, input_shape=(96, 96, 3))
    whole.save_weights(tmp_path / "all.weights.h5")
    parts = {at: keras.Model(whole.input, whole.get_layer(at).output) for at in ("mixed10", "mixed8", "mixed7")}
    parts["mixed8"].save_weights(tmp_path / "mixed8.weights.h5")
    for at, channels, file in (("mixed10", 2048, "all"), ("mixed8", 1280, "mixed8"), ("mixed7", 768, "mixed8")):
        made = build(BackboneRecipe(kind="inception_v3", cut=at, size=96), tmp_path / f"{file}.weights.h5")
        assert made.trunk.output_shape[-1] == channels
        for ours, saved in zip(made.trunk.get_weights(), parts[at].get_weights(), strict=True):
            assert np.array_equal(ours, saved)
    for at, file, why in (("mixed10", "mixed8", "not the weights"), ("mixed11", "all", "no layer 'mixed11'")):
        with pytest.raises(Refused, match=why):
            build(BackboneRecipe(kind="inception_v3", cut=at, size=96), tmp_path / f"{file}.weights.h5")


@pytest.mark.lab
def test_tuning_learns_and_goes_on_where_it_was(
    fitted: Path, pictures: Path, weights: Path, cache: Path, tmp_path: Path
) -> None:
    recipe = tmp_path / "tuned.toml"
    tuned = '[tune]\nsmoothing = 0.0\npatience = 5\nabove = "block_5_add"\nepochs = 2\nbatch = 16\nrate = 0.001\n'
    recipe.write_text(RECIPE + tuned + "[data]\nrefit = false\n")
    done = train("fit", recipe, "--data", pictures, "--weights", weights, "--out", tmp_path / "a", cache=cache)
    assert done.returncode == 0, done.stderr[-2000:]
    first, second = sorted((cache / "features").glob("tune-*.npz"))
    kept, when = second.read_bytes(), first.stat().st_mtime_ns
    second.unlink()  # as if it had been interrupted in the second epoch
    words = ("--data", pictures, "--weights", weights, "--champion", bundle_of(tmp_path / "a"))
    done = train("fit", recipe, *words, "--out", tmp_path / "b", "--json", cache=cache)
    assert done.returncode == 0, done.stderr[-2000:]
    report = json.loads((tmp_path / "b" / "report.json").read_text())
    assert report["rival"]["n"] == report["visits"], "it has been taught nothing that is held out"
    assert report["rival"]["difference"] == 0.0
    assert first.stat().st_mtime_ns == when
    assert (
        verify(bundle_of(tmp_path / "a"), [laptop(cache)]).model
        == verify(bundle_of(tmp_path / "b"), [laptop(cache)]).model
    )
    assert kept == second.read_bytes()
