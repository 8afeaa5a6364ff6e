"""Runs in the tree: what one process of Gander's holds at once, and from where, as a line of JSON.

`python probe.py MODULE...` names what the suite has beside that.
"""

from __future__ import annotations

import importlib.metadata
import json
import platform
import sys

import cv2
import numexpr
import numpy as np
import simplejpeg

WANTED = ("numpy", "numexpr", "simplejpeg", "cv2", "edge.app")


def main() -> None:
    picture = np.full((48, 64, 3), 90, np.uint8)
    jpeg = np.frombuffer(simplejpeg.encode_jpeg(picture, colorspace="BGR"), np.uint8)
    seen = {
        "machine": platform.machine(),
        "python": platform.python_version(),
        "files": {name: importlib.import_module(name).__file__ for name in (*WANTED, *sys.argv[1:])},
        "numpy": np.__version__,
        "opencv": cv2.__version__,
        "litert": importlib.metadata.version("ai-edge-litert"),
        "sum": int(numexpr.evaluate("sum(a)", {"a": picture.astype(np.int64)})),
        "jpeg": cv2.imdecode(jpeg, cv2.IMREAD_COLOR)[24, 32].tolist(),
    }
    print(json.dumps(seen))


if __name__ == "__main__":
    main()
