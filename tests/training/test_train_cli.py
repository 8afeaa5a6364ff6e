"""`gander-train` as a user meets it: help at once, verbs, exit statuses, one line for what went wrong."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from edge import keys
from tests import stage
from tests.edge.test_export import Shelf
from training.dataset import read

ROOT = Path(__file__).resolve().parents[2]
VERBS = ("keygen", "harvest", "audit", "fit", "evaluate", "pack", "push", "rescore")
HEAVY = ("tensorflow", "keras", "cleanlab", "sklearn", "scipy", "matplotlib", "pyarrow", "pandas", "mlflow", "cv2")
LISTS = """
import sys
from training.cli import main
sys.argv = ["gander-train", *sys.argv[1:]]
try:
    main()
finally:
    print("loaded", *sys.modules, file=sys.stderr)
"""
WITHOUT = """
import sys
sys.modules[sys.argv[1]] = None  # what Python itself does with a module that cannot be had
from training.cli import main
sys.argv = ["gander-train", *sys.argv[2:]]
main()
"""


def train(*arguments: object, home: Path, script: str = "") -> stage.Answer:
    """Run `gander-train` in a process of its own, with nothing of this user's."""
    start = ("-c", script) if script else ("-m", "training.cli")
    wanted = {"XDG_CONFIG_HOME": str(home / "config"), "GANDER_CACHE": str(home / "cache"), "COLUMNS": "160"}
    done = subprocess.run(
        [sys.executable, *start, *map(str, arguments)],
        env={**os.environ, **wanted, "PYTHONPATH": str(ROOT)},
        cwd=home,
        capture_output=True,
        text=True,
        timeout=90,
        check=False,
    )
    return stage.Answer(done.returncode, done.stdout, done.stderr)


def one_line(answer: stage.Answer) -> str:
    lines = answer.err.splitlines()
    assert len(lines) == 1, answer.err
    assert lines[0].startswith("gander: ")
    return lines[0]


def test_help_names_every_verb_and_loads_nothing_heavy(tmp_path: Path) -> None:
    done = train("--help", home=tmp_path, script=LISTS)
    assert done.status == 0
    assert [verb for verb in VERBS if f" {verb} " not in done.out] == []
    loaded = {name.partition(".")[0] for name in done.err.split()[1:]}
    assert "typer" in loaded
    assert loaded & set(HEAVY) == set()


@pytest.mark.parametrize("verb", VERBS)
def test_every_verb_explains_itself(verb: str, tmp_path: Path) -> None:
    from typer.main import get_command
    from typer.testing import CliRunner

    from training.cli import app

    commands = getattr(get_command(app), "commands")  # noqa: B009 - typed as any command
    assert tuple(sorted(commands)) == tuple(sorted(VERBS))
    done = CliRunner().invoke(app, [verb, "--help"])
    assert done.exit_code == 0
    assert verb in done.output


def test_a_key_pair_is_made_once_and_is_private(tmp_path: Path) -> None:
    done = train("keygen", home=tmp_path)
    key = tmp_path / "config" / "gander" / "laptop.key"
    assert done.status == 0
    assert key.stat().st_mode & 0o777 == 0o600
    assert key.parent.stat().st_mode & 0o777 == 0o700
    assert keys.load(key).public.fingerprint in done.out
    assert "PRIVATE" not in done.out
    again = train("keygen", home=tmp_path)
    assert (again.status, "there is a key already" in one_line(again)) == (2, True)
    nowhere = train("keygen", "/proc/no/laptop.key", home=tmp_path)
    assert (nowhere.status, "cannot be kept there" in one_line(nowhere)) == (2, True)
    own = train("keygen", tmp_path / "own.key", home=tmp_path)
    assert own.status == 0
    assert keys.load(tmp_path / "own.key")


def test_harvest_from_a_state_directory(tmp_path: Path) -> None:
    shelf = Shelf(tmp_path / "state")
    shelf.said("fox", visit=shelf.visit(1)["visit"])
    shelf.visit(2, label="hen")
    done = train("harvest", shelf.state, "--out", tmp_path / "pictures", "--json", home=tmp_path)
    assert done.summary == {"labelled": 1, "unlabelled": 1, "new": 2, "relabelled": 0}
    again = train("harvest", shelf.state, "--out", tmp_path / "pictures", home=tmp_path)
    assert "1 labelled, 1 not; 0 new, 0 relabelled" in again.out
    refused = train("harvest", shelf.state, "--out", tmp_path / "new", "--since", "nonsense", home=tmp_path)
    assert (refused.status, "--since nonsense" in one_line(refused)) == (2, True)
    assert not (tmp_path / "new").exists()
    nowhere = train("harvest", "./stat", "--out", tmp_path / "new", home=tmp_path)
    assert (nowhere.status, "'./stat': not a host" in one_line(nowhere)) == (2, True)


def test_what_came_and_was_labelled_is_data_to_train_from(tmp_path: Path) -> None:
    made = stage.bundle(tmp_path / "state", tmp_path / "made")
    film = stage.clip(tmp_path / "film.avi", [stage.Actor("red", 2, 5), stage.Actor("green", 9, 12)], 14)
    seen = tmp_path / "seen"
    words = ("--champion", made, "--speed", "max", "--out", seen, "--json")
    played = stage.gander("replay", film, *words, state=tmp_path / "state")
    assert played.status == 0, played.err
    state = next(path.parent for path in sorted(seen.rglob("events.db")))
    visits = stage.gander("visits", "--json", state=state).objects[:-1]
    red = next(visit for visit in visits if visit["label"] == "red")
    assert stage.gander("label", red["id"], "scrub jay", state=state).status == 0
    out = tmp_path / "pictures"
    done = train("harvest", state, "--out", out, "--json", home=tmp_path)
    assert done.status == 0, done.err
    assert done.summary["labelled"] > 0
    assert done.summary["unlabelled"] > 0
    dataset = read(out)
    assert dataset.labels == ("scrub jay",)
    assert {picture.group for picture in dataset.pictures} == {red["id"]}
    assert all(picture.crop and picture.wall and picture.camera and picture.source for picture in dataset.pictures)
    assert not dataset.derived


def test_what_cannot_be_meant_is_refused_in_one_line(tmp_path: Path) -> None:
    made = stage.bundle(tmp_path / "laptop", tmp_path / "made")
    recipe, cut = tmp_path / "recipe.toml", tmp_path / "cut.gander"
    recipe.write_text('name = "a"\n[head]\nsize = 3\n')
    cut.write_bytes(made.read_bytes()[:1000])
    key = tmp_path / "laptop" / "device.key"
    cases = {
        "no such file or folder": ("evaluate", made, tmp_path / "nothing"),
        "cut.gander": ("evaluate", cut, tmp_path),
        "head.size": ("fit", recipe, "--data", tmp_path, "--out", tmp_path / "out"),
        "training/recipes": ("fit", tmp_path / "none.toml", "--data", tmp_path, "--out", tmp_path / "out"),
        "not a host": ("push", made, "a b", "--key", key),
        "add --promote": ("push", made, "coop", "--mlflow", tmp_path / "runs.db"),
    }
    for words, arguments in cases.items():
        done = train(*arguments, home=tmp_path)
        assert (done.status, words in one_line(done)) == (2, True), done.err
    assert not (tmp_path / "out").exists()


def test_an_unknown_option_is_a_usage_error(tmp_path: Path) -> None:
    assert train("push", "a.gander", "-oProxyCommand=x", home=tmp_path).status == 2
    assert train("keygne", home=tmp_path).status == 2


@pytest.mark.parametrize("verb", ["fit", "audit"])
def test_without_tensorflow_one_line_says_what_to_do(verb: str, tmp_path: Path) -> None:
    recipe = ROOT / "training" / "recipes" / "inception_v3.toml"
    words = (verb, recipe) if verb == "fit" else (verb,)
    done = train("tensorflow", *words, "--data", tmp_path, "--out", tmp_path / "out", home=tmp_path, script=WITHOUT)
    assert done.status == 2
    assert "`make setup-training` adds it" in one_line(done)


def test_without_mlflow_a_fit_does_not_begin(tmp_path: Path) -> None:
    recipe = ROOT / "training" / "recipes" / "inception_v3.toml"
    words = ("fit", recipe, "--data", tmp_path, "--out", tmp_path / "out", "--mlflow", tmp_path / "runs.db")
    done = train("mlflow", *words, home=tmp_path, script=WITHOUT)
    assert (done.status, "MLflow is not installed" in one_line(done)) == (2, True)
    assert not (tmp_path / "out").exists()


def test_a_bundle_is_packed_anew_with_other_kinds(tmp_path: Path) -> None:
    made = stage.bundle(tmp_path / "laptop", tmp_path / "made")
    recipe = tmp_path / "recipe.toml"
    recipe.write_text('name = "colours"\n[labels]\nthreat = ["blue"]\n[evidence]\ncost_miss = 9.0\n')
    key = tmp_path / "laptop" / "device.key"
    done = train("pack", made, "--recipe", recipe, "--out", tmp_path / "new", "--key", key, home=tmp_path)
    assert done.status == 0, done.err
    told = stage.gander("bundle", "verify", done.out.strip(), "--json", state=tmp_path / "laptop")
    assert told.status == 0, told.err
    assert json.loads(told.out.splitlines()[-1])["summary"]["name"] == "colours"
