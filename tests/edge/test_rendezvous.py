"""The rendezvous with real worker processes: a verdict by the deadline, whatever becomes of the models."""

from __future__ import annotations

import contextlib
import os
import select
import signal
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from edge import keys
from edge.bundle import Bundle
from edge.errors import Refused
from edge.model_import import import_tflite
from edge.model_worker import ModelWorker
from edge.rendezvous import NO_DEADLINE, Rendezvous
from edge.values import Fate, Role
from tests.tiny_tflite import model, picture

MS = 1_000_000
RED, GREEN = picture(0), picture(1)


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    folder = tmp_path_factory.mktemp("bundle")
    (folder / "colours.tflite").write_bytes(model())
    (folder / "labels.txt").write_text("red\ngreen\nblue\n")
    key = keys.generate(folder / "device.key")
    return import_tflite(folder / "colours.tflite", folder / "labels.txt", key=key, out=folder)[1]


@pytest.fixture
def start(bundle: Bundle) -> Iterator[Callable[..., ModelWorker]]:
    workers: list[ModelWorker] = []

    def make(role: Role = Role.CHAMPION, hang_ns: int = 60_000 * MS) -> ModelWorker:
        workers.append(ModelWorker(bundle, role, threads=1, hang_ns=hang_ns))
        return workers[-1]

    yield make
    for worker in workers:
        if worker.pid:
            os.kill(worker.pid, signal.SIGCONT)
        worker.close()


def in_ms(ms: float) -> int:
    return time.monotonic_ns() + int(ms * MS)


def until(condition: Callable[[], bool], rendezvous: Rendezvous, seconds: float = 20.0) -> None:
    """Tend as the loop does until something holds."""
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end
        rendezvous.tend()
        time.sleep(0.01)


def test_an_answer(start: Callable[..., ModelWorker]) -> None:
    rendezvous = Rendezvous([start()])
    rendezvous.wait_ready(30)
    for _ in range(3):
        for crop, label in ((RED, 0), (GREEN, 1)):
            verdict = rendezvous.ask(crop, in_ms(5000))
            assert verdict.chosen
            assert verdict.chosen.fate is Fate.ANSWERED
            assert int(verdict.chosen.label_p.argmax()) == label
            assert verdict.chosen.label_p.sum() == pytest.approx(1)
            assert verdict.decided_at_ns < verdict.deadline_ns
            assert verdict.chosen.invoke_ms > 0


def test_without_a_deadline_it_waits(start: Callable[..., ModelWorker]) -> None:
    rendezvous = Rendezvous([start()])
    rendezvous.wait_ready(30)
    verdict = rendezvous.ask(RED, NO_DEADLINE)
    assert verdict.chosen
    assert verdict.chosen.fate is Fate.ANSWERED


def test_before_it_has_loaded_there_is_no_verdict(start: Callable[..., ModelWorker]) -> None:
    verdict = Rendezvous([start()]).ask(RED, in_ms(5000))
    assert verdict.chosen is None
    assert [p.fate for p in verdict.predictions] == [Fate.FAILED]


def test_a_question_past_its_deadline_is_not_run(start: Callable[..., ModelWorker]) -> None:
    rendezvous = Rendezvous([start()])
    rendezvous.wait_ready(30)
    verdict = rendezvous.ask(RED, in_ms(-1))
    assert verdict.chosen is None
    assert verdict.predictions[0].fate is Fate.LATE
    until(lambda: rendezvous.ask(RED, in_ms(5000)).chosen is not None, rendezvous)


def test_an_answer_nobody_waited_for_is_judged_when_it_comes(start: Callable[..., ModelWorker]) -> None:
    champion, standby = start(), start(Role.STANDBY)
    rendezvous = Rendezvous([champion, standby])
    rendezvous.wait_ready(30)
    os.kill(standby.pid, signal.SIGSTOP)
    first, second = rendezvous.ask(RED, in_ms(60_000)), rendezvous.ask(GREEN, in_ms(60_000))
    assert first.chosen
    assert [p.role for p in first.predictions] == [Role.CHAMPION], "the standby is not known yet"
    assert [p.fate for p in second.predictions] == [Fate.ANSWERED, Fate.BUSY]
    os.kill(standby.pid, signal.SIGCONT)
    settled = []
    until(lambda: bool(settled.extend(rendezvous.settled()) or settled), rendezvous)
    ((number, prediction),) = settled
    assert number == first.number
    assert (prediction.role, prediction.fate) == (Role.STANDBY, Fate.ANSWERED)
    assert int(prediction.label_p.argmax()) == 0, "red was asked about"
    fates = {str(model["role"]): model["fates"] for model in rendezvous.status()}
    assert fates == {"champion": {"answered": 2}, "standby": {"busy": 1, "answered": 1}}


def test_a_frozen_worker_is_late_then_busy_then_replaced(start: Callable[..., ModelWorker]) -> None:
    worker = start()
    rendezvous = Rendezvous([worker])
    rendezvous.wait_ready(30)
    frozen = worker.pid
    os.kill(frozen, signal.SIGSTOP)
    began = time.monotonic_ns()
    verdict = rendezvous.ask(RED, in_ms(100))
    assert verdict.chosen is None
    assert verdict.predictions[0].fate is Fate.LATE
    assert verdict.decided_at_ns >= verdict.deadline_ns
    assert time.monotonic_ns() - began >= 100 * MS
    assert rendezvous.ask(RED, in_ms(100)).predictions[0].fate is Fate.BUSY
    worker._hang_ns = 400 * MS
    until(lambda: worker.ready and worker.pid != frozen, rendezvous)
    assert worker.starts == 2
    assert rendezvous.ask(GREEN, in_ms(5000)).chosen is not None


def test_who_waits_for_an_answer_is_alive_until_the_deadline(start: Callable[..., ModelWorker]) -> None:
    worker, beats = start(), list[int]()
    rendezvous = Rendezvous([worker])
    rendezvous.wait_ready(30)
    os.kill(worker.pid, signal.SIGSTOP)
    verdict = rendezvous.ask(RED, in_ms(4500), lambda: beats.append(time.monotonic_ns()))
    assert 2 <= len(beats) <= 24
    assert beats[-1] <= verdict.decided_at_ns


def test_a_dead_worker_fails_at_once_and_is_replaced(start: Callable[..., ModelWorker]) -> None:
    worker = start()
    rendezvous = Rendezvous([worker])
    rendezvous.wait_ready(30)
    dead = worker.pid
    os.kill(dead, signal.SIGKILL)
    verdict = rendezvous.ask(RED, in_ms(10_000))
    assert verdict.chosen is None
    assert verdict.predictions[0].fate is Fate.FAILED
    assert time.monotonic_ns() < verdict.deadline_ns, "nobody waits for the dead"
    until(lambda: worker.ready and worker.pid != dead, rendezvous)
    chosen = rendezvous.ask(GREEN, in_ms(5000)).chosen
    assert chosen
    assert int(chosen.label_p.argmax()) == 1


def test_a_late_answer_is_not_taken_for_the_next_question(start: Callable[..., ModelWorker]) -> None:
    worker = start()
    rendezvous = Rendezvous([worker])
    rendezvous.wait_ready(30)
    os.kill(worker.pid, signal.SIGSTOP)
    assert rendezvous.ask(RED, in_ms(50)).chosen is None
    os.kill(worker.pid, signal.SIGCONT)
    assert select.select([worker], [], [], 30)[0], "the late answer, expired, lies ready"
    chosen = rendezvous.ask(GREEN, in_ms(5000)).chosen
    assert chosen
    assert int(chosen.label_p.argmax()) == 1


def test_two_models_the_most_trusted_in_time(start: Callable[..., ModelWorker]) -> None:
    champion, standby = start(), start(Role.STANDBY)
    rendezvous = Rendezvous([champion, standby])
    rendezvous.wait_ready(30)
    verdict = rendezvous.ask(RED, in_ms(5000))
    assert verdict.chosen
    assert verdict.chosen.role is Role.CHAMPION
    until(lambda: standby._asked is None, rendezvous)  # no longer waited for, it finishes too
    os.kill(champion.pid, signal.SIGSTOP)
    verdict = rendezvous.ask(RED, in_ms(4500))
    assert verdict.chosen
    assert verdict.chosen.role is Role.STANDBY
    assert verdict.decided_at_ns >= verdict.deadline_ns, "the champion might still have answered"
    assert [p.fate for p in verdict.predictions] == [Fate.LATE, Fate.ANSWERED]
    verdict = rendezvous.ask(RED, in_ms(5000))
    assert [p.fate for p in verdict.predictions] == [Fate.BUSY, Fate.ANSWERED]
    assert verdict.decided_at_ns < verdict.deadline_ns, "nothing more trusted is running"


def test_nothing_is_left_when_the_parent_is_gone(bundle: Bundle, tmp_path: Path) -> None:
    child = os.fork()
    if child == 0:
        worker = ModelWorker(bundle, Role.CHAMPION, 1)
        Rendezvous([worker]).wait_ready(30)
        (tmp_path / "pid").write_text(str(worker.pid))
        os._exit(0)  # as a kill would: nothing is closed
    os.waitpid(child, 0)
    pid = int((tmp_path / "pid").read_text())
    end = time.monotonic() + 10
    with contextlib.suppress(FileNotFoundError, ProcessLookupError):  # it is gone
        while "zombie" not in Path(f"/proc/{pid}/status").read_text():
            assert time.monotonic() < end
            time.sleep(0.05)


def test_a_worker_frozen_while_loading_is_replaced(
    start: Callable[..., ModelWorker], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("edge.model_worker._LOADING_NS", 500 * MS)
    worker = start()
    frozen = worker.pid
    os.kill(frozen, signal.SIGSTOP)
    rendezvous = Rendezvous([worker])
    until(lambda: worker.pid not in (0, frozen), rendezvous)
    monkeypatch.setattr("edge.model_worker._LOADING_NS", 60_000 * MS)
    until(lambda: worker.ready, rendezvous)


def test_a_model_that_cannot_be_loaded_says_why_at_once(bundle: Bundle) -> None:
    worker = ModelWorker(replace(bundle, model=b"no model at all"), Role.CHAMPION, threads=1)
    rendezvous = Rendezvous([worker])
    try:
        with pytest.raises(Refused, match=r"^model of colours .* cannot load it: [^\n]*$"):
            rendezvous.wait_ready(600)
        until(lambda: worker.starts > 1, rendezvous)  # memory may have been short: it is tried again, with a rest
        assert "cannot load it" in str(rendezvous.status()[0]["trouble"])
    finally:
        worker.close()


def test_without_a_deadline_a_dead_worker_is_waited_for(start: Callable[..., ModelWorker]) -> None:
    worker = start()
    rendezvous = Rendezvous([worker])
    rendezvous.wait_ready(30)
    os.kill(worker.pid, signal.SIGKILL)
    assert rendezvous.ask(RED, NO_DEADLINE).predictions[0].fate is Fate.FAILED
    assert rendezvous.ask(GREEN, NO_DEADLINE).chosen is not None, "every later one has an answer again"


def test_closing_twice_is_closing_once(start: Callable[..., ModelWorker]) -> None:
    worker = start()
    worker.close()
    worker.close()
    assert worker.pid == 0
