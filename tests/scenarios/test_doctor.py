"""`gander doctor`, `gander fire` and `gander prune`: what an owner asks of the whole."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Callable
from pathlib import Path

import pytest

from edge.database import EVENTS
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
    text = gander("doctor", state=state).out
    assert "nothing is broken" in text
    assert "✓ champion" in text


@pytest.mark.parametrize(
    ("settings", "what", "says"),
    [
        (["camera.0.source=/nowhere/clip.mp4"], "camera cam", "No such file"),
        (["camera.0.source=http://127.0.0.1:9/stream", "camera.0.stale_s=1"], "camera cam", "look at its power"),
        (["models.champion=nobody"], "model", "is not installed"),
        (["models.standby=nobody"], "model", "is not installed"),
        (["mqtt.host=127.0.0.1", "mqtt.port=9"], "mqtt", "start the broker"),
        (
            ["mqtt.host=127.0.0.1", "mqtt.user=me", "mqtt.password_file=/nowhere/secret"],
            "mqtt.password_file",
            "No such file",
        ),
        (["models.deadline_ms=20", "policy.budget_ms=50", "media.min_free=1.0"], "disk", "no picture is kept"),
    ],
)
def test_what_is_broken_is_named_with_what_to_do(state: Path, settings: list[str], what: str, says: str) -> None:
    arguments = [part for setting in settings for part in ("--set", setting)]
    answer = gander("doctor", "--json", *arguments, state=state)
    assert answer.status == 1, answer.err
    levels = [text for level, text in findings(answer)[what] if level == "problem"]
    assert any(says in text for text in levels), findings(answer)
    assert not answer.err, "a check that fails is a finding, no traceback"


def test_a_secret_that_all_may_read_is_a_problem(state: Path, tmp_path: Path) -> None:
    secret = tmp_path / "camera"
    secret.write_text("me:word")
    secret.chmod(0o644)
    source = "camera.0.source=rtsp://127.0.0.1:9/x"
    answer = gander("doctor", "--json", "--set", source, "--set", f"camera.0.credentials={secret}", state=state)
    assert answer.status == 1
    assert "everybody here may read" in findings(answer)["camera cam credentials"][0][1]
    assert "word" not in answer.out


def test_a_running_daemon_is_asked_not_disturbed(start: Callable[..., Daemon]) -> None:
    daemon = start()
    daemon.wait(daemon.running)
    answer = gander("doctor", "--json", state=daemon.state)
    found = findings(answer)
    assert "runs since" in found["daemon"][0][1]
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


def test_a_damaged_journal_is_a_finding(state: Path) -> None:
    (state / EVENTS).write_bytes(b"SQLite format 3\0" + b"\xff" * 5000)
    answer = gander("doctor", "--json", state=state)
    assert answer.status == 1
    assert findings(answer)[EVENTS][0][0] == "problem"


def test_prune_says_what_went(state: Path) -> None:
    answer = gander("prune", state=state)
    assert (answer.status, bool(answer.out.strip())) == (0, True)


def test_fire_is_for_tests_and_for_a_running_daemon(state: Path) -> None:
    assert gander("fire", state=state).status == 2
    answer = gander("fire", "--test", state=state)
    assert answer.status == 1
    assert "no gander runs there" in answer.err
    assert json.dumps(answer.out) == '""'
