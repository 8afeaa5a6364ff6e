"""The owner's verbs to the house: how it is, what happened, what it may do, who that was."""

from __future__ import annotations

import re
from collections.abc import Mapping
from contextlib import suppress
from typing import Annotated, Any

import typer

from edge import feed
from edge.cli_common import ConfigOption, JsonOption, StateOption, command, home, out, print_json, say
from edge.console import events_table, latency_table, status_table
from edge.control import ask
from edge.errors import Refused
from edge.journal import EVENTS, events_after, last_place, reader
from edge.run import follow
from edge.values import Mode

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)


@app.command()
def arm(config: ConfigOption = None, state: StateOption = None) -> None:
    """Let the deterrent fire."""
    mode(Mode.ARMED, config, state)


@app.command()
def disarm(config: ConfigOption = None, state: StateOption = None) -> None:
    """Back to observe: decide, and only say what would have been done."""
    mode(Mode.OBSERVE, config, state)


@app.command()
def mode(
    wanted: Annotated[Mode, typer.Argument(metavar="MODE")], config: ConfigOption = None, state: StateOption = None
) -> None:
    """Change the mode: observe, armed or maintenance (test fire only)."""
    chosen, folder = home(config, state)
    say(command(chosen, folder, "mode", mode=wanted.value))


@app.command()
def pause(
    duration: Annotated[str, typer.Argument(metavar="DURATION", help="30s, 10m, 2h, 1d; 0 ends the pause.")],
    config: ConfigOption = None,
    state: StateOption = None,
) -> None:
    """Nothing fires for so long."""
    chosen, folder = home(config, state)
    say(command(chosen, folder, "pause", seconds=_seconds(duration)))


def _seconds(text: str) -> float:
    found = re.fullmatch(r"(\d{1,6}(?:\.\d+)?)([smhd]?)", text)
    if not found:
        raise Refused(f"{text}: not a length of time; write 30s, 10m, 2h or 1d")
    return float(found[1]) * {"s": 1, "": 1, "m": 60, "h": 3600, "d": 86400}[found[2]]


@app.command()
def status(config: ConfigOption = None, state: StateOption = None, as_json: JsonOption = False) -> None:
    """How the running daemon is: mode, camera, model, latencies, queues."""
    _, folder = home(config, state)
    answer = ask(folder, "status")
    if as_json:
        print_json({"summary": answer})
        return
    out.print(status_table(answer))
    out.print(latency_table(answer["latency_ms"]))


@app.command()
def label(
    visit: Annotated[str, typer.Argument(help="Id of the visit, or its end; `last` is the newest.")],
    name: Annotated[str, typer.Argument(metavar="LABEL", help="Who it was.")],
    note: Annotated[str, typer.Option(help="Anything to remember about it.")] = "",
    config: ConfigOption = None,
    state: StateOption = None,
) -> None:
    """Say who a visit really was. Labels are kept for ever, and train the next model."""
    chosen, folder = home(config, state)
    say(command(chosen, folder, "label", visit=visit, label=name, note=note))


@app.command()
def events(
    config: ConfigOption = None,
    state: StateOption = None,
    keep_following: Annotated[bool, typer.Option("--follow", "-f", help="Go on as they happen.")] = False,
    last: Annotated[int, typer.Option("-n", min=0, max=100_000, help="How many of the newest to begin with.")] = 20,
    as_json: JsonOption = False,
) -> None:
    """What happened, newest last."""
    _, folder = home(config, state)
    with reader(folder / EVENTS) as connection:
        place = max(last_place(connection) - last, 0)
        found = events_after(connection, place, last) if last else []
    if not as_json and not keep_following:
        out.print(events_table([event for _, event in found]))
        return
    with suppress(KeyboardInterrupt):
        for event in follow(folder, place) if keep_following else (event for _, event in found):
            _tell(event, as_json)
    if as_json:
        print_json({"summary": {"events": len(found)}})


def _tell(event: Mapping[str, Any], as_json: bool) -> None:
    if as_json:
        print_json(event)
    else:
        say(feed.words(event))


@app.command()
def fire(
    test: Annotated[bool, typer.Option("--test", help="Say that this is a test.")] = False,
    deterrent: Annotated[str, typer.Option(metavar="ID", help="Which one; default the first.")] = "",
    config: ConfigOption = None,
    state: StateOption = None,
) -> None:
    """Have a deterrent fire once, to see it work: in maintenance or armed, never while paused."""
    if not test:
        raise Refused("fire: it is for tests only: `gander fire --test`")
    _, folder = home(config, state)
    say(str(ask(folder, "test_fire", deterrent=deterrent)))


@app.command()
def prune(config: ConfigOption = None, state: StateOption = None) -> None:
    """Delete now what is due: old pictures and events. What was labelled stays, always."""
    chosen, folder = home(config, state)
    say(command(chosen, folder, "prune"))
