"""The rounds: what changed is told, once, and not too often."""

from __future__ import annotations

import queue
from collections.abc import Iterable
from pathlib import Path

import pytest

from edge.clock import Ids
from edge.errors import GanderError
from edge.journal import Journal
from edge.rounds import News, Rounds, last_told
from edge.values import Event
from tests.season import START

DARK = {"what": "camera cam gives no picture: it is off", "advice": "look at its cable"}
FULL = {"what": "the disk is nearly full: 3 MB free", "advice": "prune"}
TURN_S = 5.0

Found = list[dict[str, str]]


def told(looks: Iterable[Found], known: Found | None = None) -> list[tuple[float, list[str]]]:
    """When what is told of looks five seconds apart."""
    news, words = News(known or [], 0.0), []
    for turn, found in enumerate(looks, 1):
        problems = news.look(found, turn * TURN_S)
        if problems is not None:
            words.append((turn * TURN_S, [problem["what"] for problem in problems]))
    return words


def during(seconds: float, *found: dict[str, str]) -> list[Found]:
    return [list(found)] * round(seconds / TURN_S)


def test_a_problem_is_told_once_it_lasts_and_when_it_is_over() -> None:
    words = told(during(100) + during(300, DARK) + during(200))
    assert words == [(130, [DARK["what"]]), (490, [])]


@pytest.mark.parametrize("known", [[], [FULL]], ids=["well", "not well"])
def test_a_hiccup_is_never_told(known: Found) -> None:
    day = (during(10, DARK, *known) + during(590, *known)) * 144
    assert told(day, known) == []


def test_what_blinks_is_one_problem() -> None:
    """A camera that gives one picture at each opening, or works for a moment now and then."""
    words = told((during(25, DARK) + during(10)) * 100 + during(300))
    assert words == [(45, [DARK["what"]]), (3580, [])]
    assert [len(found) for _, found in told((during(15, DARK) + during(25)) * 100)] == [1], "seldom, for hours"
    assert told((during(10, DARK) + during(590)) * 20) == [], "a hiccup"
    assert told((during(30, DARK) + during(85)) * 100) == [(30, [DARK["what"]])], "it is back before it was over"


def test_two_that_differ_by_a_digit_are_two_and_a_figure_or_a_reason_is_no_news() -> None:
    one, two = ({"what": f"camera {id_} gives no picture: it is off", "advice": ""} for id_ in ("1", "2"))
    assert [found for _, found in told(during(100, one) + during(200, one, two))] == [
        [one["what"]],
        [one["what"], two["what"]],
    ]
    other = one | {"what": "camera 1 gives no picture: nothing for 7 s"}
    assert told((during(5, one) + during(5, other)) * 30) == [(30, [other["what"]])]


def test_several_are_told_at_most_once_a_minute_and_none_is_forgotten() -> None:
    many = [{"what": f"camera {number} gives no picture", "advice": ""} for number in range(6)]
    looks = [found for number in range(1, 7) for found in during(10, *many[:number])] + during(200, *many)
    assert [(at, len(found)) for at, found in told(looks)] == [(30, 1), (90, 6)]


def test_a_problem_from_before_the_start_may_only_not_be_noticed_again_yet() -> None:
    assert told(during(85), [DARK]) == []
    assert told(during(60) + during(100, DARK), [DARK]) == []
    assert told(during(200), [DARK]) == [(90, [])]
    assert told(during(30, FULL), [DARK]) == [(30, [DARK["what"], FULL["what"]])]


def test_a_process_that_was_frozen_has_not_looked_meanwhile() -> None:
    news = News([], 0.0)
    assert news.look([DARK], 3600.0) is None
    assert news.look([], 3605.0) is None


class Clock:
    """Every look takes five seconds."""

    def __init__(self) -> None:
        self.now_s = 0.0

    def __call__(self) -> float:
        self.now_s += TURN_S
        return self.now_s


def test_the_thread_looks_and_tells() -> None:
    heard: queue.Queue[Found] = queue.Queue()
    problems, refusals = [DARK], [OSError(5, "Input/output error")]

    def look() -> dict[str, Found]:
        if refusals:
            raise refusals.pop()
        return {"problems": list(problems)}

    rounds = Rounds(look, heard.put, period_s=0.001, clock=Clock())
    try:
        assert heard.get(timeout=10) == [DARK]
        problems.clear()
        assert heard.get(timeout=10) == []
    finally:
        rounds.close()


def test_rounds_that_ended_are_noticed() -> None:
    rounds = Rounds(lambda: {"problems": []}, lambda found: None, period_s=0.005)
    rounds.check()
    rounds.close()
    with pytest.raises(GanderError, match="the rounds have ended"):
        rounds.check()


def test_what_was_told_last_is_found_in_the_journal(tmp_path: Path) -> None:
    assert last_told(tmp_path) == []
    journal, ids = Journal(tmp_path), Ids("x")
    events: list[tuple[str, Found]] = [("health", [DARK]), ("health", [DARK, DARK]), ("model", [])]
    for type_, problems in events:
        body = {"wall": "2026-01-01T12:00:00.000Z", "problems": problems}
        journal.event(Event(ids.new(START), type_, body))
    journal.settle()
    assert last_told(tmp_path) == [DARK, DARK]
    journal.event(Event(ids.new(START), "health", {"wall": "2026-01-01T12:00:00.000Z", "problems": 3}))
    journal.settle()
    assert last_told(tmp_path) == [], "what makes no sense is nothing"
    journal.close()
