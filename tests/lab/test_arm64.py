"""Gander installed on Debian for arm64, Bookworm and Trixie, and a model's answers there: as on this machine.

QEMU runs every program there, so this proves what is right, never how fast. Needs root, to enter a tree and to
register QEMU for the programs in it; a cold cache takes minutes to fill.
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import cache as once
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from edge.bundle import read
from edge.frames.synthetic import SyntheticSource
from edge.preprocess import square_crop
from tests.conftest import ROOT
from tests.lab.arm64.tree import SUITES, NotHere, Tree, built, emulator
from tests.stage import gander

pytestmark = [pytest.mark.lab, pytest.mark.timeout(5400)]  # from an empty cache

Done = subprocess.CompletedProcess[str]
InBoth = Callable[..., dict[str, Done]]

WHO = {"hen": 1.0, "jay": 11.0, "person": 33.0}
"""Who is to be seen in the rendered yard, and at which second."""
SIZE = (640, 360)
FPS = 5
CHECKOUT = {"PYTHONPATH": "/gander", "PYTHONPYCACHEPREFIX": "/var/tmp/compiled", "GANDER_STATE": "/tmp/state"}
# An emulator is never in time, and takes minutes to paint a yard: no fault of what it runs.
PATIENT = "--set policy.budget_ms=10000 --set models.deadline_ms=5000 --set camera.0.source=/files/yard"
TOO_SLOW = "within 60 s"
"""What the product says of a model that does not answer at all; an emulator may be that slow."""
STARTER = ROOT / "edge" / "starter" / "starter.gander"


@pytest.fixture(scope="module")
def trees(cache: Path) -> dict[str, Tree]:
    try:
        qemu = emulator()
        with ThreadPoolExecutor(len(SUITES)) as pool:
            made = pool.map(lambda suite: built(cache, suite, qemu), SUITES.values())
            return dict(zip(SUITES, made, strict=True))
    except NotHere as reason:
        pytest.skip(str(reason))


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A picture of each of `WHO`, cut as a model sees it, and a folder `yard` of three seconds in which a jay comes."""
    folder = tmp_path_factory.mktemp("arm64")
    source = SyntheticSource("day", size=SIZE)
    for who, moment in WHO.items():
        box = next(box for what, box in source.truth(moment) if what == who)
        save(folder / f"{who}.png", square_crop(source.render(moment), box))
    (folder / "yard").mkdir()
    for number in range(16):
        save(folder / "yard" / f"{number:02}.png", source.render(WHO["jay"] - 3 + number / FPS))
    return folder


def save(path: Path, picture: Any) -> None:
    assert cv2.imwrite(str(path), cv2.cvtColor(picture, cv2.COLOR_RGB2BGR))


@pytest.fixture(scope="module")
def in_both(trees: dict[str, Tree], files: Path) -> InBoth:
    """Runs a command of this checkout in both trees at once, with a fresh state directory; the same one only once."""

    @once
    def run(*command: str) -> dict[str, Done]:
        def there(tree: Tree) -> Done:
            return tree.run(*command, files=files, **CHECKOUT)

        with ThreadPoolExecutor(len(trees)) as pool:
            made = dict(zip(trees, pool.map(there, trees.values()), strict=True))
        for suite, done in made.items():
            if TOO_SLOW in done.stdout + done.stderr:  # once more, with no other emulator beside it
                made[suite] = there(trees[suite])
        return made

    return run


@pytest.fixture(params=SUITES)
def suite(request: pytest.FixtureRequest) -> str:
    name: str = request.param
    return name


def said(done: Done) -> dict[str, Any]:
    """The last line, an object."""
    assert done.returncode == 0, done.stderr[-3000:]
    last: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return last


def probed(in_both: InBoth, suite: str) -> dict[str, Any]:
    """What `probe.py` tells; the camera's Python is asked for where the suite has it."""
    camera = "[ ! -e /usr/lib/python3/dist-packages/libcamera ] || echo libcamera picamera2"
    return said(in_both("sh", "-c", f"python /gander/tests/lab/arm64/probe.py $({camera})")[suite])


def test_it_runs_beside_apts_numpy_and_keeps_what_apt_built_against_it_working(in_both: InBoth, suite: str) -> None:
    """`numexpr` stands for Raspberry Pi OS's own `simplejpeg`: apt's, compiled against apt's numpy."""
    found = probed(in_both, suite)
    assert found["machine"] == "aarch64"
    assert found["python"].startswith(SUITES[suite].python)
    assert found["files"]["numexpr"].startswith("/usr/lib/python3/dist-packages/"), "apt's"
    assert found["files"]["cv2"].startswith("/opt/gander/"), "the environment's"
    assert found["sum"] == 90 * 48 * 64 * 3
    assert max(abs(value - 90) for value in found["jpeg"]) <= 2
    assert found["litert"] in (ROOT / "requirements.txt").read_text()


def test_on_trixie_apts_numpy_and_libcamera_are_the_ones_in_use(in_both: InBoth) -> None:
    found = probed(in_both, "trixie")
    assert found["numpy"].startswith("2.")
    assert found["files"]["numpy"].startswith("/usr/lib/python3/dist-packages/")
    assert found["files"]["libcamera"].startswith("/usr/lib/python3/dist-packages/")
    assert found["files"]["picamera2"].startswith("/usr/local/lib/"), "the system's Python has it, by pip"
    assert found["opencv"].startswith("5.")


def test_on_bookworm_numpy_stays_of_the_major_version_that_apts_is(in_both: InBoth) -> None:
    found = probed(in_both, "bookworm")
    assert found["numpy"].startswith("1.26.")
    assert found["opencv"].startswith("4.")


def test_what_pip_installed_starts_without_the_checkout(trees: dict[str, Tree], suite: str) -> None:
    done = trees[suite].run("gander", "--version")
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("gander ")


def answers(
    in_both: InBoth, files: Path, suite: str, bundle: tuple[Path, str], who: Sequence[str], *more: str
) -> tuple[dict[str, Any], dict[str, Any]]:
    """What `answers.py` says of the pictures of `who`, there and here; `bundle` is where it lies here and there."""
    arguments = ("-m", "tests.lab.answers", *more)
    theirs = said(in_both("python", *arguments, bundle[1], *(f"/files/{name}.png" for name in who))[suite])
    command = [sys.executable, *arguments, str(bundle[0]), *(str(files / f"{name}.png") for name in who)]
    ours = said(subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False))
    assert theirs["runtime"] == ours["runtime"]
    return theirs, ours


def test_the_starter_says_the_same(
    in_both: InBoth, files: Path, suite: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """All whole numbers inside: the same to the last one by the plain kernels, to one step by the fast ones."""
    starter = read(STARTER)
    paths = STARTER, f"/gander/{STARTER.relative_to(ROOT)}"
    theirs, ours = answers(in_both, files, suite, paths, tuple(WHO), "--reference")
    step = 0.0521  # of its output, a logit
    for kernels, apart in (("reference", 0.0), ("scores", step)):
        differs = differ(theirs[kernels], ours[kernels])
        told(capsys, f"{suite}, starter, {kernels}", differs)
        assert differs <= apart + 1e-6
        assert [starter.labels[at] for at in np.argmax(theirs[kernels], axis=1)] == list(WHO)


def test_inception_says_the_same(
    in_both: InBoth, files: Path, inception: Path, suite: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """The full-size network, dynamic-range: each layer's sums are of whole numbers, what is between them is float."""
    bundle = files / inception.name
    bundle.write_bytes(inception.read_bytes())
    theirs, ours = answers(in_both, files, suite, (bundle, f"/files/{inception.name}"), ("jay",))
    differs = differ(theirs["scores"], ours["scores"])
    told(capsys, f"{suite}, inception", differs)
    assert differs <= 0.01
    assert np.argmax(theirs["scores"]) == np.argmax(ours["scores"])


def differ(theirs: list[list[float]], ours: list[list[float]]) -> float:
    """By how much the score that differs most does; of raw scores [n, K]."""
    return float(np.abs(np.subtract(theirs, ours)).max())


def told(capsys: pytest.CaptureFixture[str], what: str, differs: float) -> None:
    with capsys.disabled():
        print(f"\n{what}: the score that differs most differs by {differs:.5f}")


def test_doctor_finds_nothing_broken_but_a_camera_that_is_not_there(in_both: InBoth, suite: str) -> None:
    """It verifies the bundle, and shows the model the golden pictures. Where there is libcamera, the Pi's own camera is
    asked for: that there is none libcamera itself must have said, so the calls reach it."""
    camera = "[ ! -e /usr/lib/python3/dist-packages/libcamera ] || set -- --set camera.0.source=picamera"
    looked = in_both("sh", "-c", f'{camera}; exec gander doctor {PATIENT} "$@"')[suite]
    printed = looked.stdout + looked.stderr
    assert re.search(r"champion +starter \S+: ", printed)
    if suite == "trixie":
        assert looked.returncode == 1, printed
        assert "there is no camera 0, 0 found" in printed
        assert "\n1 to mend" in printed
    else:
        assert looked.returncode == 0, printed
        assert "nothing is broken" in printed


def test_a_replay_tells_the_same_story(in_both: InBoth, files: Path, suite: str, tmp_path: Path) -> None:
    arguments = ("replay", "--fps", FPS, "--speed", "max", "--json")
    theirs = in_both("gander", *map(str, arguments), "/files/yard")[suite]
    assert theirs.returncode == 0, theirs.stderr
    ours = gander(*arguments, files / "yard", state=tmp_path / "state")
    assert ours.status == 0, ours.err
    assert story(theirs.stdout) == story(ours.out)
    assert [event[0] for event in story(theirs.stdout)].count("action") == 1


def story(printed: str) -> list[tuple[object, ...]]:
    """What must not depend on the processor: what happened to whom, when and why."""
    events = [json.loads(line) for line in printed.splitlines()[:-1]]
    return [(e["type"], e["reason"], e["media_time"], e["visit"]["label"], e["visit"]["kind"]) for e in events]
