"""What runs a model. To add a runtime: one file here with a `Runtime`."""

from __future__ import annotations

from typing import Protocol

import numpy as np
from numpy.typing import NDArray


class Runtime(Protocol):
    """One loaded model, batch 1. Not thread-safe: one runtime lives in one process."""

    def invoke(self, tensor: NDArray[np.generic]) -> tuple[NDArray[np.float32], NDArray[np.float32] | None]:
        """Input [1, H, W, 3] in the manifest's dtype -> (probabilities float32[K] summing to 1, embedding or None)."""
        ...
