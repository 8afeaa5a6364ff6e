"""One question to all live models; a verdict by the deadline, always."""

from __future__ import annotations

import select
import time
from collections.abc import Sequence
from typing import Protocol

import numpy as np

from edge.errors import GanderError
from edge.model_worker import Answer
from edge.values import Fate, Image, Prediction, Role, Verdict

NO_DEADLINE = 0
_PATIENCE_NS = 60_000_000_000  # without a deadline (replay): a model that needs longer than this is broken


class Worker(Protocol):
    """One model that can be asked. No call waits; see `model_worker.ModelWorker`."""

    name: str
    role: Role
    ready: bool
    starts: int

    def fileno(self) -> int: ...
    def ask(self, crop: Image, number: int, deadline_ns: int) -> Fate | None: ...
    def receive(self) -> Answer | None: ...
    def tend(self) -> None: ...


class Rendezvous:
    """Asks every worker and returns as soon as nothing more trusted is still running, else at the deadline.

    `workers` come in order of trust, the champion first.
    """

    def __init__(self, workers: Sequence[Worker]) -> None:
        self._workers = tuple(workers)
        self._number = 0

    def wait_ready(self, timeout_s: float) -> None:
        """Wait until every model is loaded. Raises `GanderError` when one is not by then."""
        until = time.monotonic_ns() + int(timeout_s * 1e9)
        while missing := [w for w in self._workers if not w.ready]:
            if time.monotonic_ns() > until:
                raise GanderError(f"model {missing[0].name}: did not load within {timeout_s:.0f} s; see the log above")
            self._listen(missing, 0.1)
            self.tend()

    def status(self) -> list[dict[str, object]]:
        """Each model's name, role, whether it is loaded, and how often it was started."""
        return [{"name": w.name, "role": w.role.value, "ready": w.ready, "starts": w.starts} for w in self._workers]

    def tend(self) -> None:
        """Read what came late, replace what died or hangs. Called between questions; does not wait."""
        self._listen(self._workers, 0.0)
        for worker in self._workers:
            worker.tend()

    def ask(self, crop: Image, deadline_ns: int) -> Verdict:
        """The verdict on one crop, uint8[h, w, 3] RGB. `deadline_ns` is absolute and monotonic; `NO_DEADLINE` waits.

        Never returns later than the deadline (but for the wake-up of the thread); with no answer the verdict's
        `chosen` is None. Every model asked has a prediction with its fate.
        """
        if deadline_ns == NO_DEADLINE:
            self.wait_ready(_PATIENCE_NS / 1e9)  # also for one that died and is being replaced
        self.tend()
        self._number += 1
        asked_ns = time.monotonic_ns()
        until_ns = deadline_ns or asked_ns + _PATIENCE_NS
        fates = {worker: worker.ask(crop, self._number, deadline_ns) for worker in self._workers}
        answers: dict[Worker, tuple[Answer, int]] = {}
        running = [worker for worker in self._workers if fates[worker] is None]
        while running and not _decided(self._workers, running, answers):
            left_s = (until_ns - time.monotonic_ns()) / 1e9
            if left_s <= 0:
                break
            for worker, answer in self._listen(running, left_s):
                if answer.number == self._number:
                    answers[worker] = answer, time.monotonic_ns()
                    running.remove(worker)
        predictions = tuple(_prediction(w, fates[w], answers.get(w), asked_ns, until_ns) for w in self._workers)
        chosen = next((p for p in predictions if p.fate is Fate.ANSWERED), None)
        return Verdict(chosen, predictions, until_ns, time.monotonic_ns())

    def _listen(self, workers: Sequence[Worker], timeout_s: float) -> list[tuple[Worker, Answer]]:
        """What the workers said within `timeout_s`; empty when nobody did."""
        by_fd = {worker.fileno(): worker for worker in workers if worker.fileno() >= 0}
        if not by_fd:
            time.sleep(min(timeout_s, 0.1))
            return []
        poll = select.poll()
        for fd in by_fd:
            poll.register(fd, select.POLLIN)
        heard = ((by_fd[fd], by_fd[fd].receive()) for fd, _ in poll.poll(timeout_s * 1000))
        return [(worker, answer) for worker, answer in heard if answer]


def _decided(workers: Sequence[Worker], running: Sequence[Worker], answers: dict[Worker, tuple[Answer, int]]) -> bool:
    """Whether the most trusted answer so far can no longer be bettered."""
    for worker in workers:
        if worker in running:
            return False
        if worker in answers and answers[worker][0].fate is Fate.ANSWERED:
            return True
    return True


def _prediction(
    worker: Worker, refused: Fate | None, answered: tuple[Answer, int] | None, asked_ns: int, until_ns: int
) -> Prediction:
    """One worker's part, its fate judged against the deadline."""
    if answered is None:
        return Prediction(worker.name, worker.role, refused or Fate.LATE, _NOTHING, asked_ns, 0, 0.0)
    answer, at_ns = answered
    late = answer.fate is Fate.ANSWERED and at_ns > until_ns
    return Prediction(
        worker.name,
        worker.role,
        Fate.LATE if late else answer.fate,
        _NOTHING if late else answer.label_p,
        asked_ns,
        at_ns,
        answer.invoke_ns / 1e6,
        answer.embedding,
    )


_NOTHING = np.zeros(0, np.float32)
