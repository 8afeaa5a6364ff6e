"""The owner's verbs about what was kept: visits, export."""

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

from edge.cli_common import ConfigOption, JsonOption, StateOption, err, home, out, print_json, say
from edge.console import visits_log, visits_table
from edge.errors import Refused
from edge.export import Progress as Told
from edge.export import Wanted, what_fired
from edge.export import export as write_export
from edge.journal import recent_visits

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)


@app.command()
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
    with quietly(as_json) as told:
        done = write_export(home_folder, folder, chosen.node.name, wanted, told)
    if as_json:
        print_json({"summary": {"folder": str(folder), **asdict(done)}})
        return
    say(f"{folder}: {done.events} events, {done.visits} visits")
    if pictures:
        say(
            f"{done.pictures} pictures ({done.bytes / 1e6:.1f} MB); {done.labels} crops labelled, {done.unlabelled} not"
        )
        say_of_pictures(done.people, done.vanished)
    if done.damaged_events:
        say(f"{done.damaged_events} events are damaged in the journal and left out; `gander doctor --full` says more")


@app.command()
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
        keys, place = ("id", "kind", "enabled", "quiet"), {"place": chosen.node.place}
        deterrents = [{key: getattr(d, key) for key in keys} | place for d in chosen.deterrent]
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


def say_of_pictures(people: int, vanished: int) -> None:
    if people:
        say(f"{people} of the pictures show a person: think of them before you pass it on")
    if vanished:
        say(f"{vanished} pictures were gone before they could be copied: they were due, and deleted")


@contextmanager
def quietly(as_json: bool) -> Iterator[Told]:
    """Long work: it shows how far it is, and cleans up also when told to stop."""
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    columns = TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn()
    console = err if as_json else out
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as progress:
        task = progress.add_task("reading", total=None)

        def told(what: str, done: int, of: int) -> None:
            progress.update(task, description=what, completed=done, total=of)

        yield told
