"""TensorFlow Lite models, by LiteRT or, where only that exists, by tflite-runtime."""

from __future__ import annotations

import contextlib
import importlib
import importlib.metadata
import importlib.util
import os
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from edge.errors import BundleError, GanderError

if TYPE_CHECKING:
    from edge.manifest import Manifest, Output

_RUNTIMES = (("ai_edge_litert", "ai-edge-litert", "LiteRT"), ("tflite_runtime", "tflite-runtime", "tflite-runtime"))


def _installed() -> tuple[str, str, str]:
    """Module, distribution and name of the runtime that would be used. Raises `GanderError` where there is none."""
    for module, distribution, title in _RUNTIMES:
        if importlib.util.find_spec(module):
            return module, distribution, title
    raise GanderError("no runtime for TFLite models is installed: in Gander's folder, `pip install '.[litert]'`")


def name() -> str:
    """Name of the runtime that is used here."""
    return _installed()[2]


def version() -> str:
    """Version of the runtime that is used here."""
    return importlib.metadata.version(_installed()[1])


def cores() -> int:
    """Processors this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1  # macOS has none


def default_threads() -> int:
    """All cores up to four: more make these small models slower."""
    return min(cores(), 4)


class TfliteRuntime:
    """One loaded model, batch 1; XNNPACK is LiteRT's own default. Not thread-safe: one runtime lives in one process."""

    def __init__(self, model: bytes, manifest: Manifest, threads: int = 0) -> None:
        """Load `model`; `threads` 0 chooses. Raises `BundleError` where it is no model or not the manifest's."""
        interpreter_class = importlib.import_module(f"{_installed()[0]}.interpreter").Interpreter
        where = f"model of {manifest.name} {manifest.version}"
        try:
            with quietly():
                self._interpreter = interpreter_class(model_content=model, num_threads=threads or default_threads())
                self._interpreter.allocate_tensors()
        except (ValueError, RuntimeError) as error:
            first = (str(error).strip().splitlines() or ["no reason given"])[0]
            raise BundleError(f"{where}: {name()} {version()} cannot load it: {first}") from None
        self._input = _bind_input(self._interpreter.get_input_details(), manifest, where)
        details = self._interpreter.get_output_details()
        outputs = manifest.outputs
        self._scores = _bind(details, outputs.scores, where)
        self._embedding = _bind(details, outputs.embedding, where) if outputs.embedding else None
        self._logits = outputs.logits is not None
        self._temperature = manifest.calibration.temperature

    def invoke(self, tensor: NDArray[np.generic]) -> tuple[NDArray[np.float32], NDArray[np.float32] | None]:
        """Input tensor [1, H, W, 3] in the manifest's dtype -> (probabilities float32[K], embedding or None).

        The probabilities sum to 1. Raises `BundleError` when the model's answer is not made of finite numbers.
        """
        scores, embedding = self.raw(tensor)
        return probabilities(scores, self._logits, self._temperature), embedding

    def raw(self, tensor: NDArray[np.generic]) -> tuple[NDArray[np.float32], NDArray[np.float32] | None]:
        """What the model says, float32[K] as it comes out (dequantised), and the embedding float32[E] or None."""
        self._interpreter.set_tensor(self._input, tensor)
        self._interpreter.invoke()
        return self._real(self._scores), self._real(self._embedding) if self._embedding else None

    def _real(self, detail: dict[str, Any]) -> NDArray[np.float32]:
        values: NDArray[np.float32] = self._interpreter.get_tensor(detail["index"]).ravel()
        if values.dtype != np.float32:
            scale, zero_point = detail["quantization"]
            values = (values.astype(np.float32) - np.float32(zero_point)) * np.float32(scale)
        return values


@contextlib.contextmanager
def quietly() -> Iterator[None]:
    """Keep what the library announces at every load off the terminal; errors come as exceptions, which are not."""
    kept = os.dup(2)
    try:
        with open(os.devnull, "wb") as nowhere:  # noqa: PTH123
            os.dup2(nowhere.fileno(), 2)
        yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)


def probabilities(scores: NDArray[np.float32], logits: bool, temperature: float = 1.0) -> NDArray[np.float32]:
    """Calibrated probabilities, float32[K] summing to 1, from logits or from probabilities that may not.

    Probabilities too small for a quantised output are 0; all of them at once says nothing, and so gives 1/K each.
    Raises `BundleError` on numbers that are not finite.
    """
    if not np.isfinite(scores).all():
        raise BundleError("the model's answer is not made of finite numbers")
    values = scores.astype(np.float64)
    if logits:
        p = np.exp((values - values.max()) / temperature)
    else:
        p = np.maximum(values, 0.0)
        if temperature != 1.0:
            p = (p / (p.max() or 1.0)) ** (1.0 / temperature)
    total = p.sum()
    return (p / total if total > 0.0 else np.full(p.shape, 1.0 / p.size)).astype(np.float32)


def _bind_input(details: list[dict[str, Any]], manifest: Manifest, where: str) -> int:
    wanted = (tuple(manifest.input.shape), manifest.input.dtype)
    found = [(tuple(int(n) for n in d["shape"]), np.dtype(d["dtype"]).name) for d in details]
    if found != [wanted]:
        raise BundleError(f"{where}: its inputs are {found}, the manifest says {wanted}")
    return int(details[0]["index"])


def _bind(details: list[dict[str, Any]], output: Output, where: str) -> dict[str, Any]:
    """Find a recorded output by its name, or where names are missing or shared by its place; its shape must agree."""
    named = [detail for detail in details if detail["name"] == output.name]
    if len(named) != 1:
        named = details[output.index : output.index + 1]
    found = named[0] if named else None
    if found is None or tuple(int(n) for n in found["shape"]) != tuple(output.shape):
        there = [(d["name"], [int(n) for n in d["shape"]]) for d in details]
        raise BundleError(f"{where}: has no output {output.name!r} of shape {list(output.shape)}; it has {there}")
    return found
