"""What the frozen backbone says about each look at each picture: computed once, kept by content, read from disk."""

from __future__ import annotations

import hashlib
import os
import sqlite3
import tempfile
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path
from typing import Any

import keras
import numpy as np
import tensorflow as tf
from numpy.typing import NDArray

from edge.errors import StateError
from edge.frames.picture import read_picture
from edge.preprocess import prepare
from edge.runtimes.tflite import cores
from training.backbones import Backbone
from training.dataset import Picture
from training.looks import look
from training.recipe import LooksRecipe

BATCH = 32
Progress = Callable[[str, int, int], None]
Job = tuple[int, int, str]
"""Which picture, which look, and the name under which its features are kept."""


def cache_folder() -> Path:
    """Where features are kept: `GANDER_CACHE`, else the user's cache. It may be deleted at any time."""
    base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(os.environ.get("GANDER_CACHE") or Path(base) / "gander") / "features"


class Features:
    """One backbone's features, averaged over the picture: float32[D] for each look."""

    def __init__(self, backbone: Backbone, recipe: LooksRecipe, folder: Path) -> None:
        """Raises `StateError` where `folder` cannot be used."""
        self._backbone, self._recipe = backbone, recipe
        pooled = keras.layers.GlobalAveragePooling2D()(backbone.trunk.output)
        self._model = keras.Model(backbone.trunk.input, pooled)
        self._ask = tf.function(lambda x: self._model(x, training=False), autograph=False, reduce_retracing=True)
        self.size = int(pooled.shape[-1])
        name = hashlib.sha256(backbone.identity.encode()).hexdigest()[:16]
        self._path = folder / f"{name}.db"
        with self._guarded(), closing(self._open()) as cache:
            cache.execute("CREATE TABLE IF NOT EXISTS feature (name TEXT PRIMARY KEY, value BLOB) WITHOUT ROWID")

    def of(
        self, pictures: Sequence[Picture], hashes: Sequence[str], looks: int, progress: Progress = lambda *_: None
    ) -> NDArray[np.float32]:
        """float32[n, looks, D] on disk, read as needed; `hashes` are of the pictures' files.

        What was computed before an interruption is not computed again. Raises `StateError` where the disk is full,
        `SourceError` for a picture that has become unreadable.
        """
        jobs = [
            (index, number, self._name(pictures[index], hashes[index], number))
            for index in range(len(pictures))
            for number in range(looks)
        ]
        with self._guarded(), closing(self._open()) as cache:
            missing = [job for job in jobs if not _has(cache, job[2])]
            done = len(jobs) - len(missing)
            for batch, values in self._compute(pictures, hashes, missing):
                rows = [(name, value.tobytes()) for (_, _, name), value in zip(batch, values, strict=True)]
                with cache:
                    cache.executemany("INSERT OR REPLACE INTO feature VALUES (?, ?)", rows)
                done += len(batch)
                progress("features", done, len(jobs))
            return self._gather(cache, jobs, (len(pictures), looks, self.size))

    def _gather(self, cache: sqlite3.Connection, jobs: Sequence[Job], shape: tuple[int, ...]) -> NDArray[np.float32]:
        """All of them in a file without a name, so that they take room on disk and not in memory."""
        file = tempfile.TemporaryFile(dir=self._path.parent)  # noqa: SIM115 - lives as long as the array
        for _, _, name in jobs:  # written, not mapped: a full disk is then an error, and no SIGBUS
            (value,) = cache.execute("SELECT value FROM feature WHERE name = ?", (name,)).fetchone()
            file.write(value)
        file.flush()
        found: NDArray[np.float32] = np.memmap(file, np.float32, "r", shape=shape)
        return found

    def _compute(
        self, pictures: Sequence[Picture], hashes: Sequence[str], jobs: Sequence[Job]
    ) -> Iterator[tuple[Sequence[Job], NDArray[np.float32]]]:
        spec = self._backbone.spec()

        def tensor(job: Job) -> NDArray[Any]:
            picture = pictures[job[0]]
            shown = look(read_picture(picture.path), picture, self._recipe, job[1], hashes[job[0]])
            return np.asarray(prepare(shown, spec)[0])

        batches = [jobs[start : start + BATCH] for start in range(0, len(jobs), BATCH)]
        with ThreadPoolExecutor(cores()) as pool:
            ahead = [pool.submit(tensor, job) for batch in batches[:1] for job in batch]
            for number, batch in enumerate(batches, 1):
                tensors = np.stack([future.result() for future in ahead])
                ahead = [pool.submit(tensor, job) for following in batches[number : number + 1] for job in following]
                yield batch, self._ask(tf.constant(tensors)).numpy()

    def _name(self, picture: Picture, digest: str, number: int) -> str:
        """Equal names mean equal features: what is in the file, which part of it, which look."""
        part = picture.box or ""
        how = f"{number} {self._recipe.model_dump_json(exclude={'count'})}{' crop' * picture.crop}" if number else ""
        return hashlib.sha256(f"{digest} {part} {how}".encode()).hexdigest()

    def _open(self) -> sqlite3.Connection:
        self._path.parent.mkdir(parents=True, exist_ok=True)
        cache = sqlite3.connect(self._path, timeout=60.0)
        cache.execute("PRAGMA journal_mode = WAL")
        cache.execute("PRAGMA synchronous = NORMAL")  # a cache: what a power cut takes is computed again
        return cache

    def _guarded(self) -> _Guard:
        return _Guard(self._path)


class _Guard:
    """Turns what a disk can do wrong into one line."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def __enter__(self) -> None:
        return None

    def __exit__(self, _: object, error: BaseException | None, __: object) -> None:
        if isinstance(error, sqlite3.DatabaseError | OSError):
            raise StateError(
                f"{self._path}: features cannot be kept: {error}; make room, or set GANDER_CACHE to a folder on "
                "another disk; what was computed so far is not lost"
            ) from None


def _has(cache: sqlite3.Connection, name: str) -> bool:
    return cache.execute("SELECT 1 FROM feature WHERE name = ?", (name,)).fetchone() is not None
