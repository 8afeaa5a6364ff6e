"""Visits over made boxes: one visitor, one visit, whatever the boxes do."""

from __future__ import annotations

from datetime import timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edge.values import Box, Kind
from edge.visits import join
from tests.edge.play import FPS, HEN, HERE, JAY, NOON, PERSON, THERE, Play, acted_on, pulse, told_apart


def test_a_blink_is_no_visit() -> None:
    play = Play()
    play.step(HERE)
    play.run(5)
    assert play.all == []
    assert play.visits.question(play.frame) is None


def test_two_frames_are_a_visit_and_its_onset_is_the_first() -> None:
    play = Play()
    play.run(1)
    onset = play.seq
    play.step(HERE)
    assert not play.visits.open
    play.step(HERE)
    (visit,) = play.visits.open
    assert visit.first_seen == pytest.approx(onset / FPS)
    assert visit.first_wall == NOON + timedelta(seconds=onset / FPS)
    assert visit.boxes == 2


def test_something_small_must_last_a_little_longer() -> None:
    play, speck = Play(), Box(0.5, 0.5, 0.02, 0.03)
    play.step(speck)
    play.step(speck)
    assert play.visits.open == ()
    play.run(0.3, speck)
    assert len(play.visits.open) == 1
    assert play.visits.open[0].first_seen == 0.0


def test_a_visit_ends_when_unseen_for_the_gap_and_says_when_it_was_last_seen() -> None:
    play = Play()
    play.run(1, HERE)
    last = play.visits.open[0].last_seen
    play.run(2.9)
    assert play.ended == []
    play.run(0.5)
    assert [visit.last_seen for visit in play.ended] == [last]
    assert play.visits.open == ()


def test_back_within_the_gap_is_the_same_visitor() -> None:
    play = Play()
    play.run(1, HERE)
    play.run(2)
    play.run(1, HERE)
    assert len(play.all) == 1


def test_a_walker_is_one_visit_across_the_whole_picture() -> None:
    play = Play()
    for n in range(60):
        play.step(Box(n * 0.014, 0.4, 0.05, 0.08))
    assert len(play.all) == 1


def test_two_who_cross_stay_two() -> None:
    play = Play()
    for n in range(60):
        a, b = Box(0.05 + n * 0.014, 0.4, 0.08, 0.1), Box(0.87 - n * 0.014, 0.42, 0.08, 0.1)
        play.step(*((a.union(b),) if a.overlap(b) else (a, b)))
    assert len(play.all) == 2
    assert len(play.visits.open) == 2


def test_a_body_that_breaks_into_pieces_is_one_visit() -> None:
    play = Play()
    play.run(1, HERE)
    for n in range(30):
        if n % 2:
            play.step(Box(0.3, 0.3, 0.1, 0.04), Box(0.31, 0.36, 0.05, 0.04))
        else:
            play.step(HERE)
    assert len(play.all) == 1


def test_a_jay_beside_a_hen_is_a_visit_of_its_own() -> None:
    play = Play()
    play.run(1, Box(0.3, 0.3, 0.15, 0.2))
    play.run(1, Box(0.3, 0.3, 0.15, 0.2), Box(0.52, 0.35, 0.06, 0.08))
    assert len(play.visits.open) == 2


def test_a_jay_does_not_take_over_the_visit_of_a_sparrow() -> None:
    play = Play()
    play.run(1, Box(0.5, 0.5, 0.03, 0.03))
    sparrow = play.visits.open[0].id
    play.run(1, Box(0.4, 0.4, 0.2, 0.25))
    jay = play.visits.open[-1]
    assert jay.id != sparrow
    assert jay.first_seen == pytest.approx(1.0)


def test_recalibrating_keeps_a_visit_alive_and_adds_nothing() -> None:
    play = Play()
    play.run(1, HERE)
    before = play.visits.open
    for _ in range(100):
        assert play.step(recalibrating=True) == []
    assert play.visits.open == before
    assert play.visits.question(play.frame) is None
    play.run(4)
    assert len(play.ended) == 1


def test_a_hen_found_where_the_jay_was_is_another_visitor() -> None:
    play = Play()
    first = acted_on(play)
    seen = play.visits.open[0].last_seen
    pulse(play, 2.0)
    now = told_apart(play, [HEN, HEN])
    assert (now.kind, now.actions, now.answers, now.id != first) == (Kind.RESIDENT, 0, 1, True)
    play.step(HERE)
    (ended,) = play.ended
    assert (ended.id, ended.last_seen, ended.actions, ended.left) == (first, seen, 1, True)
    assert ended.blind_s == pytest.approx(2.0)


def test_an_answer_that_is_unlike_the_others_makes_nobody_another() -> None:
    play = Play()
    first = acted_on(play)
    pulse(play, 2.0)
    now = told_apart(play, [HEN, JAY, HEN, HEN, HEN])
    assert now.id == first
    assert play.ended == []


def test_at_the_cap_a_visit_ends_and_a_new_one_begins_with_nothing_held_against_it() -> None:
    play = Play(cap_s=5.0)
    play.run(1, HERE)
    first = play.visits.open[0].id
    play.visits.weigh(first, play.frame, JAY)
    play.visits.acted(first)
    play.run(4.5, HERE)
    assert [(visit.id, visit.actions, visit.answers) for visit in play.ended] == [(first, 1, 1)]
    (again,) = play.visits.open
    assert again.id > first
    assert (again.actions, again.answers, again.kind) == (0, 0, Kind.OTHER)
    assert play.visits.question(play.frame) == again


def test_slow_pictures_are_no_absence() -> None:
    play = Play(fps=0.2)
    for _ in range(6):
        play.step(HERE)
    assert len(play.all) == 1
    assert len(play.visits.open) == 1


def test_questions_go_to_the_newest_first_then_round() -> None:
    play = Play()
    play.run(1, HERE)
    play.run(1, HERE, THERE)
    old, new = play.visits.open
    asked = []
    for _ in range(5):
        play.step(HERE, THERE)
        visit = play.visits.question(play.frame)
        assert visit is not None
        asked.append(visit.id)
    assert asked == [new.id, old.id, new.id, old.id, new.id]


def test_only_who_is_in_this_frame_is_asked_about() -> None:
    play = Play()
    play.run(1, HERE, THERE)
    here = next(visit for visit in play.visits.open if visit.box == HERE)
    for _ in range(4):
        play.step(HERE)
        visit = play.visits.question(play.frame)
        assert visit is not None
        assert visit.id == here.id


def test_two_clear_frames_make_a_threat_for_good_one_does_not() -> None:
    play = Play()
    play.run(1, HERE, THERE)
    visit, other = play.visits.open
    once = play.visits.weigh(visit.id, play.frame, JAY)
    assert (once.label, once.clear, once.answers) == ("jay", 1, 1)
    assert play.visits.weigh(visit.id, play.frame, JAY) == once, "the same frame is not a second one"
    play.visits.weigh(other.id, play.frame, JAY)
    play.step(HERE, THERE)
    assert play.visits.weigh(visit.id, play.frame, JAY).kind is Kind.THREAT
    for _ in range(100):
        play.step(HERE, THERE)
        late = play.visits.weigh(visit.id, play.frame, HEN)
        kind = play.visits.weigh(other.id, play.frame, HEN).kind
    assert late.kind is Kind.THREAT
    assert kind is Kind.RESIDENT
    assert late == play.visits.open[0]


def test_a_threat_stays_one_when_a_person_is_taken_for_it() -> None:
    play = Play()
    play.run(1, HERE)
    visit = play.visits.open[0]
    for answer in (JAY, JAY, PERSON):
        play.step(HERE)
        kind = play.visits.weigh(visit.id, play.frame, answer).kind
    assert kind is Kind.THREAT


def test_a_person_once_is_a_person_and_a_hen_is_a_resident() -> None:
    play = Play()
    play.run(1, HERE, THERE)
    one, other = play.visits.open
    assert play.visits.weigh(one.id, play.frame, PERSON).kind is Kind.PERSON
    hen = play.visits.weigh(other.id, play.frame, HEN)
    assert (hen.kind, hen.label, hen.top[0][0]) == (Kind.RESIDENT, "hen", "hen")
    assert hen.kind_p["resident"] == pytest.approx(0.9)
    play.step(HERE, THERE)
    assert play.visits.weigh(one.id, play.frame, HEN).kind is Kind.PERSON


def test_an_unknown_visit_is_a_key_error() -> None:
    play = Play()
    with pytest.raises(KeyError, match="not open"):
        play.visits.weigh("nobody", play.frame, JAY)
    with pytest.raises(KeyError, match="not open"):
        play.visits.acted("nobody")


def test_who_finds_no_room_is_counted_and_who_left_makes_room() -> None:
    play = Play(max_open=2)
    third = Box(0.1, 0.8, 0.1, 0.1)
    play.run(1, HERE, THERE, third)
    assert len(play.visits.open) == 2
    assert play.visits.discarded == 15
    play.run(0.5, HERE, THERE)
    play.run(0.5, HERE, third)
    assert len(play.ended) == 1
    assert {visit.box for visit in play.visits.open} <= {HERE, THERE, third}
    assert len(play.visits.open) == 2


def test_close_ends_everybody() -> None:
    play = Play()
    play.run(1, HERE, THERE)
    assert len(play.visits.close()) == 2
    assert play.visits.open == ()


def test_near_pieces_are_joined_and_neighbours_are_not() -> None:
    body, tail, neighbour = Box(0.3, 0.3, 0.1, 0.1), Box(0.41, 0.33, 0.03, 0.03), Box(0.3, 0.45, 0.1, 0.1)
    assert set(join([tail, neighbour, body])) == {body.union(tail), neighbour}


sizes = st.floats(0.001, 0.5)
places = st.floats(0.0, 0.5)
boxes = st.lists(st.builds(Box, places, places, sizes, sizes), max_size=5)


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(boxes, st.booleans(), st.booleans()), max_size=40))
def test_whatever_the_boxes_each_visit_ends_once_and_room_is_bounded(
    frames: list[tuple[list[Box], bool, bool]],
) -> None:
    play = Play(max_open=3)
    opened: set[str] = set()
    for found, recalibrating, disturbed in frames:
        play.step(*([] if recalibrating else found), recalibrating=recalibrating, disturbed=disturbed)
        assert len(play.visits.open) <= 3
        opened |= {visit.id for visit in play.visits.open}
        visit = play.visits.question(play.frame)
        assert visit is None or (visit in play.visits.open and visit.last_seen == play.frame.media_time)
    ended = [visit.id for visit in [*play.ended, *play.visits.close()]]
    assert len(ended) == len(set(ended))
    assert set(ended) == opened
    for visit in play.ended:
        assert visit.first_seen <= visit.last_seen
        assert visit.boxes >= 2


@settings(max_examples=60, deadline=None)
@given(boxes)
def test_joining_loses_no_place(found: list[Box]) -> None:
    joined = join(found)
    assert len(joined) <= len(found)
    for box in found:
        assert any(whole.overlap(box) == pytest.approx(box.area) for whole in joined)
