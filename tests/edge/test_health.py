"""Health: each thing that is wrong is one problem, with advice."""

from __future__ import annotations

import copy
from typing import Any

import pytest

from edge.health import problems

WELL: dict[str, Any] = {
    "mode": "armed",
    "uptime_s": 600.0,
    "clock_known": True,
    "cameras": [{"id": "nest", "trouble": ""}],
    "models": [
        {"name": "birds", "role": "champion", "ready": True, "starts": 1},
        {"name": "small", "role": "standby", "ready": True, "starts": 1},
    ],
    "controller_ready": True,
    "controller_facts": {"trouble": ""},
    "deterrents": [{"id": "siren", "enabled": True, "quiet": "22:00-07:00"}],
    "journal": {"waiting": 3, "committed": 100, "dropped": 0},
    "pictures": {"problem": ""},
    "disk": {"free": 50, "total": 100},
    "temperature": 55.0,
}


def but(**changes: Any) -> dict[str, Any]:
    return copy.deepcopy(WELL) | changes


def models(*ready: bool, starts: int = 1) -> list[dict[str, Any]]:
    return [dict(model, ready=is_ready, starts=starts) for model, is_ready in zip(WELL["models"], ready, strict=True)]


def test_one_that_is_well_has_no_problem() -> None:
    assert problems(WELL) == []


@pytest.mark.parametrize(
    ("changes", "what"),
    [
        ({"cameras": [{"id": "nest", "trouble": "no picture for 5 s"}]}, "nest gives no picture: no picture for 5 s"),
        ({"models": models(True, False)}, "standby small is not loaded"),
        ({"models": models(False, False)}, "no model answers"),
        ({"models": models(True, True, starts=9)[:1]}, "keeps ending"),
        ({"controller_ready": False, "controller_facts": {"trouble": "it is frozen"}}, "not ready: it is frozen"),
        ({"clock_known": False}, "siren holds for quiet hours"),
        ({"journal": {"waiting": 0, "dropped": 2}}, "2 records could not be kept"),
        ({"journal": {"waiting": 900, "dropped": 0}}, "900 records wait"),
        ({"pictures": {"problem": "export some"}}, "pictures are not kept"),
        ({"disk": {"free": 1_000_000, "total": 100_000_000}}, "nearly full: 1 MB free"),
        ({"temperature": 84.6}, "85 °C"),
    ],
)
def test_each_fault_is_one_problem_with_advice(changes: dict[str, Any], what: str) -> None:
    (problem,) = problems(but(**changes))
    assert what in problem.what
    assert problem.advice


def test_what_is_not_wrong_yet() -> None:
    assert not problems(but(models=models(False, False), uptime_s=10.0)), "it is still loading"
    assert not problems(but(mode="observe", controller_ready=False)), "nothing would fire anyway"
    assert not problems(but(clock_known=False, deterrents=[{"id": "light", "enabled": True, "quiet": ""}]))
    assert not problems(but(temperature=None))
