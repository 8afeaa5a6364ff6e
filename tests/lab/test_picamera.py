"""The `picamera` camera on picamera2's real API, over libcamera's virtual camera.

It proves the calls, the two pictures from one request, the clock, the letting go and the coming back. It proves
neither the Pi's own RGB format nor what its cameras tell of exposure and gain: the virtual camera knows NV12 only.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from edge.frames.synthetic import SyntheticSource
from tests.lab.container import tree as container
from tests.lab.container.machine import Machine
from tests.lab.picamera.tree import ROOT, NotHere, Tree, built

pytestmark = pytest.mark.lab

HARNESS = "/gander/tests/lab/picamera"


@pytest.fixture(scope="module")
def tree() -> Tree:
    base = Path(os.environ.get("GANDER_CACHE") or Path.home() / ".cache" / "gander")
    try:
        return built(base / "lab")
    except NotHere as reason:
        pytest.skip(str(reason))


@pytest.fixture(scope="module")
def squares(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A red square at the upper left, a blue one at the lower right, and a white disc that moves."""
    folder = tmp_path_factory.mktemp("squares")
    for number in range(6):
        picture = np.full((720, 1280, 3), 90, np.uint8)
        cv2.rectangle(picture, (100, 80), (400, 260), (0, 0, 255), cv2.FILLED)
        cv2.rectangle(picture, (900, 500), (1200, 700), (255, 0, 0), cv2.FILLED)
        cv2.circle(picture, (300 + 100 * number, 400), 60, (255, 255, 255), cv2.FILLED)
        cv2.imwrite(str(folder / f"{number:03}.jpg"), picture)
    return folder


@pytest.fixture(scope="module")
def probe(tree: Tree, squares: Path) -> Callable[[str], dict[str, Any]]:
    """Runs one part of `probe.py` in the tree, once."""

    @cache
    def run(part: str) -> dict[str, Any]:
        done = tree.run("python", f"{HARNESS}/probe.py", part, pictures=squares, timeout=120)
        assert done.returncode == 0, done.stderr[-3000:]
        seen: dict[str, Any] = json.loads(done.stdout)[part]
        return seen

    return run


def test_two_pictures_of_one_view_from_one_request(probe: Callable[[str], dict[str, Any]]) -> None:
    seen = probe("pictures")
    assert seen["image"] == [720, 1280, 3, "uint8"]
    assert seen["luma"] == [360, 640, "uint8"]
    assert seen["off_by"] < 8 < min(seen["off_by_mirrored"], seen["off_by_upside_down"])
    assert seen["red"][0] > 200 > 60 > max(seen["red"][1:])
    assert seen["blue"][2] > 200 > 60 > max(seen["blue"][:2])
    assert seen["distinct"] > 3
    assert seen["owned"], "a picture changed after it was handed over"
    assert (seen["exposure_ms"], seen["gain"]) == (None, None), "the virtual camera tells neither"


def test_pictures_are_stamped_by_the_camera_in_monotonic_time(probe: Callable[[str], dict[str, Any]]) -> None:
    seen = probe("pictures")
    # The harness holds each picture back for a fifteenth of a second, as exposing and reading one would.
    assert min(seen["ages_ms"]) > 60, "not the moment it was taken, but the moment it came"
    assert sorted(seen["ages_ms"])[10] < 1000
    assert seen["after_a_pause_ms"] < 2000, "an old picture had waited"
    assert seen["taken_at_ns"] == sorted(set(seen["taken_at_ns"]))


def test_an_environment_beside_the_systems_picamera2_shares_its_numpy(probe: Callable[[str], dict[str, Any]]) -> None:
    seen = probe("pictures")
    assert seen["numpy"].startswith("2.2."), "Debian's own"
    assert seen["opencv"].startswith("5."), "from requirements.txt"


def test_a_size_without_a_smaller_stream_and_one_the_camera_has_not(probe: Callable[[str], dict[str, Any]]) -> None:
    assert probe("one_stream") == {
        "640x480": [[480, 640, 3], [480, 640]],
        "1920x1080": [[720, 1280, 3], [360, 640]],
    }


def test_opened_closed_and_refused_again_and_again(probe: Callable[[str], dict[str, Any]]) -> None:
    seen = probe("again")
    assert seen["growth"] == {"opened": [0, 0], "refused": [0, 0]}, "descriptors, threads"
    assert seen["refused"].startswith("picamera: opening failed: ")
    assert "busy" in seen["refused"]
    assert seen["missing"].startswith("picamera: there is no camera 1, 1 found, numbered from 0; look at the ribbon")


def test_a_camera_that_stops_delivering_is_reported_and_comes_back(probe: Callable[[str], dict[str, Any]]) -> None:
    seen = probe("hang")
    assert seen["troubles"][0] == "picamera: no picture for 2 s"
    assert seen["reopened"] >= 1
    assert seen["now"] == ""


def test_a_camera_that_cannot_even_be_closed_is_not_opened_twice(probe: Callable[[str], dict[str, Any]]) -> None:
    seen = probe("stuck")
    assert seen["troubles"][0] == "picamera: no picture for 2 s"
    assert "picamera: closing takes longer than 5 s" in seen["said"]
    assert any("hangs in closing; restart Gander" in trouble for trouble in seen["troubles"])
    assert seen["reopened"] >= 1, "and when it is free again, all goes on"


def test_the_daemon_watches_a_yard_through_it(tree: Tree, tmp_path: Path) -> None:
    jay = yard(tmp_path)
    done = tree.run(
        *("python", f"{HARNESS}/virtual.py", "watch", "--source", "picamera", "--for", "25", "--json"),
        *("--state", "/tmp/state", "--set", "models.deadline_ms=5000", "--set", "policy.budget_ms=10000"),
        pictures=tmp_path,
        timeout=240,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    lines = [json.loads(line) for line in done.stdout.splitlines()]
    camera = lines[-1]["summary"]["cameras"][0]
    assert (camera["source"], camera["trouble"], camera["reopened"]) == ("picamera", "", 0)
    assert camera["frames"] > 30
    labels = {line["visit"]["label"] for line in lines if line.get("type") == "visit"}
    assert "jay" in labels, f"the jay is in {jay} of the pictures played"


# The unit as it is, but with what this camera's harness needs: its program, its library, the checkout.
DROP_IN = f"""[Service]
ExecStart=
ExecStart=/opt/gander/bin/python {HARNESS}/virtual.py watch --source picamera --state /var/lib/gander
ExecStopPost=
Environment=LD_PRELOAD=/opt/virtual.so PYTHONPATH=/gander
"""


def test_its_unit_shuts_nothing_out_that_it_needs(tree: Tree, squares: Path, tmp_path: Path) -> None:
    try:
        container.tools()
        machine = Machine(tree.root, tmp_path, {"/gander": ROOT, "/opt/pictures": squares})
    except container.NotHere as reason:
        pytest.skip(str(reason))
    squares.chmod(0o755)  # the daemon is not root there
    unit = machine.root / "etc" / "systemd" / "system" / "gander-watch.service"
    try:
        unit.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / "systemd" / unit.name, unit)
        unit.with_name(f"{unit.name}.d").mkdir()
        (unit.with_name(f"{unit.name}.d") / "lab.conf").write_text(DROP_IN)
        (machine.root / "etc" / "gander" / "secrets" / "watch").mkdir(parents=True)
        machine.boot()
        machine.sh("groupadd --system gander && useradd --system --gid gander gander-watch")
        started = machine.run("systemctl", "start", unit.name, check=False)  # that is, the first picture is there
        assert started.returncode == 0, machine.sh("journalctl --quiet --no-pager --lines=60")
        assert machine.shows(unit.name, "MemoryDenyWriteExecute") == "yes", "which libffi and libcamera might mind most"
    except container.NotHere as reason:
        pytest.skip(str(reason))
    finally:
        machine.close()


def yard(folder: Path) -> int:
    """Four seconds of the rendered yard in which a jay comes, as JPEGs. Returns in how many it is seen."""
    source, seen = SyntheticSource("day", size=(1280, 720)), 0
    start = next(t for t in range(0, 120) if any(what == "jay" for what, _ in source.truth(float(t)))) - 1
    for number in range(60):
        media_time = start + number / 15
        seen += any(what == "jay" for what, _ in source.truth(media_time))
        picture = cv2.cvtColor(source.render(media_time), cv2.COLOR_RGB2BGR)
        cv2.imwrite(str(folder / f"{number:03}.jpg"), picture, [cv2.IMWRITE_JPEG_QUALITY, 95])
    return seen
