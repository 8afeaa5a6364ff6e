"""The line with a full-size Inception v3 as champion, and a positive clip made of real pictures."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from tests.lab.compose import COMES, crow_clip
from tests.stage import gander

pytestmark = [pytest.mark.lab, pytest.mark.alone]

ORDERS = 50


def test_every_frame_of_a_threat_gives_an_order(
    inception: Path, state: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Figures are printed, not judged: this machine may be busy. What must hold is that nothing was lost.

    The README's are of more orders: `gander bench pipeline` without `--orders`.
    """
    unhurried = ("--set", "models.deadline_ms=4000", "--set", "policy.budget_ms=6000")
    bench = ("bench", "pipeline", "--champion", inception, "--orders", ORDERS, *unhurried)
    answer = gander(*bench, "--json", state=state, timeout=600)
    assert answer.status == 0, answer.err
    summary = answer.summary
    with capsys.disabled():
        overhead, latency = summary["overhead_ms"], summary["latency_ms"]
        sys.stdout.write(f"\npipeline, Inception v3: overhead p50 {overhead['p50']} p95 {overhead['p95']} ms; ")
        sys.stdout.write(f"invoke p50 {latency['invoke']['p50']} ms; onset p50 {latency['onset']['p50']} ms; ")
        sys.stdout.write(f"{summary['dropped']} frames dropped; idle {summary['idle_cpu_percent']} % of one core\n")
    assert summary["orders"] >= ORDERS
    assert summary["overhead_ms"]["n"] == summary["orders"]
    assert latency["pin"]["p50"] >= overhead["p50"]
    assert summary["idle_cpu_percent"] > 0
    assert set(latency) == {"motion", "predict", "invoke", "decide", "order", "pin", "onset"}


def test_a_real_crow_on_a_real_yard_is_deterred(shared_data: Path, tmp_path: Path) -> None:
    clip = crow_clip(shared_data / "images", tmp_path / "crow.avi")
    state = tmp_path / "state"
    assert gander("bundle", "fetch", "inat-birds", "--from", shared_data / "tflite", state=state).status == 0
    assert gander("bundle", "promote", "inat-birds", state=state).status == 0
    answer = gander("replay", clip, "--speed", "max", "--json", state=state)
    actions = answer.events("action")
    assert len(actions) == 1
    assert COMES < actions[0]["media_time"] < COMES + 1.0
    assert actions[0]["visit"]["kind"] == "threat"
