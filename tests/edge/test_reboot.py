"""The last rung: who asked, what the budget says, what is kept before anything happens."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge.clock import boot_id
from edge.errors import Refused
from edge.reboot import APART, IN_ALL, MOST, Reboot, against, decide, main, read, tell, wanted

NOW = datetime(2026, 5, 4, 3, 2, 1, tzinfo=UTC)


def let_through(*hours_ago: float) -> list[Reboot]:
    return [Reboot((NOW - timedelta(hours=hours)).isoformat(), f"boot {hours}", "why") for hours in hours_ago]


@pytest.mark.parametrize(
    ("hours_ago", "said"),
    [
        ((), ""),
        ((6.1,), ""),
        ((5.9,), "less than 6 hours ago"),
        ((150, 100, 50), "3 within 7 days"),
        ((169, 100, 50), ""),
        ((-8760.0,), "less than 6 hours ago"),  # the clock was a year ahead
    ],
)
def test_the_budget(hours_ago: tuple[float, ...], said: str) -> None:
    found = against(let_through(*hours_ago), NOW, "this boot")
    assert said in found
    assert bool(said) == bool(found)


def test_one_a_boot_whatever_the_clock_says() -> None:
    past = [Reboot((NOW - timedelta(days=300)).isoformat(), "this boot", "why")]
    assert "in this boot already" in against(past, NOW, "this boot")


@given(st.lists(st.integers(0, 20 * 24 * 60), min_size=1, max_size=200))
def test_never_more_than_the_budget_in_any_week(minutes: list[int]) -> None:
    past: list[Reboot] = []
    for number, minute in enumerate(sorted(minutes)):
        now = NOW + timedelta(minutes=minute)
        if not against(past, now, f"boot {number}"):
            past.append(Reboot(now.isoformat(), f"boot {number}", "why"))
    done = [datetime.fromisoformat(one.wall) for one in past]
    assert past, "the first is always let through"
    for at in done:
        assert sum(timedelta() <= other - at < APART for other in done) == 1
        assert sum(timedelta() <= other - at < IN_ALL for other in done) <= MOST


def test_the_newest_request_says_why_in_one_line_of_plain_letters(tmp_path: Path) -> None:
    for number, folder in enumerate(("gander", "gander-second")):
        (tmp_path / folder).mkdir()
        request = tmp_path / folder / "reboot-wanted"
        request.write_text(f"camera {number}: no picture\x1b[31m\nand more\n")
        os.utime(request, (number, number))
    assert wanted(f"{tmp_path}/gander*/reboot-wanted") == "camera 1: no picture [31m"
    (tmp_path / "gander-second" / "reboot-wanted").write_text("\n")
    with pytest.raises(Refused, match="it must say why"):
        wanted(f"{tmp_path}/gander*/reboot-wanted")
    with pytest.raises(Refused, match="nobody asked"):
        wanted(f"{tmp_path}/nobody*/reboot-wanted")


def test_it_is_kept_before_it_happens_and_happens_once(tmp_path: Path) -> None:
    request, kept = tmp_path / "reboot-wanted", tmp_path / "kept" / "reboots.jsonl"
    request.write_text("camera cam: no picture for 30 minutes\n")
    arguments = [sys.executable, "-m", "edge.reboot", "--request", str(request), "--kept", str(kept)]
    lost = subprocess.run(arguments, capture_output=True, text=True, check=False)
    assert (lost.returncode, lost.stderr.startswith("no reboot:")) == (1, True), "what cannot be kept is not done"
    kept.parent.mkdir()
    done = subprocess.run(arguments, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "reboot: camera cam: no picture for 30 minutes\n")
    assert json.loads(kept.read_text())["boot"] == boot_id()
    again = subprocess.run(arguments, capture_output=True, text=True, check=False)
    assert (again.returncode, len(read(kept))) == (1, 1)
    assert "in this boot already" in again.stderr


def test_a_damaged_budget_is_spent(tmp_path: Path) -> None:
    request, kept = tmp_path / "reboot-wanted", tmp_path / "reboots.jsonl"
    request.write_text("why\n")
    for damage in (
        "{",
        "null",
        '{"wall": "x", "boot": "", "why": ""}',
        '{"wall": "2026-01-01", "boot": "", "why": ""}',
    ):
        kept.write_text(f"{damage}\n")
        with pytest.raises(Refused, match="less than 6 hours ago"):
            decide(str(request), kept)
        assert main(["--request", str(request), "--kept", str(kept)]) == 1


@pytest.mark.parametrize("damage", [b"\xff\x00", b"zzz", b""])
def test_the_next_boot_tells_of_it_once_whatever_the_card_did_to_the_last_telling(
    tmp_path: Path, damage: bytes
) -> None:
    kept, told, said = tmp_path / "reboots.jsonl", tmp_path / "told", []
    tell(told, said.append, kept)
    assert said == []
    told.write_bytes(damage)
    kept.write_text('{"wall": "2026-05-04T03:02:01+00:00", "boot": "b", "why": "gander-watch fails"}\n{damaged\n')
    for _ in range(2):
        tell(told, said.append, kept)
    assert [one[0]["what"] for one in said] == [
        "the machine was rebooted at 2026-05-04T03:02:01+00:00: gander-watch fails"
    ]
