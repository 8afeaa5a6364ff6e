"""Ten thousand events that waited: how fast they go to mosquitto, and what that costs the live path."""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path

import pytest

from edge.latency import percentiles
from tests.lab.load import SLICE, Arm, Condition
from tests.lab.mosquitto import Mosquitto, arrived, broker, ear, ended, feed, here, place
from tests.mqtt import Ear, until
from tests.yard import Yard

__all__ = ["broker", "ear", "here"]
ALONE = [pytest.mark.lab, pytest.mark.alone, pytest.mark.timeout(600)]
pytestmark = [*ALONE, pytest.mark.parametrize("broker", [False], indirect=True)]
LONG_S = 240
EVENTS = 10_000
TURNS = 2
MOST = 10  # times as long as without


@pytest.fixture
def waiting(here: Yard, broker: Mosquitto) -> list[str]:
    """Events of three days, which the publisher of the yard owes to the broker. Returns their ids."""
    process = feed(here.state, broker.port, broker.password("dev"))
    until(lambda: place(here.state) is not None, LONG_S)
    ended(process)
    for number in range(EVENTS):
        here.visitor(age_s=72 * 3600 * (1 - number / EVENTS))
    until(lambda: here.journal.committed >= 2 * EVENTS, LONG_S)
    return here.events()


def test_ten_thousand_events_after_three_days(
    here: Yard, broker: Mosquitto, ear: Ear, waiting: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    process, began = feed(here.state, broker.port, broker.password("dev")), time.monotonic()
    until(lambda: place(here.state) == waiting[-1], LONG_S)
    took_s = time.monotonic() - began
    until(lambda: len(arrived(ear)) == EVENTS, LONG_S)
    ended(process)
    with capsys.disabled():
        received = len(ear.events("yard/event/late"))
        sys.stdout.write(f"\n| 10,000 events queued, sent in {took_s:.1f} s | {EVENTS} | {received} | 0 | 0 |\n")
    assert took_s < 60
    assert ear.events() == []
    assert ear.events("yard/event/late") == waiting, "once each, in order"
    visitors = [message.at for message in ear.of("yard/visitor/last")]
    assert len(visitors) < took_s / 0.25 + 4, "state is not told for each"
    assert json.loads(ear.last("yard/status") or "")["v"] == 1


@pytest.mark.usefixtures("waiting")
def test_the_live_path_does_not_wait_for_them(
    here: Yard, broker: Mosquitto, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The same orders in turns, quiet and beside publishers that drain one queue after another."""
    beside = (sys.executable, "-m", "tests.lab.drain", str(here.state), str(broker.port), broker.password("dev"))
    conditions = (Condition("quiet"), Condition("drain", beside=beside))
    arms = [Arm(condition, tmp_path / condition.name, tmp_path / "models", "starter") for condition in conditions]
    for _ in range(3):  # again where strangers may have been beside only one of them
        for arm in arms:
            arm.overhead.clear()
        for _ in range(TURNS):
            for arm in arms:
                arm.slice(SLICE)
        quiet, drain = (percentiles(arm.overhead) for arm in arms)
        if (ratio := drain["p95"] / quiet["p95"]) < MOST:
            break
    for arm in arms:
        arm.close()
    with capsys.disabled():
        figures = f"p50 {drain['p50']:.2f}, p95 {drain['p95']:.2f}, quiet {quiet['p50']:.2f}, {quiet['p95']:.2f} ms"
        sys.stdout.write(f"\noverhead beside 10,000 events that are sent: {figures}; p95 to quiet {ratio:.2f}\n")
    assert ratio < MOST, "it waits for the feed"
