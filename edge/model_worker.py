"""One model in one process: a crop in by shared memory, an answer out by socket, room for one question.

A process, since loading a model holds the GIL, and an invoke cannot be cancelled but a process can be killed.
The worker sees end of file on its socket when its parent is gone, and ends.
"""

from __future__ import annotations

import contextlib
import logging
import mmap
import os
import socket
import struct
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import cv2
import numpy as np
from numpy.typing import NDArray

from edge.errors import GanderError
from edge.values import Fate, Image, Role

if TYPE_CHECKING:
    from edge.bundle import Bundle

log = logging.getLogger(__name__)

Answered = tuple[NDArray[np.float32], NDArray[np.float32] | None]
"""Probabilities float32[K], and the embedding where the model has one."""

_QUESTION = struct.Struct("<QqII")  # number, deadline_ns (0: none), height, width
_ANSWER = struct.Struct("<QBqII")  # number, fate, invoke_ns, K, size of the embedding
_READY = struct.Struct("<Q")  # what a worker says once: its model is loaded
_UNFIT = b"unfit: "  # or this, and why not
_FATES = tuple(Fate)
_CROP_BYTES = 4096 * 4096 * 3  # the largest square that can be asked about; pages not touched cost nothing
_MESSAGE_BYTES = 256 * 1024
_REASON_BYTES = 2000
_LOADING_NS = 60_000_000_000
_STEADY_NS = 600_000_000_000  # what has run for so long is well again


@dataclass(frozen=True, slots=True)
class Answer:
    """What one worker said to question `number`. `label_p` float32[K], empty unless answered."""

    number: int
    fate: Fate
    invoke_ns: int
    label_p: NDArray[np.float32]
    embedding: NDArray[np.float32] | None


class ModelWorker:
    """The parent's end of one worker. One thread uses it; no call waits.

    A dead or hung worker is replaced by `tend`; until the new one has loaded, questions fail.
    """

    def __init__(self, bundle: Bundle, role: Role, threads: int, hang_ns: int = 5_000_000_000) -> None:
        self.name, self.role = bundle.name, role
        self.starts = 0
        """Since it last ran for ten minutes. The more, the longer it rests before the next."""
        self._threads, self._hang_ns = threads, hang_ns
        manifest = bundle.manifest.model_dump_json().encode()
        self._sizes = len(bundle.model), len(manifest)
        self._model_fd = os.memfd_create("gander-model")
        os.truncate(self._model_fd, sum(self._sizes))
        with mmap.mmap(self._model_fd, sum(self._sizes)) as memory:
            memory[:] = bundle.model + manifest
        self._crop_fd = os.memfd_create("gander-crop")
        os.truncate(self._crop_fd, _CROP_BYTES)
        self._crop_memory = mmap.mmap(self._crop_fd, _CROP_BYTES)
        self._crop = np.frombuffer(self._crop_memory, np.uint8)
        self._process: subprocess.Popen[bytes] | None = None
        self._dying: subprocess.Popen[bytes] | None = None
        self._started_ns = 0
        self._socket: socket.socket | None = None
        self._asked: tuple[int, int] | None = None  # number, when
        self._failed_ns = 0
        self.ready = False
        self.trouble = ""  # why the model could not be loaded
        self._start()

    def fileno(self) -> int:
        """The socket to wait on; -1 while there is none."""
        return self._socket.fileno() if self._socket else -1

    @property
    def pid(self) -> int:
        return self._process.pid if self._process else 0

    def ask(self, crop: Image, number: int, deadline_ns: int) -> Fate | None:
        """Put a question (uint8[h, w, 3] RGB). None: it was asked; else why not: busy or failed."""
        if not self.ready or self._socket is None:
            return Fate.FAILED
        if self._asked is not None:
            return Fate.BUSY
        height, width = crop.shape[:2]
        np.copyto(self._crop[: crop.size].reshape(crop.shape), crop)
        try:
            self._socket.send(_QUESTION.pack(number, deadline_ns, height, width))
        except OSError:
            self._lost("is gone")
            return Fate.FAILED
        self._asked = (number, time.monotonic_ns())
        return None

    def receive(self) -> Answer | None:
        """The answer that lies ready, if any. An answer to an older question is read and returned too."""
        if self._socket is None:
            return None
        try:
            message = self._socket.recv(_MESSAGE_BYTES, socket.MSG_DONTWAIT)
        except BlockingIOError:
            return None
        except OSError:
            message = b""
        if not message:
            asked = self._asked
            self._lost("died")
            return Answer(asked[0], Fate.FAILED, 0, _NOTHING, None) if asked else None
        if message.startswith(_UNFIT) and not self.ready:
            self.trouble = message.removeprefix(_UNFIT).decode("utf-8", "replace")
            self._lost(f"does not load: {self.trouble}")
            return None
        if len(message) == _READY.size:
            self.ready, self.trouble = True, ""
            log.info("%s %s is loaded (process %d)", self.role, self.name, self.pid)
            return None
        self._asked = None
        return _unpack(message)

    def tend(self) -> None:
        """Replace the process where it is dead (after a rest that grows), or too long at one question or at loading."""
        now = time.monotonic_ns()
        if self._asked and now - self._asked[1] > self._hang_ns:
            self._lost(f"hung for {self._hang_ns / 1e9:.0f} s")
        elif self._socket and not self.ready and now - self._started_ns > _LOADING_NS:
            self._lost(f"did not load within {_LOADING_NS / 1e9:.0f} s")
        elif self.ready and now - self._started_ns > _STEADY_NS:
            self.starts = 1
        if self._dying and self._dying.poll() is not None:
            self._dying = None
        # The dead one must be gone first: they share the crop's memory.
        rested = now - self._failed_ns > 2 ** min(self.starts, 8) * 250_000_000
        if self._socket is None and self._dying is None and rested:
            self._start()

    def close(self) -> None:
        """Kill the process and give the memory back. May be called again."""
        if not self._crop.size:
            return
        self._end()
        if self._dying:
            self._dying.wait()
        self._crop = _NO_CROP
        self._crop_memory.close()
        os.close(self._crop_fd)
        os.close(self._model_fd)

    def _start(self) -> None:
        mine, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        fds = (theirs.fileno(), self._crop_fd, self._model_fd)
        numbers = map(str, (*fds, *self._sizes, self._threads))
        self.starts += 1
        self._started_ns = self._failed_ns = time.monotonic_ns()
        with theirs:
            try:
                self._process = subprocess.Popen(
                    [sys.executable, "-m", "edge.model_worker", *numbers],
                    pass_fds=fds,
                    stdin=subprocess.DEVNULL,
                    cwd=Path(__file__).parents[1],  # where `edge` is, whatever lies in the folder we were started in
                    start_new_session=True,  # Ctrl-C is for the parent, which then closes the socket
                )
            except OSError as error:  # no memory or no room for a process: later
                log.warning("%s %s cannot be started: %s", self.role, self.name, error)
                mine.close()
                return
        self._socket, self._asked, self.ready = mine, None, False

    def _lost(self, why: str) -> None:
        log.warning("%s %s %s: it will be started again", self.role, self.name, why)
        self._failed_ns = time.monotonic_ns()
        self._end()

    def _end(self) -> None:
        if self._socket:
            self._socket.close()
        if self._process:
            self._process.kill()  # not waited for: this may be the live path, and a dying card can hold the dead
        self._dying = self._process or self._dying
        self._socket, self._process, self._asked, self.ready = None, None, None, False


_NOTHING = np.zeros(0, np.float32)
_NO_CROP = np.zeros(0, np.uint8)


def _unpack(message: bytes) -> Answer:
    number, fate, invoke_ns, k, e = _ANSWER.unpack_from(message)
    numbers = np.frombuffer(message, np.float32, offset=_ANSWER.size)
    return Answer(number, _FATES[fate], invoke_ns, numbers[:k], numbers[k : k + e] if e else None)


def _pack(answer: Answer) -> bytes:
    embedding = _NOTHING if answer.embedding is None else answer.embedding
    head = _ANSWER.pack(answer.number, _FATES.index(answer.fate), answer.invoke_ns, answer.label_p.size, embedding.size)
    return head + answer.label_p.astype(np.float32).tobytes() + embedding.astype(np.float32).tobytes()


def serve(look: Callable[[Image], tuple[Answered, int]], questions: socket.socket, crops: NDArray[np.uint8]) -> None:
    """The worker's life: answer one question after the other until the parent is gone.

    `look` gives (probabilities, embedding) of a crop and the nanoseconds the model ran. Whatever it raises becomes the
    fate of that question: one picture a model chokes on must not end the worker.
    """
    while message := questions.recv(_MESSAGE_BYTES):
        number, deadline_ns, height, width = _QUESTION.unpack(message)
        crop = crops[: height * width * 3].reshape(height, width, 3)
        label_p, embedding, invoke_ns, fate = _NOTHING, None, 0, Fate.EXPIRED
        if not deadline_ns or time.monotonic_ns() < deadline_ns:
            try:
                (label_p, embedding), invoke_ns = look(crop)
                fate = Fate.ANSWERED
            except Exception:
                log.exception("question %d failed", number)
                fate = Fate.FAILED
        questions.send(_pack(Answer(number, fate, invoke_ns, label_p, embedding)))


def main() -> None:
    """Entry of the worker process: SOCKET CROPS MODEL, inherited file descriptors, two sizes, and threads."""
    from edge.manifest import Manifest
    from edge.preprocess import prepare
    from edge.runtimes.tflite import TfliteRuntime

    cv2.setNumThreads(1)
    socket_fd, crops_fd, model_fd, model_size, manifest_size, threads = map(int, sys.argv[1:])
    logging.basicConfig(format="%(name)s: %(message)s")
    questions = socket.socket(fileno=socket_fd)
    crops = np.frombuffer(mmap.mmap(crops_fd, _CROP_BYTES, prot=mmap.PROT_READ), np.uint8)
    with open(model_fd, "rb") as file:  # noqa: PTH123  # a descriptor has no path
        file.seek(0)
        model, manifest = file.read(model_size), Manifest.model_validate_json(file.read(manifest_size))
    try:
        runtime = TfliteRuntime(model, manifest, threads)
    except GanderError as error:
        questions.send(_UNFIT + str(error).encode()[:_REASON_BYTES])
        return
    tensor = np.empty(manifest.input.shape, manifest.input.dtype)

    def look(crop: Image) -> tuple[Answered, int]:
        prepare(crop, manifest.input, tensor)
        began = time.monotonic_ns()
        answered = runtime.invoke(tensor)
        return answered, time.monotonic_ns() - began

    look(np.zeros((64, 64, 3), np.uint8))  # the first run is slow: not at the first visitor
    questions.send(_READY.pack(0))
    with contextlib.suppress(ConnectionResetError, BrokenPipeError):  # the parent was killed in mid-question
        serve(look, questions, crops)


if __name__ == "__main__":
    main()
