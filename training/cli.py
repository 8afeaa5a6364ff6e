"""`gander-train`: the workstation's program. Verbs only; each is a file of the same name."""

from __future__ import annotations

import logging
import os
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict
from importlib.util import find_spec
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table

from edge.cli_common import JsonOption, enter, err, out, print_json, say, settings
from edge.errors import Refused
from edge.runtimes.tflite import quietly

app = typer.Typer(
    help="From the owner's pictures to a signed model for the appliance.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)

DataOption = Annotated[
    Path, typer.Option("--data", help="A folder with labels.csv or per class, a CSV, or a COCO JSON.")
]
WeightsOption = Annotated[
    Path | None, typer.Option("--weights", help="Weights of the backbone; left out: Keras downloads them.")
]
KeyOption = Annotated[Path | None, typer.Option("--key", help="Private key to sign with; made when there is none.")]
HostArgument = Annotated[
    str, typer.Argument(help="USER@APPLIANCE as ssh knows it, or USER@APPLIANCE:/STATE/DIRECTORY.")
]
GanderOption = Annotated[str, typer.Option(help="The command there.")]
SshOption = Annotated[list[str] | None, typer.Option("--ssh", help="One more word for ssh, such as -p2222.")]
Told = Callable[[str, int, int], None]


def main() -> None:
    enter(app)


@app.command()
def keygen(key: Annotated[Path | None, typer.Argument(help="Where to; default: this user's own.")] = None) -> None:
    """Make the key pair that signs bundles. The private half never leaves this machine."""
    from edge import keys
    from training.pack import key_folder

    path = key or keys.own_path()
    key_folder(path)
    made = keys.generate(path, "laptop")
    public = keys.public_path(path)
    say(f"{path}: private, stays here\n{public}: {made.public.fingerprint}")
    say(f"once on the appliance: gander bundle trust {public.name}")


@app.command()
def audit(
    data: DataOption,
    folder: Annotated[Path, typer.Option("--out", help="Folder for the page and the table.")],
    weights: WeightsOption = None,
    recipe: Annotated[
        Path | None, typer.Option(help="Whose backbone looks at the pictures; default: Inception v3 to mixed8.")
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Find labels that look wrong, pictures that are there twice, sets that are not alike. Changes nothing."""
    from training import recipe as recipes

    wanted = recipes.load(recipe) if recipe else recipes.default()
    _need_tensorflow()
    from training import audit as audits
    from training import audit_page
    from training.backbones import build
    from training.dataset import read
    from training.features import Features, cache_folder
    from training.split import leaks, split

    with _shown(as_json) as told:
        dataset = read(data, told)
        parts = split(dataset, dataset.alike, wanted.data.validation, wanted.data.test)
        features = Features(build(wanted.backbone, weights), wanted.looks, cache_folder())
        embeddings = features.of(dataset.pictures, [one.sha256 for one in dataset.prints], 1, told)[:, 0]
        found = audits.audit(dataset, embeddings, parts, leaks(parts, dataset.alike))
        audit_page.write(folder, found, dataset)
    if as_json:
        print_json({"summary": found.json()})
        return
    table = Table("visit", "label", "looks like", "p", box=None, pad_edge=False)
    for suspect in found.suspects[:20]:
        table.add_row(suspect.group, suspect.label, suspect.suggested, f"{suspect.p_suggested:.0%}")
    if found.suspects:
        out.print(table)
    for line in (*found.advice, *found.notes):
        say(line)
    say(f"{folder / 'audit.html'}: look at it\n{folder / 'audit.csv'}: fill in `correct`, then fit --corrections")


@app.command()
def fit(
    recipe: Annotated[Path, typer.Argument(help="What to make; see training/recipes.")],
    data: DataOption,
    folder: Annotated[Path, typer.Option("--out", help="Folder for bundle, report and record.")],
    weights: Annotated[
        Path | None, typer.Option(help="Weights of the backbone; left out: Keras downloads them.")
    ] = None,
    corrections: Annotated[Path | None, typer.Option(help="An edited audit.csv.")] = None,
    champion: Annotated[
        Path | None, typer.Option(help="A bundle to compare with, on the same held-out pictures.")
    ] = None,
    mlflow: Annotated[Path | None, typer.Option(help="Also enter the run into this MLflow SQLite file.")] = None,
    key: KeyOption = None,
    as_json: JsonOption = False,
) -> None:
    """Train, evaluate on held-out visits, convert, sign. Leaves one bundle and a page to look at."""
    from training import recipe as recipes
    from training import track

    wanted = recipes.load(recipe)
    if mlflow:
        track.need_mlflow()
    _need_tensorflow()
    from edge.bundle import read as read_bundle
    from training.dataset import read
    from training.fit import Fit
    from training.pack import laptop_key

    rival = read_bundle(champion) if champion else None
    with _shown(as_json) as told:
        dataset = read(data, told)
        if corrections:
            from training.corrections import apply

            dataset = apply(dataset, corrections)
        fitted = Fit(wanted, dataset, folder, laptop_key(key), told).run(weights, rival)
    record = track.record(folder, wanted, fitted, data, weights)
    if mlflow:
        track.mirror(folder, record, mlflow, champion is None)
    summary = fitted.evaluation.summary() | {"bundle": str(fitted.path), "why": fitted.why, "seconds": fitted.seconds}
    summary |= {"notes": fitted.notes}
    if as_json:
        print_json({"summary": summary})
        return
    for note in fitted.notes:
        say(f"note: {note}")
    table = Table("file", "invoke", "as Keras", "accuracy", "lost", "tflite-runtime 2.14", box=None, pad_edge=False)
    for one in fitted.converted:
        table.add_row(one.title, f"{one.invoke_ms:.1f} ms", *one.cells)
    out.print(table)
    say(f"taken: {fitted.why}")
    _print_recall(fitted.evaluation.summary())
    say(fitted.evaluation.verdict.text)
    say(f"{fitted.path}\n{folder / 'report.html'}: look at it\nnext: gander-train push {fitted.path} USER@APPLIANCE")


@app.command()
def evaluate(
    bundle: Annotated[Path, typer.Argument(help="A bundle file.")],
    data: Annotated[Path, typer.Argument(help="Pictures in any of the three forms.")],
    page: Annotated[Path | None, typer.Option(help="Also write a page to look at.")] = None,
    as_json: JsonOption = False,
) -> None:
    """How good a bundle is on any pictures: run as the appliance runs it."""
    from edge.bundle import read as read_bundle
    from edge.config import EvidenceConfig
    from edge.evidence import Kinds
    from training.dataset import read
    from training.evaluation import evaluate as weigh
    from training.pack import seen
    from training.scoring import score

    model = read_bundle(bundle)
    with _shown(as_json) as told:
        dataset = read(data, told)
        scored = score(model, dataset.pictures, progress=told)
    kinds = Kinds(model.labels, model.manifest.suggested_kinds)
    evaluation = weigh(dataset.pictures, scored, model.labels, kinds, EvidenceConfig())
    if page:
        from training.evaluation_page import write

        write(page, evaluation, dataset.pictures, model)
    known = int(seen(model, [one.sha256 for one in dataset.prints]).sum())
    if as_json:
        print_json({"summary": evaluation.summary() | {"seen": known, "notes": dataset.notes}})
        return
    for note in dataset.notes:
        say(f"note: {note}")
    _print_recall(evaluation.summary())
    say(evaluation.verdict.text)
    if known:
        say(f"{known} of these pictures taught this very model: its figures on them say nothing of new ones")


@app.command()
def pack(
    bundle: Annotated[Path, typer.Argument(help="A bundle of your own.")],
    recipe: Annotated[Path, typer.Option(help="Whose [labels] and [evidence] it is to suggest from now on.")],
    folder: Annotated[Path, typer.Option("--out", help="Folder for the new bundle.")],
    key: KeyOption = None,
) -> None:
    """The same model with other kinds and costs, signed anew: no training."""
    from edge.bundle import read as read_bundle
    from training import recipe as recipes
    from training.pack import laptop_key, repack

    made = repack(read_bundle(bundle), recipes.load(recipe), folder, laptop_key(key))
    say(str(folder / made.manifest.file_name))


@app.command()
def push(
    bundle: Annotated[Path, typer.Argument(help="A bundle that `fit` made.")],
    host: HostArgument,
    promote: Annotated[bool, typer.Option("--promote", help="Make it champion there at once.")] = False,
    trust: Annotated[bool, typer.Option("--trust", help="First enrol this laptop's key there; needed once.")] = False,
    key: KeyOption = None,
    gander: GanderOption = "gander",
    ssh: SshOption = None,
    mlflow: Annotated[
        Path | None, typer.Option(help="With --promote: it is champion in this MLflow SQLite file too.")
    ] = None,
) -> None:
    """Copy a bundle to an appliance over ssh, and install it there."""
    from edge import keys
    from edge.bundle import read as read_bundle
    from training import track
    from training.appliance import Appliance
    from training.push import push as send

    if mlflow and not promote:
        raise Refused("--mlflow: only a promotion is entered there; add --promote")
    if mlflow:
        track.need_mlflow()
    to = Appliance(host, gander, tuple(ssh or ()))
    with _shown(False) as told:
        for line in send(bundle, key or keys.own_path(), to, trust, promote, told):
            say(line)
    if mlflow:
        made = read_bundle(bundle)
        say(f"{mlflow}: {made.name} {track.promoted(mlflow, made.name, made.sha256)} is champion")


@app.command()
def harvest(
    source: Annotated[str, typer.Argument(help="USER@APPLIANCE, or a state directory on this machine.")],
    folder: Annotated[Path, typer.Option("--out", help="The growing folder of pictures.")],
    since: Annotated[str | None, typer.Option(help="2h, 7d, or a date.")] = None,
    gander: GanderOption = "gander",
    ssh: SshOption = None,
    as_json: JsonOption = False,
) -> None:
    """Fetch what the owner labelled, and what the model was unsure of, to train from."""
    from edge.cli_keep import moment
    from training import harvest as harvests
    from training.appliance import Appliance

    with _shown(as_json) as told:
        if Path(source).is_dir():
            name = settings(None).node.name
            done = harvests.from_state(Path(source), name, folder, moment("--since", since), told)
        else:
            done = harvests.from_appliance(Appliance(source, gander, tuple(ssh or ())), folder, since, told)
    if as_json:
        print_json({"summary": asdict(done)})
        return
    say(f"{folder}: {done.labelled} labelled, {done.unlabelled} not; {done.new} new, {done.relabelled} relabelled")
    if done.unlabelled:
        say(
            f"{folder / harvests.DOUBTFUL}: who the model was least sure of comes first; `gander label` says who it was"
        )


@app.command()
def rescore(
    bundle: Annotated[Path, typer.Argument(help="Any bundle.")],
    archive: Annotated[Path, typer.Argument(help="Pictures: a folder, a state directory, a CSV, a COCO JSON.")],
    table: Annotated[Path, typer.Option("--out", help="A .csv or .parquet.")],
    processes: Annotated[int, typer.Option(min=0, max=256, help="0: one for each core.")] = 0,
    as_json: JsonOption = False,
) -> None:
    """What a bundle says to a whole archive, as the appliance would; goes on where it was interrupted."""
    from edge.bundle import read as read_bundle
    from training.rescore import rescore as score_all

    with _shown(as_json) as told:
        done = score_all(read_bundle(bundle), archive, table, processes, told)
    if as_json:
        print_json({"summary": {"rows": done.rows, "kept": done.kept, "unread": done.unread, "path": str(done.path)}})
        return
    say(f"{done.path}: {done.rows} pictures, {done.kept} of them from before, {done.unread} could not be read")


def _print_recall(summary: dict[str, Any]) -> None:
    table = Table("label", "recall", box=None, pad_edge=False)
    for label, value in summary["recall"].items():
        table.add_row(label, f"{value:.1%}")
    out.print(table)
    if summary["n"]:
        figures = f"accuracy {summary['accuracy']:.1%}, balanced {summary['balanced_accuracy']:.1%}"
        say(f"{figures}, of {summary['n']} pictures in {summary['visits']} visits")


def _need_tensorflow() -> None:
    """Have it there, without what it announces whenever it is loaded."""
    if find_spec("tensorflow") is None:
        raise Refused("TensorFlow is not installed here; `make setup-training` adds it, on a laptop, not on the Pi")
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    warnings.filterwarnings("ignore", module=r"keras\..*|tensorflow\..*")
    with quietly():
        import tensorflow  # noqa: F401

        logging.getLogger("absl").setLevel(logging.ERROR)


@contextmanager
def _shown(as_json: bool) -> Iterator[Told]:
    """Progress bars on a terminal, one for each step."""
    columns = TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn()
    console = err if as_json else out
    with Progress(*columns, console=console, disable=not console.is_terminal) as progress:
        tasks: dict[str, Any] = {}

        def told(what: str, done: int, of: int) -> None:
            name = what.split(",")[0]
            if name not in tasks:
                tasks[name] = progress.add_task(what, total=of)
            progress.update(tasks[name], description=what, completed=done, total=of)

        yield told


if __name__ == "__main__":
    main()
