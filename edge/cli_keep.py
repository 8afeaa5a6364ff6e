"""The owner's verbs about what was kept: visits, export, backup, restore."""

from __future__ import annotations

import re
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Annotated

import typer
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from edge.backup import backup as make_backup
from edge.cli_common import ConfigOption, JsonOption, StateOption, err, give_way, home, in_use, out, print_json, say
from edge.console import visits_log, visits_table
from edge.errors import Refused
from edge.export import Progress as Told
from edge.export import Wanted, what_fired
from edge.export import export as write_export
from edge.journal import recent_visits
from edge.restore import restore as bring_back

keep_app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)


@keep_app.command()
def export(
    folder: Annotated[Path, typer.Argument(help="A folder that is new, or empty; or a new file, such as coop.zip.")],
    since: Annotated[str | None, typer.Option(help="2h, 7d, or a date.")] = None,
    until: Annotated[str | None, typer.Option(help="Before then: 2h, 7d (ago), or a date.")] = None,
    labelled: Annotated[bool, typer.Option("--labelled", help="Only visits you labelled.")] = False,
    pictures: Annotated[bool, typer.Option("--pictures/--no-pictures", help="With pictures and their labels.")] = True,
    crops: Annotated[
        bool, typer.Option("--crops", help="Of the pictures only what the models saw, for training.")
    ] = False,
    config: ConfigOption = None,
    state: StateOption = None,
    as_json: JsonOption = False,
) -> None:
    """Write events, visits, labels and pictures as files, for a spreadsheet or for training; also while it watches."""
    chosen, home_folder = home(config, state)
    wanted = Wanted(moment("--since", since), moment("--until", until), labelled, pictures, crops)
    if wanted.since and wanted.until and wanted.since >= wanted.until:
        raise Refused(f"--since {since} --until {until}: nothing lies between; give the earlier moment as --since")
    with _quietly(as_json) as told:
        done = write_export(home_folder, folder, chosen.node.name, wanted, told)
    if as_json:
        print_json({"summary": {"folder": str(folder), **asdict(done)}})
        return
    say(f"{folder}: {done.events} events, {done.visits} visits")
    if pictures:
        say(
            f"{done.pictures} pictures ({done.bytes / 1e6:.1f} MB); {done.labels} crops labelled, {done.unlabelled} not"
        )
        _say_of_pictures(done.people, done.vanished)
    if done.damaged_events:
        say(f"{done.damaged_events} events are damaged in the journal and left out; `gander doctor --full` says more")


@keep_app.command()
def backup(
    file: Annotated[Path, typer.Argument(help="The file to make, such as gander.tar.")],
    everything: Annotated[bool, typer.Option("--all", help="Every picture, not only the labelled ones.")] = False,
    config: ConfigOption = None,
    state: StateOption = None,
    as_json: JsonOption = False,
) -> None:
    """Keep journal, labels, models, keys, configuration and labelled pictures in one file; also while it watches."""
    chosen, folder = home(config, state)
    with _quietly(as_json) as told:
        used = in_use(config)
        done = make_backup(folder, file, chosen.node.name, config=used, everything=everything, progress=told)
    if as_json:
        print_json({"summary": {"file": str(file), **asdict(done)}})
        return
    say(
        f"{file}: {done.bytes / 1e6:.1f} MB: {done.events} events, {done.visits} visits, {done.labels} labels, "
        f"{done.models} models, {done.pictures} pictures"
    )
    _say_of_pictures(done.people, done.vanished)
    if done.key:
        say(
            "It holds the device's private key: who has it can sign models for this device. Only you may read the file "
            "(mode 0600); keep it so"
        )
    mqtt = chosen.mqtt
    secrets = [path for path in (mqtt.password_file, mqtt.key, *(c.credentials for c in chosen.camera)) if path]
    if secrets:
        say(f"passwords are not in it: keep a copy of {', '.join(dict.fromkeys(secrets))} yourself")


@keep_app.command()
def restore(
    file: Annotated[Path, typer.Argument(help="A file that `gander backup` made.")],
    force: Annotated[bool, typer.Option("--force", help="Also where a journal is; that is moved aside first.")] = False,
    config: ConfigOption = None,
    state: StateOption = None,
    as_json: JsonOption = False,
) -> None:
    """Bring a backup back into the state directory. It is checked whole before anything is touched."""
    _, folder = home(config, state)
    with _quietly(as_json):
        done = bring_back(folder, file, force)
    if as_json:
        print_json({"summary": {"state": str(folder), **asdict(done)}})
        return
    say(f"{folder}: restored {done.files} files ({done.bytes / 1e6:.1f} MB) of {done.node}, as of {done.wall}")
    if done.before:
        say(f"what was there before is in {done.before}; remove it when it is not needed any more")
    if done.config:
        say(f"its configuration is {done.config}: use it with --config, or compare it with the one here")
    was = "" if done.mode == "observe" else f" (it was {done.mode}: `gander mode {done.mode}` once you have looked)"
    say(f"mode is observe{was}")


@keep_app.command()
def visits(
    config: ConfigOption = None,
    state: StateOption = None,
    since: Annotated[str | None, typer.Option(help="2h, 7d, or a date.")] = None,
    wanted: Annotated[str | None, typer.Option("--label", help="Only this label, the model's or the owner's.")] = None,
    actions: Annotated[bool, typer.Option("--actions", help="Only visits that were acted upon.")] = False,
    plain: Annotated[bool, typer.Option("--print", help="As a plain log for paper: who came, what was done.")] = False,
    as_json: JsonOption = False,
) -> None:
    """Who came, and what the owner says of it."""
    chosen, folder = home(config, state)
    begin = moment("--since", since)
    found = recent_visits(folder, begin, wanted, actions)
    if as_json:
        for visit in found:
            print_json(visit)
        print_json({"summary": {"visits": len(found)}})
    elif plain:
        deterrents = [{"id": d.id, "kind": d.kind, "enabled": d.enabled, "quiet": d.quiet} for d in chosen.deterrent]
        about = [chosen.node.name, f"printed {datetime.now().astimezone():%Y-%m-%d %H:%M}"]
        about += [f"visits since {begin.astimezone():%Y-%m-%d %H:%M}"] if begin else []
        about += ["only visits that were acted upon"] if actions else []
        about += [f"only {wanted}"] if wanted else []
        sys.stdout.write(visits_log(found, what_fired(folder, begin), deterrents, ", ".join(about)))
    else:
        out.print(visits_table(found))


def moment(option: str, text: str | None) -> datetime | None:
    """A moment as people give it: so long ago (`7d`), or a date in local time. Raises `Refused`."""
    if text is None:
        return None
    if found := re.fullmatch(r"(\d{1,6}(?:\.\d+)?)([smhd])", text):
        seconds = float(found[1]) * {"s": 1, "m": 60, "h": 3600, "d": 86400}[found[2]]
        return datetime.now(UTC) - timedelta(seconds=min(seconds, 36_500 * 86_400))
    with suppress(ValueError, OverflowError):
        return datetime.fromisoformat(text).astimezone(UTC)
    raise Refused(f"{option} {text}: no moment; write 30m, 2h, 7d, or a date as 2026-01-31 or 2026-01-31T06:00")


def _say_of_pictures(people: int, vanished: int) -> None:
    if people:
        say(f"{people} of the pictures show a person: think of them before you pass it on")
    if vanished:
        say(f"{vanished} pictures were gone before they could be copied: they were due, and deleted")


@contextmanager
def _quietly(as_json: bool) -> Iterator[Told]:
    """Work that gives way to a running watch, shows how far it is, and cleans up also when told to stop."""
    give_way()
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    columns = TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn()
    console = err if as_json else out
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as progress:
        task = progress.add_task("reading", total=None)

        def told(what: str, done: int, of: int) -> None:
            progress.update(task, description=what, completed=done, total=of)

        yield told
