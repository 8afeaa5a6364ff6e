"""A bundle's answers to pictures by the code of the device, spread over local processes."""

from __future__ import annotations

import contextlib
import logging
import signal
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from itertools import islice
from multiprocessing import get_context
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess
from typing import Protocol

import cv2
import numpy as np
from numpy.typing import NDArray

from edge.errors import GanderError, SourceError
from edge.manifest import Manifest
from edge.preprocess import prepare
from edge.runtimes.tflite import TfliteRuntime, cores
from edge.values import Image
from training.dataset import Picture, load

log = logging.getLogger(__name__)

Progress = Callable[[str, int, int], None]
_BATCH = 8  # pictures put to a process at once
_AHEAD = 2  # batches that wait at each process, so that none is idle while the answers of another are awaited
_FACTS_SIDE = 64


class Model(Protocol):
    """What is run: a bundle, or a model that is to be in one."""

    @property
    def manifest(self) -> Manifest: ...
    @property
    def model(self) -> bytes: ...


@dataclass(frozen=True, slots=True)
class Answer:
    """What the model said to a picture: probabilities float32[K]; None where it cannot be read, with the reason.

    `luma` is its mean brightness, 0..255; `saturation` how coloured it is, 0..1: nearly 0 by infrared.
    """

    p: NDArray[np.float32] | None
    luma: float
    saturation: float
    why: str = ""


@dataclass(frozen=True, slots=True)
class Scored:
    """Answers to n pictures: probabilities `p` float32[n, K], and `facts` float32[n, 2] (luma, saturation).

    Rows of NaN where a picture cannot be read.
    """

    p: NDArray[np.float32]
    facts: NDArray[np.float32]


def score(
    bundle: Model, pictures: Sequence[Picture], processes: int = 0, progress: Progress = lambda *_: None
) -> Scored:
    """Put each picture to the model, calibrated as on the device. `processes` 0: one for each core.

    Raises `BundleError` for a model that does not run, `GanderError` for one that ends its process.
    """
    p = np.full((len(pictures), len(bundle.manifest.labels)), np.nan, np.float32)
    facts = np.full((len(pictures), 2), np.nan, np.float32)
    for place, (_, answer) in enumerate(answers(bundle, pictures, processes)):
        if answer.p is not None:
            p[place], facts[place] = answer.p, (answer.luma, answer.saturation)
        else:
            log.warning("not scored: %s", answer.why)
        progress("asking the model", place + 1, len(pictures))
    return Scored(p, facts)


def answers(
    bundle: Model, pictures: Iterable[Picture], processes: int = 0
) -> Generator[tuple[Picture, Answer], None, None]:
    """The same one by one, in order: memory does not grow with the pictures."""
    waiting = _batches(pictures)
    first = list(islice(waiting, processes or cores()))
    with ExitStack() as stack:
        asked = [stack.enter_context(_Apart(bundle)) for _ in first]
        for one, batch in zip(asked, first, strict=True):
            one.ask(batch)
        for one, batch in zip(asked * (_AHEAD - 1), waiting, strict=False):
            one.ask(batch)
        turn = 0
        while asked and asked[turn].waiting:
            one = asked[turn]
            batch, found = one.answer()
            if (following := next(waiting, None)) is not None:
                one.ask(following)
            turn = (turn + 1) % len(asked)
            yield from zip(batch, found, strict=True)


class _Apart:
    """A process with the model in it. Used as a context."""

    def __init__(self, bundle: Model) -> None:
        context = get_context("spawn")
        self._pipe, theirs = context.Pipe()
        arguments = theirs, bundle.model, bundle.manifest.model_dump_json()
        self._process: BaseProcess = context.Process(target=_serve, args=arguments, daemon=True)
        self._process.start()
        theirs.close()
        self._name = f"{bundle.manifest.name} {bundle.manifest.version}"
        self.waiting: list[list[Picture]] = []

    def __enter__(self) -> _Apart:
        return self

    def __exit__(self, *_: object) -> None:
        self._pipe.close()
        self._process.terminate()
        self._process.join()

    def ask(self, batch: list[Picture]) -> None:
        self.waiting.append(batch)
        with contextlib.suppress(OSError):  # it has ended; what it said before is read by `answer`
            self._pipe.send(batch)

    def answer(self) -> tuple[list[Picture], list[Answer]]:
        """Of the batch asked first. Raises what the process raised, or `GanderError` where it died."""
        try:
            found: list[Answer] | GanderError = self._pipe.recv()
        except (EOFError, OSError):
            self._process.join()
            code = self._process.exitcode or 0
            how = signal.Signals(-code).name if code < 0 else f"status {code}"
            raise GanderError(f"{self._name}: the process that asks the model ended by {how}") from None
        if isinstance(found, GanderError):
            raise found
        return self.waiting.pop(0), found


def _batches(pictures: Iterable[Picture]) -> Iterator[list[Picture]]:
    every = iter(pictures)
    while batch := list(islice(every, _BATCH)):
        yield batch


def _serve(pipe: Connection, model: bytes, manifest: str) -> None:
    """The process: batches in, answers out, until the pipe is closed. Its parent deals with Ctrl-C."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    cv2.setNumThreads(1)
    try:
        read = Manifest.model_validate_json(manifest)
        runtime = TfliteRuntime(model, read, threads=1)
        while True:
            pipe.send([_answer(picture, runtime, read) for picture in pipe.recv()])
    except (EOFError, OSError):
        return
    except GanderError as error:
        pipe.send(error)


def _answer(picture: Picture, runtime: TfliteRuntime, manifest: Manifest) -> Answer:
    try:
        image = load(picture, manifest.input.crop.margin)
    except SourceError as error:
        return Answer(None, np.nan, np.nan, str(error))
    p, _ = runtime.invoke(prepare(image, manifest.input))
    return Answer(p, *_facts(image))


def _facts(image: Image) -> tuple[float, float]:
    """Mean brightness and saturation of uint8[h, w, 3]."""
    small = cv2.resize(image, (_FACTS_SIDE, _FACTS_SIDE), interpolation=cv2.INTER_AREA)
    hsv = cv2.cvtColor(small, cv2.COLOR_RGB2HSV)
    return float(cv2.cvtColor(small, cv2.COLOR_RGB2GRAY).mean()), float(hsv[..., 1].mean()) / 255.0
