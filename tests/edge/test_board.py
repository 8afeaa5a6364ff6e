"""The board of retained topics: when a picture is told, and when it never is."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace

import pytest

from edge.board import Board
from tests.yard import Yard, yard

DATA = b"\xff\xd8 somebody"


@pytest.fixture
def here(tmp_path: Path) -> Iterator[Yard]:
    with yard(tmp_path) as made:
        yield made


@pytest.fixture
def passes(monkeypatch: pytest.MonkeyPatch) -> Callable[[float], None]:
    """Lets so many seconds pass for the board; whatever this machine does, no others do."""
    clock = SimpleNamespace(now_s=1000.0)
    clock.monotonic = lambda: clock.now_s
    monkeypatch.setattr("edge.board.time", clock)

    def pass_(seconds: float) -> None:
        clock.now_s += seconds

    return pass_


def pictures(board: Board) -> list[str | bytes]:
    """What is told of it now."""
    return [what for _ in range(3) for topic, what in board.news() if topic == "image/last" and what]


@pytest.mark.parametrize(("kind", "people"), [("threat", False), ("other", True)])
def test_the_picture_of_a_threat_or_where_people_may_be_seen_is_told_at_once(
    here: Yard, kind: str, people: bool
) -> None:
    here.visitor("jay", kind=kind, picture=here.picture(DATA, person=0))
    here.journal.settle()
    with contextlib.closing(Board(here.state, True, people, dict)) as board:
        assert pictures(board) == [DATA]


@pytest.mark.parametrize("person", [False, True])
def test_who_is_no_threat_is_shown_once_it_is_known_that_he_is_no_person(
    here: Yard, person: bool, passes: Callable[[float], None]
) -> None:
    picture = here.picture(DATA, person=0)
    here.visitor("cat", kind="other", picture=picture)
    here.journal.settle()
    with contextlib.closing(Board(here.state, True, False, dict, settle_s=20.0)) as board:
        assert pictures(board) == []
        if person:
            here.person(picture)
            here.journal.settle()
        passes(20.0)
        assert pictures(board) == ([] if person else [DATA])


def test_who_comes_again_and_again_is_shown_all_the_same(here: Yard, passes: Callable[[float], None]) -> None:
    """Each with a picture of its own, before the last one's turn has come; a threat's comes first."""
    with contextlib.closing(Board(here.state, True, False, dict, settle_s=60.0)) as board:
        shown = list[str | bytes]()
        for _ in range(11):
            here.visitor("hen", kind="resident", picture=here.picture(b"hen", person=0))
            here.journal.settle()
            shown += pictures(board)
            passes(15.0)
        assert shown == [b"hen"] * 2, "the next is due in a quarter of a minute"
        here.visitor("hen", kind="resident", picture=here.picture(b"hen", person=0))
        here.visitor("jay", kind="threat", picture=here.picture(b"jay", person=0))
        here.journal.settle()
        assert pictures(board) == [b"jay"]


def test_a_picture_of_long_ago_is_there_at_once_for_who_connects_anew(here: Yard) -> None:
    here.visitor("hen", kind="resident", age_s=3600, picture=here.picture(DATA, person=0))
    here.journal.settle()
    with contextlib.closing(Board(here.state, True, False, dict, settle_s=60.0)) as board:
        assert pictures(board) == [DATA]
        board.forget()
        assert pictures(board) == [DATA]
