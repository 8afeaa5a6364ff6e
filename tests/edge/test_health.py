"""Health: each thing that is wrong is one problem, with advice."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import pytest

from edge.health import problems, undervoltage

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
    "journal": {"waiting": 3, "committed": 100, "dropped": 0, "dropped_s": None},
    "pictures": {"problem": ""},
    "disk": {"free": 50, "total": 100},
    "temperature": 55.0,
    "undervoltage": None,
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
        ({"journal": {"waiting": 0, "dropped": 2, "dropped_s": 5.0}}, "could not be kept: 2 since the start"),
        ({"journal": {"waiting": 900, "dropped": 0}}, "wait to be written: 900"),
        ({"pictures": {"problem": "export some"}}, "pictures are not kept"),
        ({"disk": {"free": 1_000_000, "total": 100_000_000}}, "nearly full: 1 MB free"),
        ({"temperature": 84.6}, "85 °C"),
        ({"undervoltage": True}, "too little voltage"),
    ],
)
def test_each_fault_is_one_problem_with_advice(changes: dict[str, Any], what: str) -> None:
    (problem,) = problems(but(**changes))
    assert what in problem.what
    assert problem.advice


def test_records_that_were_lost_are_told_for_an_hour() -> None:
    assert problems(but(journal={"waiting": 0, "dropped": 2, "dropped_s": 3500.0}))
    assert not problems(but(journal={"waiting": 0, "dropped": 2, "dropped_s": 3700.0}))
    (problem,) = problems(but(journal={"waiting": 900, "dropped": 2, "dropped_s": 3700.0}))
    assert "wait to be written" in problem.what


def test_what_is_not_wrong_yet() -> None:
    assert not problems(but(models=models(False, False), uptime_s=10.0)), "it is still loading"
    assert not problems(but(mode="observe", controller_ready=False)), "nothing would fire anyway"
    assert not problems(but(clock_known=False, deterrents=[{"id": "light", "enabled": True, "quiet": ""}]))
    assert not problems(but(temperature=None))


def test_a_camera_that_is_back_is_no_problem_although_the_ladder_still_counts() -> None:
    due = {"due": {"nest": {"step": "restart", "in_s": 600.0}}}
    (camera,) = WELL["cameras"]
    assert not problems(but(ladder=due, cameras=[camera | {"silent_s": 0.1}]))
    (silent,) = problems(but(ladder=due, cameras=[camera | {"silent_s": 20.0}]))
    assert silent.what == "camera nest gives no picture: nothing for 20 s"


@pytest.mark.parametrize(
    ("name", "alarm", "low"), [("rpi_volt", "1", True), ("rpi_volt", "0", False), ("fan", "1", None)]
)
def test_a_pi_short_of_power_is_known_by_its_own_sensor(
    tmp_path: Path, name: str, alarm: str, low: bool | None
) -> None:
    for sensor, called, says in (("hwmon0", "cpu_thermal", None), ("hwmon2", name, alarm)):
        (tmp_path / sensor).mkdir()
        (tmp_path / sensor / "name").write_text(f"{called}\n")
        if says:
            (tmp_path / sensor / "in0_lcrit_alarm").write_text(f"{says}\n")
    assert undervoltage(tmp_path) is low
