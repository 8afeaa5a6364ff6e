"""Visits while a deterrent acts: a lamp or a jet is nobody, and who was here stays who it was."""

from __future__ import annotations

from dataclasses import replace

import pytest

from edge.config import EvidenceConfig
from edge.evidence import is_threat
from edge.values import Box, Kind
from tests.edge.play import HERE, JAY, THERE, Play, acted_on, pulse


def test_a_strobe_begins_no_visit_but_who_is_here_is_followed_through_it() -> None:
    play = Play()
    play.run(1, HERE)
    for _ in range(10):
        play.step(HERE, THERE, disturbed=True)
    assert len(play.all) == 1
    assert play.visits.open[0].boxes == 25


def test_who_stays_unseen_through_a_pulse_longer_than_the_gap_is_the_same_visitor() -> None:
    play = Play()
    first = acted_on(play)
    pulse(play, 5)
    play.run(1, replace(HERE, x=HERE.x + 0.15))
    assert [visit.id for visit in play.all] == [first]
    assert play.visits.open[0].blind_s == 0.0


def test_who_leaves_in_a_pulse_was_last_seen_before_it_and_left_within_it() -> None:
    play = Play()
    acted_on(play)
    seen = play.visits.open[0].last_seen
    pulse(play, 5)
    play.run(2.9)
    assert play.ended == [], "the gap begins when it can be seen again"
    play.run(0.3)
    (visit,) = play.ended
    assert (visit.last_seen, visit.left) == (seen, True)
    assert visit.blind_s == pytest.approx(5.0)


def test_between_two_flashes_it_is_seen_and_the_end_is_the_last_of_these() -> None:
    play = Play()
    acted_on(play)
    for _ in range(2):
        pulse(play, 0.4)
        pulse(play, 0.2, HERE)
    seen = play.frame.media_time
    pulse(play, 1.0)
    play.run(4)
    assert play.ended[0].last_seen == seen
    assert play.ended[0].blind_s == pytest.approx(1.0)


@pytest.mark.parametrize("jet", [Box(0.0, 0.3, 0.6, 0.1), Box(0.3, 0.1, 0.02, 0.02), Box(0.28, 0.28, 0.3, 0.3)])
def test_a_jet_across_the_place_is_not_who_stood_there(jet: Box) -> None:
    play = Play()
    acted_on(play)
    before = play.visits.open[0]
    pulse(play, 2.0, jet)
    assert [visit.last_seen for visit in play.visits.open] == [before.last_seen]
    assert play.visits.open[0].box == before.box


def test_nobody_becomes_a_visitor_by_a_pulse() -> None:
    play = Play()
    play.step(HERE)
    pulse(play, 1.0, HERE, THERE)
    play.step()
    assert play.all == []


def test_pieces_right_after_a_pulse_are_not_at_once_somebody() -> None:
    play = Play()
    play.run(1)
    pulse(play, 1.0)
    play.step(HERE)
    play.step(HERE)
    assert play.all == []
    play.run(0.2, HERE)
    assert len(play.all) == 1


def test_after_a_pulse_two_new_frames_must_speak_for_a_threat() -> None:
    play = Play()
    id_ = acted_on(play)
    assert is_threat(play.visits.open[0].log_odds, play.visits.open[0].clear, EvidenceConfig())
    pulse(play, 0.2, HERE)
    play.step(HERE)
    once = play.visits.weigh(id_, play.frame, JAY)
    assert not is_threat(once.log_odds, once.clear, EvidenceConfig())
    play.step(HERE)
    twice = play.visits.weigh(id_, play.frame, JAY)
    assert is_threat(twice.log_odds, twice.clear, EvidenceConfig())
    assert (twice.answers, twice.kind, twice.actions) == (4, Kind.THREAT, 1)
