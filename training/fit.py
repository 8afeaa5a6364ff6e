"""One command from the owner's pictures to a signed bundle: `Fit.run`, read top to bottom."""

from __future__ import annotations

import hashlib
import json
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
from edge.self_test import render_crops, run_apart, self_test
from training import head as heads
from training.backbones import Backbone, build
from training.convert import TITLES, Converted, Network, choose, compared, convert, network
from training.dataset import Dataset, Picture, load
from training.evaluation import Evaluation, evaluate
from training.evaluation_page import fill
from training.features import Features, cache_folder
from training.head import Head
from training.output import put
from training.pack import TAUGHT, manifest, pack, seen, suggested_kinds
from training.page import Page
from training.recipe import Recipe
from training.scoring import Scored, score
from training.split import Part, check, counts, split
from training.split import write as write_split
from training.tune import Shown, tune

Progress = Callable[[str, int, int], None]
Vectors = NDArray[np.float32]
"""Features, float32[n, looks, D]; look 0 is the picture as it is. Or pictures, float32[side, side, 3] in -1..1."""
Places = NDArray[np.int64]
"""Which pictures, by their place in the dataset, int64[m]."""

_COMPARED = 128  # held-out pictures on which the converted files are compared
_CURVE = (0.125, 0.25, 0.5, 1.0)  # shares of the training groups for the learning curve


@dataclass(frozen=True, slots=True)
class Fitted:
    """What a fit made. `why`: the reason for the file that was chosen; `hashes`: see `Fit.facts`.

    `strength` is the head's; `seconds`: how long each step took; `notes` are for the owner.
    """

    bundle: Bundle
    path: Path
    evaluation: Evaluation
    converted: tuple[Converted, ...]
    why: str
    hashes: dict[str, str]
    strength: float
    seconds: dict[str, float]
    notes: tuple[str, ...]


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
        self._hashes = [one.sha256 for one in dataset.prints]
        self._notes = [*dataset.notes]
        place = {label: number for number, label in enumerate(self.labels)}
        self._right = np.array([place[picture.label] for picture in dataset.pictures])
        self._ready_out()

    def run(self, weights: Path | None, champion: Bundle | None = None) -> Fitted:
        """From pictures to bundle; `champion` is what it is compared with. Raises `Refused`, `StateError`."""
        with self._clock("weights"):
            backbone = build(self._recipe.backbone, weights)
        with self._clock("pictures"):
            self._look_over()
        with self._clock("features"):
            features = Features(backbone, self._recipe.looks, cache_folder())
            vectors = features.of(self._dataset.pictures, self._hashes, self._recipe.looks.count, self._progress)
        with self._clock("training"):
            head = self._train(vectors)
            whole = network(backbone, head)
            self._tuned = self._tune(whole, self._of(Part.VALIDATION), self._recipe.tune.epochs)
        with self._clock("converting"):
            converted = self._convert(whole)
            chosen, why = choose(converted, self._recipe.convert.most_lost)
        with self._clock("evaluating"):
            evaluation = self._evaluate(chosen, vectors, head, champion)
        with self._clock("training on everything"):
            if self._recipe.data.refit:
                chosen = self._again(chosen, vectors, head, weights)
        with self._clock("packing"):
            bundle = self._pack(chosen, evaluation)
        path, seconds = self._out / bundle.manifest.file_name, self._clock.seconds
        notes = tuple(self._notes)
        fitted = Fitted(bundle, path, evaluation, tuple(converted), why, self.facts, head.strength, seconds, notes)
        self._page(fitted)
        return fitted

    def _ready_out(self) -> None:
        """An earlier fit's results are replaced, nobody else's."""
        try:
            bundles = self._out.glob(f"*{SUFFIX}")
            others = [path for path in bundles if path.name.rpartition("-")[0] != self._recipe.name]
        except OSError as error:
            raise StateError.of(error, f"{self._out}: cannot be used: {error.strerror}") from None
        if others:
            raise Refused(f"{self._out}: holds {others[0].name} of another recipe; give another folder with --out")

    def _look_over(self) -> None:
        """Split by groups; refuse what cannot teach or would flatter."""
        shares = self._recipe.data
        self._parts = split(self._dataset, self._dataset.alike, shares.validation, shares.test)
        check(self._dataset, self._parts, self._dataset.alike)
        write_split(self._out / "split.csv", self._dataset, self._parts)

    def _of(self, *parts: Part) -> Places:
        return np.array([place for place, part in enumerate(self._parts) if part in parts], np.int64)

    def _pictures(self, places: Places) -> list[Picture]:
        return [self._dataset.pictures[int(place)] for place in places]

    def _train(self, vectors: Vectors) -> Head:
        self._progress("training", 0, 1)
        train, judge = self._of(Part.TRAIN), self._of(Part.VALIDATION)
        judged = np.asarray(vectors[judge, 0]), self._right[judge]
        head = heads.train(vectors[train], self._right[train], len(self.labels), self._recipe.head, judged)
        self._progress("training", 1, 1)
        return head

    def _taught(self, vectors: Vectors, places: Places, like: Head) -> Head:
        """A head like another, by these pictures."""
        recipe = self._recipe.head
        return heads.train(vectors[places], self._right[places], len(self.labels), recipe, strength=like.strength)

    def _tune(self, whole: Network, judge: Places | None, epochs: int) -> int:
        """Where the recipe asks for it: the backbone's top blocks too. Returns after how many epochs it was best."""
        if not self._recipe.tune.above:
            return 0
        train = np.arange(len(self._right)) if judge is None else self._of(Part.TRAIN)
        judged = None if judge is None else self._shown(judge)
        return tune(whole, self._recipe, self._shown(train), judged, epochs, cache_folder(), self._progress)

    def _shown(self, places: Places) -> Shown:
        return self._pictures(places), [self._hashes[place] for place in places], self._right[places]

    def _convert(self, whole: Network) -> list[Converted]:
        """Each kind of file, with its figures on the same held-out pictures."""
        judge, test = self._some(Part.VALIDATION), self._some(Part.TEST)
        shown, held = self._tensors(whole.backbone, judge), self._tensors(whole.backbone, test)
        meant = whole.logits(np.stack(held))
        examples = self._examples(whole.backbone)
        made = []
        for number, variant in enumerate(self._recipe.convert.variants):
            self._progress(f"converting, {TITLES[variant]}", number, len(self._recipe.convert.variants))
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

    def _tensors(self, backbone: Backbone, places: Places) -> list[Vectors]:
        """float32[side, side, 3] each."""
        spec = backbone.spec()
        return [np.asarray(prepare(load(picture), spec)[0], np.float32) for picture in self._pictures(places)]

    def _examples(self, backbone: Backbone) -> list[Vectors]:
        """Training pictures of all labels alike: float32[1, side, side, 3] each."""
        random = np.random.default_rng(self._recipe.seed)
        train = random.permutation(self._of(Part.TRAIN))
        rank = np.zeros(len(train))
        for label in range(len(self.labels)):
            of_label = self._right[train] == label
            rank[of_label] = np.arange(of_label.sum())
        chosen = train[np.argsort(rank, kind="stable")][: self._recipe.convert.examples]
        return [tensor[None] for tensor in self._tensors(backbone, chosen)]

    def _evaluate(self, chosen: Converted, vectors: Vectors, head: Head, champion: Bundle | None) -> Evaluation:
        """The chosen file, run as the appliance runs it, on everything held out."""
        pictures = self._pictures(self._of(Part.TEST))
        scored = score(self._apart(chosen), pictures, progress=self._progress)
        return evaluate(
            pictures,
            scored,
            self.labels,
            self._kinds,
            self._recipe.evidence,
            learning_curve=self._curve(vectors[:, :1], head),
            without_source=self._without_sources(vectors[:, :1], head),
            rival=(self._rival(champion, pictures), champion.labels) if champion else None,
        )

    def _rival(self, champion: Bundle, pictures: Sequence[Picture]) -> Scored:
        """Its answers to what is held out, but for pictures that taught it: those would flatter it."""
        taught = seen(champion, [self._hashes[place] for place in self._of(Part.TEST)])
        if taught.any():
            self._notes.append(
                f"{champion.name} {champion.version} was taught {taught.sum()} of the {len(taught)} held-out pictures: "
                "the two are compared on the visits it has not seen"
                + (", of which there is none" if taught.all() else "")
            )
        said = score(champion, pictures, progress=self._progress)
        return replace(said, p=np.where(taught[:, None], np.float32(np.nan), said.p))

    def _curve(self, vectors: Vectors, like: Head) -> list[tuple[int, float]]:
        """(training groups, balanced accuracy on the test set) of heads trained on ever more of the groups.

        By the pictures as they are: the trend is what is asked for, and other looks cost time.
        """
        train, test = self._of(Part.TRAIN), self._of(Part.TEST)
        groups = np.array([picture.group for picture in self._dataset.pictures])
        names = np.random.default_rng(self._recipe.seed).permutation(np.unique(groups[train]))
        points = []
        for step, share in enumerate(_CURVE):
            self._progress("learning curve", step + 1, len(_CURVE))
            part = names[: max(round(share * len(names)), 1)]
            head = self._taught(vectors, train[np.isin(groups[train], part)], like)
            points.append((len(part), _balanced(head.logits(vectors[test, 0]).argmax(1), self._right[test])))
        return points

    def _without_sources(self, vectors: Vectors, like: Head) -> dict[str, dict[str, float]]:
        """Recall on all of each source's pictures by a head that never saw that source, of labels others have too."""
        sources = np.array([picture.source for picture in self._dataset.pictures])
        train = self._of(Part.TRAIN)
        found: dict[str, dict[str, float]] = {}
        names = [str(name) for name in np.unique(sources) if name]
        for step, name in enumerate(names if len(names) > 1 else ()):
            self._progress("without a source", step + 1, len(names))
            inside, others = np.flatnonzero(sources == name), train[sources[train] != name]
            shared = np.intersect1d(self._right[inside], self._right[others])
            if shared.size:
                said = self._taught(vectors, others, like).logits(vectors[inside, 0]).argmax(1)
                right = self._right[inside]
                found[name] = {self.labels[k]: float(np.mean(said[right == k] == k)) for k in shared}
        return found

    def _again(self, chosen: Converted, vectors: Vectors, head: Head, weights: Path | None) -> Converted:
        """The chosen kind of file, of a network trained in the same way, for as long, on everything there is."""
        backbone = build(self._recipe.backbone, weights)  # anew: the one before may have been tuned
        whole = network(backbone, self._taught(vectors, np.arange(len(self._right)), head))
        self._tune(whole, None, self._tuned)
        one = convert(whole, chosen.variant, self._examples(backbone))
        return replace(chosen, data=one.data, spec=one.spec, outputs=one.outputs)

    def _apart(self, converted: Converted) -> Bundle:
        """As a bundle in memory, to be run and not to be shipped."""
        nothing = Golden((), np.empty((0, len(self.labels)), np.float32))
        return Bundle(self._manifest(converted), converted.data, nothing)

    def _manifest(self, converted: Converted, evaluation: Evaluation | None = None) -> Manifest:
        taught = self._dataset.pictures if self._recipe.data.refit else self._pictures(self._of(Part.TRAIN))
        evidence = evaluation.acting.suggested if evaluation and evaluation.acting else {}
        told = evaluation.summary() | {"on": self._on()} if evaluation else None
        return manifest(self._recipe, self.labels, converted, taught, self.facts, told, evidence)

    def _on(self) -> str:
        """What the figures are of, in words."""
        held = f"{len(self._of(Part.TEST))} held-out pictures the evaluated model has not seen"
        return f"{held}; the one in the bundle was then trained on all" if self._recipe.data.refit else held

    def _pack(self, chosen: Converted, evaluation: Evaluation) -> Bundle:
        """An earlier bundle goes only when the new one is there."""
        held = self._pictures(self._of(Part.TEST))
        made = self._manifest(chosen, evaluation)
        report = {
            "evaluation.json": json.dumps(evaluation.json(), ensure_ascii=False).encode(),
            TAUGHT: "".join(f"{digest}\n" for digest in sorted(self._taught_by())).encode(),
        }
        bundle = pack(self._out, made, chosen.data, held, self._key, report)
        self_test(bundle)
        for path in self._out.glob(f"*{SUFFIX}"):
            if path.name != made.file_name:
                path.unlink()
        return bundle

    def _page(self, fitted: Fitted) -> None:
        """`report.html` and `report.json`."""
        counted = f"{fitted.evaluation.pictures.n} held-out pictures of {fitted.evaluation.visits.n} visits"
        page = Page(fitted.path.stem, f"Judged by {counted}, run as the appliance runs it. {self._on().capitalize()}.")
        fill(page, fitted.evaluation, self._pictures(self._of(Part.TEST)), fitted.bundle.manifest.input.crop.margin)
        page.heading("How it was made")
        for note in fitted.notes:
            page.text(note)
        page.table(
            ("file", "MB", "ms a picture here", "same label as Keras", "accuracy", "lost", "tflite-runtime 2.14"),
            [(one.title, f"{len(one.data) / 1e6:.1f}", f"{one.invoke_ms:.1f}", *one.cells) for one in fitted.converted],
            f"Taken: {fitted.why}",
        )
        parts = [part.value for part in Part]
        shared = counts(self._dataset, self._parts)
        page.table(
            ("label", *parts), [(label, *(by[part] for part in parts)) for label, by in shared.items()], "pictures"
        )
        page.table(("step", "seconds"), fitted.seconds.items(), f"The head: strength {fitted.strength:g}.")
        page.write(self._out / "report.html")
        text = json.dumps(fitted.evaluation.json() | {"why": fitted.why}, ensure_ascii=False, indent=1)
        put(self._out / "report.json", text)

    def _taught_by(self) -> set[str]:
        """Hashes of the pictures that what is packed has been trained on."""
        parts = tuple(Part) if self._recipe.data.refit else (Part.TRAIN, Part.VALIDATION)
        return {self._hashes[int(place)] for place in self._of(*parts)}

    @property
    def facts(self) -> dict[str, str]:
        """Hashes of what the result depends on besides the recipe."""
        rows = sorted(zip(self._hashes, (p.label for p in self._dataset.pictures), self._parts, strict=True))
        return {"pictures": hashlib.sha256(repr(rows).encode()).hexdigest()}


def _balanced(said: Places, right: Places) -> float:
    """Mean recall over the labels there are."""
    return float(np.mean([np.mean(said[right == number] == number) for number in np.unique(right)]))
