"""Tries a bundle's model on its golden pictures, in a process of its own: a model that crashes takes nobody along."""

from __future__ import annotations

import io
import os
import signal
import statistics
import subprocess
import sys
import time
import zipfile
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from edge.bundle import Bundle
from edge.errors import BundleError, GanderError
from edge.manifest import Manifest
from edge.preprocess import prepare
from edge.runtimes import tflite
from edge.values import Image

TOLERANCE = 0.06
"""Most that a probability may differ between processors and library versions; a wrong model differs by far more."""
_REPEATS = 7


@dataclass(frozen=True, slots=True)
class Trial:
    """What a model said to some pictures: `scores` as they come out, `p` as probabilities, both float32[n, K]."""

    scores: NDArray[np.float32]
    p: NDArray[np.float32]
    load_ms: float
    invoke_ms: float
    runtime: str


@dataclass(frozen=True, slots=True)
class SelfTest:
    """A passed test. `worst` is the largest difference from the golden answers, of 1; `invoke_ms` the median."""

    worst: float
    load_ms: float
    invoke_ms: float
    runtime: str


def self_test(bundle: Bundle, threads: int = 0, timeout_s: float = 60.0) -> SelfTest:
    """Load the model, put the golden pictures to it and compare. Raises `BundleError` where it is not what it was."""
    where = f"{bundle.name} {bundle.version}"
    trial = run_apart(bundle.model, bundle.manifest, bundle.golden.crops, threads, timeout_s)
    worst = float(np.abs(trial.p - bundle.golden.expected).max())
    if not worst <= TOLERANCE:
        raise BundleError(
            f"{where}: off its golden answers by {worst:.2f}, at most {TOLERANCE} is right: "
            f"the model or {trial.runtime} computes something else here than where it was made"
        )
    return SelfTest(worst, trial.load_ms, trial.invoke_ms, trial.runtime)


def run_apart(
    model: bytes, manifest: Manifest, crops: Sequence[Image], threads: int = 0, timeout_s: float = 60.0
) -> Trial:
    """Put pictures (uint8[h, w, 3] RGB) to a model in a process of its own. Raises `BundleError`."""
    where = f"{manifest.name} {manifest.version}"
    job: dict[str, NDArray[Any]] = {f"crop{i}": crop for i, crop in enumerate(crops)}
    job["model"] = _array(model)
    job["manifest"] = _array(manifest.model_dump_json().encode())
    job["threads"] = np.array(threads)
    command = [sys.executable, "-m", "edge.self_test"]
    try:
        done = subprocess.run(command, input=_pack(job), capture_output=True, timeout=timeout_s, check=False)
    except subprocess.TimeoutExpired:
        raise BundleError(f"{where}: the model gave no answer within {timeout_s:.0f} s") from None
    if done.returncode < 0:
        raise BundleError(f"{where}: the model ended its process by {signal.Signals(-done.returncode).name}")
    try:
        answer = _unpack(done.stdout)
    except (zipfile.BadZipFile, ValueError, OSError, EOFError):
        last = (done.stderr.decode("utf-8", "replace").strip().splitlines() or ["without a word"])[-1]
        raise BundleError(f"{where}: the model could not be tried: {last}") from None
    if "error" in answer:
        raise BundleError(answer["error"].tobytes().decode())
    load_ms, invoke_ms = (float(ms) for ms in answer["ms"])
    return Trial(answer["scores"], answer["p"], load_ms, invoke_ms, answer["runtime"].tobytes().decode())


def render_crops(seed: int = 7) -> tuple[Image, ...]:
    """Pictures of nothing, for golden answers: gradients, noise and shapes in several sizes, small in a file."""
    random = np.random.default_rng(seed)
    ramp = np.linspace(0, 255, 96, dtype=np.uint8)
    gradient = np.stack([np.tile(ramp, (96, 1)), np.tile(ramp[:, None], (1, 96)), np.full((96, 96), 90)], axis=2)
    noise = random.integers(0, 256, (24, 24, 3), np.uint8)
    disc = np.full((360, 480, 3), (96, 140, 72), np.uint8)
    cv2.circle(disc, (260, 190), 110, (30, 30, 34), cv2.FILLED)
    cv2.ellipse(disc, (150, 130), (60, 30), 25, 0, 360, (200, 190, 180), cv2.FILLED)
    bars = np.where(np.arange(400)[None, :, None] // 25 % 2, (40, 90, 200), (220, 200, 160)).repeat(400, 0)
    return gradient.astype(np.uint8), noise, disc, bars.astype(np.uint8)


def _array(data: bytes) -> NDArray[np.uint8]:
    return np.frombuffer(data, np.uint8)


def _pack(arrays: dict[str, NDArray[Any]]) -> bytes:
    file = io.BytesIO()
    np.savez(file, **arrays)  # type: ignore[arg-type]  # stubs know one more keyword
    return file.getvalue()


def _unpack(data: bytes) -> dict[str, NDArray[Any]]:
    with np.load(io.BytesIO(data), allow_pickle=False) as arrays:
        return dict(arrays)


def _answer(job: dict[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
    manifest = Manifest.model_validate_json(job["manifest"].tobytes())
    began = time.perf_counter()
    try:
        runtime = tflite.TfliteRuntime(job["model"].tobytes(), manifest, int(job["threads"]))
        load_ms = (time.perf_counter() - began) * 1000
        tensors = [prepare(job[f"crop{i}"], manifest.input) for i in range(len(job) - 3)]
        scores = [runtime.raw(tensor)[0] for tensor in tensors]
        p = [runtime.invoke(tensor)[0] for tensor in tensors]
        times = []
        for _ in range(_REPEATS):
            began = time.perf_counter()
            runtime.invoke(tensors[0])
            times.append((time.perf_counter() - began) * 1000)
    except GanderError as error:
        return {"error": _array(str(error).encode())}
    return {
        "scores": np.stack(scores),
        "p": np.stack(p),
        "ms": np.array([load_ms, statistics.median(times)]),
        "runtime": _array(f"{tflite.name()} {tflite.version()}".encode()),
    }


def main() -> None:
    """The process apart: a job on standard input, an answer on standard output."""
    answers = os.dup(1)
    os.dup2(2, 1)  # whatever the runtime says aloud must not fall among the answers
    answer = _pack(_answer(_unpack(sys.stdin.buffer.read())))
    with os.fdopen(answers, "wb") as file:
        file.write(answer)


if __name__ == "__main__":
    main()
