"""The TFLite runtime on models whose answers are known."""

import math
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pytest

from edge.clock import iso
from edge.errors import BundleError
from edge.manifest import Manifest
from edge.preprocess import prepare
from edge.runtimes import tflite
from tests import tiny_tflite
from tests.conftest import ROOT
from tests.stage import command, environment

QUANT = {"float32": (1.0, 0), "uint8": (1 / 128, 128), "int8": (1 / 128, 0)}


def manifest(dtype: str = "uint8", scores: str = "probabilities", **more: object) -> Manifest:
    mean, std = tiny_tflite.NORMALISATION[dtype]
    scale, zero_point = QUANT[dtype]
    contract = {"shape": (1, 32, 32, 3), "dtype": dtype, "mean": (mean,) * 3, "std": (std,) * 3}
    output = {"name": "scores" if dtype == "float32" else "scores_quantised", "index": 0, "shape": (1, 3)}
    values = {
        "name": "tiny",
        "version": "1",
        "serial": 1,
        "created": iso(datetime(2026, 1, 1, tzinfo=UTC)),
        "origin": "imported",
        "labels": tiny_tflite.LABELS,
        "input": {**contract, "scale": scale, "zero_point": zero_point},
        "outputs": {scores: output},
        **more,
    }
    return Manifest.model_validate(values)


def say(model: bytes, said: Manifest, colour: int) -> np.ndarray:
    runtime = tflite.TfliteRuntime(model, said, threads=1)
    return runtime.invoke(prepare(tiny_tflite.picture(colour), said.input))[0]


@pytest.mark.parametrize("dtype", ["float32", "uint8", "int8"])
@pytest.mark.parametrize("colour", [0, 1, 2])
def test_probabilities_sum_to_one_and_name_the_colour(dtype: str, colour: int) -> None:
    p = say(tiny_tflite.model(dtype), manifest(dtype), colour)
    assert p.dtype == np.float32
    assert p.sum() == pytest.approx(1, abs=1e-6)
    assert p.argmax() == colour
    assert p.max() == pytest.approx(1 / (1 + 2 * math.exp(-8)), abs=0.01)  # logits 4, -4, -4


@pytest.mark.parametrize("dtype", ["float32", "uint8", "int8"])
def test_logits_give_the_same_as_a_softmax_in_the_model(dtype: str) -> None:
    outputs = {"logits": {"name": "logits" if dtype == "float32" else "scores_quantised", "index": 0, "shape": (1, 3)}}
    bare = say(tiny_tflite.model(dtype, last="", gain=1.0), manifest(dtype, outputs=outputs), 1)
    assert bare == pytest.approx(say(tiny_tflite.model(dtype, gain=1.0), manifest(dtype), 1), abs=0.02)


def test_outputs_are_found_by_name_and_shape_whatever_their_order() -> None:
    model = tiny_tflite.model(embedding=True)  # the embedding comes first, and has the scores' shape
    scores = {"name": "scores_quantised", "index": 0, "shape": (1, 3)}
    said = manifest(outputs={"probabilities": scores, "embedding": {"name": "colour", "index": 1, "shape": (1, 3)}})
    p, embedding = tflite.TfliteRuntime(model, said).invoke(prepare(tiny_tflite.picture(2), said.input))
    assert p.argmax() == 2
    assert embedding == pytest.approx([-1, -1, 127 / 128])


def test_a_temperature_above_one_makes_less_sure_the_same_for_logits_and_probabilities() -> None:
    logits = np.array([3.0, 1.0, 0.0], np.float32)
    p = tflite.probabilities(logits, logits=True)
    warm = tflite.probabilities(logits, logits=True, temperature=2.0)
    assert warm.max() < p.max()
    assert tflite.probabilities(p, logits=False, temperature=2.0) == pytest.approx(warm, abs=1e-6)


def test_rounded_probabilities_are_made_to_sum_to_one_and_silence_is_no_opinion() -> None:
    assert tflite.probabilities(np.array([0.5, 0.25, 0.5], np.float32), logits=False).sum() == pytest.approx(1)
    assert tflite.probabilities(np.zeros(4, np.float32), logits=False) == pytest.approx([0.25] * 4)
    assert np.isfinite(tflite.probabilities(np.array([3e38, -3e38], np.float32), logits=True)).all()


@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_an_answer_that_is_no_number_is_an_error(bad: float) -> None:
    with pytest.raises(BundleError, match="finite"):
        tflite.probabilities(np.array([bad, 0.0], np.float32), logits=False)


@pytest.mark.parametrize("model", [b"", b"TFL3", b"PNG" * 999, tiny_tflite.model()[:300], bytes(64) + b"TFL3"])
def test_what_is_no_model_is_refused_in_one_line(model: bytes) -> None:
    with pytest.raises(BundleError, match=r"^model of tiny 1: .* cannot load it: [^\n]*$"):
        tflite.TfliteRuntime(model, manifest())


@pytest.mark.parametrize(
    ("model", "complaint"),
    [
        (tiny_tflite.model(size=(16, 16)), "inputs are"),
        (tiny_tflite.model("float32"), "inputs are"),
        (tiny_tflite.model(labels=4), "has no output 'scores_quantised'"),
    ],
)
def test_another_model_than_the_manifests_is_refused(model: bytes, complaint: str) -> None:
    with pytest.raises(BundleError, match=complaint):
        tflite.TfliteRuntime(model, manifest())


NONE = "import sys\nsys.modules['ai_edge_litert'] = sys.modules['tflite_runtime'] = None\n"


@pytest.mark.parametrize("verb", [("watch", "--for", "5"), ("bundle", "verify", "starter"), ("bench", "models")])
def test_without_any_runtime_one_line_says_what_to_install(verb: tuple[str, ...], tmp_path: Path) -> None:
    (tmp_path / "sitecustomize.py").write_text(NONE)  # Python runs this first: it finds neither
    env = environment(tmp_path / "state", PYTHONPATH=f"{tmp_path}:{ROOT}")
    done = subprocess.run(command(*verb), capture_output=True, text=True, env=env, cwd=ROOT, check=False)
    assert done.returncode in (1, 2)
    said = [line for line in done.stderr.splitlines() if line.startswith("gander: ")]
    assert len(said) == 1, done.stderr
    assert said[0].endswith("no runtime for TFLite models is installed: in Gander's folder, `pip install '.[litert]'`")
    assert "Traceback" not in done.stderr


def test_the_runtime_is_named_and_loaded_only_with_a_model() -> None:
    assert tflite.name() in ("LiteRT", "tflite-runtime")
    assert tflite.version()[0].isdigit()
    assert tflite.default_threads() >= 1
    code = """
import sys
import edge.bundle, edge.model_import, edge.runtimes.tflite as tflite
tflite.name()
print("ai_edge_litert" in sys.modules)
"""
    said = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert said.strip() == "False"
