"""The benches run and tell what they promise; their figures are for people, and judged by nobody here."""

from __future__ import annotations

from pathlib import Path

from tests.stage import gander


def test_bench_models(state: Path) -> None:
    summary = gander("bench", "models", "--json", state=state).summary
    assert set(summary["threads"]) >= {"1"}
    assert summary["threads"]["1"]["invoke_ms"]["n"] == 60


def test_bench_motion_without_the_data(tmp_path: Path, state: Path) -> None:
    summary = gander("bench", "motion", "--data", tmp_path, "--json", state=state).summary
    assert summary["highway"] is None
    assert "no CDnet highway here" in summary["note"]
    assert summary["ms"]["n"] > 100
