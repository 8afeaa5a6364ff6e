"""Figures against cases counted by hand, and against the rule of the device."""

from __future__ import annotations

import html
import json
import math
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from edge.bundle import verify
from edge.config import EvidenceConfig, LabelsConfig
from edge.evidence import Evidence, Kinds, line
from edge.keys import load_public
from training.acting import APART_S, acting, course
from training.dataset import Picture
from training.evaluation import Evaluation, evaluate
from training.evaluation_page import write
from training.measures import Paired, Share, auroc, confusion, figures, reliability
from training.scoring import Scored
from training.starter import FOLDER
from training.visits import visits_of

LABELS = ("fox", "hen", "human")
KINDS = Kinds(LABELS, LabelsConfig(threat=["fox"], resident=["hen"], person=["human"]))
RULE = EvidenceConfig()
FOX, HEN, HUMAN, UNSURE = (0.9, 0.08, 0.02), (0.04, 0.9, 0.06), (0.02, 0.08, 0.9), (0.4, 0.45, 0.15)
Case = tuple[str, str, tuple[float, float, float]]
"""Label, group and what the model says."""


def picture(label: str, group: str, number: int = 0) -> Picture:
    return Picture(Path(f"{group}_{number}.jpg"), label, group, source="yard")


def scored(said: list[tuple[float, ...]], facts: tuple[float, float] = (120.0, 0.4)) -> Scored:
    return Scored(np.array(said, np.float32), np.full((len(said), 2), facts, np.float32))


def weigh(cases: list[Case], facts: tuple[float, float] = (120.0, 0.4)) -> Evaluation:
    pictures = [picture(label, group, number) for number, (label, group, _) in enumerate(cases)]
    return evaluate(pictures, scored([said for *_, said in cases], facts), LABELS, KINDS, RULE)


def many(label: str, said: tuple[float, float, float], n: int, first: int = 0) -> list[Case]:
    return [(label, f"{label}{number}", said) for number in range(first, first + n)]


@pytest.mark.parametrize(
    ("hits", "n", "low", "high"),
    [(0, 10, 0.0, 0.2775), (5, 10, 0.2366, 0.7634), (10, 10, 0.7225, 1.0), (81, 263, 0.2553, 0.3662), (0, 0, 0.0, 1.0)],
)
def test_wilson_as_published(hits: int, n: int, low: float, high: float) -> None:
    """81 of 263: Newcombe (1998), table I."""
    assert Share(hits, n).interval == pytest.approx((low, high), abs=5e-5)


def test_recall_confusion_and_balance() -> None:
    right, said = np.array([0, 0, 0, 1, 1, 2]), np.array([0, 0, 1, 1, 1, 0])
    found = figures(right, said, LABELS)
    assert found.right == Share(4, 6)
    assert found.recall == {"fox": Share(2, 3), "hen": Share(2, 2), "human": Share(0, 1)}
    assert found.balanced == pytest.approx((2 / 3 + 1 + 0) / 3)
    assert confusion(right, said, LABELS).counts.tolist() == [[2, 1, 0], [0, 2, 0], [1, 0, 0]]
    assert confusion(np.array([1]), np.array([2]), LABELS).labels == ("hen", "human")


def test_calibration_by_hand() -> None:
    found = reliability(np.array([0.95, 0.95, 0.55, 0.55, 1.0]), np.array([True, True, True, False, False]))
    assert [(one.n, round(one.sure, 3), round(one.right, 3)) for one in found.bins] == [
        (2, 0.55, 0.5),
        (3, 0.967, 0.667),
    ]
    assert found.error == pytest.approx((2 * 0.05 + 3 * 0.3) / 5)


@given(st.lists(st.integers(0, 5), min_size=1, max_size=9), st.lists(st.integers(0, 5), min_size=1, max_size=9))
def test_auroc_is_the_share_of_pairs_in_order(high: list[int], low: list[int]) -> None:
    pairs = [1.0 if a > b else 0.5 if a == b else 0.0 for a in high for b in low]
    assert auroc(np.array(high, float), np.array(low, float)) == pytest.approx(np.mean(pairs))


def test_mcnemar_exact() -> None:
    better = Paired(n=100, wins=9, losses=1, right=90, other_right=82)
    assert better.p_value == pytest.approx(22 / 1024)  # 2 * (1 + 10) / 2^10
    assert better.difference == pytest.approx(0.08)
    assert better.interval[0] > 0.0
    assert Paired(50, 3, 3, 40, 40).p_value == 1.0
    same = Paired(50, 0, 0, 40, 40)
    assert same.p_value == 1.0
    assert same.interval[0] < 0.0 < same.interval[1], "equal on 50 visits is not proven equal"


def test_a_visit_counts_once_and_is_named_by_the_mean() -> None:
    """Of three pictures two are called hen, but the third is surer that it is a fox."""
    evaluation = weigh([("fox", "a", UNSURE), ("fox", "a", UNSURE), ("fox", "a", FOX), ("hen", "b", HEN)])
    assert (evaluation.pictures.right, evaluation.visits.right) == (Share(2, 4), Share(2, 2))
    assert evaluation.visits.recall == {"fox": Share(1, 1), "hen": Share(1, 1)}
    summary = evaluation.summary()
    assert (summary["n"], summary["accuracy"], summary["balanced_accuracy"]) == (4, 0.5, 0.6667)
    assert summary["recall"] == {"fox": 0.3333, "hen": 1.0}
    assert summary["visit_accuracy"] == 1.0
    assert summary["by_source"]["yard"]["accuracy"] == 0.5
    assert [(mistake.place, mistake.said) for mistake in evaluation.mistakes] == [(0, "hen")], "one of each visit"


def test_one_group_under_two_labels_is_two_visits() -> None:
    assert weigh([("fox", "a", FOX), ("hen", "a", HEN)]).visits.n == 2


def test_visits_are_in_the_order_taken() -> None:
    pictures = [picture("fox", "a", number) for number in (10, 9, 2)]
    (visit,) = visits_of(pictures, np.ones(3, bool))
    assert visit.places.tolist() == [2, 1, 0]
    timed = [replace(one, wall=datetime(2026, 5, 1, 20 + n, tzinfo=UTC)) for n, one in enumerate(pictures)]
    assert visits_of(timed, np.ones(3, bool))[0].places.tolist() == [0, 1, 2]


PEACEFUL = st.tuples(st.floats(0.0, 1.0), st.floats(0.0, 0.29)).map(
    lambda pair: (pair[0] * (1 - pair[1]), (1 - pair[0]) * (1 - pair[1]), pair[1])
)


@given(st.lists(PEACEFUL, min_size=2, max_size=12), st.sampled_from([0.5, 2.0, 4.0, 12.0]))
def test_acts_exactly_when_the_device_would(said: list[tuple[float, float, float]], cost_miss: float) -> None:
    rule = EvidenceConfig(cost_miss=cost_miss)
    p = np.array(said, np.float32)
    evidence, acted_at = Evidence(rule, KINDS), None
    for frame, row in enumerate(p):
        evidence.add(row, frame * APART_S)
        if evidence.threat and acted_at is None:
            acted_at = frame + 1
    played = course("fox", p, KINDS, rule)
    assert played.acted(line(rule)) == (acted_at is not None)
    if acted_at:
        assert played.frames(line(rule)) == acted_at


def test_a_person_in_it_holds_the_rest_of_the_visit() -> None:
    seen = np.array([HUMAN, FOX, FOX, FOX, FOX], np.float32)
    assert course("fox", seen[1:], KINDS, RULE).acted(line(RULE))
    assert not course("fox", seen, KINDS, RULE).acted(line(RULE))


def test_a_photograph_is_a_visitor_who_holds_still() -> None:
    assert course("fox", np.array([FOX], np.float32), KINDS, RULE).acted(line(RULE))
    found = acting([("fox", np.array([FOX], np.float32))], KINDS, RULE)
    assert found is not None
    assert found.chosen.misses == Share(0, 1)
    assert found.bursts.misses == Share(0, 0), "but no burst"


@given(st.lists(st.tuples(st.sampled_from(LABELS), st.lists(PEACEFUL, min_size=1, max_size=3)), min_size=1, max_size=8))
def test_along_the_curve_fewer_misses_are_more_scares(
    visits: list[tuple[str, list[tuple[float, float, float]]]],
) -> None:
    found = acting([(label, np.array(p, np.float32)) for label, p in visits], KINDS, RULE)
    assert found is not None
    assert [point.ratio for point in found.curve] == sorted(point.ratio for point in found.curve)
    scares, misses = [p.scares.hits for p in found.curve], [p.misses.hits for p in found.curve]
    assert scares == sorted(scares)
    assert misses == sorted(misses, reverse=True)
    assert found.chosen in found.curve


def visits(label: str, p_fox: float, n: int) -> list[tuple[str, NDArray[np.float32]]]:
    return [(label, np.tile(np.array([p_fox, 1.0 - p_fox, 0.0], np.float32), (4, 1)))] * n


def test_costs_are_suggested_where_more_than_one_visit_speaks_for_them() -> None:
    apart = acting(visits("fox", 0.9, 30) + visits("hen", 0.01, 30), KINDS, RULE)
    assert apart is not None
    assert apart.suggested == {"cost_false": 1.0, "cost_miss": 4.0}, "nothing to be gained"
    timid = acting(visits("fox", 0.9, 30) + visits("hen", 0.35, 20) + visits("hen", 0.01, 10), KINDS, RULE)
    assert timid is not None
    assert timid.chosen.scares == Share(20, 30)
    assert timid.best.scares.hits == 0
    assert timid.best.misses.hits == 0
    assert timid.suggested["cost_miss"] < 4.0
    few = acting(visits("fox", 0.9, 3) + visits("hen", 0.35, 3), KINDS, RULE)
    assert few is not None
    assert few.suggested == {}, "three visits say nothing"


def test_a_model_without_a_threat_has_no_curve() -> None:
    assert acting(visits("fox", 0.9, 3), Kinds(LABELS, LabelsConfig()), RULE) is None


def test_what_it_has_no_label_for() -> None:
    evaluation = weigh([*many("fox", FOX, 2), *many("goat", UNSURE, 3), *many("wolf", FOX, 2)])
    assert evaluation.pictures.n == 2
    unknown = evaluation.unknown
    assert unknown is not None
    assert unknown.pictures == 5
    assert unknown.acted == {"goat": Share(3, 3), "wolf": Share(2, 2)}
    assert unknown.auroc == pytest.approx((3 * 1.0 + 2 * 0.5) / 5)
    assert unknown.surest[4] == 3
    assert set(evaluation.visits.recall) == {"fox"}


def test_pictures_that_could_not_be_read_count_nowhere() -> None:
    nothing = (math.nan, math.nan, math.nan)
    evaluation = weigh([("fox", "a", FOX), ("fox", "a", nothing), ("hen", "b", nothing)])
    assert (evaluation.pictures.right, evaluation.visits.right, evaluation.unread) == (Share(1, 1), Share(1, 1), 2)


@pytest.mark.parametrize("cases", [[], many("goat", FOX, 2), [("fox", "a", (math.nan,) * 3)]])
def test_nothing_to_judge_is_said_and_is_valid_json(cases: list[Case], tmp_path: Path) -> None:
    if not cases:
        evaluation = evaluate(
            [], Scored(np.empty((0, 3), np.float32), np.empty((0, 2), np.float32)), LABELS, KINDS, RULE
        )
    else:
        evaluation = weigh(cases)
    assert evaluation.verdict.text.startswith("Cannot say")
    assert not evaluation.verdict.good
    json.dumps(evaluation.json(), allow_nan=False)
    bundle = verify(FOLDER / "starter.gander", [load_public(FOLDER / "starter.pub")])
    write(tmp_path / "page.html", evaluation, [picture("goat", "g")] * len(cases), bundle)
    assert "Cannot say" in (tmp_path / "page.html").read_text()


def test_slices_know_night_by_its_missing_colours() -> None:
    day, infrared = weigh(many("fox", FOX, 2)), weigh(many("fox", HEN, 2), facts=(90.0, 0.003))
    assert [(one.of, one.value, one.visits) for one in day.slices] == [
        ("light", "day", Share(2, 2)),
        ("colours", "coloured", Share(2, 2)),
    ]
    assert infrared.slices[0].value == "night"
    assert infrared.slices[0].recall == {"fox": Share(0, 2)}


def test_hours_and_cameras_where_known() -> None:
    seen = replace(picture("fox", "a"), wall=datetime(2026, 5, 1, 22, 10, tzinfo=UTC), camera="coop")
    evaluation = evaluate([seen], scored([FOX]), LABELS, KINDS, RULE)
    assert [(one.of, one.value) for one in evaluation.slices[2:]] == [("hour", "from 21 to 24"), ("camera", "coop")]


def test_verdicts() -> None:
    fine = [*many("fox", FOX, 60), *many("hen", HEN, 60), *many("human", HUMAN, 60)]
    assert weigh(fine).verdict.text == (
        "Enough: 180 of 180 visits named rightly (98 to 100 %), 0 of 60 threats missed, 0 of 120 friends scared."
    )
    assert weigh(fine).verdict.good
    weak = weigh([*fine, *many("fox", HEN, 30, first=60)]).verdict
    assert (weak.good, weak.text) == (False, "More pictures of fox: 30 of 90 visits missed.")
    few = weigh([*fine[:120], ("human", "h", HUMAN)]).verdict
    assert few.good
    assert few.advice == ("Too few to say: human has 1 visit to be judged by; 10 are the least.",)
    assert (
        weigh(many("fox", FOX, 3)).verdict.text == "Too few to say: fox has 3 visits to be judged by; 10 are the least."
    )
    friends = [*many("hen", UNSURE, 40, first=60)]
    assert weigh([*fine, *friends]).verdict.text.startswith(
        "It would scare friends: 40 of 160 visits, 40 of them of hen"
    )


def test_verdict_says_night_where_only_the_night_is_weak() -> None:
    cases = [
        *many("fox", FOX, 40),
        *many("fox", HEN, 6, first=40),
        *many("fox", FOX, 5, first=46),
        *many("hen", HEN, 40),
    ]
    said = scored([p for *_, p in cases])
    said.facts[40:51] = (60.0, 0.002)
    pictures = [picture(label, group) for label, group, _ in cases]
    verdict = evaluate(pictures, said, LABELS, KINDS, RULE).verdict
    assert verdict.text == "More pictures of fox at night: 6 of 11 visits missed."


def test_verdict_minds_the_places_and_the_learning_curve() -> None:
    cases = [*many("fox", FOX, 60), *many("hen", HEN, 60)]
    pictures = [picture(label, group) for label, group, _ in cases]
    said = scored([p for *_, p in cases])
    rising = evaluate(pictures, said, LABELS, KINDS, RULE, learning_curve=[(50, 0.9), (100, 0.95)]).verdict
    assert rising.good
    assert rising.advice == (
        "More pictures would still help: from 50 to 100 visits the balanced accuracy rose from 90 % to 95 %.",
    )
    left_out = {"yard": {"fox": 0.2, "hen": 0.6}, "barn": {"hen": 0.9}}
    places = evaluate(pictures, said, LABELS, KINDS, RULE, without_source=left_out)
    assert places.verdict.text.startswith(
        "It knows places as much as animals: of a source it never saw it names 65 % on average, of yard 40 %"
    )
    assert places.json()["without_source"] == left_out


def test_compared_on_the_visits_both_know() -> None:
    cases = [*many("fox", FOX, 9), *many("hen", HEN, 3), *many("human", HUMAN, 4)]
    pictures = [picture(label, group) for label, group, _ in cases]
    other = np.tile(np.array([0.1, 0.9], np.float32), (len(cases), 1))  # always a hen; knows no human
    rival = Scored(other, np.zeros((len(cases), 2), np.float32)), ("fox", "hen")
    paired = evaluate(pictures, scored([p for *_, p in cases]), LABELS, KINDS, RULE, rival=rival).rival
    assert paired == Paired(n=12, wins=9, losses=0, right=12, other_right=3)


def test_the_page_holds_everything_and_asks_nobody(tmp_path: Path) -> None:
    cases = [*many("fox", FOX, 12), *many("hen", HEN, 12), *many("fox", HEN, 3, first=12), *many("goat", UNSURE, 2)]
    pictures = [picture(label, group) for label, group, _ in cases]
    assert cv2.imwrite(str(tmp_path / "fox.png"), np.full((40, 30, 3), 90, np.uint8))
    pictures[24] = replace(pictures[24], path=tmp_path / "fox.png")
    said = scored([p for *_, p in cases])
    evaluation = evaluate(
        pictures,
        said,
        LABELS,
        KINDS,
        RULE,
        learning_curve=[(10, 0.5), (20, 0.6)],
        without_source={"<yard>": {"fox": 0.2}},
        rival=(said, LABELS),
    )
    bundle = verify(FOLDER / "starter.gander", [load_public(FOLDER / "starter.pub")])
    write(tmp_path / "page.html", evaluation, pictures, bundle)
    page = (tmp_path / "page.html").read_text()
    assert html.escape(evaluation.verdict.text) in page
    assert page.count('src="data:image/jpeg') == 1, "of the three that went wrong only one is still there"
    assert page.count("<svg") == 6, "recall, confusion, costs, calibration, learning curve, the unknown"
    for heading in ("What it would do", "By source", "By light", "Against the other model", "What it has no label for"):
        assert f">{heading}" in page
    assert "&lt;yard&gt;" in page
    assert "<script" not in page
    assert 'src="http' not in page
    json.dumps(evaluation.json(), allow_nan=False)
