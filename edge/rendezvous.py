"""One question to all live models; a verdict by the deadline, always."""

from __future__ import annotations

import select
import time
from collections import Counter, deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from edge.errors import GanderError, Refused
from edge.model_worker import Answer
from edge.values import Fate, Image, Prediction, Role, Verdict

NO_DEADLINE = 0
_PATIENCE_NS = 60_000_000_000  # without a deadline (replay): a model that needs longer than this is broken
_SLICE_S = 0.2  # a controller is to be told as often that its host is alive
_KEPT = 64


class Worker(Protocol):
    """One model that can be asked. No call waits; see `model_worker.ModelWorker`."""

    name: str
    role: Role
    ready: bool
    starts: int
    trouble: str

    def fileno(self) -> int: ...
    def ask(self, crop: Image, number: int, deadline_ns: int) -> Fate | None: ...
    def receive(self) -> Answer | None: ...
    def tend(self) -> None: ...


class Rendezvous:
    """Asks every worker and returns as soon as nothing more trusted is still running, else at the deadline.

    `workers` come in order of trust, the champion first. Who is no longer waited for is judged when its answer comes:
    against the deadline of its own question.
    """

    def __init__(self, workers: Sequence[Worker]) -> None:
        self.workers = tuple(workers)
        self._number = 0
        self._open: dict[Worker, _Asked] = {}  # whose answer nobody waits for any more
        self._settled: deque[tuple[int, Prediction]] = deque(maxlen=_KEPT)
        self._fates: dict[Worker, Counter[Fate]] = {worker: Counter() for worker in self.workers}

    def wait_ready(self, timeout_s: float) -> None:
        """Wait until every model is loaded. Raises `GanderError` when one is not by then, or cannot be."""
        until = time.monotonic_ns() + int(timeout_s * 1e9)
        while missing := [w for w in self.workers if not w.ready]:
            if unfit := next((w for w in missing if w.trouble), None):
                raise Refused(unfit.trouble)
            if time.monotonic_ns() > until:
                raise GanderError(f"model {missing[0].name}: did not load within {timeout_s:.0f} s; see the log above")
            self._listen(missing, 0.1)
            self.tend()

    def status(self) -> list[dict[str, object]]:
        """Each model's name, role, whether it is loaded (or why not), starts since it last ran well, answers' fates."""
        return [
            {"name": w.name, "role": w.role.value, "ready": w.ready, "trouble": w.trouble, "starts": w.starts}
            | {"fates": {fate.value: count for fate, count in self._fates[w].copy().items()}}
            for w in self.workers
        ]

    def tend(self) -> None:
        """Read what came late, replace what died or hangs. Called between questions; does not wait."""
        self._listen(self.workers, 0.0)
        for worker in self.workers:
            worker.tend()

    def settled(self) -> list[tuple[int, Prediction]]:
        """What was answered after its verdict, with the `number` of that verdict; each once, the last 64 at most."""
        settled = list(self._settled)
        self._settled.clear()
        return settled

    def ask(self, crop: Image, deadline_ns: int, meanwhile: Callable[[], None] = lambda: None) -> Verdict:
        """The verdict on one crop, uint8[h, w, 3] RGB. `deadline_ns` is absolute and monotonic; `NO_DEADLINE` waits.

        `meanwhile` is called now and then while it waits, so never after the deadline.
        Never returns later than the deadline (but for the wake-up of the thread); with no answer the verdict's
        `chosen` is None. Every model asked has a prediction with its fate, but for those a verdict need not wait for.
        """
        if deadline_ns == NO_DEADLINE:
            self.wait_ready(_PATIENCE_NS / 1e9)  # also for one that died and is being replaced
        self.tend()
        self._number += 1
        asked_ns = time.monotonic_ns()
        asked = _Asked(self._number, asked_ns, deadline_ns or asked_ns + _PATIENCE_NS)
        predictions: dict[Worker, Prediction] = {}
        running = []
        for worker in self.workers:
            refused = worker.ask(crop, self._number, deadline_ns)
            if refused is None:
                running.append(worker)
                if self._open.pop(worker, None):  # it took another question, so that answer never comes
                    self._fates[worker][Fate.FAILED] += 1
            else:
                predictions[worker] = self._judged(worker, asked, refused)
        while running and not _decided(self.workers, running, predictions):
            left_s = (asked.until_ns - time.monotonic_ns()) / 1e9
            if left_s <= 0:
                predictions |= {worker: self._judged(worker, asked, Fate.LATE) for worker in running}
                running = []
                break
            meanwhile()
            for worker, answer in self._listen(running, min(left_s, _SLICE_S)):
                if answer.number == self._number:
                    predictions[worker] = self._answered(worker, asked, answer)
                    running.remove(worker)
        self._open |= dict.fromkeys(running, asked)
        known = tuple(predictions[w] for w in self.workers if w in predictions)
        chosen = next((p for p in known if p.fate is Fate.ANSWERED), None)
        return Verdict(chosen, known, asked.until_ns, time.monotonic_ns(), self._number)

    def _listen(self, workers: Sequence[Worker], timeout_s: float) -> list[tuple[Worker, Answer]]:
        """What the workers said within `timeout_s`; empty when nobody did. Settles what answers older questions."""
        by_fd = {worker.fileno(): worker for worker in workers if worker.fileno() >= 0}
        if not by_fd:
            time.sleep(min(timeout_s, 0.1))
            return []
        poll = select.poll()
        for fd in by_fd:
            poll.register(fd, select.POLLIN)
        heard = ((by_fd[fd], by_fd[fd].receive()) for fd, _ in poll.poll(timeout_s * 1000))
        said = [(worker, answer) for worker, answer in heard if answer]
        for worker, answer in said:
            asked = self._open.get(worker)
            if asked and asked.number == answer.number:
                del self._open[worker]
                self._settled.append((asked.number, self._answered(worker, asked, answer)))
        return said

    def _answered(self, worker: Worker, asked: _Asked, answer: Answer) -> Prediction:
        """An answer's fate is judged against its own question's deadline."""
        at_ns = time.monotonic_ns()
        late = answer.fate is Fate.ANSWERED and at_ns > asked.until_ns
        self._fates[worker][Fate.LATE if late else answer.fate] += 1
        return Prediction(
            worker.name,
            worker.role,
            Fate.LATE if late else answer.fate,
            answer.label_p,  # of a late one too: it gives no verdict, but a person in it is a person
            asked.at_ns,
            at_ns,
            answer.invoke_ns / 1e6,
            answer.embedding,
        )

    def _judged(self, worker: Worker, asked: _Asked, fate: Fate) -> Prediction:
        """A question without an answer."""
        self._fates[worker][fate] += 1
        return Prediction(worker.name, worker.role, fate, _NOTHING, asked.at_ns, 0, 0.0)


@dataclass(frozen=True, slots=True)
class _Asked:
    """One question: which, when, and until when an answer counts. Times are monotonic."""

    number: int
    at_ns: int
    until_ns: int


def _decided(workers: Sequence[Worker], running: Sequence[Worker], known: dict[Worker, Prediction]) -> bool:
    """Whether the most trusted answer so far can no longer be bettered."""
    for worker in workers:
        if worker in running:
            return False
        if known[worker].fate is Fate.ANSWERED:
            return True
    return True


_NOTHING = np.zeros(0, np.float32)
