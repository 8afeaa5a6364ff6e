"""Two models against the deadline, and two cameras, in the real daemon."""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from edge.config import LabelsConfig
from tests.daemon import Daemon
from tests.stage import Actor, Answer, Live, bundle, clip, gander

FOREIGN = ("rot", "gruen", "blau")
WORDS = LabelsConfig(threat=["rot"], resident=["gruen"], person=["blau"])


@pytest.fixture
def standby(state: Path, tmp_path: Path) -> str:
    """A second model, which has other words for the same three colours."""
    made = bundle(state, tmp_path / "standby", "farben", WORDS, FOREIGN)
    assert gander("bundle", "install", made, state=state).status == 0
    return "models.standby=farben"


def workers(daemon: Daemon) -> list[int]:
    """The models' processes, in the order they were started."""
    out = subprocess.run(["ps", "-eo", "pid,ppid,args"], capture_output=True, text=True, check=True).stdout
    rows = [row.split(None, 2) for row in out.splitlines()[1:]]
    return sorted(int(p) for p, parent, what in rows if int(parent) == daemon.process.pid and "model_worker" in what)


def test_the_champion_is_trusted_while_it_answers(start: Callable[..., Daemon], standby: str, live: Live) -> None:
    daemon = start(standby, "models.deadline_ms=900", *live.settings, film=None)
    daemon.wait(daemon.watching)
    live.comes("red", 9)
    daemon.wait(lambda: bool(daemon.events("action")))
    action = daemon.events("action")[0]
    assert (action["model"]["name"], action["model"]["role"]) == ("colours", "champion")
    assert action["visit"]["label"] == "red"
    daemon.wait(lambda: {"standby", "champion"} <= {row["role"] for row in daemon.predictions()})
    fates = {model["role"]: model["fates"] for model in daemon.status()["models"]}
    assert fates["standby"]["answered"] > 0, "its answers are kept too, though nobody waited for them"


def test_the_standby_acts_while_the_champion_hangs(start: Callable[..., Daemon], standby: str, live: Live) -> None:
    daemon = start(standby, "models.deadline_ms=200", *live.settings, film=None)
    daemon.wait(daemon.watching)
    os.kill(workers(daemon)[0], signal.SIGSTOP)
    live.comes("red", 30)
    daemon.wait(lambda: bool(daemon.events("action")))
    action = daemon.events("action")[0]
    assert (action["model"]["name"], action["model"]["role"]) == ("farben", "standby")
    assert (action["visit"]["label"], action["visit"]["kind"]) == ("rot", "threat")
    daemon.wait_on()
    daemon.wait(lambda: daemon.status()["models"][0]["starts"] == 2)


def test_without_any_model_nothing_fires_and_it_heals(start: Callable[..., Daemon], standby: str, live: Live) -> None:
    daemon = start(standby, "models.deadline_ms=200", *live.settings, film=None)
    daemon.wait(daemon.watching)
    for pid in workers(daemon):
        os.kill(pid, signal.SIGSTOP)
    live.comes("red", 35)
    daemon.wait(lambda: any(e["reason"] == "no_verdict" for e in daemon.events("suppressed")))
    assert not daemon.events("action")
    daemon.wait(lambda: bool(daemon.events("action")))
    daemon.wait(lambda: [model["starts"] for model in daemon.status()["models"]] == [2, 2])


def test_a_standby_that_knows_no_threat_is_refused(state: Path, tmp_path: Path) -> None:
    blind = bundle(state, tmp_path / "blind", "farben", LabelsConfig(resident=["*"]), FOREIGN)
    assert gander("bundle", "install", blind, state=state).status == 0
    for verb in ("watch", "check"):
        answer = gander(verb, "--set", "models.standby=farben", "--set", "labels.threat=['red']", state=state)
        assert answer.status == 2
        assert len(answer.err.splitlines()) == 1
        assert "farben knows no threat" in answer.err


def test_who_cannot_see_people_makes_both_blind(state: Path, tmp_path: Path) -> None:
    kinds = LabelsConfig(threat=["rot"], resident=["gruen", "blau"])
    assert gander("bundle", "install", bundle(state, tmp_path / "b", "farben", kinds, FOREIGN), state=state).status == 0
    assert "cannot see people" in gander("check", "--set", "models.standby=farben", state=state).out
    assert "cannot see people" not in gander("check", state=state).out


def test_two_cameras_each_with_its_own_deterrent(start: Callable[..., Daemon], tmp_path: Path) -> None:
    films = [
        clip(tmp_path / "nest.avi", [Actor("red", 4.0, 13.0)], 40),
        clip(tmp_path / "door.avi", [Actor("green", 2.0, 8.0), Actor("red", 20.0, 28.0, 0.2)], 40),
    ]
    daemon = start(
        *(
            f"camera.{n}.{key}={value}"
            for n, film in enumerate(films)
            for key, value in (("id", film.stem), ("source", film))
        ),
        *("deterrent.0.id=lamp", 'deterrent.0.cameras=["nest"]'),
        *("deterrent.1.id=flash", "deterrent.1.channel=1", "deterrent.1.pin=27", 'deterrent.1.cameras=["door"]'),
        film=None,
    )
    daemon.wait(lambda: len(daemon.events("action")) == 2, 70)
    actions = [(event["camera"], event["action"]["deterrent"]) for event in daemon.events("action")]
    assert actions == [("nest", "lamp"), ("door", "flash")]
    assert daemon.levels(17)[1][0] < daemon.levels(27)[1][0]
    cameras = daemon.status()["cameras"]
    assert [camera["id"] for camera in cameras] == ["nest", "door"]
    assert all(camera["frames"] > 0 and camera["trouble"] == "" for camera in cameras)
    assert {visit["camera"] for visit in (event["visit"] | event for event in daemon.events("visit_started"))} == {
        "nest",
        "door",
    }


def test_a_test_fire_moves_the_pin_only_when_the_house_allows_it(start: Callable[..., Daemon]) -> None:
    daemon = start("policy.initial_mode=observe", "camera.0.source=synthetic:day", film=None)
    daemon.wait(lambda: daemon.running() and daemon.status()["controller_ready"])
    refused = gander("fire", "--test", state=daemon.state)
    assert refused.status == 1
    assert "observe" in refused.err
    assert {level for _, level in daemon.levels()} == {0}
    assert gander("mode", "maintenance", state=daemon.state).status == 0
    fired: list[Answer] = []

    def light_fires() -> bool:  # the controller rests after its own start, and may have stood still
        fired.append(gander("fire", "--test", "--deterrent", "light", state=daemon.state))
        return fired[-1].status == 0 or not any(word in fired[-1].err for word in ("rest", "no_controller", "old"))

    daemon.wait(light_fires)
    assert (fired[-1].status, fired[-1].out.startswith("light fired")) == (0, True), fired[-1].err
    daemon.wait(lambda: bool(daemon.pulses()) and daemon.levels()[-1][1] == 0)
    assert gander("fire", "--test", "--deterrent", "cannon", state=daemon.state).status == 2
    daemon.wait(lambda: bool(daemon.events("test_fire")))
    assert daemon.events("test_fire")[-1]["action"]["result"] == "on"
    assert not daemon.events("action"), "a test is told as a test"
