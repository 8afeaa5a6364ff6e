"""`gander doctor`, `gander fire` and `gander prune`: what an owner asks of the whole."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import sqlite3
from collections.abc import Callable
from pathlib import Path

import pytest

from edge.control import Control
from edge.database import EVENTS
from edge.journal import lock
from edge.state_check import closed
from tests.daemon import Daemon
from tests.stage import Answer, gander


def findings(answer: Answer) -> dict[str, list[tuple[str, str]]]:
    """By what was looked at: (level, what it says with the advice)."""
    found: dict[str, list[tuple[str, str]]] = {}
    for one in answer.objects[:-1]:
        found.setdefault(one["what"], []).append((one["level"], f"{one['says']} | {one['advice']}"))
    return found


def test_a_desk_has_nothing_broken_and_every_advice_says_what_to_do(state: Path) -> None:
    answer = gander("doctor", "--json", state=state)
    assert answer.status == 0, answer.out
    assert answer.summary["problem"] == 0
    for one in answer.objects[:-1]:
        assert one["says"]
        assert bool(one["advice"]) == (one["level"] != "ok"), one
    found = findings(answer)
    assert found["champion"][0][0] == "ok"
    assert "picture of" in found["camera cam"][0][1]
    assert "dry" in found["deterrent"][0][1]
    assert "is not running" in found["daemon"][0][1]
    assert "observe: nothing fires" in found["mode"][0][1]
    text = gander("doctor", state=state).out
    assert "nothing is broken" in text
    assert "✓ champion" in text


@pytest.mark.parametrize(
    ("settings", "told"),
    [
        (
            ["camera.0.source=/nowhere/clip.mp4", "models.champion=nobody", "mqtt.host=127.0.0.1", "mqtt.port=9"],
            {"camera cam": "No such file", "model": "is not installed", "mqtt": "start the broker"},
        ),
        pytest.param(
            [
                *("camera.0.source=http://127.0.0.1:9/stream", "camera.0.stale_s=1", "models.standby=nobody"),
                *("mqtt.host=127.0.0.1", "mqtt.user=me", "mqtt.password_file=/nowhere/secret"),
                *("models.deadline_ms=20", "policy.budget_ms=50", "media.min_free=1.0"),
            ],
            {
                "camera cam": "look at its power",
                "model": "is not installed",
                "mqtt.password_file": "No such file",
                "disk": "no picture is kept",
            },
            marks=pytest.mark.lab,  # a camera may take 20 s to begin
        ),
    ],
)
def test_what_is_broken_is_named_with_what_to_do(state: Path, settings: list[str], told: dict[str, str]) -> None:
    arguments = [part for setting in settings for part in ("--set", setting)]
    answer = gander("doctor", "--json", *arguments, state=state)
    assert answer.status == 1, answer.err
    found = findings(answer)
    for what, says in told.items():
        assert any(says in text for level, text in found[what] if level == "problem"), found
    assert not answer.err, "a check that fails is a finding, no traceback"


def test_a_secret_that_all_may_read_is_a_problem(state: Path, tmp_path: Path) -> None:
    secret = tmp_path / "camera"
    secret.write_text("me:word")
    secret.chmod(0o644)
    source = "camera.0.source=rtsp://127.0.0.1:9/x"
    held = lock(state)  # so that nobody waits for the camera
    try:
        answer = gander("doctor", "--json", "--set", source, "--set", f"camera.0.credentials={secret}", state=state)
    finally:
        os.close(held)
    assert answer.status == 1
    assert "everybody here may read" in findings(answer)["camera cam credentials"][0][1]
    assert "word" not in answer.out


def test_a_running_daemon_is_asked_not_disturbed(start: Callable[..., Daemon]) -> None:
    daemon = start()
    daemon.wait(daemon.running)
    answer = gander("doctor", "--json", state=daemon.state)
    found = findings(answer)
    assert re.search(r"has run for \d min, mode armed", found["daemon"][0][1])
    assert "pictures" in found["camera cam"][0][1], "the daemon owns the camera"
    assert daemon.status()["frames"] > 0


def test_full_reads_everything_and_finds_what_was_altered(state: Path, start: Callable[..., Daemon]) -> None:
    daemon = start()
    daemon.wait(lambda: bool(daemon.events("visit")))
    daemon.process.terminate()
    daemon.process.wait(30)
    well = findings(gander("doctor", "--full", "--json", state=state))
    assert well["pictures"][0][0] == "ok"
    assert "all pages sound" in well[EVENTS][0][1]
    with sqlite3.connect(state / EVENTS) as connection:
        paths = [row[0] for row in connection.execute("SELECT path FROM picture")]
    (state / "pictures" / paths[0]).write_bytes(b"no picture")
    (state / "pictures" / paths[1]).unlink()
    answer = gander("doctor", "--full", "--json", state=state)
    assert answer.status == 1
    assert "1 altered, 1 missing" in findings(answer)["pictures"][0][1]


def spoil(state: Path, name: str) -> None:
    """Spoil one thing in a state directory that was in use."""
    if name == "journal":
        (state / "events.db").write_bytes(b"SQLite format 3\0" + b"\xff" * 5000)
    elif name == "newer":
        with sqlite3.connect(state / EVENTS) as events:
            events.execute("PRAGMA user_version = 99")
    elif name == "deliveries":
        (state / "deliveries.db").write_bytes(b"no database " * 500)
    elif name == "path":
        with sqlite3.connect(state / EVENTS) as events:
            events.execute(
                "INSERT INTO picture (id, path, sha256, bytes, kind) VALUES ('x', 'a' || char(0), '', 1, 'crop')"
            )
    elif name == "bundle":
        (state / "models" / "junk-1.gander").write_bytes(b"junk")
    else:
        (state / "keys").mkdir(exist_ok=True)
        (state / "keys" / "junk.pub").write_bytes(b"\xff\0 junk")


@pytest.fixture(scope="module")
def begun(prepared: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A state directory with a journal."""
    begun = Path(shutil.copytree(prepared, tmp_path_factory.mktemp("begun") / "state"))
    assert gander("mode", "observe", state=begun).status == 0
    return begun


@pytest.mark.parametrize(
    "spoiled",
    [
        {
            "journal": (EVENTS, "file is not a database | `gander restore", "schema"),
            "bundle": ("installed model", "junk-1.gander", "Traceback"),
        },
        {
            "newer": (EVENTS, "| update this one", "gander restore"),
            "deliveries": ("deliveries.db", "file is not a database | `gander restore", "schema"),
        },
        {
            "path": ("pictures", "of 1: 0 altered, 1 missing", "Traceback"),
            "key": ("installed models", "junk.pub", "Traceback"),
        },
    ],
    ids="+".join,
)
def test_whatever_lies_there_is_looked_over_to_the_end(
    begun: Path, tmp_path: Path, spoiled: dict[str, tuple[str, str, str]]
) -> None:
    state = Path(shutil.copytree(begun, tmp_path / "state"))
    for name in spoiled:
        spoil(state, name)
    answer = gander("doctor", "--full", "--json", state=state)
    assert (answer.status, answer.err) == (1, "")
    assert answer.summary["problem"] >= len(spoiled), "there is a summary"
    for what, says, not_said in spoiled.values():
        told = [text for level, text in findings(answer)[what] if level == "problem"]
        assert says in told[0]
        assert not_said not in told[0]
    assert findings(answer)["owner.db"] == [("ok", "0 labels, all pages sound | ")], "and the rest is told too"


def test_a_daemon_that_is_only_starting_keeps_its_camera(state: Path) -> None:
    held = lock(state)
    try:
        found = findings(gander("doctor", "--json", state=state))
    finally:
        os.close(held)
    assert "is starting, or ending" in found["daemon"][0][1]
    assert not [what for what in found if what.startswith("camera")], "it is the daemon's"


def test_a_daemon_that_hangs_is_a_finding_and_nobody_waits_long(start: Callable[..., Daemon]) -> None:
    daemon = start()
    daemon.wait(daemon.running)
    daemon.process.send_signal(signal.SIGSTOP)
    try:
        answer = gander("doctor", "--json", state=daemon.state, timeout=60)  # less than a command's patience
    finally:
        daemon.process.send_signal(signal.SIGCONT)
    assert (answer.status, answer.err) == (1, "")
    found = findings(answer)
    assert found["daemon"][0][0] == "problem"
    assert "does not answer" in found["daemon"][0][1]
    assert not [what for what in found if what.startswith("camera")], "it still has its camera"


def test_a_daemon_of_another_version_is_a_finding(state: Path) -> None:
    control = Control(state / "control.sock", {"status": lambda who: {"uptime_s": 1.0}})
    try:
        answer = gander("doctor", "--json", state=state)
    finally:
        control.close()
    assert (answer.status, answer.err) == (1, "")
    assert "is of another version" in findings(answer)["daemon"][0][1]


def test_the_mode_is_told_without_a_daemon(state: Path) -> None:
    assert gander("arm", state=state).status == 0
    assert findings(gander("doctor", "--json", state=state))["mode"] == [("ok", "armed: threats are acted upon | ")]


def test_a_state_that_is_closed_to_the_user_is_one_finding(state: Path) -> None:
    user = os.geteuid()
    state.chmod(0)
    try:
        os.seteuid(65534 if user == 0 else user)  # to root nothing is closed
        shut = closed(state)
    finally:
        os.seteuid(user)
        state.chmod(0o2770)
    assert shut is not None
    assert "sudo gander doctor" in shut.advice
    assert closed(state) is None
    assert closed(state / "none yet") is None


def test_prune_says_what_went(state: Path) -> None:
    answer = gander("prune", state=state)
    assert (answer.status, bool(answer.out.strip())) == (0, True)


def test_fire_is_for_tests_and_for_a_running_daemon(state: Path) -> None:
    assert gander("fire", state=state).status == 2
    answer = gander("fire", "--test", state=state)
    assert answer.status == 1
    assert "no gander runs there" in answer.err
    assert json.dumps(answer.out) == '""'
