"""Evidence about one visit: faded averages of what the models said. Pure arithmetic, no clock of its own."""

from __future__ import annotations

import math
from collections.abc import Sequence
from fnmatch import fnmatchcase

import numpy as np
from numpy.typing import NDArray

from edge.config import EvidenceConfig, LabelsConfig
from edge.values import Kind


class Kinds:
    """Which label is of which kind. Globs are tried threat, resident, person; the first match wins."""

    def __init__(self, labels: Sequence[str], globs: LabelsConfig) -> None:
        self.labels = tuple(labels)
        order = ((Kind.THREAT, globs.threat), (Kind.RESIDENT, globs.resident), (Kind.PERSON, globs.person))
        self.of_label = tuple(
            next((kind for kind, patterns in order if any(fnmatchcase(label, p) for p in patterns)), Kind.OTHER)
            for label in self.labels
        )
        self._masks = {kind: np.array([of == kind for of in self.of_label], dtype=np.float32) for kind in Kind}

    def unmatched(self, globs: LabelsConfig) -> list[str]:
        """Globs that match no label at all: surely a mistake."""
        every = [*globs.threat, *globs.resident, *globs.person]
        return [p for p in every if not any(fnmatchcase(label, p) for label in self.labels)]

    def has(self, kind: Kind) -> bool:
        return kind in self.of_label

    def mask(self, kind: Kind) -> NDArray[np.float32]:
        """1 where the label is of this kind, float32[K]."""
        return self._masks[kind]

    def p(self, label_p: NDArray[np.float32]) -> dict[Kind, float]:
        """Probability of each kind: the sum over its labels. `label_p` float32[K] sums to 1."""
        return {kind: float(label_p @ mask) for kind, mask in self._masks.items()}


class Vocabulary:
    """The labels of all trusted models as one list, so that answers of any of them are weighed together."""

    def __init__(self, models: Sequence[Sequence[str]]) -> None:
        """`models`: each one's labels, in the order of its output."""
        self.labels = tuple(dict.fromkeys(label for labels in models for label in labels))
        place = {label: number for number, label in enumerate(self.labels)}
        self._places = [np.array([place[label] for label in labels]) for labels in models]

    def widen(self, model: int, label_p: NDArray[np.float32]) -> NDArray[np.float32]:
        """The answer of the model of this number, float32[K of it], over all labels: float32[K of all]."""
        if model == 0 and label_p.size == len(self.labels):
            return label_p
        wide = np.zeros(len(self.labels), np.float32)
        wide[self._places[model]] = label_p
        return wide


class Evidence:
    """One visit's evidence. Each answered question is weighted 2^(-age / half-life) in media time.

    log_odds = (w0 * prior + sum w_i * clamp(logit p_i)) / (w0 + sum w_i): frames of one visit are nearly the same
    frame, so they are averaged, not summed.
    """

    def __init__(self, config: EvidenceConfig, kinds: Kinds) -> None:
        self._config = config
        self._kinds = kinds
        self._prior = logit(config.prior)
        self._at = 0.0
        self._weight = 0.0  # sum of w_i
        self._sum = 0.0  # sum of w_i * clamped logit
        self._labels = np.zeros(len(kinds.labels), np.float32)  # plain sum over the whole visit, for the name
        self.answers = 0
        self.clear = 0

    def add(self, label_p: NDArray[np.float32], media_time: float) -> dict[Kind, float]:
        """Weigh one answer, float32[K] summing to 1. Returns this answer's own probability of each kind."""
        kinds = self._kinds.p(label_p)
        own = logit(kinds[Kind.THREAT])
        fade = 2.0 ** (-max(media_time - self._at, 0.0) / self._config.half_life_s)
        self._weight = self._weight * fade + 1.0
        self._sum = self._sum * fade + min(max(own, self._config.clamp_low), self._config.clamp_high)
        self._at = max(media_time, self._at)
        self._labels += label_p
        self.answers += 1
        self.clear += own > self._prior
        return kinds

    def renew(self) -> None:
        """Nothing heard so far is enough to act on any more; the name stays."""
        self._weight = self._sum = 0.0
        self.clear = 0

    @property
    def log_odds(self) -> float:
        prior = self._config.prior_weight
        total = prior + self._weight
        return (prior * logit(self._config.prior) + self._sum) / total if total else logit(self._config.prior)

    @property
    def threat(self) -> bool:
        """Whether there is enough to act on."""
        return is_threat(self.log_odds, self.clear, self._config)

    @property
    def suspect(self) -> bool:
        """Whether all that is missing is another frame that speaks for a threat."""
        return self.log_odds > line(self._config) and not self.threat

    def top(self, n: int = 5) -> tuple[tuple[str, float], ...]:
        """The n likeliest labels over the whole visit, with their mean probability."""
        if not self.answers:
            return ()
        mean = self._labels / self.answers
        return tuple((self._kinds.labels[i], float(mean[i])) for i in np.argsort(-mean, kind="stable")[:n])

    def likeliest(self, kind: Kind) -> tuple[str, float]:
        """The likeliest label of a kind over the whole visit, with its mean probability. Needs an answer."""
        of_kind = np.where(self._kinds.mask(kind) > 0, self._labels, -1.0)
        best = int(of_kind.argmax())
        return self._kinds.labels[best], float(self._labels[best]) / self.answers

    def kind_p(self) -> dict[str, float]:
        """Mean probability of each kind over the whole visit."""
        if not self.answers:
            return {}
        return {kind.value: p for kind, p in self._kinds.p(self._labels / np.float32(self.answers)).items()}


def line(config: EvidenceConfig) -> float:
    """The log-odds above which acting costs less than not acting."""
    return logit(config.cost_false / (config.cost_false + config.cost_miss))


def is_threat(log_odds: float | None, clear: int, config: EvidenceConfig) -> bool:
    """Enough to act on: above the line of the costs, and enough distinct frames that each speak for a threat.

    A frame speaks for a threat when it makes one likelier than it was before (the prior). Asking each frame to be
    above the line by itself, as the average must be, missed visitors with one good frame among poor ones and spared
    no friend: of 73 bursts of a real crow it acted on 56 instead of 62, of 22 without a crow on none either way.
    """
    return log_odds is not None and log_odds > line(config) and clear >= config.min_frames


def logit(p: float) -> float:
    """Natural log-odds, finite for 0 and 1."""
    p = min(max(p, 1e-9), 1.0 - 1e-9)
    return math.log(p / (1.0 - p))


def sigmoid(x: float) -> float:
    return 1.0 / (1.0 + math.exp(-x))
