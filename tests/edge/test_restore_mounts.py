"""Restoring where something is mounted: onto a mount point, or above one."""

from __future__ import annotations

import sqlite3
import subprocess
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

import tests.disk
from edge.backup import backup
from edge.database import OWNER
from edge.errors import Refused, StateError
from edge.restore import restore
from tests.edge.stock import content, stocked


@pytest.fixture
def tar(tmp_path: Path) -> Path:
    backup(stocked(tmp_path / "state").state, tmp_path / "gander.tar", "coop")
    return tmp_path / "gander.tar"


@pytest.fixture(params=["a disk", "bound from elsewhere"])
def disk(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Path]:
    (elsewhere := tmp_path / "of the same disk").mkdir()
    place = tmp_path / "its own"
    made = tests.disk.disk(place, "size=8m") if request.param == "a disk" else tests.disk.bound(place, elsewhere)
    with made:
        yield place


def test_a_state_directory_that_is_a_mount_point(tar: Path, disk: Path, tmp_path: Path) -> None:
    before = sorted(tmp_path.iterdir())
    assert restore(disk, tar).before == ""
    first = content(disk)
    assert {name for name in first if not name.startswith("pictures/")} == {
        *("device.key", "device.key.pub", "events.db", "keys/laptop.pub", "owner.db"),
        *("models/colours-1.gander", "models/roles.json"),
    }
    with pytest.raises(Refused, match="--force moves it aside first, to before-… in it"):
        restore(disk, tar)
    with closing(sqlite3.connect(disk / OWNER)) as owner:
        owner.execute("INSERT INTO setting VALUES ('me', 'here')")
        owner.commit()
        (disk / "lost+found").mkdir()
        held = content(disk)
        later = [restore(disk, tar, force=True) for _ in range(2)]
    assert content(Path(later[0].before)) == held, "also what was in the log of a database"
    assert content(Path(later[1].before)) == first
    assert {name: sha for name, sha in content(disk).items() if "before-" not in name} == first
    assert {path.name for path in disk.iterdir()} >= {"lost+found", "lock", Path(later[0].before).name}
    assert not list(disk.glob(".*"))
    assert sorted(tmp_path.iterdir()) == before


def test_a_mounted_folder_would_hide_what_comes_back_there(tar: Path, tmp_path: Path) -> None:
    state, elsewhere = tmp_path / "a state", tmp_path / "elsewhere"
    state.mkdir()
    elsewhere.mkdir()
    with (
        tests.disk.bound(state / "pictures", elsewhere),
        pytest.raises(Refused, match="pictures: is a mount point"),
    ):
        restore(state, tar)
    assert [path.name for path in state.iterdir()] == ["pictures"]
    restore(state, tar)


def test_a_mount_point_that_fails_meanwhile_is_as_before(tar: Path, disk: Path) -> None:
    restore(disk, tar)
    held = content(disk)
    (disk / "keys" / "below").mkdir()
    tests.disk.mount(disk / "keys", "size=1m")  # cannot be moved
    try:
        with pytest.raises(StateError, match="not restored"):
            restore(disk, tar, force=True)
    finally:
        subprocess.run(["umount", disk / "keys"], check=True)
    assert content(disk) == held
    assert not list(disk.glob("before-*"))
