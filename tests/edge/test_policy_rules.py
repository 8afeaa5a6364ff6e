"""Policy: no history breaks a limit, and what no limit forbids is done."""

from __future__ import annotations

import random

from hypothesis import given, settings
from hypothesis import strategies as st

from edge import policy
from tests.limits import broken, story


@settings(max_examples=40, deadline=None)
@given(st.data())
def test_no_story_breaks_a_limit(data: st.DataObject) -> None:
    assert broken(policy, story(lambda options: data.draw(st.sampled_from(options)))) is None


def test_no_story_of_many_breaks_a_limit() -> None:
    assert [number for number in range(1500) if broken(policy, story(random.Random(number).choice))] == []
