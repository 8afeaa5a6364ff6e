"""Limits over a visit, the ladder, test fires, each reason told, labels half configured, odd names in the journal."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np

from edge.app import desk
from edge.clock import REPLAY_START, Ids, ReplayClock
from edge.config_file import load
from edge.control import ask
from edge.errors import GanderError
from edge.record import Step
from edge.values import Box, Decision, Event, Frame, Kind, Reason, Verdict, Visit
from tests.daemon import Daemon
from tests.stage import Actor, clip, gander

LADDER = (
    "deterrent.0.count=1", "deterrent.1.id=siren", "deterrent.1.kind=siren", "deterrent.1.channel=1",
    "deterrent.1.pin=5", 'deterrent.1.quiet_hours=""', "deterrent.2.id=water", "deterrent.2.kind=water",
    "deterrent.2.channel=2", "deterrent.2.pin=6", "policy.escalate_after_s=2",
)  # fmt: skip


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


def test_a_visitor_that_stays_meets_light_sound_and_water_and_the_same_in_every_replay(
    tmp_path: Path, state: Path
) -> None:
    path = clip(tmp_path / "jay.avi", [Actor("red", 2.0, 16.0)], 18)

    def actions(*more: str) -> list[tuple[str, float]]:
        settings = [part for setting in (*LADDER, *more) for part in ("--set", setting)]
        answer = gander("replay", path, "--speed", "max", "--json", *settings, state=state)
        assert answer.status == 0, answer.err
        return [(event["deterrent"], event["media_time"]) for event in answer.events("action")]

    first = actions()
    assert [deterrent for deterrent, _ in first][:3] == ["light", "siren", "water"]
    assert all(after[1] - before[1] >= 2 for before, after in pairwise(first))
    assert first == actions()
    by_night = actions('deterrent.1.quiet_hours="00:00-23:59"')
    assert "siren" not in [deterrent for deterrent, _ in by_night]


def test_a_test_fire_keeps_the_limits_and_counts_towards_them_also_over_a_restart(
    start: Callable[..., Daemon],
) -> None:
    def tried(daemon: Daemon) -> str:
        try:
            return str(ask(daemon.state, "test_fire", deterrent="light"))
        except GanderError as error:
            return str(error)

    daemon = start("deterrent.0.cooldown_s=600", "policy.initial_mode=maintenance", film=None)
    daemon.wait(lambda: daemon.running() and daemon.status()["controller_ready"])
    daemon.wait(lambda: "fired" in tried(daemon))  # the guard rests for a moment after its own start
    assert "cooldown" in tried(daemon)
    daemon.wait(lambda: [event["action"]["result"] for event in daemon.events("test_fire")][-1:] == ["on"])
    daemon.wait(lambda: "cooldown" in daemon.events("command")[-1]["answer"])  # what was held back is told
    ask(daemon.state, "mode", mode="armed")
    daemon.process.kill()
    daemon.process.wait()
    again = start("deterrent.0.cooldown_s=1", "policy.per_hour=1", "policy.person_veto_s=0")
    # The test was the one action of this hour.
    again.wait(lambda: "quota" in {event["reason"] for event in again.events("suppressed")})
    assert "quota" in tried(again)
    assert again.events("action") == []


def test_each_reason_is_told_once_a_visit(state: Path) -> None:
    heard: list[Event] = []
    config, picture = load(None, ["media.per_visit=0"]), np.zeros((64, 64, 3), np.uint8)
    box, silent = Box(0.2, 0.2, 0.2, 0.2), Verdict(None, (), 0, 0)
    frame = Frame("cam", 0, 0, 1.0, REPLAY_START, picture, picture[..., 0])
    visit = Visit("v", "cam", 0.0, 1.0, REPLAY_START, box, log_odds=2.0, kind=Kind.THREAT, answers=2, clear=2)
    with desk(config, state, state, ReplayClock(), Ids("x"), replayed=True, listen=heard.append, patient=True) as made:

        def step(visit_id: str, reason: Reason) -> None:
            who, decision = replace(visit, id=visit_id), Decision(False, reason)
            made.record.step(Step(frame, picture, who, silent, decision, None, {}))

        for reason in Reason:
            for said in (reason, reason, Reason.COOLDOWN, reason, Reason.QUOTA, reason):
                step(reason.value, said)
            made.record.ended(replace(visit, id=reason.value))
    told: Counter[tuple[str, Any]] = Counter()
    for event in heard:
        if event.type == "suppressed":
            told[event.body["visit"]["id"], event.body["reason"]] += 1
    quiet = {Reason.THREAT, Reason.WEAK_EVIDENCE}  # nothing was held back
    assert set(told.values()) == {1}
    assert set(told) == {
        (about.value, reason.value)
        for about in Reason
        for reason in {about, Reason.COOLDOWN, Reason.QUOTA} - quiet
    }  # fmt: skip
