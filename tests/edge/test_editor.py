"""What people are told and when, by the rules alone."""

from __future__ import annotations

import contextlib
import json
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edge import editor
from edge.clock import iso
from edge.config_feed import PostsConfig, XConfig
from edge.sun import is_quiet

NOW = datetime(2026, 5, 22, 12, 0).astimezone()
FREE = PostsConfig(per_hour=1000, per_day=10000)
DAY_S = 86400


def event(age_s: float, type_: str = "visit", now: datetime = NOW, **visit: Any) -> dict[str, Any]:
    facts = {"label": "jay", "kind": "threat"} | visit
    wall = iso(now - timedelta(seconds=age_s))
    return {"id": wall, "type": type_, "wall": wall, "clock_ok": True, "replayed": False, "visit": facts, "what": ""}


def health(age_s: float, what: str) -> dict[str, Any]:
    return event(age_s, "health") | {"what": what}


@pytest.mark.parametrize(
    ("told", "given"),
    [
        (True, event(0)),
        (False, event(0, "visit_started")),
        (False, event(0, "action")),
        (False, event(0, "suppressed")),
        (False, event(0, kind="resident")),
        (False, event(0) | {"replayed": True}),
        (False, event(0, "health")),
    ],
)
def test_a_visit_is_told_once_and_only_of_the_kinds_wanted(told: bool, given: dict[str, Any]) -> None:
    assert editor.wanted(given, PostsConfig()) is told


def test_rules_by_kind_label_and_problems() -> None:
    rules = PostsConfig(kinds=["threat", "person"], labels=["fox", "*Jay"], problems=True)
    assert editor.wanted(event(0, label="Blue Jay"), rules)
    assert not editor.wanted(event(0, label="cat"), rules)
    assert not editor.wanted(event(0, label=None), rules)
    assert editor.wanted(event(0, label="fox", kind="person"), rules)
    assert editor.wanted(event(0, "health"), rules)


def test_one_is_told_by_itself_and_not_before_it_is_settled() -> None:
    assert editor.plan([event(5)], [], NOW, FREE) == editor.Plan()
    one, two = event(20), event(16)
    assert editor.plan([one], [], NOW, FREE).tell == (one,)
    assert editor.plan([one, two], [], NOW, FREE).tell == (one,), "the older first"


def test_a_flood_and_a_long_silence_are_told_together() -> None:
    flood = [event(60 - n) for n in range(3)]
    assert editor.plan(flood, [], NOW, FREE).tell == tuple(flood)
    assert editor.plan([event(0), *flood], [], NOW, FREE).tell == tuple(flood), "who has just come is not settled"
    late = [event(7200), event(30)]
    assert editor.plan(late, [], NOW, FREE).tell == tuple(late)


def test_quotas_and_quiet_hours_hold_and_say_why() -> None:
    held = [event(60)]
    rules = PostsConfig(per_hour=2, per_day=5)
    sent = [(NOW - timedelta(minutes=minutes), 0.0) for minutes in (50, 10)]
    assert editor.plan(held, sent, NOW, rules).why == "per_hour = 2 posts are made"
    assert editor.plan(held, sent, NOW + timedelta(minutes=11), rules).tell
    day = [(NOW - timedelta(hours=hours), 0.0) for hours in (2, 3, 4, 20, 23)]
    assert editor.plan(held, day, NOW, rules).why == "per_day = 5 posts are made"
    assert editor.plan(held, day, NOW + timedelta(hours=1, seconds=1), rules).tell
    quiet = PostsConfig(quiet_hours="11:30-12:30")
    assert editor.plan(held, [], NOW, quiet).why == "quiet hours (11:30-12:30)"
    assert editor.plan(held, [], NOW + timedelta(minutes=30), quiet).tell
    ahead = [(NOW + timedelta(days=3), 0.0)] * 9
    assert editor.plan(held, ahead, NOW, rules).tell, "what was sent while the clock was wrong holds nothing back"


def test_what_is_too_old_or_too_much_is_let_go_and_counted() -> None:
    rules = PostsConfig(max_age_h=2, most=3)
    old, fresh = event(3 * 3600), event(60)
    plan = editor.plan([old, fresh], [], NOW, rules)
    assert (plan.expired, plan.why, plan.tell) == ((old,), "older than 2 h", ())
    many = [event(60 + n) for n in range(5)]
    assert editor.plan(many, [], NOW, rules).expired == tuple(many[:2])
    unset = old | {"clock_ok": False}
    assert editor.plan([unset], [], NOW, rules).tell == (unset,), "its time is not known, so nor is its age"


def test_of_problems_the_newest_counts_and_what_is_known_is_no_news() -> None:
    bad, worse, well = health(500, "no picture"), health(100, "no picture; disk full"), health(40, "well")
    assert editor.plan([bad, worse], [], NOW, FREE).overtaken == (bad,)
    assert editor.plan([worse], [], NOW, FREE).tell == (worse,)
    assert editor.plan([worse], [], NOW, FREE, known=worse["what"]).overtaken == (worse,)
    assert editor.plan([health(0, "no picture")], [], NOW, FREE).tell, "what is told has lasted"
    assert editor.plan([bad, well], [], NOW, FREE, known="well").overtaken == (bad, well)


def test_problems_that_come_and_go_leave_half_of_the_posts_to_visits() -> None:
    """Two days: a camera lost for longer than a hiccup every ten minutes, and a visit every three hours."""
    rules = PostsConfig(problems=True)
    coming: list[tuple[int, str]] = [(at, "visit") for at in range(3600, 2 * DAY_S, 10800)]
    coming += [(at, what) for begin in range(0, 2 * DAY_S, 600) for at, what in ((begin, "dark"), (begin + 90, "well"))]
    coming.sort()
    held: list[editor.Event] = []
    sent: list[tuple[datetime, float]] = []
    problems: list[datetime] = []
    waited_s: list[float] = []
    known = "well"
    for second in range(0, 2 * DAY_S, 15):
        now = NOW + timedelta(seconds=second)
        while coming and coming[0][0] <= second:
            at, what = coming.pop(0)
            begun = NOW + timedelta(seconds=at)
            held.append(event(0, now=begun) if what == "visit" else event(0, "health", begun) | {"what": what})
        while (plan := editor.plan(held, sent, now, rules, None, known, problems)).overtaken or plan.tell:
            for each in (*plan.overtaken, *plan.tell):
                held.remove(each)
            if plan.tell:
                sent.append((now, 0.0))
                waits = [now - datetime.fromisoformat(each["wall"]) for each in plan.tell if each["type"] == "visit"]
                waited_s += [wait.total_seconds() for wait in waits]
                if not waits:
                    problems.append(now)
                    known = plan.tell[0]["what"]
    assert len(waited_s) == 16
    assert max(waited_s) < 3600
    assert 10 <= len(problems) <= 30, "and problems are told, too"


def test_a_problem_beyond_its_share_says_why_it_waits() -> None:
    problems = [NOW - timedelta(minutes=minutes) for minutes in (50, 10)]
    bad = health(60, "no picture")
    assert editor.plan([bad], [], NOW, PostsConfig(), problems=problems).why == (
        "of per_hour = 4 posts 2 told problems"
    )
    visit = event(30)
    assert editor.plan([bad, visit], [], NOW, PostsConfig(), problems=problems).tell == (visit,)
    assert editor.plan([bad], [], NOW, PostsConfig(per_hour=1), problems=[]).tell == (bad,)
    assert editor.plan([bad, visit], [], NOW, PostsConfig()).tell == (bad,), "the older first"


@pytest.mark.parametrize("key", ["type", "wall", "clock_ok", "visit", "replayed"])
def test_an_event_that_cannot_be_judged_is_not_sound(key: str) -> None:
    assert editor.is_sound(event(5), NOW, FREE)
    assert not editor.is_sound({k: v for k, v in event(5).items() if k != key}, NOW, FREE)
    assert not editor.is_sound(event(5) | {"wall": "2026-05-22T1\ufffd:00:00Z"}, NOW, FREE)
    assert not editor.is_sound(event(5) | {"visit": None}, NOW, FREE)


def test_whatever_bit_of_an_event_flips_the_others_are_told() -> None:
    good, text = event(30), json.dumps(event(60)).encode()
    told = 0
    for bit in range(len(text) * 8):
        damaged = bytearray(text)
        damaged[bit // 8] ^= 1 << bit % 8
        with contextlib.suppress(ValueError):
            found = json.loads(damaged.decode("utf-8", "replace"))
            if editor.is_sound(found, NOW, FREE):
                told += 1
                assert editor.plan([good, found], [], NOW, FREE) != editor.Plan()
    assert told > 100


def test_money() -> None:
    sent = [(datetime(2026, 4, 30, 23, tzinfo=UTC), 1.0), (datetime(2026, 5, 1, 1, tzinfo=UTC), 0.2), (NOW, 0.015)]
    assert editor.spent(sent, NOW) == pytest.approx(0.215)


def test_when_a_digest_is_due() -> None:
    daily, weekly = PostsConfig(digest="daily", digest_at="07:30"), PostsConfig(digest="weekly", digest_at="20:00")
    assert editor.due(NOW, PostsConfig()) is None
    due = editor.due(NOW, daily)
    assert due == NOW.replace(hour=7, minute=30)
    assert editor.due(NOW.replace(hour=7, minute=29), daily) == NOW.replace(hour=7, minute=30) - timedelta(days=1)
    assert due
    assert editor.begin(due, daily) == due - timedelta(days=1)
    monday = editor.due(NOW, weekly)
    assert monday
    assert (monday.weekday(), monday.hour, monday.day) == (0, 20, 18)
    assert editor.begin(monday, weekly) == monday - timedelta(days=7)


def test_a_digest_waits_for_who_left_just_before_it() -> None:
    daily, noon = PostsConfig(digest="daily", digest_at="12:00"), NOW
    assert editor.due(noon + timedelta(seconds=59), daily) == noon - timedelta(days=1)
    assert editor.due(noon + timedelta(seconds=60), daily) == noon


@pytest.fixture
def berlin(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Its summer time ends on 25 October 2026 at 1:00 UTC, and begins on 29 March 2026 at 1:00 UTC."""
    with monkeypatch.context() as patched:
        patched.setenv("TZ", "Europe/Berlin")
        time.tzset()
        yield
    time.tzset()


@pytest.mark.parametrize("digest", ["daily", "weekly"])
@pytest.mark.parametrize("digest_at", ["20:00", "02:30", "00:00"])
@pytest.mark.parametrize("switch", [datetime(2026, 10, 25, 1, tzinfo=UTC), datetime(2026, 3, 29, 1, tzinfo=UTC)])
@pytest.mark.usefixtures("berlin")
def test_every_digest_is_due_once_and_they_leave_nothing_out(switch: datetime, digest_at: str, digest: Any) -> None:
    """Also where summer time begins or ends."""
    rules, found = PostsConfig(digest=digest, digest_at=digest_at), list[datetime]()
    for minutes in range(-15 * 1440, 15 * 1440, 7):
        now = switch + timedelta(minutes=minutes)
        due = editor.due(now, rules)
        assert due
        assert due <= now
        if not found or due > found[-1]:
            found.append(due)
    days = {"daily": 1, "weekly": 7}[digest]
    nights = [round((later - due).total_seconds() / 3600) for due, later in pairwise(found)]
    assert set(nights) <= {24 * days - 1, 24 * days, 24 * days + 1}
    # There is no 02:30 when summer time begins: an hour is told twice.
    twice = timedelta(hours=int(digest_at == "02:30"))
    assert all(timedelta() <= due - editor.begin(later, rules) <= twice for due, later in pairwise(found))


@settings(max_examples=60, deadline=None)
@given(
    gaps=st.lists(st.floats(1, 6000), min_size=1, max_size=60),
    per_hour=st.integers(1, 4),
    per_day=st.integers(1, 12),
    most=st.integers(1, 20),
    max_age_h=st.floats(0.5, 30),
    quiet=st.sampled_from(["", "22:00-07:00", "11:00-12:00"]),
)
def test_whatever_comes_everything_is_told_once_or_let_go(
    gaps: list[float], per_hour: int, per_day: int, most: int, max_age_h: float, quiet: str
) -> None:
    rules = XConfig(per_hour=per_hour, per_day=per_day, most=most, max_age_h=max_age_h, quiet_hours=quiet)
    now, coming = NOW, []
    for gap in gaps:
        now += timedelta(seconds=gap)
        coming.append(event(0, now=now) | {"id": str(len(coming))})
    end, now = now + timedelta(hours=max_age_h + 25), NOW
    held: list[dict[str, Any]] = []
    gone: list[str] = []
    sent: list[tuple[datetime, float]] = []
    while now < end:
        now += timedelta(minutes=2)
        while coming and datetime.fromisoformat(coming[0]["wall"]) <= now:
            held.append(coming.pop(0))
        plan = editor.plan(held, sent, now, rules)
        for each in (*plan.tell, *plan.expired):
            held.remove(each)  # type: ignore[arg-type]
            gone.append(each["id"])
        if plan.tell:
            sent.append((now, 0.0))
            assert not quiet or not is_quiet(quiet, now)
            assert sum(now - timedelta(hours=1) < at for at, _ in sent) <= per_hour
            assert sum(now - timedelta(days=1) < at for at, _ in sent) <= per_day
        assert len(held) <= most + 60
    assert sorted(gone, key=int) == [str(n) for n in range(len(gaps))]
    assert gone == sorted(gone, key=int), "in order"
