"""The loop that posts, and events that are damaged on the card: they stop no others."""

from __future__ import annotations

import contextlib
import sqlite3
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest

from edge.config_feed import PostsConfig
from edge.database import EVENTS
from edge.deliveries import Deliveries
from edge.posting import Posting
from tests.edge.test_posting import OLD_S, Wall, held, hour, posting, rows
from tests.mqtt import until
from tests.yard import Yard, yard


@pytest.fixture
def here(tmp_path: Path) -> Iterator[Yard]:
    with yard(tmp_path, socket=False) as made:
        yield made


def damage(here: Yard, id_: str, old: bytes, new: bytes) -> None:
    """A few bytes of a row are others than were written."""
    here.journal.settle()
    with contextlib.closing(sqlite3.connect(here.state / EVENTS)) as connection, connection:
        text = connection.execute("SELECT CAST(json AS BLOB) FROM event WHERE id = ?", (id_,)).fetchone()[0]
        assert old in text
        sql = "UPDATE event SET json = CAST(? AS TEXT) WHERE id = ?"
        connection.execute(sql, (text.replace(old, new, 1), id_))


DAMAGE = [
    (b'","', b'",\x01'),
    (b'"cam', b'"\xe3am'),
    (b'"wall"', b'"vall"'),
    (b'"type"', b'"t_pe"'),
    (b'"id"', b'"ie"'),
]


@pytest.mark.parametrize(("old", "new"), DAMAGE)
def test_a_damaged_event_stops_no_other(here: Yard, old: bytes, new: bytes) -> None:
    """Whether it was damaged before it was taken up, or while it waited."""
    quiet = PostsConfig(quiet_hours=f"{hour(-1)}-{hour(1)}")
    bad, wall = here.visitor("jay", "visit", OLD_S), Wall()
    with posting(here, wall, quiet):
        until(lambda: held(here.state) == 1)
    damage(here, bad, old, new)
    damage(here, here.visitor("crow", "visit", OLD_S), old, new)
    with posting(here, wall) as made:
        here.visitor("fox", "visit", OLD_S)
        until(lambda: "fox" in "".join(wall.texts))
        made.check()
    assert held(here.state) == 0


def test_a_damaged_visit_takes_none_of_its_flood_with_it(here: Yard) -> None:
    wall = Wall()
    with posting(here, wall, PostsConfig(quiet_hours=f"{hour(-1)}-{hour(1)}")):
        for name in ("jay", "fox", "crow"):
            last = here.visitor(name, "visit", OLD_S)
        until(lambda: held(here.state) == 3)
    damage(here, last, b'"camera"', b'"c_mera"')
    with posting(here, wall):
        until(lambda: len(wall.posts) == 2)
    assert [text.split()[1] for text in wall.texts] == ["jay", "fox"]
    assert [state for state, _ in rows(here.state)] == ["refused"]


def digest_over(here: Yard, wall: Wall) -> contextlib.AbstractContextManager[Posting]:
    """A loop that owes the day's digest, and nothing else."""
    with contextlib.closing(Deliveries(here.state, "wall")) as pages:
        pages.keep(here.ids.new(datetime.now(UTC)))
        pages.remember("digest", "2020-01-01T12:00:00+00:00")
    return posting(here, wall, PostsConfig(digest="daily", digest_at=hour(-1), per_hour=1000))


def test_a_digest_leaves_damaged_visits_out(here: Yard) -> None:
    bad = here.visitor("jay", "visit", 7200.0)
    here.visitor("hen", "visit", 7200.0)
    damage(here, bad, *DAMAGE[0])
    wall = Wall()
    with digest_over(here, wall):
        until(lambda: wall.posts)
    assert "A hen" in wall.texts[0] or "a hen" in wall.texts[0]


def test_a_digest_that_cannot_be_made_is_not_tried_again(here: Yard, caplog: pytest.LogCaptureFixture) -> None:
    damage(here, here.visitor("jay", "visit", 7200.0), b'"kind"', b'"k_nd"')
    wall = Wall()
    with digest_over(here, wall):
        until(lambda: "a post is set aside" in caplog.text)
        here.visitor("fox", "visit", OLD_S)
        until(lambda: wall.posts)
    assert caplog.text.count("a post is set aside") == 1
    assert wall.texts[0].startswith("A fox")
