"""Prints what the TFLite runtime of this environment says: its name, numpy's version, and each picture's raw scores.

    python -m tests.lab.answers [--reference] BUNDLE PICTURE...

`--reference`: also those by the runtime's plain kernels, which are slow.
"""

from __future__ import annotations

import importlib
import json
import sys
from pathlib import Path

import cv2
import numpy as np

from edge.bundle import read
from edge.preprocess import prepare
from edge.runtimes import tflite


def main() -> None:
    reference, arguments = "--reference" in sys.argv, [a for a in sys.argv[1:] if a != "--reference"]
    bundle = read(Path(arguments[0]))
    runtime = tflite.TfliteRuntime(bundle.model, bundle.manifest, 1)
    tensor = np.empty(bundle.manifest.input.shape, bundle.manifest.input.dtype)

    def scores() -> list[list[float]]:
        found = []
        for path in arguments[1:]:
            picture = cv2.imread(path)
            assert picture is not None, path
            prepare(np.asarray(cv2.cvtColor(picture, cv2.COLOR_BGR2RGB), np.uint8), bundle.manifest.input, tensor)
            found.append([round(float(score), 6) for score in runtime.raw(tensor)[0]])
        return found

    said = {"runtime": f"{tflite.name()} {tflite.version()}", "numpy": np.__version__, "scores": scores()}
    if reference:
        module = importlib.import_module("ai_edge_litert.interpreter")
        plain = module.OpResolverType.BUILTIN_REF
        runtime._interpreter = module.Interpreter(model_content=bundle.model, experimental_op_resolver_type=plain)
        runtime._interpreter.allocate_tensors()
        said["reference"] = scores()
    print(json.dumps(said))


if __name__ == "__main__":
    main()
