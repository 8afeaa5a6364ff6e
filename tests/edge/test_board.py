"""The board of retained topics: when a picture is told, and when it never is."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from edge.board import Board
from tests.mqtt import until
from tests.yard import Yard, yard

DATA = b"\xff\xd8 somebody"
_SOON_S = 0.4


@pytest.fixture
def here(tmp_path: Path) -> Iterator[Yard]:
    with yard(tmp_path) as made:
        yield made


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
def test_who_is_no_threat_is_shown_once_it_is_known_that_he_is_no_person(here: Yard, person: bool) -> None:
    picture = here.picture(DATA, person=0)
    here.visitor("cat", kind="other", picture=picture)
    here.journal.settle()
    with contextlib.closing(Board(here.state, True, False, dict, settle_s=_SOON_S)) as board:
        assert pictures(board) == []
        if person:
            here.person(picture)
            here.journal.settle()
            time.sleep(2 * _SOON_S)
            assert pictures(board) == []
        else:
            until(lambda: pictures(board) == [DATA])


def test_who_comes_again_and_again_is_shown_all_the_same(here: Yard) -> None:
    """Each with a picture of its own, before the last one's turn has come; a threat's comes first."""
    with contextlib.closing(Board(here.state, True, False, dict, settle_s=_SOON_S)) as board:
        shown, first = list[str | bytes](), time.monotonic()
        while time.monotonic() < first + 4 * _SOON_S:
            here.visitor("hen", kind="resident", picture=here.picture(b"hen", person=0))
            here.journal.settle()
            shown += pictures(board)
            time.sleep(_SOON_S / 10)
        assert set(shown) == {b"hen"}
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
