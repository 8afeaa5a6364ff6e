"""Visits at a camera that gives no picture any more: they end, once, and not too soon."""

from __future__ import annotations

from dataclasses import replace

import pytest

from edge.values import Visit
from tests.edge.play import FPS, HEN, HERE, Play, acted_on, pulse, told_apart


def _silent(play: Play, seconds: int, patience_s: float = 10.0) -> list[Visit]:
    """Nothing comes for so long."""
    return [visit for _ in range(seconds) for visit in play.visits.lapse(1.0, patience_s)]


def test_who_was_there_when_the_camera_went_silent_is_let_go_once_and_comes_anew() -> None:
    play = Play()
    play.run(1, HERE)
    (before,) = play.visits.open
    assert _silent(play, 10) == []
    assert _silent(play, 60) == [replace(before, left=False)], "nobody saw it leave"
    assert play.visits.open == ()
    play.seq += round(71 * FPS)
    play.run(1, HERE)
    (after,) = play.visits.open
    assert after.id > before.id
    assert after.first_seen == pytest.approx(72.0)
    assert play.ended == [], "told once"


def test_as_long_as_pictures_come_nobody_is_let_go_for_want_of_them() -> None:
    play = Play(fps=0.1)
    for _ in range(12):
        play.step(HERE)
        assert _silent(play, 10, 2.0) == []
    assert len(play.all) == 1
    assert len(_silent(play, 30, 2.0)) == 1


def test_pictures_that_only_teach_the_background_keep_nobody() -> None:
    """A camera that gives one at each opening, and then hangs."""
    play = Play()
    play.run(1, HERE)
    ended = []
    for _ in range(20):
        play.seq += round(40 * FPS)
        play.step(recalibrating=True)
        ended += _silent(play, 40)
    assert len(ended) == 1
    assert play.visits.open == ()


def test_a_camera_silent_for_less_than_the_gap_has_lost_nobody() -> None:
    play = Play(gap_s=30)
    play.run(1, HERE)
    assert _silent(play, 30) == []
    assert len(_silent(play, 2)) == 1


def test_who_was_told_apart_just_before_the_silence_is_told_once() -> None:
    play = Play()
    first = acted_on(play)
    pulse(play, 2.0)
    now = told_apart(play, [HEN, HEN])
    assert [visit.id for visit in _silent(play, 20)] == [first, now.id]
    play.run(1)
    assert play.ended == []
