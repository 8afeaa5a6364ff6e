"""Limits over a visit, labels half configured, odd names in the journal."""

from __future__ import annotations

from pathlib import Path

from tests.stage import Actor, clip, gander


def test_naming_the_threats_does_not_make_blind_to_people(tmp_path: Path, state: Path) -> None:
    path = clip(tmp_path / "both.avi", [Actor("blue", 2.0, 4.0, 0.2), Actor("red", 7.0, 10.0, 0.7)], 12)
    answer = gander("replay", path, "--speed", "max", "--json", "--set", 'labels.threat=["red"]', state=state)
    assert [e["reason"] for e in answer.events("suppressed")] == ["person_veto"]


def test_who_stays_after_the_cool_down_is_deterred_again(tmp_path: Path, state: Path) -> None:
    path = clip(tmp_path / "jay.avi", [Actor("red", 2.0, 8.0)], 10)
    short = ("--set", "deterrent.0.cooldown_s=3", "--set", "deterrent.0.count=1")
    answer = gander("replay", path, "--speed", "max", "--json", *short, state=state)
    actions = answer.events("action")
    assert len(actions) == 2
    assert actions[1]["media_time"] - actions[0]["media_time"] >= 3
    assert ["onset" in action["latency_ms"] for action in actions] == [True, False], (
        "onset is of a visit's first action"
    )
    assert answer.events("visit")[0]["visit"]["actions"] == 2


def test_odd_names_are_shown_as_they_are(tmp_path: Path, state: Path) -> None:
    path = clip(tmp_path / "jay.avi", [Actor("red", 2.0, 4.0)], 7)
    assert gander("run", "--source", path, state=state).status == 0
    assert gander("label", "last", "[/hen] :bird:", state=state).status == 0
    for verb in ("visits", "events"):
        answer = gander(verb, state=state)
        assert answer.status == 0, answer.err
        assert "[/hen]" in answer.out
