"""Export, backup and restore by their verbs: beside a watch that goes on, and what they say to bad input."""

from __future__ import annotations

import csv
import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.daemon import Daemon
from tests.stage import Actor, Live, clip, gander


@pytest.fixture(scope="session")
def kept(prepared: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A state in which a clip was played: a threat, a person and a resident came."""
    folder = tmp_path_factory.mktemp("kept")
    film = clip(folder / "visits.avi", [Actor("red", 2, 6), Actor("blue", 12, 16), Actor("green", 22, 26)], 34)
    state = Path(shutil.copytree(prepared, folder / "state"))
    played = gander("replay", film, "--speed", "max", "--out", folder / "played", "--json", state=state)
    assert played.summary["visits"] >= 3, played.err
    for name in (folder / "played").iterdir():
        shutil.copytree(name, state / name.name) if name.is_dir() else shutil.copy(name, state / name.name)
    return state


def test_an_export_is_what_training_reads(kept: Path, tmp_path: Path) -> None:
    state = Path(shutil.copytree(kept, tmp_path / "state"))
    visits = gander("visits", "--json", state=state).objects[:-1]
    red = next(visit for visit in visits if visit["label"] == "red")
    assert gander("label", red["id"], "scrub jay", state=state).status == 0
    done = gander("export", tmp_path / "out", "--json", state=state)
    assert done.status == 0, done.err
    assert done.summary["visits"] == len(visits)
    assert done.summary["labels"] > 0
    assert done.summary["unlabelled"] > 0
    assert done.summary["people"] > 0
    assert done.summary["vanished"] == 0
    with (tmp_path / "out" / "labels.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert {(row["label"], row["seq_id"], row["model_label"]) for row in rows} == {("scrub jay", red["id"], "red")}
    lines = (tmp_path / "out" / "events.jsonl").read_text().splitlines()
    assert {"visit_started", "visit"} <= {json.loads(line)["type"] for line in lines}
    replayed = gander("replay", tmp_path / "out" / "labels.csv", "--no-motion", "--speed", "max", "--json", state=state)
    assert replayed.summary["sequences"]["scrub jay"]["n"] == 1, replayed.err

    said = gander("export", tmp_path / "two", "--since", "2026-01-01", "--labelled", state=state)
    assert said.out.startswith(f"{tmp_path / 'two'}: ")
    assert " 1 visits\n" in said.out
    assert "crops labelled" in said.out
    again = gander("export", tmp_path / "two", state=state)
    assert (again.status, again.err.count("\n")) == (2, 1)
    assert "not empty" in again.err


def test_a_backup_beside_a_running_watch_is_restored_and_runs(
    start: Callable[..., Daemon], state: Path, tmp_path: Path, live: Live
) -> None:
    daemon = start(*live.settings, film=None)
    daemon.wait(daemon.watching)
    live.comes("red", 9)
    daemon.wait_on()
    daemon.wait(lambda: bool(daemon.events("action")))
    assert gander("label", "last", "jay", state=state).status == 0
    secret, used = tmp_path / "camera", tmp_path / "coop.toml"
    secret.write_text("hen:word")
    trusted = f"['{tmp_path / 'laptop.pub'}', '{state / 'keys' / 'desk.pub'}']"
    settings = f"[models]\nchampion = 'jays'\nstandby = '/far/small.gander'\ntrusted_keys = {trusted}\n"
    used.write_text(f"[node]\nname = 'coop'\n{settings}[[camera]]\ncredentials = '{secret}'\n")
    made = gander("backup", tmp_path / "gander.tar", "--all", "--config", used, state=state)
    assert made.status == 0, made.err
    assert "private key" in made.out
    assert f"passwords are not in it: keep a copy of {secret}" in made.out
    assert f"not in it either: keep a copy of {tmp_path / 'laptop.pub'}, /far/small.gander yourself" in made.out
    exported = gander("export", tmp_path / "out", state=state)
    assert exported.status == 0, exported.err
    refused = gander("restore", tmp_path / "gander.tar", "--force", state=state)
    assert (refused.status, "at work" in refused.err) == (1, True)
    assert daemon.process.poll() is None
    assert daemon.running()

    new = tmp_path / "new"
    back = gander("restore", tmp_path / "gander.tar", state=new)
    assert back.status == 0, back.err
    assert f"its configuration is {new / 'gander.toml'}" in back.out
    visits = gander("visits", "--json", state=new).objects[:-1]
    assert [visit["owner"] for visit in visits] == ["jay"]
    names = [gander("bundle", "list", state=where).out for where in (state, new)]
    assert names[0] == names[1]
    assert "colours" in names[1]
    check = gander("check", state=new)
    assert check.status == 0, check.err
    ran = gander("watch", "--source", "synthetic:day", "--for", "4", "--json", state=new)
    assert ran.status == 0, ran.err
    assert ran.summary["frames"] > 0
    assert ran.summary["model"] == "colours"


def test_bad_input_is_refused_in_one_line(kept: Path, tmp_path: Path) -> None:
    file = tmp_path / "gander.tar"
    assert gander("backup", file, "--json", state=kept).summary["models"] == 1
    cut = tmp_path / "cut.tar"
    cut.write_bytes(file.read_bytes()[:-5000])
    for arguments, says in (
        (("backup", file), "is there already"),
        (("restore", file), "--force"),
        (("restore", cut, "--force"), "cut"),
        (("restore", tmp_path / "none.tar", "--force"), "no such file"),
        (("export", tmp_path / "out", "--since", "yesterday"), "no moment"),
        (("export", tmp_path / "out", "--since", "1d", "--until", "2d"), "nothing lies between"),
        (("export", file), "not empty"),
    ):
        answer = gander(*arguments, state=kept)
        assert answer.status == 2, (arguments, answer)
        assert says in answer.err, (arguments, answer)
        assert answer.err.count("\n") == 1, answer.err
    empty = gander("backup", tmp_path / "other.tar", state=tmp_path / "nowhere")
    assert (empty.status, "no journal there" in empty.err) == (2, True)
    assert not (tmp_path / "nowhere").exists()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["cut.tar", "gander.tar"]
