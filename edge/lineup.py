"""The trusted models as one: whose labels mean what, and how many threads each has."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from edge.bundle import Bundle
from edge.config import Config, LabelsConfig, ModelsConfig
from edge.errors import ConfigError
from edge.evidence import Kinds, Vocabulary
from edge.model_store import ModelStore
from edge.values import Kind, Prediction, Role

TRUSTED = (Role.CHAMPION, Role.STANDBY)
"""Whose answers count, in the order of trust."""


@dataclass(frozen=True, slots=True)
class Model:
    """Who answers: as named in every event, with its labels in the order of its output."""

    name: str
    version: str
    role: Role
    labels: tuple[str, ...]
    margin: float  # how much of a box's surroundings it is shown

    def json(self) -> dict[str, str]:
        return {"name": self.name, "version": self.version, "role": self.role.value}


class Lineup:
    """Champion and, where there is one, standby; what they know of kinds.

    A kind that is not configured is the bundles' own suggestion: who names the threats is not blind to people by that.
    Raises `ConfigError` for a glob that fits no label, and for a standby that knows no threat the champion is to find.
    """

    def __init__(self, config: Config, bundles: Sequence[Bundle]) -> None:
        """`bundles` in the order of trust, the champion first. They are not kept: a model is many megabytes."""
        self.models = tuple(
            Model(b.name, b.version, role, b.labels, b.manifest.input.crop.margin)
            for b, role in zip(bundles, TRUSTED, strict=False)
        )
        self._vocabulary = Vocabulary([bundle.labels for bundle in bundles])
        globs = _globs(config.labels, bundles)
        self.kinds = Kinds(self._vocabulary.labels, globs)
        own = [Kinds(bundle.labels, globs) for bundle in bundles]
        self.sees_people = all(kinds.has(Kind.PERSON) for kinds in own)
        self.demo = any(bundle.manifest.demo for bundle in bundles)
        if missing := self.kinds.unmatched(config.labels):
            labels = self.champion.labels
            raise ConfigError(
                f"labels: {', '.join(map(repr, missing))} fits no label of model {self.champion.name}; "
                f"`gander bundle verify` lists all {len(labels)}, the first is {labels[0]!r}"
            )
        for bundle, kinds in zip(bundles[1:], own[1:], strict=True):
            if own[0].has(Kind.THREAT) and not kinds.has(Kind.THREAT):
                raise ConfigError(
                    f"models.standby: {bundle.name} knows no threat: none of its {len(bundle.labels)} labels "
                    f"(the first is {bundle.labels[0]!r}) fits [labels] threat; name its threats there too"
                )

    @property
    def champion(self) -> Model:
        return self.models[0]

    def weighable(self, prediction: Prediction) -> NDArray[np.float32]:
        """An answer over the labels of all models, float32[K of `kinds`]."""
        return self._vocabulary.widen(TRUSTED.index(prediction.role), prediction.label_p)

    def model(self, role: Role) -> Model:
        """Who has a role; the champion where nobody has."""
        return next((model for model in self.models if model.role is role), self.champion)


def trusted(config: Config, store: ModelStore, champion: Bundle | None = None) -> list[Bundle]:
    """The configured models in the order of trust, with this champion where one is given. Raises `BundleError`."""
    bundles = [champion or store.champion()]
    if config.models.standby:
        bundles.append(store.load(config.models.standby))
    return bundles


def threads(config: ModelsConfig, cores: int | None = None) -> tuple[int, int]:
    """Threads of champion and standby. Both run at once, so the standby has its own; more than four slow a model."""
    cores = cores or len(os.sched_getaffinity(0))
    left = cores - config.standby_threads if config.standby else cores
    return config.threads or max(min(left, 4), 1), config.standby_threads


def _globs(ours: LabelsConfig, bundles: Sequence[Bundle]) -> LabelsConfig:
    suggested = [bundle.manifest.suggested_kinds for bundle in bundles]

    def of(kind: str) -> list[str]:
        return getattr(ours, kind) or [glob for theirs in suggested for glob in getattr(theirs, kind)]

    return LabelsConfig(threat=of("threat"), resident=of("resident"), person=of("person"))
