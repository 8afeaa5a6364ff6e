"""An environment that has only tflite-runtime: it installs, and says what LiteRT says."""

from __future__ import annotations

import fcntl
import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.conftest import ROOT
from tests.stage import Actor, bundle, clip, environment, gander

pytestmark = pytest.mark.lab
PINS = ROOT / "deploy" / "tflite-runtime.txt"
QUANTUM = 1 / 256


@pytest.fixture(scope="session")
def other(cache: Path) -> Path:
    """The Python of an environment with the extra `tflite-runtime`, made once for these pins."""
    python311 = shutil.which("python3.11")
    if not python311:
        pytest.skip("no CPython 3.11 here: tflite-runtime has no wheels for newer ones")
    folder, stamp = cache / "tflite-runtime", cache / "tflite-runtime.stamp"
    wanted = PINS.read_text() + (ROOT / "pyproject.toml").read_text()
    python, extra = folder / "bin" / "python", f"{ROOT}[tflite-runtime]"
    with (cache / "tflite-runtime.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # two test runs make it once
        if not stamp.exists() or stamp.read_text() != wanted:
            shutil.rmtree(folder, ignore_errors=True)
            run(python311, "-m", "venv", folder)
            run(python, "-m", "pip", "install", "--quiet", "--constraint", PINS, "--editable", extra)
            run(python, "-m", "pip", "uninstall", "--quiet", "--yes", "gander")  # the checkout is what is tried
            stamp.write_text(wanted)
    return python


def run(*command: object, **more: Any) -> str:
    done = subprocess.run(
        [str(part) for part in command], capture_output=True, text=True, cwd=ROOT, check=False, **more
    )
    assert done.returncode == 0, done.stderr[-2000:]
    return done.stdout


def answers(python: object, made: Path, pictures: list[Path], *more: str) -> dict[str, Any]:
    said: dict[str, Any] = json.loads(run(python, "-m", "tests.lab.answers", *more, made, *pictures))
    return said | {kernels: np.array(said[kernels]) for kernels in said.keys() & {"scores", "reference"}}


def test_it_is_the_environment_it_claims_to_be(other: Path) -> None:
    have = {line.split("==")[0].lower(): line for line in run(other, "-m", "pip", "freeze").splitlines()}
    assert have["tflite-runtime"] == "tflite-runtime==2.14.0"
    assert have["numpy"].startswith("numpy==1.26")
    assert not {"ai-edge-litert", "tensorflow", "keras"} & set(have)
    run(other, "-m", "pip", "check")


def test_a_full_int8_model_says_the_same_in_both(
    other: Path, shared_data: Path, state: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The catalogue's MobileNet, uint8 in and out, on real photos.

    Quantum for quantum, where both use the reference kernels, as tflite-runtime does for such a model. LiteRT's default
    is XNNPACK, some ten times as fast, which rounds otherwise in every layer: how far that goes is printed.
    """
    assert gander("bundle", "fetch", "inat-birds", "--from", shared_data / "tflite", state=state).status == 0
    (made,) = (state / "models").glob("inat-birds*.gander")
    pictures = sorted((shared_data / "images").rglob("*.jpg"))[::80]
    theirs, ours = answers(other, made, pictures), answers(sys.executable, made, pictures, "--reference")
    assert (theirs["runtime"], ours["runtime"].split()[0]) == ("tflite-runtime 2.14.0", "LiteRT")
    assert np.abs(theirs["scores"] - ours["reference"]).max() <= QUANTUM
    differ = np.abs(theirs["scores"] - ours["scores"]).max(axis=1) / QUANTUM
    same = (theirs["scores"].argmax(axis=1) == ours["scores"].argmax(axis=1)).mean()
    with capsys.disabled():
        sys.stdout.write(
            f"\n{len(pictures)} photos, {theirs['runtime']} (numpy {theirs['numpy']}) as {ours['runtime']}'s reference "
            f"kernels.\nTo its fast ones (numpy {ours['numpy']}) the score that differs most differs by a median of "
            f"{np.median(differ):.0f}, at most {differ.max():.0f} of 256; the same label first on {same:.0%}\n"
        )
    assert same > 0.8


def test_a_clip_is_judged_alike(other: Path, tmp_path: Path) -> None:
    state = tmp_path / "state"
    made = bundle(state, tmp_path / "bundle")
    assert gander("bundle", "install", made, state=state).status == 0
    film = clip(tmp_path / "film.avi", [Actor("red", 2.0, 5.0), Actor("green", 6.0, 8.0)], 10)
    arguments = ("-m", "edge.cli", "replay", film, "--speed", "max", "--champion", "colours", "--json")
    ours, theirs = (run(python, *arguments, env=environment(state)) for python in (sys.executable, other))
    events = [[told(json.loads(line)) for line in said.splitlines()[:-1]] for said in (ours, theirs)]
    assert events[0] == events[1]
    assert [event[0] for event in events[0]].count("action") == 1


def told(event: dict[str, Any]) -> tuple[object, ...]:
    """What must not depend on the runtime."""
    return event["type"], event["reason"], event["media_time"], event["visit"]["label"], event["visit"]["kind"]


def test_a_model_it_cannot_load_is_refused_in_one_line(
    other: Path, inception: Path, cache: Path, tmp_path: Path
) -> None:
    """A dynamic-range model needs a newer runtime. Said at once, not by a worker that dies over and over."""
    state = tmp_path / "state"
    key = inception.parent / "state" / "device.key.pub"
    run(other, "-m", "edge.cli", "bundle", "trust", key, env=environment(state))
    model = ("--tflite", cache / "inception_v3.tflite", "--labels", cache / "labels.txt")
    refused(other, state, "install", inception)
    refused(other, state, "import", *model, "--mean", 127.5, "--std", 127.5)
    assert not list((state / "models").glob("*.gander"))

    run(sys.executable, "-m", "edge.cli", "bundle", "install", inception, env=environment(state))  # by LiteRT, before
    refused(other, state, "promote", "inception")
    assert not (state / "models" / "roles.json").exists()


def refused(python: Path, state: Path, *arguments: object) -> None:
    command = [str(python), "-m", "edge.cli", "bundle", *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True, env=environment(state), cwd=ROOT, check=False)
    assert done.returncode == 2, done.stderr
    assert len(done.stderr.strip().splitlines()) == 1, done.stderr
    assert "tflite-runtime 2.14.0 cannot load it" in done.stderr
    assert "FULLY_CONNECTED" in done.stderr
