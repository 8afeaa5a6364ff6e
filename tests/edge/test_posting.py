"""The loop that posts: what waits survives everything, nobody is flooded, money and people are spared."""

from __future__ import annotations

import contextlib
import sqlite3
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from edge.config_feed import NotifyConfig, PostsConfig
from edge.database import DELIVERIES
from edge.deliveries import Deliveries
from edge.posting import Posting, Setting
from edge.publishers import Later, Post, Refused
from edge.queues import look
from edge.values import Event
from tests.mqtt import until
from tests.yard import Yard, yard

FREE = PostsConfig(per_hour=1000, per_day=10000)
OLD_S = 60.0  # settled, but no silence


@pytest.fixture
def here(tmp_path: Path) -> Iterator[Yard]:
    with yard(tmp_path, socket=False) as made:
        yield made


class Wall:
    """Where posts can be read; fails as it is told."""

    name = "wall"
    most_text = 280
    most_picture = 100_000

    def __init__(self) -> None:
        self.posts: list[Post] = []
        self.troubles: list[Exception] = []
        self.tried = 0

    def price(self, post: Post) -> float:
        return 0.015

    def send(self, post: Post) -> str:
        self.tried += 1
        if self.troubles:
            raise self.troubles.pop(0)
        self.posts.append(post)
        return "1"

    def close(self) -> None:
        pass

    @property
    def texts(self) -> list[str]:
        return [post.text for post in self.posts]


@contextlib.contextmanager
def posting(here: Yard, wall: Wall, config: PostsConfig = FREE, setting: Setting | None = None) -> Iterator[Posting]:
    begin(here.state)
    made = Posting(here.state, wall, config, setting or Setting(), first_wait_s=0.02, look_s=0.02)
    try:
        yield made
    finally:
        made.end()
        made.join()


def begin(state: Path) -> None:
    """A wall that was told of nothing yet: a new one begins with now."""
    with contextlib.closing(Deliveries(state, "wall")) as pages:
        if pages.place() is None:
            pages.keep("")


def held(state: Path) -> int:
    with contextlib.closing(Deliveries(state, "wall")) as pages:
        return len(pages.held())


def rows(state: Path) -> list[tuple[str, str]]:
    with contextlib.closing(sqlite3.connect(state / DELIVERIES)) as connection:
        return connection.execute("SELECT state, why FROM delivery ORDER BY event_id").fetchall()


def jpeg(shade: int) -> bytes:
    done, data = cv2.imencode(".jpg", np.full((60, 80, 3), shade, np.uint8))
    assert done
    return data.tobytes()


def test_a_visit_is_one_post_with_its_picture(here: Yard) -> None:
    picture = here.picture(jpeg(200), 0)
    for type_ in ("visit_started", "action", "suppressed", "visit"):
        here.visitor(type_=type_, age_s=OLD_S, picture=picture, met="light")
    wall = Wall()
    with posting(here, wall):
        until(lambda: wall.posts)
    (post,) = wall.posts
    assert "A jay came to cam" in post.text
    assert "after the light" in post.text
    assert post.picture is not None
    assert post.picture != jpeg(200), "made anew, with nothing but what one sees"
    assert post.alt == "A jay at cam, marked with a box"
    assert (held(here.state), rows(here.state)) == (0, [])


@pytest.mark.parametrize("allowed", [False, True])
def test_people_are_published_only_where_that_is_allowed(here: Yard, allowed: bool) -> None:
    here.visitor(type_="visit", age_s=OLD_S, picture=here.picture(jpeg(9), 1))
    wall = Wall()
    with posting(here, wall, setting=Setting(people=allowed)):
        until(lambda: wall.posts)
    assert (wall.posts[0].picture is not None) is allowed


def test_what_fails_is_tried_again_and_what_is_refused_blocks_nothing(here: Yard) -> None:
    wall = Wall()
    wall.troubles = [Later("away"), OSError("unforeseen"), Later("busy", after_s=0.5), Refused("no such words here")]
    first = here.visitor("jay", "visit", OLD_S)
    with posting(here, wall):
        until(lambda: ("refused", "no such words here") in rows(here.state))
        here.visitor("fox", "visit", OLD_S)
        until(lambda: wall.posts)
    assert wall.texts == [text for text in wall.texts if text.startswith("A fox")]
    assert (wall.tried, len(wall.posts)) == (5, 1)
    assert rows(here.state) == [("refused", "no such words here")]
    assert first


def test_what_is_tried_again_says_the_same(here: Yard) -> None:
    """It may have arrived after all: then its words are known there, and it is no second post."""
    wall, go = Wall(), threading.Event()
    wall.troubles = [Later("no answer", after_s=0.3)]
    wall.price = lambda post: 0.015 * bool(not wall.tried or go.wait(30))  # type: ignore[method-assign]
    here.visitor("jay", "visit", OLD_S)
    with posting(here, wall):
        until(lambda: wall.tried)
        for _ in range(3):
            here.visitor("fox", "visit", OLD_S)
        here.journal.settle()
        go.set()
        until(lambda: len(wall.posts) == 2)
    assert wall.texts[0].startswith("A jay")
    assert wall.posts[1].title == "3 visits"


def test_a_sink_that_always_breaks_at_one_post_gets_the_others(here: Yard) -> None:
    wall = Wall()
    wall.troubles = [ZeroDivisionError("a bug")] * 5
    here.visitor("jay", "visit", OLD_S)
    with posting(here, wall):
        until(lambda: rows(here.state) and rows(here.state)[0][0] == "refused")
        here.visitor("fox", "visit", OLD_S)
        until(lambda: wall.posts)
    assert rows(here.state) == [("refused", "ZeroDivisionError: a bug")]


def test_an_outage_brings_no_post_nearer_to_being_set_aside(here: Yard) -> None:
    wall, odd = Wall(), OSError("out of processes for a moment")
    wall.troubles = [*[odd] * 4, Later("away"), odd]
    here.visitor("jay", "visit", OLD_S)
    with posting(here, wall):
        until(lambda: wall.posts)
    assert (wall.troubles, rows(here.state)) == ([], [])


def test_an_event_unlike_any_other_is_set_aside(here: Yard) -> None:
    now = datetime.now(UTC) - timedelta(seconds=OLD_S)
    id_ = here.ids.new(now)
    visit = {"kind": "threat", "label": "jay"}
    body = {"id": id_, "type": "visit", "wall": now.isoformat(), "clock_ok": True, "replayed": False, "visit": visit}
    here.journal.event(Event(id_, "visit", body))
    here.visitor("fox", "visit", OLD_S)
    wall = Wall()
    with posting(here, wall):
        until(lambda: wall.posts)
    assert wall.texts[0].startswith("A fox")
    assert rows(here.state)[0][0] == "refused"


def test_what_waits_outlives_a_restart_and_becomes_one_post(here: Yard) -> None:
    quiet = PostsConfig(quiet_hours=f"{hour(-1)}-{hour(1)}", per_hour=1000)
    wall = Wall()
    with posting(here, wall, quiet):
        for name in ("jay", "jay", "fox", "jay"):
            here.visitor(name, "visit", OLD_S)
        until(lambda: held(here.state) == 4)
        until(lambda: "quiet hours" in waits(here.state)["why"])
    assert wall.posts == []
    with posting(here, wall):
        until(lambda: wall.posts)
    (post,) = wall.posts
    assert post.title == "4 visits"
    assert "3 jays and a fox" in post.text
    assert held(here.state) == 0


def waits(state: Path) -> dict[str, Any]:
    with contextlib.closing(sqlite3.connect(state / DELIVERIES)) as connection, connection:
        connection.execute("INSERT OR IGNORE INTO active VALUES ('wall')")
    return look(state)["wall"]


def hour(plus: int) -> str:
    return f"{datetime.now().astimezone() + timedelta(hours=plus):%H:%M}"


def test_the_queue_is_shown_with_its_age_and_its_trouble(here: Yard) -> None:
    wall = Wall()
    wall.troubles = [Later("the phone is off", after_s=3600.0)]
    here.visitor("jay", "visit", 100.0)
    with posting(here, wall):
        until(lambda: waits(here.state)["trouble"] == "the phone is off")  # before that it was not reached
    found = waits(here.state)
    assert (found["waiting"], found["trouble"]) == (1, "the phone is off")
    assert found["oldest_s"] >= 100


def test_money_is_spent_to_the_last_post_and_not_beyond(here: Yard) -> None:
    wall = Wall()
    with posting(here, wall, setting=Setting(budget=0.031)):
        for name in ("jay", "fox", "crow"):
            here.visitor(name, "visit", OLD_S)
            until(lambda name=name: any(name in text for text in wall.texts) or rows(here.state))  # type: ignore[misc]
    assert [text.split()[1] for text in wall.texts] == ["jay", "fox"]
    assert rows(here.state) == [("waits", "this month's $0.03 are spent; the next post waits")]
    assert held(here.state) == 1
    again = Wall()
    with posting(here, again, setting=Setting(budget=0.031)):
        until(lambda: rows(here.state))
    assert again.posts == [], "what was spent is known after a restart"


def test_three_days_without_a_network_become_one_post_that_says_what_is_missing(here: Yard) -> None:
    with posting(here, Wall(), PostsConfig(quiet_hours=f"{hour(-1)}-{hour(1)}", max_age_h=48, most=10000)):
        for hours in range(72, 0, -1):
            here.visitor("jay" if hours % 2 else "fox", "visit", hours * 3600.0)
        here.journal.settle()
        until(lambda: held(here.state) >= 47)
    wall = Wall()
    with posting(here, wall, PostsConfig(max_age_h=48)):
        until(lambda: wall.posts)
        here.visitor("crow", "visit", OLD_S)
        until(lambda: len(wall.posts) == 2)
    (late, last) = wall.texts
    assert "24 jays and 23 foxes" in late or "24 jays and 24 foxes" in late
    assert late.endswith(("(24 earlier visits could not be told.)", "(25 earlier visits could not be told.)"))
    assert last.startswith("A crow")
    assert "could not be told" not in last


def test_the_daily_digest_is_told_once(here: Yard) -> None:
    for name, kind in (("hen", "resident"), ("hen", "resident"), ("jay", "threat")):
        here.visitor(name, "visit", 7200.0, kind=kind)
    until(lambda: len(here.events()) == 3)
    rules = PostsConfig(kinds=[], digest="daily", digest_at=hour(-1), per_hour=1000)
    wall = Wall()
    with contextlib.closing(Deliveries(here.state, "wall")) as pages:
        pages.keep("")
        pages.remember("digest", "2020-01-01T12:00:00+00:00")
    with posting(here, wall, rules):
        until(lambda: wall.posts)
    assert "2 hens and a jay. Threats: 1, of which 0 met a deterrent." in wall.texts[0]
    with posting(here, wall, rules):
        time.sleep(0.5)
    assert len(wall.posts) == 1


def test_health_is_told_and_when_it_is_over_and_leaves_posts_to_visits(here: Yard) -> None:
    def health(what: str, age_s: float) -> None:
        wall_ = datetime.now(UTC) - timedelta(seconds=age_s)
        problems = [{"what": what, "advice": "look at its cable"}] if what != "all is well again" else []
        id_ = here.ids.new(wall_)
        body = {"id": id_, "type": "health", "wall": wall_.isoformat(), "clock_ok": True, "node": "yard"}
        here.journal.event(Event(id_, "health", body | {"what": what, "problems": problems}))

    rules = NotifyConfig(urls_file="unused", per_hour=4)
    wall = Wall()
    with posting(here, wall, rules):
        health("all is well again", 300)
        health("no picture", 200)
        until(lambda: wall.posts)
        health("all is well again", 100)
        until(lambda: len(wall.posts) == 2)
        health("no picture", 50)
        until(lambda: waits(here.state)["why"] == "of per_hour = 4 posts 2 told problems")
        here.visitor("fox", "visit", OLD_S)
        until(lambda: len(wall.posts) == 3)
    assert wall.texts[:2] == ["yard: No picture: look at its cable.", "yard: all is well again."]
    assert wall.texts[2].startswith("A fox")


class _Phone(BaseHTTPRequestHandler):
    """Takes every notification, and remembers it."""

    def do_POST(self) -> None:
        text = self.rfile.read(int(self.headers["Content-Length"])).decode()
        self.server.heard.append(text)  # type: ignore[attr-defined]
        self.send_response(200)
        self.end_headers()

    def log_message(self, *args: Any) -> None:
        pass


def test_killed_at_any_point_no_visit_goes_untold(here: Yard, tmp_path: Path) -> None:
    """The whole process with a phone that is a server: each visit is told, by itself or in a digest."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), _Phone)
    heard: list[str] = []
    server.heard = heard  # type: ignore[attr-defined]
    threading.Thread(target=server.serve_forever, daemon=True).start()
    urls = tmp_path / "urls"
    urls.write_text(f"json://127.0.0.1:{server.server_port}/\n")
    urls.chmod(0o600)
    options = [f"notify.0.urls_file='{urls}'", "notify.0.per_hour=1000", "notify.0.per_day=10000", "notify.0.name=wall"]
    command = [sys.executable, "-m", "edge.cli_feed", "--state", str(here.state)]
    command += [part for option in options for part in ("--set", option)]
    begin(here.state)
    told = 0
    for round_ in range(3):
        here.visitor(f"bird{round_}", "visit", OLD_S)
        process = subprocess.Popen(command, stderr=subprocess.DEVNULL)
        until(lambda told=told: len(heard) > told, 120)  # type: ignore[misc]
        time.sleep(0.01 * round_)
        process.kill()
        process.wait()
        told = len(heard)
    here.visitor("last", "visit", OLD_S)
    process = subprocess.Popen(command, stderr=subprocess.DEVNULL)
    try:
        until(lambda: any("last" in text for text in heard), 120)
        until(lambda: held(here.state) == 0, 60)
    finally:
        process.terminate()
        process.wait(30)
        server.shutdown()
    everything = " ".join(heard)
    assert all(f"bird{number}" in everything for number in range(3))
