"""What a bundle says about its model. A value that is out of bounds or unknown is refused."""

from __future__ import annotations

import math
from typing import Annotated, Literal

from pydantic import Field, JsonValue, StringConstraints, model_validator

from edge.config import LabelsConfig
from edge.preprocess import InputSpec, Spec

FORMAT = 1
SUFFIX = ".gander"

Label = Annotated[str, StringConstraints(min_length=1, max_length=200, pattern=r"^[^\x00-\x1f\x7f]+$")]
Text = Annotated[str, StringConstraints(max_length=20_000)]
Sha256 = Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{64}$")]
ShortName = Annotated[str, StringConstraints(pattern=r"^[a-z0-9][a-z0-9._-]{0,63}$")]
Finite = Annotated[float, Field(allow_inf_nan=False)]


class Output(Spec):
    """One output of the model, found again by its name, or by its place where names are shared."""

    name: Annotated[str, StringConstraints(max_length=500)]
    index: int = Field(ge=0, le=15)
    shape: tuple[Annotated[int, Field(ge=1, le=100_000)], ...] = Field(min_length=1, max_length=4)

    @property
    def size(self) -> int:
        return math.prod(self.shape)


class Outputs(Spec):
    """The scores as probabilities or as logits, and an embedding where the model has one."""

    probabilities: Output | None = None
    logits: Output | None = None
    embedding: Output | None = None

    @model_validator(mode="after")
    def _one(self) -> Outputs:
        if (self.probabilities is None) == (self.logits is None):
            raise ValueError("outputs: either probabilities or logits")
        return self

    @property
    def scores(self) -> Output:
        scores = self.probabilities or self.logits
        assert scores
        return scores


class Calibration(Spec):
    temperature: float = Field(default=1.0, ge=0.01, le=100.0, allow_inf_nan=False)


class DataFacts(Spec):
    """What the model was trained on: hashes by name, pictures by label."""

    hashes: dict[str, Sha256] = Field(default={}, max_length=1000)
    counts: dict[str, Annotated[int, Field(ge=0)]] = Field(default={}, max_length=100_000)


class Manifest(Spec):
    """Everything about a model but its weights. `files` and `signer` are filled in by `bundle.write`."""

    format: Literal[1] = 1
    name: ShortName
    version: Annotated[str, StringConstraints(pattern=r"^[0-9A-Za-z][0-9A-Za-z._+]{0,31}$")]
    serial: int = Field(ge=0, lt=2**53)
    created: Annotated[str, StringConstraints(pattern=r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d{3})?Z$")]
    origin: Literal["trained", "imported", "starter"]
    demo: bool = False
    labels: tuple[Label, ...] = Field(min_length=2, max_length=100_000)
    input: InputSpec
    outputs: Outputs
    calibration: Calibration = Calibration()
    evaluation: dict[str, JsonValue] | None = None
    suggested_kinds: LabelsConfig = LabelsConfig()
    suggested_evidence: dict[str, Finite] = Field(default={}, max_length=32)
    recipe: Text = ""
    data: DataFacts = DataFacts()
    converter: Text = ""
    min_runtime: Annotated[str, StringConstraints(pattern=r"^(\d{1,4}(\.\d{1,4}){0,3})?$")] = ""
    files: dict[str, Sha256] = Field(default={}, max_length=64)
    signer: Annotated[str, StringConstraints(pattern=r"^([0-9a-f]{16})?$")] = ""

    @model_validator(mode="after")
    def _agrees(self) -> Manifest:
        if len(set(self.labels)) < len(self.labels):
            raise ValueError("labels: each must be there once")
        if self.outputs.scores.size != len(self.labels):
            raise ValueError(f"{len(self.labels)} labels, but the output gives {self.outputs.scores.size} scores")
        return self

    @property
    def file_name(self) -> str:
        return f"{self.name}-{self.version}{SUFFIX}"
