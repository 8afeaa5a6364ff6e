"""Publishing to programs, and events that are damaged on the card but still JSON: they stop no others."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from edge.board import Board
from edge.outbox import Bounds, Outbox
from tests.edge.test_posting_damage import damage
from tests.edge.test_publish_outbox import Kept, finish
from tests.mqtt import until
from tests.yard import Yard, yard

DAMAGE = [
    (b'"wall"', b'"vall"'),
    (b'"wall":"2', b'"wall":"r'),
]


@pytest.fixture
def here(tmp_path: Path) -> Iterator[Yard]:
    with yard(tmp_path) as made:
        yield made


@pytest.mark.parametrize(("old", "new"), [*DAMAGE, (b'"clock_ok"', b'"clock_o{"'), (b'Z","clock', b'","clock')])
def test_a_damaged_event_is_handed_over_and_stops_no_other(here: Yard, old: bytes, new: bytes) -> None:
    ids = [here.visitor() for _ in range(3)]
    damage(here, ids[1], old, new)
    sink = Kept()
    outbox = Outbox(here.state, sink, "yard", Bounds(max_age_s=3600.0), first_wait_s=0.02)
    until(lambda: len(sink.events) == 3)
    outbox.check()
    finish(outbox)
    assert [event["id"] for event in sink.events] == ids


@pytest.mark.parametrize(("old", "new"), [*DAMAGE, (b'"label"', b'"l_bel"'), (b'"type"', b'"t_pe"')])
def test_of_a_damaged_visitor_nothing_is_told_and_of_the_next_all(here: Yard, old: bytes, new: bytes) -> None:
    damage(here, here.visitor("jay"), old, new)
    with contextlib.closing(Board(here.state, images=False, people=False, more=dict)) as board:
        told = dict([*board.news(), *board.news()])
        assert (told["count/jay"], told.get("visitor/last")) == ("1", None)
        here.visitor("fox")
        here.journal.settle()
        told = dict([*board.news(), *board.news()])
    assert json.loads(told["visitor/last"])["label"] == "fox"
