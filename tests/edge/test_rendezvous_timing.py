"""The rendezvous over random arrival times: never after the deadline, always the most trusted answer there is."""

from __future__ import annotations

import os
import threading
import time
from dataclasses import dataclass, field

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from edge.model_worker import Answer
from edge.rendezvous import Rendezvous
from edge.values import Fate, Image, Role

MS = 1_000_000
CROP = np.zeros((4, 4, 3), np.uint8)
DEADLINE_MS = 12
WAKE_UP_NS = 10_000 * MS  # no busy machine wakes a thread so late; to wait for one that never answers takes for ever


@dataclass(eq=False)
class Timed:
    """A worker that says what it is told, after so many milliseconds, through a real pipe. None: it never answers."""

    name: str
    role: Role
    after_ms: float | None
    fate: Fate
    ready: bool = True
    starts: int = 1
    trouble: str = ""
    said_ns: int = 0
    pipe: tuple[int, int] = field(default_factory=os.pipe)
    timer: threading.Timer | None = None

    def fileno(self) -> int:
        return self.pipe[0]

    def tend(self) -> None: ...

    def ask(self, crop: Image, number: int, deadline_ns: int) -> Fate | None:
        if self.fate is Fate.BUSY:
            return Fate.BUSY
        if self.after_ms is not None:
            self.timer = threading.Timer(self.after_ms / 1000, self._say, (number,))
            self.timer.start()
        return None

    def _say(self, number: int) -> None:
        os.write(self.pipe[1], number.to_bytes(8, "little"))
        self.said_ns = time.monotonic_ns()

    def receive(self) -> Answer | None:
        number = int.from_bytes(os.read(self.pipe[0], 8), "little")
        answered = self.fate is Fate.ANSWERED
        return Answer(number, self.fate, 1, np.ones(1 if answered else 0, np.float32), None)

    def close(self) -> None:
        if self.timer:
            self.timer.join()
        for fd in self.pipe:
            os.close(fd)


worker = st.tuples(
    st.one_of(st.none(), st.floats(0.0, 2.0 * DEADLINE_MS)),
    st.sampled_from([Fate.ANSWERED, Fate.ANSWERED, Fate.ANSWERED, Fate.FAILED, Fate.EXPIRED, Fate.BUSY]),
)


@settings(deadline=None, max_examples=150)
@given(st.lists(worker, min_size=1, max_size=4))
def test_the_most_trusted_answer_by_the_deadline(plan: list[tuple[float | None, Fate]]) -> None:
    roles = [Role.CHAMPION, *[Role.STANDBY] * 3]
    workers = [Timed(str(number), role, *plan_) for number, (role, plan_) in enumerate(zip(roles, plan, strict=False))]
    rendezvous = Rendezvous(workers)
    deadline_ns = time.monotonic_ns() + DEADLINE_MS * MS
    try:
        verdict = rendezvous.ask(CROP, deadline_ns)
        assert verdict.decided_at_ns < deadline_ns + WAKE_UP_NS
        known = {prediction.model: prediction.fate for prediction in verdict.predictions}
        if verdict.chosen:
            assert verdict.chosen.answered_at_ns <= deadline_ns
            for better in range(int(verdict.chosen.model)):
                assert str(better) in known, "one more trusted was still running and not waited for"
                assert known[str(better)] is not Fate.ANSWERED
        elif verdict.decided_at_ns < deadline_ns:
            assert all(w.fate is not Fate.ANSWERED for w in workers), "somebody would still have answered"
        assert all(w.fate is known[w.name] or known[w.name] is Fate.LATE for w in workers if w.name in known)
    finally:
        for made in workers:
            made.close()
