"""Every verb, with good and bad input: against a running daemon, and without one."""

from __future__ import annotations

import json
import signal
import socket
import sqlite3
import subprocess
import time
import tomllib
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from edge import keys
from edge.bundle import read, write
from edge.check import check
from edge.config import LabelsConfig
from edge.config_file import load
from edge.control import SOCKET, ask, me
from edge.errors import GanderError
from edge.journal import EVENTS, events_after, reader
from tests.stage import Actor, bundle, clip, command, environment, gander

VISITS = [Actor("red", start, start + 4.0) for start in (6.0, 24.0, 44.0, 62.0)]


@pytest.fixture(scope="session")
def long_clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return clip(tmp_path_factory.mktemp("clip") / "visits.avi", VISITS, 75)


@pytest.fixture
def daemon(state: Path, long_clip: Path) -> Iterator[subprocess.Popen[str]]:
    process = subprocess.Popen(
        command("watch", "--source", long_clip), env=environment(state), stderr=subprocess.PIPE, text=True
    )
    wait_for(lambda: answers(state), process)
    yield process
    process.kill()
    process.communicate()


def answers(state: Path) -> bool:
    try:
        return bool(ask(state, "status")["models"][0]["ready"])
    except GanderError:
        return False


def wait_for(condition: Callable[[], bool], process: subprocess.Popen[str] | None = None, seconds: float = 30) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "it never came"
        assert process is None or process.poll() is None, process.communicate()
        time.sleep(0.05)


def events_of(state: Path, type_: str) -> list[dict[str, object]]:
    if not (state / EVENTS).exists():
        return []
    with sqlite3.connect(f"file:{state / EVENTS}?mode=ro", uri=True) as connection:
        return [json.loads(row[0]) for row in connection.execute("SELECT json FROM event WHERE type = ?", (type_,))]


def ids(state: Path) -> list[str]:
    """Of all the events, in order."""
    with reader(state / EVENTS) as connection:
        return [body["id"] for _, body in events_after(connection, 0)]


def test_the_owner_talks_to_the_running_daemon(daemon: subprocess.Popen[str], state: Path) -> None:
    status = gander("status", "--json", state=state).summary
    assert (status["mode"], status["model"], status["controller_ready"]) == ("observe", "colours", True)
    assert gander("arm", state=state).out == "mode is armed\n"
    assert ask(state, "status")["mode"] == "armed"
    assert "nothing fires until" in gander("pause", "2h", state=state).out
    assert ask(state, "status")["paused"] is True
    assert gander("pause", "0", state=state).out == "the pause has ended\n"
    assert gander("disarm", state=state).out == "mode is observe\n"
    assert gander("mode", "maintenance", state=state).status == 0
    wait_for(lambda: bool(events_of(state, "visit_started")))
    answer = gander("label", "last", "blue jay", "--note", "sure", state=state)
    assert (answer.status, answer.out.endswith("was a blue jay\n")) == (0, True)
    text = gander("status", state=state).out
    assert "maintenance" in text
    assert "colours" in text
    assert {event["who"] for event in events_of(state, "command")} == {me()}


def test_observe_only_says_what_it_would_have_done(daemon: subprocess.Popen[str], state: Path) -> None:
    wait_for(lambda: "observe" in [event["reason"] for event in events_of(state, "suppressed")])
    wait_for(lambda: bool(events_of(state, "visit")))
    assert not events_of(state, "action")


def test_following_the_events(daemon: subprocess.Popen[str], state: Path) -> None:
    before = len(ids(state))
    follower = subprocess.Popen(
        command("events", "--follow", "-n", "0", "--json"), env=environment(state), stdout=subprocess.PIPE, text=True
    )
    assert follower.stdout
    heard = [json.loads(follower.stdout.readline())["id"] for _ in range(3)]
    told = ids(state)
    first = told.index(heard[0])
    assert first >= before, "nothing of before"
    assert told[first : first + 3] == heard, "and nothing is left out"
    follower.send_signal(signal.SIGINT)
    follower.communicate(timeout=10)
    assert follower.returncode == 0


def test_a_stop_leaves_everything_written_and_no_process(daemon: subprocess.Popen[str], state: Path) -> None:
    wait_for(lambda: bool(events_of(state, "visit_started")))
    children = subprocess.run(
        ["pgrep", "-P", str(daemon.pid)], capture_output=True, text=True, check=False
    ).stdout.split()
    assert children
    daemon.send_signal(signal.SIGTERM)
    assert daemon.wait(60) == 0
    assert not (state / SOCKET).exists()
    assert len(events_of(state, "visit")) == len(events_of(state, "visit_started")), "open visits end with it"
    wait_for(lambda: not any(Path(f"/proc/{pid}").exists() for pid in children))


def test_two_daemons_on_one_state_directory(daemon: subprocess.Popen[str], state: Path) -> None:
    second = gander("watch", "--for", "5", state=state)
    assert second.status == 1
    assert "another gander is at work there" in second.err
    assert answers(state), "the first goes on"


def test_promotion_and_rollback_without_a_stop(daemon: subprocess.Popen[str], state: Path, tmp_path: Path) -> None:
    newer = bundle(state, tmp_path / "newer", "newer")
    assert gander("bundle", "install", newer, state=state).status == 0
    assert "is champion" in gander("bundle", "promote", "newer", state=state).out
    wait_for(lambda: ask(state, "status")["model"] == "newer")
    assert "is champion" in gander("bundle", "rollback", state=state).out
    wait_for(lambda: ask(state, "status")["model"] == "colours")
    again = gander("bundle", "rollback", state=state)
    assert again.status == 0, "the starter was champion before the first"


def test_commands_without_a_daemon_are_kept_by_the_same_code(state: Path) -> None:
    assert gander("status", state=state).status == 1
    assert gander("arm", state=state).out == "mode is armed\n"
    assert gander("pause", "1h", state=state).status == 0
    listed = gander("bundle", "list", state=state).out
    assert "* colours-" in listed
    assert gander("bundle", "rollback", state=state).status == 0
    assert "champion: starter" in gander("bundle", "list", state=state).out
    said = [event["command"].split()[0] for event in gander("events", "--json", state=state).objects[:-1]]
    assert said == ["install", "promote", "mode", "pause", "rollback"], "each is kept, in order"


def test_run_shows_the_story_as_lines_or_as_json(tmp_path: Path, state: Path) -> None:
    path = clip(tmp_path / "jay.avi", [Actor("red", 3.0, 9.0)], 10)  # it stays until all is loaded
    options = ("--source", path, "--set", "policy.initial_mode=armed")
    lines = gander("run", *options, state=state).out.splitlines()
    assert any("the light fired" in line for line in lines), lines
    again = gander("run", *options, "--json", state=state)
    assert len(again.events("visit")) == 1, "only what is new"
    assert again.summary["latency_ms"]["motion"]["n"] > 0


def test_run_says_why_it_cannot(tmp_path: Path, state: Path) -> None:
    answer = gander("run", "--source", tmp_path / "nowhere.mp4", "--for", "5", state=state)
    assert answer.status == 2
    assert "nowhere.mp4: No such file" in answer.err.strip().splitlines()[-1]


def test_run_saves_a_picture(tmp_path: Path, state: Path) -> None:
    path = clip(tmp_path / "jay.avi", [Actor("red", 2.0, 7.0)], 8)
    picture = tmp_path / "run.svg"
    answer = gander("run", "--source", path, "--picture", picture, state=state)
    assert answer.status == 0, answer.err
    assert "red" in picture.read_text()


def test_the_example_configuration_is_the_default_and_checks(tmp_path: Path, state: Path) -> None:
    text = gander("config", "--example", state=state).out
    assert tomllib.loads(text)["policy"]["initial_mode"] == "observe"
    file = tmp_path / "gander.toml"
    file.write_text(text)
    answer = gander("check", "--config", file, state=state)
    assert answer.status == 0, answer.err
    assert "threat: red" in answer.out
    assert gander("config", state=state).status == 2


def test_check_says_what_the_evaluation_proposes_and_nothing_applies_it(state: Path, tmp_path: Path) -> None:
    path = bundle(state, tmp_path / "own", "own")
    own, key = read(path), keys.load_or_generate(state / "device.key")
    proposing = own.manifest.model_copy(update={"suggested_evidence": {"cost_false": 1.0, "cost_miss": 2.5}})
    write(path, proposing, own.model, own.golden, key)
    answer = gander("check", "--set", f"models.champion='{path}'", state=state)
    assert "evidence.cost_miss = 2.5 (is 4)" in answer.out
    assert "cost_false" not in answer.out, "what is as proposed needs no word"
    settled = ("--set", f"models.champion='{path}'", "--set", "evidence.cost_miss=2.5")
    assert "proposes" not in gander("check", *settled, state=state).out


def test_check_warns_of_an_hour_that_is_spent_before_the_quota(state: Path) -> None:
    def told(*more: str) -> str:
        return "\n".join(check(load(None, ["deterrent.0.count=1", "deterrent.0.on_ms=5000", *more]), state))

    assert "the controller refuses light after 12 pulses in an hour, policy.per_hour = 20" in told()
    assert "refuses" not in told("deterrent.0.hour_s=100")


def test_check_warns_of_a_model_that_cannot_see_people(state: Path, tmp_path: Path) -> None:
    blind = bundle(state, tmp_path / "blind", "blind", LabelsConfig(threat=["red"]))
    assert "cannot see people" in gander("check", "--set", f"models.champion='{blind}'", state=state).out
    for labels in ("[]", "['red']"):  # naming the threats makes nobody blind
        assert "cannot see people" not in gander("check", "--set", f"labels.threat={labels}", state=state).out


@pytest.mark.parametrize(
    ("arguments", "why"),
    [
        (["mode", "attack"], "attack"),
        (["pause", "soon"], "not a length of time"),
        (["pause", "99d"], "7 days"),
        (["label", "nobody", "jay"], "there is none"),
        (["visits", "--since", "once"], "no moment; write 30m"),
        (["bundle", "install", "nowhere.gander"], "cannot be read"),
        (["bundle", "promote", "nobody"], "is not installed"),
        (["bundle", "verify", "nowhere.gander"], "cannot be read"),
        (["bundle", "trust", "nowhere.pub"], "cannot be read"),
        (["bundle", "fetch", "dodo"], "not in the catalogue"),
        (["bundle", "import", "--tflite", "nowhere.tflite"], "cannot be read"),
        (["replay"], "Missing argument"),
        (["sing"], "No such command"),
        (["check", "--config", "nowhere.toml"], "no such file"),
    ],
)
def test_bad_input_is_refused_in_words(state: Path, arguments: list[str], why: str) -> None:
    answer = gander(*arguments, state=state)
    assert (answer.status, answer.out) == (2, "")
    assert why in answer.err
    assert "Traceback" not in answer.err


def test_nothing_there_yet(tmp_path: Path) -> None:
    for verb in ("events", "visits"):
        answer = gander(verb, state=tmp_path / "new")
        assert answer.status == 2
        assert "no journal there yet" in answer.err


@pytest.mark.parametrize("verb", ["events", "visits"])
def test_a_newer_journal_is_left_alone(state: Path, verb: str, long_clip: Path) -> None:
    gander("arm", state=state)
    with sqlite3.connect(state / EVENTS) as connection:
        connection.execute("PRAGMA user_version = 99")
    answer = gander(verb, state=state)
    assert (answer.status, "newer gander" in answer.err) == (2, True)
    answer = gander("watch", "--source", long_clip, "--for", "3", state=state)
    assert (answer.status, "newer gander" in answer.err) == (2, True)


def test_a_stale_socket_is_no_daemon(state: Path) -> None:
    left = socket.socket(socket.AF_UNIX)
    left.bind(str(state / SOCKET))
    left.close()
    assert gander("status", state=state).status == 1
    assert gander("arm", state=state).status == 0
