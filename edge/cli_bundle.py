"""`gander bundle …`: models as signed files: import, look at, install, promote, roll back."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.progress import Progress
from rich.table import Table

from edge import state_check
from edge.bundle import Bundle
from edge.catalogue import ENTRIES, Entry, find
from edge.catalogue import fetch as fetch_files
from edge.cli_common import ConfigOption, JsonOption, SetOption, StateOption, command, home, out, print_json, say
from edge.config import LabelsConfig
from edge.errors import Refused
from edge.lineup import Lineup, trusted
from edge.manifest import SUFFIX
from edge.model_import import Overrides, import_tflite
from edge.model_store import ModelStore
from edge.self_test import self_test
from edge.values import Kind

app = typer.Typer(help="Models as signed files: import, verify, install, promote, roll back.", no_args_is_help=True)

MeanOption = Annotated[float | None, typer.Option(help="Float models: shown is (pixel - mean) / std, pixel 0..255.")]


@app.command("import")
def import_(
    tflite: Annotated[Path, typer.Option(help="The TFLite classifier.")],
    labels: Annotated[Path | None, typer.Option(help="Its labels, a line each; left out: those in the file.")] = None,
    name: Annotated[str | None, typer.Option(help="Name of the bundle; from the file's name.")] = None,
    file: Annotated[Path | None, typer.Option("--out", help="Write the bundle there instead of installing it.")] = None,
    mean: MeanOption = None,
    std: Annotated[float | None, typer.Option(help="See --mean.")] = None,
    config: ConfigOption = None,
    state: StateOption = None,
    overrides: SetOption = None,
    as_json: JsonOption = False,
) -> None:
    """Turn any TFLite classifier with a label file into a bundle signed by this device."""
    chosen, folder = home(config, state, overrides)
    key = ModelStore(folder, chosen.models).device_key()
    wanted = Overrides(mean=mean, std=std)
    if file:
        path, bundle = import_tflite(tflite, labels, key=key, out=file, name=name, overrides=wanted)
        _imported(bundle, f"written to {path}; `gander replay CLIP --champion {path}` tries it", as_json)
        return
    with tempfile.TemporaryDirectory(prefix="gander-import-") as scratch:
        path, bundle = import_tflite(tflite, labels, key=key, out=Path(scratch), name=name, overrides=wanted)
        with _within_reach(folder, path) as there:
            answer = command(chosen, folder, "install", path=str(there))
    _imported(bundle, f"{answer}; `gander bundle promote {bundle.name}` makes it champion", as_json)


def _imported(bundle: Bundle, what: str, as_json: bool) -> None:
    if as_json:
        print_json({"summary": _facts(bundle)})
        return
    say(what)
    out.print(_kinds_table(bundle.manifest.suggested_kinds, bundle.labels))


@app.command()
def verify(
    file: Annotated[str, typer.Argument(help=f"A bundle file ({SUFFIX}), or the name of an installed one.")],
    labels: Annotated[bool, typer.Option("--labels", help="Print its labels, a line each.")] = False,
    config: ConfigOption = None,
    state: StateOption = None,
    overrides: SetOption = None,
    as_json: JsonOption = False,
) -> None:
    """Check signature and content, run it on its golden pictures, and say what it is."""
    chosen, folder = home(config, state, overrides)
    bundle = ModelStore(folder, chosen.models).load(file)
    if labels:
        for label in bundle.labels:
            say(label)
        return
    test = self_test(bundle, chosen.models.threads)
    facts = _facts(bundle) | {"invoke_ms": round(test.invoke_ms, 2), "load_ms": round(test.load_ms, 1)}
    facts |= {"golden_worst": round(test.worst, 5), "runtime": test.runtime}
    if as_json:
        print_json({"summary": facts})
        return
    table = Table(show_header=False, box=None, pad_edge=False)
    for what, value in facts.items():
        table.add_row(what.replace("_", " "), str(value))
    out.print(table)
    out.print(_kinds_table(bundle.manifest.suggested_kinds, bundle.labels))
    say("verified")


def _facts(bundle: Bundle) -> dict[str, Any]:
    manifest = bundle.manifest
    return {
        "name": manifest.name,
        "version": manifest.version,
        "serial": manifest.serial,
        "origin": manifest.origin,
        "demo": manifest.demo,
        "evaluated": manifest.evaluation is not None,
        "labels": len(manifest.labels),
        "input": f"{manifest.input.shape[2]}x{manifest.input.shape[1]} {manifest.input.dtype}",
        "signer": manifest.signer,
        "sha256": bundle.sha256,
    }


def _kinds_table(kinds: LabelsConfig, labels: tuple[str, ...]) -> Table:
    table = Table(title="suggested kinds", title_justify="left", box=None)
    table.add_column("kind")
    table.add_column("labels that match")
    for kind in (Kind.THREAT, Kind.RESIDENT, Kind.PERSON):
        globs = getattr(kinds, kind.value)
        table.add_row(kind.value, ", ".join(globs) or f"none: this model cannot see a {kind.value}")
    return table


@app.command("list")
def list_(config: ConfigOption = None, state: StateOption = None, as_json: JsonOption = False) -> None:
    """The installed bundles, the champion marked."""
    chosen, folder = home(config, state)
    store = ModelStore(folder, chosen.models)
    for installed in store.installed():
        if as_json:
            print_json({"name": installed.name, "champion": installed.champion, "path": str(installed.path)})
        else:
            say(f"{'*' if installed.champion else ' '} {installed.name}")
    champion = store.champion()
    if as_json:
        print_json({"summary": {"champion": champion.name, "version": champion.version}})
    else:
        say(f"champion: {champion.name} {champion.version}")


@app.command()
def install(file: Path, config: ConfigOption = None, state: StateOption = None) -> None:
    """Verify a bundle, try it, and keep it. It does nothing until it is promoted."""
    chosen, folder = home(config, state)
    with _within_reach(folder, file) as there:
        say(command(chosen, folder, "install", path=str(there)))


@app.command()
def promote(name: str, config: ConfigOption = None, state: StateOption = None) -> None:
    """Make an installed bundle the champion, also while the daemon runs."""
    chosen, folder = home(config, state)
    store = ModelStore(folder, chosen.models)
    Lineup(chosen, trusted(chosen, store, store.candidate(name)))
    say(command(chosen, folder, "promote", name=name))


@app.command()
def rollback(config: ConfigOption = None, state: StateOption = None) -> None:
    """Make the champion before this one the champion again."""
    chosen, folder = home(config, state)
    say(command(chosen, folder, "rollback"))


@app.command()
def trust(key: Path, config: ConfigOption = None, state: StateOption = None) -> None:
    """Accept bundles signed by the owner of this public key from now on."""
    chosen, folder = home(config, state)
    with _within_reach(folder, key) as there:
        say(command(chosen, folder, "trust", path=str(there)))


@app.command()
def fetch(
    name: Annotated[str, typer.Argument(help=f"One of: {', '.join(entry.name for entry in ENTRIES)}.")],
    source: Annotated[
        Path | None, typer.Option("--from", help="Take the files from this folder, not the network.")
    ] = None,
    file: Annotated[Path | None, typer.Option("--out", help="Write the bundle there instead of installing it.")] = None,
    config: ConfigOption = None,
    state: StateOption = None,
) -> None:
    """Get a ready-made model from the catalogue, check it to the byte, and make a bundle of it."""
    entry = find(name)
    if source and not source.is_dir():
        raise Refused(f"--from {source}: not a folder; name the one with {entry.model.name}")
    chosen, folder = home(config, state)
    key = ModelStore(folder, chosen.models).device_key()
    with tempfile.TemporaryDirectory(prefix="gander-fetch-") as scratch:
        tflite, labels = _fetch(entry, Path(scratch), source)
        wanted = Overrides(kinds=entry.kinds)
        path, bundle = import_tflite(tflite, labels, key=key, out=file or Path(scratch), name=name, overrides=wanted)
        with _within_reach(folder, path) as there:
            answer = f"written to {path}" if file else command(chosen, folder, "install", path=str(there))
    say(entry.notes)
    _imported(bundle, answer if file else f"{answer}; `gander bundle promote {name}` makes it champion", False)


@contextmanager
def _within_reach(state: Path, file: Path) -> Iterator[Path]:
    """A copy in the state directory: a daemon of another user sees neither homes nor temporary files of others."""
    if not state_check.taken(state):
        yield file.absolute()
        return
    with tempfile.TemporaryDirectory(prefix="given-", dir=state) as scratch:
        Path(scratch).chmod(0o2750)
        copy = Path(scratch) / file.name
        try:
            shutil.copyfile(file, copy)
        except OSError as error:
            raise Refused(f"{file}: cannot be read: {error.strerror}") from None
        copy.chmod(0o640)
        yield copy


def _fetch(entry: Entry, scratch: Path, source: Path | None) -> tuple[Path, Path]:
    with Progress(console=out, transient=True) as progress:
        task = progress.add_task(entry.name, total=None)
        return fetch_files(
            entry, scratch, lambda done, of: progress.update(task, completed=done, total=of), folder=source
        )
