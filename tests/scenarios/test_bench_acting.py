"""The yard that answers orders: its light follows the pattern, its jays the light; counted against the truth."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import numpy as np

from edge.actuators.dry import Dry
from edge.bench_acting import Reacting, _count, _stays, _Tally
from edge.config import DeterrentConfig
from edge.frames.scenery.acting import lamp, unseen
from edge.frames.synthetic import SyntheticSource
from edge.values import Order
from tests.stage import gander

LIGHT = DeterrentConfig(on_ms=1000, off_ms=0, count=1)


def _reacting(leaves_s: float, order_at: float) -> tuple[Reacting, dict[float, float]]:
    """Its minute, with one order; and how bright each picture was."""
    actuator = Dry([LIGHT])
    reacting = Reacting(SyntheticSource("dusk", 2000, 5.0, (320, 180)), lamp, actuator, leaves_s)
    bright = {}
    for shot in reacting.shots():
        bright[round(shot.media_time, 1)] = float(np.mean(shot.image))
        if abs(shot.media_time - order_at) < 0.01:
            actuator.fire(Order("1", "light", 0, 1000, 0, 1, time.monotonic_ns() + 10**9))
    return reacting, bright


def test_the_light_follows_the_order_and_a_scared_jay_the_light() -> None:
    reacting, bright = _reacting(leaves_s=0.8, order_at=10.0)
    assert bright[10.4] > 1.15 * bright[10.0]
    assert bright[13.0] < 1.05 * bright[10.0]
    (came, left), _ = _stays(reacting.source)
    assert 8.0 < came < 9.0
    assert 11.5 < left < 12.3, "0.8 s, and it needs 1.1 s to be out of the picture"


def test_a_jay_that_is_not_scared_stays_longer_than_it_would_have() -> None:
    reacting, _ = _reacting(leaves_s=9.0, order_at=10.0)
    assert _stays(reacting.source)[0][1] > 19.0


def test_what_is_counted() -> None:
    reacting, _ = _reacting(leaves_s=0.8, order_at=10.0)
    (came, left), second = _stays(reacting.source)
    where = next(box for label, box in reacting.source.truth(came + 1.0) if label == "jay")
    visit: dict[str, Any] = {"label": "jay", "actions": 1, "box": [where.x, where.y, where.w, where.h]}
    nowhere = {"label": "jay", "actions": 0, "box": [0.0, 0.0, 0.01, 0.01]}
    tally = _Tally()
    _count(
        [
            {"type": "visit_started", "media_time": came + 1.0, "visit": visit},
            {"type": "visit", "media_time": came + 1.0, "visit": visit},
            {"type": "visit_started", "media_time": 25.0, "visit": nowhere},
            {"type": "action", "media_time": 25.0, "visit": nowhere},
        ],
        reacting,
        tally,
    )
    row = tally.row()
    assert (row["pulses"], row["jays"], row["acted"], row["visits_per_jay"]) == (1, 2, 1, 1.0)
    assert (row["false_visits"], row["false_actions"]) == (1, 1)
    assert row["left_error_s"]["max"] == round(left - 1.1 - came - 1.0, 2)
    assert second[0] > 40.0


def test_a_siren_is_not_seen() -> None:
    picture = SyntheticSource("dusk", 2000, 5.0, (320, 180)).render(3.0)
    assert np.array_equal(unseen(picture, 3.0, [(2.5, 4.0)], 0), picture)


def test_the_verb(state: Path) -> None:
    answer = gander("bench", "acting", "--seeds", 0, "--set", 'models.champion="colours"', "--json", state=state)
    assert answer.status == 0, answer.err
    assert list(answer.summary["deterrents"]) == ["siren", "flashes", "lamp", "lamp that stays on", "strobe", "jet"]
