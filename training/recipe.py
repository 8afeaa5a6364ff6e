"""What to make, as a TOML file: backbone, looks, head, costs. A value that is out of bounds or unknown is refused."""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, ValidationError, model_validator

from edge.config import EvidenceConfig, LabelsConfig
from edge.config_base import Section
from edge.config_file import first_problem
from edge.errors import Refused
from edge.manifest import ShortName

Variant = Literal["float", "dynamic", "int8"]


class BackboneRecipe(Section):
    """The network whose ImageNet features are used, and where it is cut."""

    kind: Literal["inception_v3", "mobilenet_v2", "mobilenet_v3"] = "inception_v3"
    cut: str = Field("", max_length=64, description="Last layer kept; empty: the last before the network's own head")
    size: int = Field(0, ge=0, le=1024, description="Side of the square shown, pixels; 0: as it was trained")
    width: float = Field(1.0, gt=0.0, le=2.0, description="MobileNet only: multiplier of the channels")


class LooksRecipe(Section):
    """How often and how differently each training picture is looked at. The first look is the picture as it is."""

    count: int = Field(4, ge=1, le=64)
    least_area: float = Field(0.4, gt=0.0, le=1.0, description="Of a whole photograph, the smallest part cut out")
    grey: float = Field(0.1, ge=0.0, le=1.0, description="Share that is seen as if by infrared: grey, dark, noisy")


class HeadRecipe(Section):
    """The linear classifier on the frozen features."""

    strengths: list[Annotated[float, Field(gt=0.0, le=1e6)]] = Field(
        [0.02, 0.1, 0.5],
        min_length=1,
        max_length=20,
        description="How freely it may follow the pictures; the best is taken",
    )
    iterations: int = Field(300, ge=1, le=100_000)
    balance: float = Field(0.75, ge=0.0, le=1.0, description="Class weights: 0 none, 1 each label counts the same")


class TuneRecipe(Section):
    """Then, perhaps, the top blocks of the backbone too, batch normalisation left as it is."""

    above: str = Field("", max_length=64, description="Layers after this one are tuned; empty: none")
    epochs: int = Field(4, ge=1, le=1000)
    patience: int = Field(1, ge=1, le=1000, description="Epochs without progress on the validation set before it ends")
    batch: int = Field(32, ge=4, le=1024)
    rate: float = Field(3e-5, gt=0.0, le=1.0)
    smoothing: float = Field(0.05, ge=0.0, lt=0.5, description="Of the labels: some are wrong, and nothing is certain")


class DataRecipe(Section):
    """Which share of the groups decides when to stop, and which is never trained on."""

    refit: bool = Field(True, description="Pack a network that was then trained in the same way on everything")
    validation: float = Field(0.1, gt=0.0, lt=0.5)
    test: float = Field(0.15, gt=0.0, lt=0.5)


class ConvertRecipe(Section):
    """Which files are tried, and how much may be given away for speed."""

    variants: list[Variant] = Field(["dynamic", "int8", "float"], min_length=1)
    examples: int = Field(120, ge=10, le=5000, description="Training pictures that show int8 which values occur")
    most_lost: float = Field(0.01, ge=0.0, le=1.0, description="Accuracy that the fastest may lose against Keras")


class Recipe(Section):
    """Everything about a fit but the pictures."""

    name: ShortName
    seed: int = Field(1, ge=0, lt=2**31)
    backbone: BackboneRecipe = BackboneRecipe()
    data: DataRecipe = DataRecipe()
    looks: LooksRecipe = LooksRecipe()
    head: HeadRecipe = HeadRecipe()
    tune: TuneRecipe = TuneRecipe()
    convert: ConvertRecipe = ConvertRecipe()
    labels: LabelsConfig = LabelsConfig()
    evidence: EvidenceConfig = EvidenceConfig()

    @model_validator(mode="after")
    def _cuts(self) -> Recipe:
        if self.backbone.kind == "inception_v3" and self.backbone.width != 1.0:
            raise ValueError("backbone.width: only MobileNets come in several widths")
        return self


def default() -> Recipe:
    """The champion's recipe, as far as it is not a matter of taste."""
    return Recipe(name="inception", backbone=BackboneRecipe(kind="inception_v3", cut="mixed8"))


def load(path: Path) -> Recipe:
    """Read a recipe. Raises `Refused` naming the line to mend."""
    try:
        return Recipe.model_validate(tomllib.loads(path.read_text("utf-8")))
    except OSError as error:
        raise Refused(f"{path}: {error.strerror}; recipes that come with Gander are in training/recipes") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise Refused(f"{path}: not TOML: {error}") from None
    except ValidationError as error:
        raise Refused(f"{path}: {first_problem(error)}") from None
