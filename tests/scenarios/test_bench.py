"""The benches run and tell what they promise; their figures are for people, and judged by nobody here."""

from __future__ import annotations

from pathlib import Path

import pytest

from edge.bench_faults import RESIDUE
from tests.stage import gander


def test_bench_models(state: Path) -> None:
    summary = gander("bench", "models", "--json", state=state).summary
    assert set(summary["threads"]) >= {"1"}
    assert summary["threads"]["1"]["invoke_ms"]["n"] == 60


def test_bench_pipeline_times_every_order(state: Path) -> None:
    summary = gander("bench", "pipeline", "--orders", 30, "--json", state=state).summary
    assert summary["orders"] >= 30
    assert summary["overhead_ms"]["n"] == summary["orders"]
    assert summary["latency_ms"]["pin"]["p50"] >= summary["overhead_ms"]["p50"]
    assert summary["idle_cpu_percent"] > 0


def test_bench_motion_without_the_data(tmp_path: Path, state: Path) -> None:
    summary = gander("bench", "motion", "--data", tmp_path, "--json", state=state).summary
    assert summary["highway"] is None
    assert "no CDnet highway here" in summary["note"]
    assert summary["ms"]["n"] > 100


@pytest.mark.lab
@pytest.mark.alone
def test_bench_faults(state: Path) -> None:
    summary = gander("bench", "faults", "--runs", 1, "--json", state=state, timeout=300).summary
    assert summary["controller"] == "guard"
    assert set(summary["on_s"]) == set(summary["stayed_on_s"]) > set(RESIDUE.values())
