"""Bytes written: counted for a day, of this process and of the whole disk, from the kernel's own figures."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

import pytest

from edge.card import Card, disk_of, findings, written_by

DAY_S = 86400.0


class Kernel:
    """Files as the kernel has them: a disk with a partition, and a process."""

    def __init__(self, folder: Path, state: Path, partition: bool = True) -> None:
        number = state.stat().st_dev
        self.devices, self.io = folder / "dev", folder / "io"
        self.disk = folder / "mmcblk0"
        here = self.disk / "mmcblk0p2" if partition else self.disk
        here.mkdir(parents=True)
        if partition:
            (here / "partition").write_text("2")
            (here / "stat").write_text("0 " * 11)
        self.devices.mkdir()
        (self.devices / f"{os.major(number)}:{os.minor(number)}").symlink_to(here)
        self.wrote(0, 0)

    def wrote(self, process: int, disk: int, cancelled: int = 0) -> None:
        self.io.write_text(f"rchar: 7\nwchar: 9\nwrite_bytes: {process}\ncancelled_write_bytes: {cancelled}\n")
        (self.disk / "stat").write_text(f"1 2 3 4 5 6 {disk // 512} 8 9 10 11")

    def card(self, state: Path) -> Card:
        return Card(state, self.devices, self.io)


@pytest.fixture
def on_disk(tmp_path: Path) -> Path:
    state = tmp_path / "state"
    state.mkdir()
    if not os.major(state.stat().st_dev):
        pytest.skip("temporary files are on no disk here")
    return state


def test_a_day_is_told_after_an_hour_and_of_the_last_24(tmp_path: Path, on_disk: Path) -> None:
    kernel = Kernel(tmp_path, on_disk)
    card = kernel.card(on_disk)
    # At a whole second: a sum of odd fractions may miss ten minutes by the last digit, and then counts ten more.
    begun = card._counts[0] = replace(card._counts[0], at_s=float(int(card._counts[0].at_s)))
    kernel.wrote(600_000, 1_024_000, cancelled=100_000)
    facts = card.facts(begun.at_s + 1800)
    assert (facts["written"], facts["written_day"], facts["disk_written_day"]) == (500_000, None, None)
    assert (facts["disk"], facts["disk_written"], facts["hours"]) == ("mmcblk0", 1_024_000, 0.5)
    facts = card.facts(begun.at_s + 7200)
    assert (facts["written_day"], facts["disk_written_day"]) == (6_000_000, 12_288_000)
    for step in range(12, 1000):  # a week, of which only the last day counts
        kernel.wrote(step * 1000, step * 10_240)
        facts = card.facts(begun.at_s + step * 600)
    assert facts["hours"] == 24.0
    assert facts["written"] == facts["written_day"] == 144 * 1000
    assert facts["disk_written_day"] == 144 * 10_240
    assert len(card._counts) == 145


def test_where_there_is_no_disk_nothing_is_said_of_one(tmp_path: Path, on_disk: Path) -> None:
    assert disk_of(Path("/proc")) is None
    assert written_by(tmp_path / "nothing") == 0
    facts = Card(on_disk, tmp_path / "nothing", tmp_path / "nothing").facts()
    assert (facts["disk"], facts["disk_written"], facts["written"]) == ("", None, 0)


def test_a_disk_without_partitions(tmp_path: Path, on_disk: Path) -> None:
    kernel = Kernel(tmp_path, on_disk, partition=False)
    assert disk_of(on_disk, kernel.devices) == kernel.disk


def test_what_this_process_writes_is_counted_by_the_real_kernel(on_disk: Path) -> None:
    before = written_by()
    with (on_disk / "file").open("wb") as file:
        file.write(bytes(4_000_000))
        file.flush()
        os.fsync(file.fileno())
    assert written_by() - before >= 4_000_000


@pytest.mark.parametrize(
    ("own", "disk", "level", "says"),
    [
        (None, None, "ok", "0.3 MB written by watch in 30 min"),
        (2 * 10**8, None, "ok", "0.20 GB a day by watch (of the last 24 h)"),
        (2 * 10**8, 10**9, "ok", "0.20 GB a day by watch; 1.00 GB in all reach mmcblk0 (of the last 24 h)"),
        (10**9, 3 * 10**10, "advice", "30.00 GB in all"),
        (3 * 10**10, 4 * 10**10, "advice", "30.00 GB a day"),
    ],
)
def test_doctor_says_it_and_advises_where_it_is_much(own: int | None, disk: int | None, level: str, says: str) -> None:
    hours = 0.5 if own is None else 24.0
    facts = {"hours": hours, "written": 300_000, "written_day": own, "disk": "mmcblk0", "disk_written_day": disk}
    (found,) = findings(facts)
    assert (found.level, says in found.says) == (level, True), found
    assert bool(found.advice) == (level == "advice")
    if found.advice:
        assert ("media.per_day_mb" in found.advice) == (own is not None and own > 10**10)
