"""One command from the owner's pictures to a signed bundle: `Fit.run`, read top to bottom."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from edge.bundle import Bundle, Golden
from edge.errors import Refused, StateError
from edge.evidence import Kinds
from edge.keys import SigningKey
from edge.manifest import SUFFIX, Manifest
from edge.preprocess import prepare
from edge.runtimes.tflite import TfliteRuntime
from edge.self_test import render_crops, run_apart
from edge.values import Image
from training import head as heads
from training import tune
from training.backbones import Backbone, build
from training.convert import TITLES, Converted, Network, choose, compared, convert, network
from training.dataset import Dataset, Picture, load
from training.evaluation import Evaluation, evaluate
from training.features import Features, cache_folder
from training.likeness import prints
from training.pack import manifest, pack, suggested_kinds
from training.recipe import Recipe
from training.scoring import score
from training.split import Part, check_trainable, leaks, split

Progress = Callable[[str, int, int], None]
Vectors = NDArray[np.float32]
"""Features, float32[n, looks, D]; look 0 is the picture as it is."""
Places = NDArray[np.int64]
"""Which pictures, by their place in the dataset, int64[m]."""

_COMPARED = 240  # held-out pictures on which the converted files are compared
_CURVE = (0.125, 0.25, 0.5, 1.0)  # shares of the training groups for the learning curve


@dataclass(frozen=True, slots=True)
class Fitted:
    """What a fit made. `chosen`: what is in the bundle, and why; `seconds`: how long each step took."""

    bundle: Bundle
    path: Path
    evaluation: Evaluation
    converted: tuple[Converted, ...]
    why: str
    hashes: dict[str, str]
    epochs: int
    seconds: dict[str, float]


@dataclass(slots=True)
class Stopwatch:
    """How long each step took, seconds."""

    seconds: dict[str, float] = field(default_factory=dict)

    @contextmanager
    def __call__(self, step: str) -> Iterator[None]:
        began = time.monotonic()
        yield
        self.seconds[step] = round(time.monotonic() - began, 1)


class Fit:
    """One fit under way. The figures are of held-out groups that the evaluated network has never seen.

    With `data.refit` the network that is packed is then trained in the same way on all of them.
    """

    def __init__(
        self, recipe: Recipe, dataset: Dataset, out: Path, key: SigningKey, progress: Progress = lambda *_: None
    ) -> None:
        """Raises `Refused` for pictures that will not do, and for a folder that holds another's bundle."""
        self._recipe, self._dataset, self._out, self._key, self._progress = recipe, dataset, out, key, progress
        self._clock = Stopwatch()
        self.labels = dataset.labels
        self._kinds = Kinds(self.labels, suggested_kinds(self.labels, recipe.labels))
        place = {label: number for number, label in enumerate(self.labels)}
        self._right = np.array([place[picture.label] for picture in dataset.pictures])
        self._ready_out()

    def run(self, weights: Path | None, champion: Bundle | None = None) -> Fitted:
        """From pictures to bundle; `champion` is what it is compared with. Raises `Refused`, `StateError`."""
        with self._clock("pictures"):
            self._look_over()
        with self._clock("weights"):
            backbone = build(self._recipe.backbone, weights)
        with self._clock("features"):
            features = Features(backbone, self._recipe.looks, cache_folder())
            vectors = features.of(self._dataset.pictures, self._hashes, self._recipe.looks.count, self._progress)
        with self._clock("training"):
            trained = self._train(vectors, self._of(Part.TRAIN), self._of(Part.VALIDATION))
            whole = self._tuned(network(backbone, trained.model))
        with self._clock("converting"):
            converted = self._convert(whole, vectors)
            chosen, why = choose(converted, self._recipe.convert.most_lost)
        with self._clock("evaluating"):
            evaluation = self._evaluate(chosen, vectors, champion)
        with self._clock("training on everything"):
            if self._recipe.data.refit:
                chosen = self._again(chosen, backbone, trained, vectors)
        with self._clock("packing"):
            bundle = self._pack(chosen, evaluation)
        path = self._out / bundle.manifest.file_name
        return Fitted(
            bundle, path, evaluation, tuple(converted), why, self._facts(), trained.epochs, self._clock.seconds
        )

    def _ready_out(self) -> None:
        """An earlier fit's results are replaced, nobody else's."""
        try:
            self._out.mkdir(parents=True, exist_ok=True)
            others = [
                path for path in self._out.glob(f"*{SUFFIX}") if not path.name.startswith(f"{self._recipe.name}-")
            ]
        except OSError as error:
            raise StateError(f"{self._out}: cannot be used: {error.strerror}") from None
        if others:
            raise Refused(f"{self._out}: holds {others[0].name} of another recipe; give another folder with --out")

    def _look_over(self) -> None:
        """Split by groups; refuse what cannot teach or would flatter."""
        found = prints([picture.path for picture in self._dataset.pictures], self._progress)
        self._hashes = [one.sha256 for one in found]
        self._parts = split(self._dataset, found, self._recipe.data.validation, self._recipe.data.test)
        check_trainable(self._dataset, self._parts)
        if leaked := leaks(self._dataset, self._parts, found):
            raise Refused(f"{len(leaked)} near-duplicates lie on both sides of the split, the first are {leaked[0]}")

    def _of(self, *parts: Part) -> Places:
        return np.array([place for place, part in enumerate(self._parts) if part in parts], np.int64)

    def _pictures(self, places: Places) -> list[Picture]:
        return [self._dataset.pictures[int(place)] for place in places]

    def _train(self, vectors: Vectors, train: Places, judge: Places) -> heads.Trained:
        def tick(epoch: int, loss: float) -> None:
            self._progress(f"training, loss {loss:.3f}", epoch, self._recipe.head.epochs)

        judged = np.asarray(vectors[judge, 0]), self._right[judge]
        return heads.train(
            vectors[train],
            self._right[train],
            len(self.labels),
            self._recipe.head,
            self._recipe.seed,
            judged,
            tick=tick,
        )

    def _tuned(self, whole: Network) -> Network:
        if self._recipe.tune.above:
            shown = [
                (self._pictures(places), [self._hashes[place] for place in places], self._right[places])
                for places in (self._of(Part.TRAIN), self._of(Part.VALIDATION))
            ]
            tune.tune(whole, self._recipe, shown[0], shown[1], cache_folder(), self._progress)
        return whole

    def _convert(self, whole: Network, vectors: Vectors) -> list[Converted]:
        """Each kind of file, with its figures on the same held-out pictures."""
        judge, test = self._some(Part.VALIDATION), self._some(Part.TEST)
        shown, held = self._tensors(whole.backbone, judge), self._tensors(whole.backbone, test)
        meant = np.concatenate([whole.logits(tensor[None]) for tensor in held])
        examples = self._examples(whole.backbone)
        made = []
        for number, variant in enumerate(self._recipe.convert.variants):
            self._progress(f"converting: {TITLES[variant]}", number, len(self._recipe.convert.variants))
            one = convert(whole, variant, examples)
            runtime = TfliteRuntime(one.data, self._manifest(one))
            said, calibrating = (np.stack([runtime.raw(one.shown(t))[0] for t in some]) for some in (held, shown))
            one = compared(one, said, meant, self._right[test])
            one = replace(one, temperature=heads.temperature(calibrating, self._right[judge]))
            made.append(replace(one, invoke_ms=run_apart(one.data, self._manifest(one), render_crops()[:1]).invoke_ms))
        return made

    def _some(self, part: Part) -> Places:
        """A part, or where that is large a sample of it, in order."""
        return np.sort(np.random.default_rng(self._recipe.seed).permutation(self._of(part))[:_COMPARED])

    def _tensors(self, backbone: Backbone, places: Places) -> list[NDArray[np.generic]]:
        """float32[side, side, 3] each."""
        spec = backbone.spec()
        return [prepare(load(picture), spec)[0] for picture in self._pictures(places)]

    def _examples(self, backbone: Backbone) -> list[NDArray[np.generic]]:
        """Training pictures of all labels alike: float32[1, side, side, 3] each."""
        random = np.random.default_rng(self._recipe.seed)
        train = random.permutation(self._of(Part.TRAIN))
        rank = np.zeros(len(train))
        for label in range(len(self.labels)):
            of_label = self._right[train] == label
            rank[of_label] = np.arange(of_label.sum())
        chosen = train[np.argsort(rank, kind="stable")][: self._recipe.convert.examples]
        return [tensor[None] for tensor in self._tensors(backbone, chosen)]

    def _evaluate(self, chosen: Converted, vectors: Vectors, champion: Bundle | None) -> Evaluation:
        """The chosen file, run as the appliance runs it, on everything held out."""
        pictures = self._pictures(self._of(Part.TEST))
        scored = score(self._apart(chosen), pictures, progress=self._progress)
        rival = score(champion, pictures, progress=self._progress) if champion else None
        return evaluate(
            pictures,
            scored,
            self.labels,
            self._kinds,
            self._recipe.evidence,
            learning_curve=self._curve(vectors),
            without_source=self._without_sources(vectors),
            rival=(rival, champion.labels) if rival is not None and champion else None,
        )

    def _curve(self, vectors: Vectors) -> list[tuple[int, float]]:
        """(training groups, balanced accuracy on the test set) of heads trained on ever more of the groups."""
        train, test = self._of(Part.TRAIN), self._of(Part.TEST)
        groups = np.array([picture.group for picture in self._dataset.pictures])
        names = np.random.default_rng(self._recipe.seed).permutation(np.unique(groups[train]))
        points = []
        for step, share in enumerate(_CURVE):
            self._progress("learning curve", step, len(_CURVE))
            part = names[: max(round(share * len(names)), 1)]
            trained = self._train(vectors, train[np.isin(groups[train], part)], self._of(Part.VALIDATION))
            points.append((len(part), _balanced(trained.logits(vectors[test, 0]).argmax(1), self._right[test])))
        return points

    def _without_sources(self, vectors: Vectors) -> dict[str, dict[str, float]]:
        """Recall on each source's pictures, all of them, by a head that has never seen that source."""
        sources = np.array([picture.source for picture in self._dataset.pictures])
        found: dict[str, dict[str, float]] = {}
        names = [str(name) for name in np.unique(sources) if name]
        for step, name in enumerate(names if len(names) > 1 else ()):
            self._progress("without a source", step, len(names))
            inside, train = np.flatnonzero(sources == name), self._of(Part.TRAIN)
            trained = self._train(vectors, train[sources[train] != name], self._of(Part.VALIDATION))
            said = trained.logits(vectors[inside, 0]).argmax(1)
            found[name] = {
                label: float(np.mean(said[self._right[inside] == number] == number))
                for number, label in enumerate(self.labels)
                if np.any(self._right[inside] == number)
            }
        return found

    def _again(self, chosen: Converted, backbone: Backbone, trained: heads.Trained, vectors: Vectors) -> Converted:
        """The chosen kind of file, of a network trained in the same way on everything there is."""
        head = heads.train(
            vectors, self._right, len(self.labels), self._recipe.head, self._recipe.seed, epochs=trained.epochs
        )
        whole = network(backbone, head.model)
        one = convert(whole, chosen.variant, self._examples(backbone))
        return replace(chosen, data=one.data, spec=one.spec, outputs=one.outputs)

    def _apart(self, converted: Converted) -> Bundle:
        """As a bundle in memory, to be run and not to be shipped."""
        nothing = Golden((), np.empty((0, len(self.labels)), np.float32))
        return Bundle(self._manifest(converted), converted.data, nothing)

    def _manifest(self, converted: Converted, evaluation: Evaluation | None = None) -> Manifest:
        pictures = self._dataset.pictures if self._recipe.data.refit else self._pictures(self._of(Part.TRAIN))
        return manifest(self._recipe, self.labels, converted, pictures, self._facts(), evaluation)

    def _facts(self) -> dict[str, str]:
        """What the result depends on besides the recipe."""
        rows = sorted(zip(self._hashes, (p.label for p in self._dataset.pictures), self._parts, strict=True))
        return {"pictures": hashlib.sha256(repr(rows).encode()).hexdigest()}


def _balanced(said: Places, right: Places) -> float:
    """Mean recall over the labels there are."""
    return float(np.mean([np.mean(said[right == number] == number) for number in np.unique(right)]))
