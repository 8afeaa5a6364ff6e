"""The rounds: what changed is told, once, and not too often."""

from __future__ import annotations

import threading
import time
from pathlib import Path

import pytest

from edge.clock import Ids
from edge.errors import GanderError
from edge.journal import Journal
from edge.rounds import Rounds, last_told
from edge.values import Event
from tests.season import START

DARK = {"what": "camera cam gives no picture", "advice": "look at its cable"}


def until(count: int, told: list[list[dict[str, str]]]) -> None:
    end = time.monotonic() + 10
    while len(told) < count:
        assert time.monotonic() < end
        time.sleep(0.01)


def test_a_problem_is_told_when_it_comes_and_when_it_goes() -> None:
    problems: list[dict[str, str]] = []
    told: list[list[dict[str, str]]] = []
    looked = threading.Semaphore(0)

    def look() -> dict[str, list[dict[str, str]]]:
        looked.release()
        return {"problems": list(problems)}

    rounds = Rounds(look, told.append, period_s=0.01, rest_s=0.0)
    for _ in range(3):
        assert looked.acquire(timeout=10)
    assert told == [], "all is well, and that is no news"
    problems.append(DARK)
    until(1, told)
    problems.clear()
    until(2, told)
    rounds.close()
    assert told == [[DARK], []]


def test_what_comes_and_goes_is_told_once_in_a_while() -> None:
    told: list[list[dict[str, str]]] = []
    turns = iter(range(10**9))
    rounds = Rounds(lambda: {"problems": [DARK] * (next(turns) % 2)}, told.append, period_s=0.005, rest_s=60.0)
    until(1, told)
    while next(turns) < 40:
        time.sleep(0.005)
    rounds.close()
    assert len(told) == 1


def test_a_problem_from_before_the_start_is_told_as_gone() -> None:
    told: list[list[dict[str, str]]] = []
    looked = threading.Semaphore(0)

    def look() -> dict[str, list[dict[str, str]]]:
        looked.release()
        return {"problems": []}

    rounds = Rounds(look, told.append, period_s=0.005, known=[DARK], settle_s=1.0)
    assert looked.acquire(timeout=10)
    assert told == [], "it may only not be noticed again yet"
    until(1, told)
    rounds.close()
    assert told == [[]]


def test_one_that_is_still_there_after_the_start_is_no_news() -> None:
    told: list[list[dict[str, str]]] = []
    looked = threading.Semaphore(0)

    def look() -> dict[str, list[dict[str, str]]]:
        looked.release()
        return {"problems": [DARK | {"what": DARK["what"] + " for 7 s"}]}

    rounds = Rounds(look, told.append, period_s=0.005, known=[DARK | {"what": DARK["what"] + " for 99 s"}], settle_s=0)
    for _ in range(5):
        assert looked.acquire(timeout=10)
    rounds.close()
    assert told == []


def test_rounds_that_ended_are_noticed() -> None:
    rounds = Rounds(lambda: {"problems": []}, lambda found: None, period_s=0.005)
    rounds.check()
    rounds.close()
    with pytest.raises(GanderError, match="the rounds have ended"):
        rounds.check()


def test_what_was_told_last_is_found_in_the_journal(tmp_path: Path) -> None:
    assert last_told(tmp_path) == []
    journal, ids = Journal(tmp_path), Ids("x")
    told: list[tuple[str, list[dict[str, str]]]] = [("health", [DARK]), ("health", [DARK, DARK]), ("model", [])]
    for type_, problems in told:
        body = {"wall": "2026-01-01T12:00:00.000Z", "problems": problems}
        journal.event(Event(ids.new(START), type_, body))
    journal.settle()
    assert last_told(tmp_path) == [DARK, DARK]
    journal.event(Event(ids.new(START), "health", {"wall": "2026-01-01T12:00:00.000Z", "problems": 3}))
    journal.settle()
    assert last_told(tmp_path) == [], "what makes no sense is nothing"
    journal.close()
