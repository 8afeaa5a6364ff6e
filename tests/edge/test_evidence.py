"""Evidence: averaged, faded, and never from one frame alone."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge.config import EvidenceConfig, LabelsConfig
from edge.evidence import Evidence, Kinds, Vocabulary, logit, sigmoid
from edge.values import Kind

LABELS = ("Corvus cornix (Hooded Crow)", "Cyanocitta cristata (Blue Jay)", "hen", "person", "background")
GLOBS = LabelsConfig(threat=["Corvus *", "* (*Jay)"], resident=["hen"], person=["person"])
KINDS = Kinds(LABELS, GLOBS)
CONFIG = EvidenceConfig()


def label_p(threat: float) -> np.ndarray:
    """All labels, with `threat` split over the two threats and the rest on the hen."""
    return np.array([threat / 2, threat / 2, 1 - threat, 0, 0], np.float32)


def judge(*ps: float, step: float = 1 / 15) -> Evidence:
    evidence = Evidence(CONFIG, KINDS)
    for i, p in enumerate(ps):
        evidence.add(label_p(p), i * step)
    return evidence


def test_labels_are_matched_to_kinds_by_globs_first_match_wins() -> None:
    assert KINDS.of_label == (Kind.THREAT, Kind.THREAT, Kind.RESIDENT, Kind.PERSON, Kind.OTHER)
    assert Kinds(["a"], LabelsConfig(threat=["a"], resident=["*"])).of_label == (Kind.THREAT,)
    assert KINDS.unmatched(LabelsConfig(threat=["Corvus *", "wolf"])) == ["wolf"]


def test_one_frame_never_fires_two_that_speak_for_a_threat_can() -> None:
    assert not judge(1.0).threat
    assert judge(0.98, 0.98).threat
    assert not judge(0.98, 0.04).threat, "the second must speak for a threat too"
    assert judge(0.98, 0.1).threat
    assert not judge(0.3, 0.06).threat, "and both together be above the line"


def test_the_formula_of_the_contract() -> None:
    evidence = judge(0.9, 0.6, 0.99, step=0.5)
    weights = [2**-1.0, 2**-0.5, 1.0]
    terms = [min(max(logit(p), -3), 4) for p in (0.9, 0.6, 0.99)]
    expected = (logit(0.05) + sum(w * t for w, t in zip(weights, terms, strict=True))) / (1 + sum(weights))
    assert evidence.log_odds == pytest.approx(expected, abs=1e-5)


@given(p=st.floats(0.05, 0.97), n=st.integers(60, 200))
def test_a_constant_probability_ends_near_itself(p: float, n: int) -> None:
    evidence = judge(*[p] * n)
    weight = 1 / (1 - 2 ** (-1 / 15))  # the sum of the faded weights in the long run
    expected = (logit(0.05) + weight * logit(p)) / (1 + weight)
    assert evidence.log_odds == pytest.approx(expected, abs=0.05)
    assert abs(sigmoid(evidence.log_odds) - p) < 0.07


@given(st.lists(st.floats(0, 1), min_size=1, max_size=50), st.floats(0, 10))
def test_it_stays_between_the_prior_and_the_clamps(ps: list[float], step: float) -> None:
    evidence = judge(*ps, step=step)
    assert -3.0 - 1e-6 <= evidence.log_odds <= 4.0
    assert evidence.answers == len(ps)
    assert evidence.clear == sum(p > 0.05 for p in np.float32(ps)) or any(
        math.isclose(p, 0.05, abs_tol=1e-5) for p in ps
    )


def test_old_evidence_fades() -> None:
    evidence = judge(0.99, 0.99)
    evidence.add(label_p(0.01), 10.0)
    assert evidence.log_odds < logit(0.05) + 0.1
    assert not evidence.threat


def test_the_name_is_of_the_whole_visit() -> None:
    evidence = judge(0.9, 0.9, 0.2)
    assert evidence.top()[0][0] in (*LABELS[:2], "hen")
    assert sum(p for _, p in evidence.top()) == pytest.approx(1, abs=1e-5)
    assert evidence.kind_p()["threat"] == pytest.approx(2 / 3, abs=1e-3)
    assert Evidence(CONFIG, KINDS).top() == ()


@given(
    st.lists(st.sampled_from("abcdefgh"), min_size=1, max_size=6, unique=True),
    st.lists(st.sampled_from("abcdefgh"), min_size=1, max_size=6, unique=True),
)
def test_answers_of_two_models_mean_the_same_labels(champion: list[str], standby: list[str]) -> None:
    vocabulary = Vocabulary([champion, standby])
    assert list(vocabulary.labels[: len(champion)]) == champion, "the champion's own order, so its answers need no copy"
    for number, labels in enumerate((champion, standby)):
        answer = np.arange(1, len(labels) + 1, dtype=np.float32)
        wide = vocabulary.widen(number, answer)
        assert {label: p for label, p in zip(vocabulary.labels, wide, strict=True) if p} == dict(
            zip(labels, answer, strict=True)
        )
