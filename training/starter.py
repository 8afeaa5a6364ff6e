"""`python -m training.starter`: makes the starter bundle, a demonstration, from rendered scenes and nothing else."""

from __future__ import annotations

import hashlib
import sys
from collections import Counter
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, replace
from functools import partial
from importlib.metadata import version
from importlib.util import find_spec
from multiprocessing import get_context
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray
from pydantic import JsonValue
from rich.console import Console, Group
from rich.progress import Progress
from rich.table import Table

from edge import keys, tflite_file
from edge.atomic import write_atomically
from edge.bundle import Bundle, Golden, write
from edge.config import LabelsConfig
from edge.frames.synthetic import SCENES
from edge.manifest import SUFFIX, Calibration, DataFacts, Manifest, Output, Outputs
from edge.preprocess import InputSpec, prepare
from edge.runtimes.tflite import TfliteRuntime
from edge.self_test import render_crops, run_apart, self_test
from edge.values import Image
from training.rehearse import Rehearsal, rehearse
from training.rendered import LABELS, Crops, Take, cut, gather

FOLDER = Path(__file__).parent.parent / "edge" / "starter"
SIDE = 96
SPEC = InputSpec(shape=(1, SIDE, SIDE, 3), dtype="uint8", mean=(0.0, 0.0, 0.0), std=(1.0, 1.0, 1.0))
CREATED = "2026-11-21T00:00:00Z"  # fixed: the same scenes and versions give the same manifest but for its signer
SHARES = (0.22, 0.46, 0.08, 0.24)  # of LABELS in training; most visits are hens, and a false person costs a minute
KINDS = LabelsConfig(threat=["jay"], resident=["hen"], person=["person"])

Job = TypeVar("Job")
Result = TypeVar("Result")


@dataclass(frozen=True, slots=True)
class Plan:
    """How much of what. The seeds are apart from each other: what is tested has never been trained on."""

    train_seeds: tuple[int, ...] = tuple(range(1000, 1008))
    calibrate_seeds: tuple[int, ...] = (2000, 2001)
    held_out_seeds: tuple[int, ...] = (0, 1)
    rehearse_seeds: tuple[int, ...] = (0,)
    scenes: tuple[str, ...] = SCENES
    seconds: float = 66.0  # one chapter of the story: two jays and a person come by
    steps: int = 2400
    seed: int = 1


@dataclass(frozen=True, slots=True)
class Made:
    """The bundle, and what was measured: `disagreeing` of the network's own answers, `recall` by scene and label."""

    bundle: Bundle
    disagreeing: float
    invoke_ms: float
    recall: dict[str, dict[str, float]]
    rehearsals: tuple[Rehearsal, ...]


def make(plan: Plan, folder: Path, console: Console) -> Made:
    """Write `starter.gander` and `starter.pub` into `folder`; the private key is made for this and thrown away."""
    with Progress(console=console) as progress, _pool() as pool:
        train, calibrate, held_out = (
            gather(_map(pool, progress, title, partial(cut, spec=SPEC), _takes(plan, seeds)))
            for title, seeds in (
                ("render for training", plan.train_seeds),
                ("render for calibration", plan.calibrate_seeds),
                ("render for evaluation", plan.held_out_seeds),
            )
        )
        model, meant = _train(plan, train, calibrate, progress)
        manifest = _manifest(plan, model, train)
        said = _scores(model, manifest, calibrate.pictures)
        disagreeing = float(np.mean(said.argmax(1) != meant.argmax(1)))
        calibration = Calibration(temperature=_temperature(said, calibrate.labels))
        manifest = manifest.model_copy(update={"calibration": calibration})
        correct = _scores(model, manifest, held_out.pictures).argmax(1) == held_out.labels
        manifest = manifest.model_copy(update={"evaluation": _evaluation(correct, held_out)})
        bundle = _pack(manifest, model, _examples(held_out), folder)
        tested = self_test(bundle)
        takes = [replace(take, fps=15.0) for take in _takes(plan, plan.rehearse_seeds)]
        rehearsals = _map(pool, progress, "rehearse", partial(rehearse, bundle), takes)
    return Made(bundle, disagreeing, tested.invoke_ms, _by_scene(correct, held_out), tuple(rehearsals))


def _takes(plan: Plan, seeds: Sequence[int]) -> list[Take]:
    """Every scene with every seed; one without anybody in it needs to be seen less often."""
    return [
        Take(scene, seed, plan.seconds if scene != "empty" else plan.seconds / 4)
        for seed in seeds
        for scene in plan.scenes
    ]


def _pool() -> ProcessPoolExecutor:
    return ProcessPoolExecutor(mp_context=get_context("spawn"))


def _map(
    pool: ProcessPoolExecutor, progress: Progress, title: str, work: Callable[[Job], Result], jobs: Sequence[Job]
) -> list[Result]:
    """The results in the order of the jobs, whichever process was faster."""
    return list(progress.track(pool.map(work, jobs), total=len(jobs), description=title))


def _train(plan: Plan, crops: Crops, calibrate: Crops, progress: Progress) -> tuple[bytes, NDArray[np.float32]]:
    """The model, and what the network it was made from says to the crops for calibration, float32[n, K]."""
    # Imported here: the processes that render import this module too, and have no use for TensorFlow.
    from training import inception

    title = f"train on {len(crops)} crops"
    task = progress.add_task(title, total=plan.steps)

    def tick(step: int, loss: float) -> None:
        progress.update(task, completed=step + 1, description=f"{title}, loss {loss:.2f}" if step % 50 == 0 else None)

    network = inception.train(crops.pictures, crops.labels, SHARES, plan.steps, plan.seed, tick)
    typical = np.random.default_rng(plan.seed).permutation(len(crops))[:300]
    return inception.convert(network, crops.pictures[typical]), inception.logits(network, calibrate.pictures)


def _manifest(plan: Plan, model: bytes, crops: Crops) -> Manifest:
    tensor = tflite_file.read(model, "the starter").outputs[0]
    counts = Counter(LABELS[label] for label in crops.labels)
    return Manifest(
        name="starter",
        version="1",
        serial=1,
        created=CREATED,
        origin="starter",
        demo=True,
        labels=LABELS,
        input=SPEC,
        outputs=Outputs(logits=Output(name=tensor.name, index=0, shape=tensor.shape)),
        suggested_kinds=KINDS,
        recipe=f"training/starter.py: a small Inception from nothing, {plan}",
        data=DataFacts(
            hashes={"crops": hashlib.sha256(crops.pictures.tobytes() + crops.labels.tobytes()).hexdigest()},
            counts={label: counts[label] for label in LABELS},
        ),
        converter=f"tensorflow {version('tensorflow')}, full int8",
    )


def _scores(model: bytes, manifest: Manifest, pictures: NDArray[np.uint8]) -> NDArray[np.float32]:
    """What the model itself says to pictures of its own size: logits float32[n, K]."""
    runtime = TfliteRuntime(model, manifest)
    return np.stack([runtime.raw(prepare(picture, manifest.input))[0] for picture in pictures])


def _temperature(scores: NDArray[np.float32], labels: NDArray[np.int64]) -> float:
    """The one that makes the right labels likeliest (Guo et al., On Calibration of Modern Neural Networks, 2017)."""

    def surprise(temperature: float) -> float:
        z = scores.astype(np.float64) / temperature
        z -= z.max(1, keepdims=True)
        return float(np.mean(np.log(np.exp(z).sum(1)) - z[np.arange(len(labels)), labels]))

    return min((round(float(t), 2) for t in np.geomspace(0.5, 3.0, 40)), key=surprise)


def _evaluation(correct: NDArray[np.bool_], crops: Crops) -> dict[str, JsonValue]:
    return {
        "on": "rendered scenes only",
        "n": len(crops),
        "accuracy": _share(correct),
        "recall": {label: _share(correct[crops.labels == index]) for index, label in enumerate(LABELS)},
    }


def _by_scene(correct: NDArray[np.bool_], crops: Crops) -> dict[str, dict[str, float]]:
    return {
        scene: {
            label: _share(correct[(crops.scenes == scene) & (crops.labels == index)])
            for index, label in enumerate(LABELS)
            if np.any((crops.scenes == scene) & (crops.labels == index))
        }
        for scene in dict.fromkeys(crops.scenes.tolist())
    }


def _share(correct: NDArray[np.bool_]) -> float:
    return round(float(np.mean(correct)), 4) if correct.size else 0.0


def _examples(crops: Crops) -> tuple[Image, ...]:
    """One rendered picture of each label, and pictures of nothing at all."""
    firsts = [int(np.flatnonzero(crops.labels == index)[0]) for index in range(len(LABELS)) if index in crops.labels]
    return (*(crops.pictures[first] for first in firsts), *render_crops())


def _pack(manifest: Manifest, model: bytes, examples: tuple[Image, ...], folder: Path) -> Bundle:
    """Sign with a key that is forgotten at once, so that nothing else can ever be signed with it."""
    folder.mkdir(parents=True, exist_ok=True)
    expected = run_apart(model, manifest, examples).p
    with TemporaryDirectory() as vault:
        key = keys.generate(Path(vault) / "starter", comment="gander starter bundle, demonstrations only")
        bundle = write(folder / f"starter{SUFFIX}", manifest, model, Golden(examples, expected), key)
    write_atomically(folder / "starter.pub", key.public.line.encode())
    return bundle


def report(made: Made) -> Group:
    """What was made, for people."""
    recall = Table("scene", *LABELS, title="recall on held-out crops")
    for scene, by_label in made.recall.items():
        recall.add_row(scene, *(f"{by_label[label]:.3f}" if label in by_label else "-" for label in LABELS))
    acted = Table("visit of", "visits", "acted on", title="rehearsal: what the rule did")
    visits = [seen for rehearsal in made.rehearsals for seen in rehearsal.seen]
    for label in dict.fromkeys(seen.label for seen in visits):
        of_label = [seen for seen in visits if seen.label == label]
        whom = Counter(seen.acted_on for seen in of_label if seen.acted_on)
        acted.add_row(
            label, str(len(of_label)), ", ".join(f"{n} while it was a {of}" for of, n in whom.items()) or "none"
        )
    manifest = made.bundle.manifest
    size = len(made.bundle.model) / 1e6
    lines = [
        f"held-out accuracy {(manifest.evaluation or {})['accuracy']} · temperature {manifest.calibration.temperature}",
        f"model {size:.2f} MB · invoke {made.invoke_ms:.2f} ms · {made.disagreeing:.2%} other than before conversion",
    ]
    for what, found in (
        ("jays acted on", [delay for rehearsal in made.rehearsals for delay in rehearsal.jays]),
        ("people seen", [delay for rehearsal in made.rehearsals for delay in rehearsal.people]),
    ):
        delays = [delay for delay in found if delay is not None]
        lines.append(f"{what}: {len(delays)} of {len(found)}, within {max(delays, default=0.0):.2f} s of coming")
    lines.append(
        f"people seen who were not there: {sum(len(rehearsal.phantoms) for rehearsal in made.rehearsals)} times"
    )
    return Group(recall, acted, *lines)


def main() -> None:
    console = Console()
    if find_spec("tensorflow") is None:
        console.print("TensorFlow is not installed here; `make setup-training` adds it", style="red")
        sys.exit(2)
    console.print(report(make(Plan(), FOLDER, console)))


if __name__ == "__main__":
    main()
