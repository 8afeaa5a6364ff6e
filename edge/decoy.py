"""The decoy: no model, but the exact bytes the models were shown, each content once, the oldest giving way."""

from __future__ import annotations

import hashlib
import os
import re
from collections import OrderedDict
from collections.abc import Iterable, Iterator
from pathlib import Path

import cv2
import numpy as np

from edge.atomic import make_folder, write_atomically
from edge.errors import Refused
from edge.values import Image

FOLDER = "decoy"
ROLE = "decoy"
_NAME = re.compile(r"[0-9a-f]{64}")
_FAST = (cv2.IMWRITE_PNG_COMPRESSION, 1)  # a third of the time of the default, a tenth more bytes


def content(crop: Image) -> str:
    """The name of uint8[h, w, 3]: the SHA-256 of its shape and its pixels."""
    digest = hashlib.sha256("{}x{}x{}:".format(*crop.shape).encode())
    digest.update(np.ascontiguousarray(crop).data)
    return digest.hexdigest()


def load(state: Path, sha256: str) -> Image:
    """The picture of that content, uint8[h, w, 3] RGB, exactly as it was shown. Raises `Refused`."""
    if not _NAME.fullmatch(sha256):
        raise Refused(f"decoy {sha256[:80]!r}: no such name; it is the picture of a prediction with the role {ROLE!r}")
    path = _path(state / FOLDER, sha256)
    try:
        data = np.frombuffer(path.read_bytes(), np.uint8)
    except OSError as error:
        raise Refused(f"{path}: {error.strerror}; older ones make room for newer (media.decoy_mb)") from None
    decoded = cv2.imdecode(data, cv2.IMREAD_COLOR) if data.size else None
    image = None if decoded is None else np.asarray(cv2.cvtColor(decoded, cv2.COLOR_BGR2RGB), np.uint8)
    if image is None or content(image) != sha256:
        raise Refused(f"{path}: damaged: its content is not what its name says; delete it")
    return image


class Decoys:
    """The folder `state/decoy/`. For one thread at a time."""

    def __init__(self, state: Path, most_bytes: int) -> None:
        """`most_bytes` 0: nothing is kept."""
        self._folder, self.most_bytes = state / FOLDER, most_bytes
        self._sizes: OrderedDict[str, int] | None = None  # the oldest first
        self.kept_bytes = 0

    @property
    def _known(self) -> OrderedDict[str, int]:
        """What is there, looked up once."""
        if self._sizes is None:
            found = sorted((s.st_mtime_ns, name, s.st_size) for name, s in self._files())
            self._sizes = OrderedDict((name, size) for _, name, size in found)
            self.kept_bytes = sum(self._sizes.values())
        return self._sizes

    def look(self) -> int:
        """How many there are."""
        return len(self._known)

    def since(self, timestamp: float) -> int:
        """Bytes of those written since then (seconds since 1970)."""
        return sum(s.st_size for _, s in self._files() if s.st_mtime >= timestamp)

    def keep(self, crop: Image, name: str) -> int:
        """Keep a picture under its `content`, unless it is there. Returns the bytes written. Raises `OSError`."""
        if name in self._known:
            return 0
        _, encoded = cv2.imencode(".png", cv2.cvtColor(crop, cv2.COLOR_RGB2BGR), _FAST)
        data = encoded.tobytes()
        if len(data) > self.most_bytes:
            return 0
        self.shrink(self.most_bytes - len(data))
        path = _path(self._folder, name)
        make_folder(path.parent)
        write_atomically(path, data, 0o660)
        self._known[name] = len(data)
        self.kept_bytes += len(data)
        return len(data)

    def shrink(self, most_bytes: int) -> int:
        """Let the oldest go until no more than that is left. Returns the bytes that went."""
        going, known = [], self._known
        surplus = self.kept_bytes - most_bytes
        for name, size in known.items():
            if surplus <= 0:
                break
            going.append(name)
            surplus -= size
        return self.drop(going)

    def drop(self, names: Iterable[str]) -> int:
        """Delete those of these names that are there. Returns the bytes that went. Raises `OSError`."""
        gone = 0
        for name in names:
            if name in self._known:
                _path(self._folder, name).unlink(missing_ok=True)
                size = self._known.pop(name)
                self.kept_bytes -= size
                gone += size
        return gone

    def _files(self) -> Iterator[tuple[str, os.stat_result]]:
        """Every decoy; what a crash left half written is cleared away."""
        for path in self._folder.glob("??/*"):
            if _NAME.fullmatch(path.stem) and path.suffix == ".png":
                yield path.stem, path.stat()
            elif path.name.startswith("."):
                path.unlink(missing_ok=True)


def _path(folder: Path, name: str) -> Path:
    return folder / name[:2] / f"{name}.png"
