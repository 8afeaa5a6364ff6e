"""Scenarios: a clip and a configuration in, the journal out. Deterministic, whatever the machine's speed."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from edge.journal import EVENTS, reader
from tests.stage import COLOURS, Actor, Answer, clip, gander

JAY = Actor("red", 2.0, 6.0)


def play(path: Path, state: Path, *more: object) -> Answer:
    answer = gander("replay", path, "--speed", "max", "--json", *more, state=state)
    assert answer.status == 0, answer.err
    return answer


def told(answer: Answer) -> list[tuple[str, str, str]]:
    """The story, without its figures."""
    return [(e["type"], e["visit"]["label"], e["reason"]) for e in answer.objects if "type" in e]


def test_a_threat_is_acted_upon_once_and_told(tmp_path: Path, state: Path) -> None:
    answer = play(clip(tmp_path / "jay.avi", [JAY], 10), state)
    assert told(answer) == [
        ("visit_started", "red", "weak_evidence"),
        ("action", "red", "threat"),
        ("suppressed", "red", "cooldown"),
        ("visit", "red", "cooldown"),
    ]
    summary = answer.summary
    assert (summary["visits"], summary["actions"], summary["by_kind"]) == (1, 1, {"threat": 1})
    action = answer.events("action")[0]
    assert action["action"] == {
        **action["action"], "deterrent": "light", "pattern": "3x400/200", "result": "on", "acknowledged": True
    }  # fmt: skip
    assert action["replayed"] is True
    assert action["wall"].startswith("2026-01-01T12:00:0")
    latency = action["latency_ms"]
    assert latency["pin"] > 0
    assert 60 < latency["onset"] - latency["pin"] < 1000, "two frames at least, a second at most"
    visit = answer.events("visit")[0]["visit"]
    assert visit["ended"] > visit["started"]
    assert visit["actions"] == 1


@pytest.mark.parametrize("colour", ["green", "blue"])
def test_friends_are_left_alone(tmp_path: Path, state: Path, colour: str) -> None:
    answer = play(clip(tmp_path / "friend.avi", [Actor(colour, 2.0, 6.0)], 10), state)
    assert [type_ for type_, _, _ in told(answer)] == ["visit_started", "visit"]
    assert answer.summary["actions"] == 0
    assert answer.summary["by_kind"] == {"resident" if colour == "green" else "person": 1}


def test_a_person_anywhere_holds_the_deterrent_back_for_a_minute(tmp_path: Path, state: Path) -> None:
    path = clip(tmp_path / "both.avi", [Actor("blue", 2.0, 4.0, 0.2), Actor("red", 7.0, 10.0, 0.7)], 14)
    answer = play(path, state)
    assert [e["reason"] for e in answer.events("suppressed")] == ["person_veto"]
    assert answer.summary["actions"] == 0
    answer = play(path, state, "--set", "policy.person_veto_s=1")
    assert answer.summary["actions"] == 1


def test_a_siren_keeps_quiet_at_night_and_near_residents_and_a_light_does_not(tmp_path: Path, state: Path) -> None:
    path = clip(tmp_path / "both.avi", [Actor("green", 1.5, 9.0, 0.2), Actor("red", 4.0, 8.0, 0.7)], 12)
    siren = ("--set", "deterrent.0.kind=siren", "--set", 'deterrent.0.quiet_hours=""')
    assert play(path, state).summary["actions"] == 1
    assert [e["reason"] for e in play(path, state, *siren).events("suppressed")] == ["near_residents"]
    night = ("--set", "deterrent.0.kind=siren", "--set", "deterrent.0.near_residents=fire", "--set",
             'deterrent.0.quiet_hours="00:00-23:59"')  # fmt: skip
    assert [e["reason"] for e in play(path, state, *night).events("suppressed")] == ["quiet_hours"]


def test_the_same_clip_gives_the_same_events_every_time(tmp_path: Path, state: Path) -> None:
    path = clip(tmp_path / "both.avi", [Actor("green", 1.0, 8.0, 0.2), Actor("red", 3.0, 7.0, 0.7)], 10)

    def events() -> list[dict[str, Any]]:
        return [{k: v for k, v in e.items() if k != "latency_ms"} for e in play(path, state).objects if "type" in e]

    first = events()
    assert len(first) > 5
    assert first == events()


def test_real_pace_drops_nothing_it_can_keep_up_with(tmp_path: Path, state: Path) -> None:
    answer = gander("replay", clip(tmp_path / "jay.avi", [JAY], 8), "--json", state=state)
    assert answer.summary["actions"] == 1
    assert answer.summary["frames"] + answer.summary["dropped"] == 120
    assert answer.summary["frames"] > 20


def table(folder: Path, *bursts: tuple[str, str, int]) -> Path:
    """A CSV of bursts (label, colour, how many pictures)."""
    lines = ["path,label,seq_id,more"]
    for number, (label, colour, count) in enumerate(bursts):
        for index in range(count):
            picture = np.full((90, 120, 3), COLOURS.get(colour, (128, 128, 128)), np.uint8)
            name = f"{number}_{index}.png"
            cv2.imwrite(str(folder / name), picture)
            lines.append(f"{name},{label},{number},x")
    path = folder / "table.csv"
    path.write_text("\n".join(lines) + "\n")
    return path


def test_a_table_plays_each_sequence_by_itself(tmp_path: Path, state: Path) -> None:
    bursts = [("jay", "red", 3)] * 3 + [("jay", "red", 1), ("hen", "green", 4), ("empty", "", 2)]
    answer = play(table(tmp_path, *bursts), state, "--no-motion")
    assert answer.summary["sequences"] == {
        "jay": {"n": 4, "acted": 3},  # one picture never fires
        "hen": {"n": 1, "acted": 0},
        "empty": {"n": 1, "acted": 0},
    }
    assert answer.summary["frames"] == 16


def test_what_a_replay_keeps_when_asked(tmp_path: Path, state: Path) -> None:
    path = clip(tmp_path / "jay.avi", [JAY], 9)
    before = {p.name for p in state.iterdir()}
    play(path, state, "--out", tmp_path / "kept")
    assert {p.name for p in state.iterdir()} == before, "a replay writes nothing into the real journal"
    shown = gander("visits", "--json", state=tmp_path / "kept").objects[:-1]
    assert [(v["label"], v["kind"], v["actions"]) for v in shown] == [("red", "threat", 1)]
    with reader(tmp_path / "kept" / EVENTS) as events:
        rows = events.execute("SELECT visit_id, seq, model FROM prediction WHERE role != 'decoy'").fetchall()
    assert len(rows) == len({tuple(row) for row in rows}) == 3, "one row a question, of the moments that are told"
    pictures = list((tmp_path / "kept" / "pictures").rglob("*.jpg"))
    assert len(pictures) == 9, "full view, crop and marked picture of its start, its action and what was held"
    assert all(cv2.imread(str(picture)) is not None for picture in pictures)


def test_zones_and_masks_limit_what_is_seen(tmp_path: Path, state: Path) -> None:
    path = clip(tmp_path / "jay.avi", [JAY], 8)
    upper = "[[[0,0],[1,0],[1,0.2],[0,0.2]]]"
    assert play(path, state, "--set", f"camera.0.zones={upper}").summary["visits"] == 0
    whole = "[[[0,0],[1,0],[1,1],[0,1]]]"
    assert play(path, state, "--set", f"camera.0.masks={whole}").summary["visits"] == 0


@pytest.mark.parametrize(
    ("what", "content", "why"),
    [
        ("missing.mp4", None, "No such file"),
        ("empty.mp4", b"", "empty"),
        ("text.mp4", b"this is no video" * 100, "cannot be played"),
        ("table.csv", b"a,b\n1,2\n", "path"),
        ("table.csv", b"path,label,seq_id\nnowhere.png,jay,1\n", "nowhere.png"),
        ("nothing", "folder", "picture"),
    ],
)
def test_bad_input_is_refused_in_one_line(
    tmp_path: Path, state: Path, what: str, content: bytes | str | None, why: str
) -> None:
    path = tmp_path / what
    if content == "folder":
        path.mkdir()
    elif isinstance(content, bytes):
        path.write_bytes(content)
    answer = gander("replay", path, "--speed", "max", "--json", "--out", tmp_path / "kept", state=state)
    assert answer.status == 2
    lines = answer.err.strip().splitlines()
    assert len(lines) == 1, answer.err
    assert lines[0].startswith("gander: ")
    assert why in lines[0]
    assert answer.out == ""
    assert not (tmp_path / "kept").exists()


@pytest.mark.parametrize(
    ("arguments", "why"),
    [
        (["--set", "labels.threat=['wolf']"], "'wolf' fits no label"),
        (["--set", "motion.nonsense=1"], "unknown key"),
        (["--set", "motion.threshold=1"], "greater than or equal to 4"),
        (["--set", "camera.0.fps='fast'"], "valid number"),
        (["--champion", "nowhere.gander"], "cannot be read"),
        (["--champion", "nobody"], "is not installed"),
        (["--speed", "warp"], "use real or max"),
        (["--wall", "teatime"], "write it as"),
        (["--config", "nowhere.toml"], "no such file"),
    ],
)
def test_bad_arguments_are_refused_in_one_line(tmp_path: Path, state: Path, arguments: list[str], why: str) -> None:
    answer = gander("replay", clip(tmp_path / "c.avi", [], 1), *arguments, state=state)
    assert answer.status == 2
    assert why in answer.err
    assert "Traceback" not in answer.err
