"""The words people read."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

import pytest

from edge import feed
from edge.clock import iso

NOW = datetime(2026, 5, 22, 12, 0).astimezone()


def visit(label: str = "jay", hours_ago: float = 1.0, stay_s: float = 2.5, **more: Any) -> dict[str, Any]:
    start = NOW - timedelta(hours=hours_ago)
    facts = {"label": label, "kind": "threat", "actions": len(more.get("pulses", ()))}
    facts |= {"started": iso(start), "ended": iso(start + timedelta(seconds=stay_s)), "left": True, "blind_s": 0.0}
    event = {"type": "visit", "camera": "nest", "clock_ok": True, "reason": "threat", "pulses": [], "visit": facts}
    event["visit"] |= {name: more.pop(name) for name in ("left", "blind_s", "kind") if name in more}
    return event | more


def pulse(at_s: float, deterrent: str = "light") -> dict[str, Any]:
    return {"deterrent": deterrent, "at_s": at_s}


@pytest.mark.parametrize(
    ("event", "says"),
    [
        (visit(pulses=[pulse(0.6)]), "A jay came to nest at 11:00 and left 1.9 s after the light."),
        (
            visit(stay_s=0.6, pulses=[pulse(0.6)], blind_s=1.9),
            "A jay came to nest at 11:00 and left within 1.9 s of the light.",
        ),
        (
            visit(stay_s=30, pulses=[pulse(0.6), pulse(9, "siren")]),
            "A jay came to nest at 11:00, met the light and the siren, and left 21 s after the siren.",
        ),
        (
            visit(stay_s=9, pulses=[pulse(1), pulse(6)]),
            "A jay came to nest at 11:00, met the light 2 times, and left 3.0 s after the light.",
        ),
        (
            visit(left=False, pulses=[pulse(1)]),
            "A jay came to nest at 11:00. It met the light, and may still be there.",
        ),
        (visit("American_Crow", 20), "An American Crow came to nest yesterday at 16:00 and left after 2.5 s."),
        (
            visit(hours_ago=24 * 12, reason="observe"),
            "A jay came to nest on 10 May at 12:00 and left after 2.5 s; it would have fired, but the mode is observe.",
        ),
        (visit(clock_ok=False), "A jay came to nest and left after 2.5 s."),
        (visit(None), "Somebody came to nest at 11:00 and left after 2.5 s."),  # type: ignore[arg-type]
    ],
)
def test_a_visit_is_one_plain_sentence(event: dict[str, Any], says: str) -> None:
    assert feed.visit_post(event, NOW).text == says


def test_a_visit_of_an_older_gander_is_told_too() -> None:
    old = visit()
    del old["pulses"], old["visit"]["left"], old["visit"]["blind_s"]
    assert feed.visit_post(old, NOW).text == "A jay came to nest at 11:00 and left after 2.5 s."


def test_after_a_silence_one_post_tells_all() -> None:
    names = ["jay", "fox", "jay", "magpie", "crow", "marten", "jay"]
    events = [visit(name, 30 - n, pulses=[pulse(0.5)] * (n % 2)) for n, name in enumerate(names)]
    post = feed.digest(events, NOW)
    assert post.title == "7 visits"
    assert post.text == (
        "Since yesterday at 06:00: 3 jays, a fox, a magpie, a crow and one other. 3 of 7 met a deterrent. "
        "The last: A jay came to nest yesterday at 12:00 and left after 2.5 s."
    )


def test_the_day_and_the_week() -> None:
    day = timedelta(days=1)
    assert feed.season([], NOW - day, NOW).text == "Friday, 22 May: nobody came."
    events = [visit(stay_s=2 + n, pulses=[pulse(1)]) for n in range(3)]
    events += [visit("fox"), *(visit("hen", kind="resident") for _ in range(41))]
    assert feed.season(events, NOW - day, NOW).text == (
        "Friday, 22 May: 41 hens, 3 jays and a fox. "
        "Threats: 4, of which 3 met a deterrent; half of them had left after 2.0 s."
    )
    week = feed.season([visit("puppy"), visit("puppy")], NOW - 7 * day, NOW)
    assert week.text == "The week to Friday, 22 May: 2 puppies. Threats: 2, of which 0 met a deterrent."


def test_problems_and_what_is_missing() -> None:
    problem = {"what": "camera nest gives no picture", "advice": "look at its power"}
    event = {"node": "coop", "problems": [problem], "what": problem["what"]}
    assert feed.problem_post(event).text == "coop: Camera nest gives no picture: look at its power."
    assert feed.problem_post(event | {"problems": []}).text == "coop: all is well again."
    missing = feed.with_missing(feed.visit_post(visit(), NOW), 12)
    assert missing.text.endswith("left after 2.5 s. (12 earlier visits could not be told.)")
