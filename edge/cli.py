"""The command line: verbs only. Each reads its arguments, calls one function, and prints what came of it."""

from __future__ import annotations

import io
import json
import logging
import os
import re
import signal
import sys
import tempfile
from collections.abc import Mapping
from contextlib import ExitStack, closing, suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.live import Live
from rich.progress import Progress

from edge import __version__, feed
from edge.app import Speed, appliance
from edge.check import check as check_all
from edge.cli_bench import bench_app
from edge.cli_bundle import bundle_app
from edge.cli_common import (
    ConfigOption,
    JsonOption,
    MqttOption,
    SetOption,
    StateOption,
    command,
    enter,
    err,
    home,
    out,
    print_json,
    say,
    with_mqtt,
)
from edge.cli_feed import feed_app
from edge.cli_keep import keep_app
from edge.cli_owner import owner_app
from edge.config_file import example
from edge.console import LiveView, events_table, latency_table, status_table, summary_table
from edge.control import ask
from edge.errors import Refused
from edge.journal import EVENTS, events_after, last_place, reader
from edge.replay import replay as replay_inputs
from edge.run import follow
from edge.run import run as run_daemon
from edge.values import Event, Mode

app = typer.Typer(
    help="Gander watches a henhouse, knows who came, and scares off who should not be there.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
app.add_typer(bundle_app, name="bundle")
app.add_typer(bench_app, name="bench")
app.add_typer(feed_app)
app.add_typer(owner_app)
app.add_typer(keep_app)

SourceOption = Annotated[
    str | None, typer.Option("--source", help="A camera, a clip, a folder of pictures, or synthetic:SCENE.")
]
ForOption = Annotated[
    float | None, typer.Option("--for", metavar="SECONDS", min=0.1, max=1e8, help="Stop after so long.")
]


def main() -> None:
    """Entry of `gander`. Exit status: 0 done, 1 failed, 2 refused input."""
    enter(app)


def _version(wanted: bool) -> None:
    if wanted:
        say(f"gander {__version__}")
        raise typer.Exit


@app.callback()
def about(
    version: Annotated[bool, typer.Option("--version", callback=_version, is_eager=True, help="Print it.")] = False,
    state: Annotated[Path | None, typer.Option("--state", help="State directory, for any verb.")] = None,
) -> None:
    """Gander watches a henhouse, knows who came, and scares off who should not be there."""
    if state:
        os.environ["GANDER_STATE"] = str(state)  # where every verb's own --state looks next


@app.command()
def watch(
    config: ConfigOption = None,
    state: StateOption = None,
    source: SourceOption = None,
    mqtt: MqttOption = None,
    seconds: ForOption = None,
    overrides: SetOption = None,
    as_json: JsonOption = False,
) -> None:
    """The daemon: camera, decision, order, journal. Stops at SIGTERM or Ctrl-C with everything off."""
    logging.getLogger().setLevel(logging.INFO)  # the daemon's life is told; a verb's is its output
    chosen, folder = home(config, state, with_mqtt(_with_source(overrides, source), mqtt))
    with appliance(chosen, folder, (lambda event: print_json(event.body)) if as_json else None) as whole:
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, lambda *_: whole.watch.cameras.stop())
        if seconds:
            signal.signal(signal.SIGALRM, lambda *_: whole.watch.cameras.stop())
            signal.setitimer(signal.ITIMER_REAL, seconds)
        whole.watch.run()
        if as_json:
            print_json({"summary": whole.status()})


@app.command()
def run(
    config: ConfigOption = None,
    state: StateOption = None,
    source: SourceOption = None,
    mqtt: MqttOption = None,
    seconds: ForOption = None,
    overrides: SetOption = None,
    as_json: JsonOption = False,
    picture: Annotated[Path | None, typer.Option(help="Save the last view as an SVG picture.")] = None,
) -> None:
    """All under one command, with a live view: who came, what was decided, why, and in how many milliseconds."""
    overrides = with_mqtt(_with_source(overrides, source), mqtt)
    chosen, folder = home(config, state, overrides)
    arguments = ["--state", str(folder), *(["--config", str(config)] if config else [])]
    arguments += [part for override in overrides for part in ("--set", override)]
    view, status = LiveView(f"gander · {chosen.node.name}"), None
    live = out.is_terminal and not as_json
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.default_int_handler)  # ends like Ctrl-C: the daemon is stopped, not left behind
    with ExitStack() as stack, suppress(KeyboardInterrupt):
        shown = stack.enter_context(Live(view, console=out, refresh_per_second=8)) if live else None
        for news in stack.enter_context(closing(run_daemon(chosen, folder, arguments, seconds))):
            status = news.status or status
            view.status(status or {})
            for note in news.notes:
                view.note(note)
                if as_json:
                    err.print(note, soft_wrap=True)
                elif not shown:
                    say(note)
            for event in news.events:
                view.add(event)
                if as_json:
                    print_json(event)
                elif not shown:
                    say(feed.words(event))
    if as_json:
        print_json({"summary": status or {}})
    elif status and not live:
        out.print(latency_table(status["latency_ms"]))
    if picture:
        _save_picture(view, picture)


def _with_source(overrides: list[str] | None, source: str | None) -> list[str]:
    return [*(overrides or ()), *([f"camera.0.source={json.dumps(source)}"] if source else [])]


def _save_picture(view: LiveView, path: Path) -> None:
    paper = Console(record=True, width=120, file=io.StringIO(), force_terminal=True)
    paper.print(view)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        picture = paper.export_svg(title="make run")
        path.write_text(re.sub(r"@font-face \{.*?\}\s*", "", picture, flags=re.DOTALL))  # nothing from elsewhere
    except OSError as error:
        raise Refused(f"{path}: the picture cannot be written: {error.strerror}") from None


@app.command()
def replay(
    inputs: Annotated[list[Path], typer.Argument(help="Clips, folders of pictures, or tables (CSV).")],
    config: ConfigOption = None,
    state: StateOption = None,
    kept: Annotated[Path | None, typer.Option("--out", help="Keep journal and pictures there, to look at.")] = None,
    speed: Annotated[
        str, typer.Option(help="real: drops frames as live would; max: drops none, no deadline.")
    ] = "real",
    champion: Annotated[str | None, typer.Option(metavar="BUNDLE", help="The model to ask.")] = None,
    no_motion: Annotated[bool, typer.Option("--no-motion", help="Each picture as a whole is one visitor.")] = False,
    fps: Annotated[float | None, typer.Option(help="Pictures per second of folders and tables.")] = None,
    wall: Annotated[str | None, typer.Option(help="Wall time at the start; noon UTC of 2026-01-01.")] = None,
    overrides: SetOption = None,
    as_json: JsonOption = False,
) -> None:
    """Play clips, folders or tables of pictures through the line: dry, and as if armed."""
    if speed not in ("real", "max"):
        raise Refused(f"--speed {speed}: use real or max")
    changes = [f"models.champion={json.dumps(champion)}"] if champion else []
    changes += [f"camera.0.fps={fps}"] if fps is not None else []
    chosen, models = home(config, state, [*(overrides or ()), *changes])
    chosen_speed: Speed = "real" if speed == "real" else "max"

    def heard(event: Event) -> None:
        if as_json:
            print_json(event.body)
        else:
            progress.console.print(feed.words(event.body), markup=False, soft_wrap=True)

    with ExitStack() as stack:
        folder = kept or Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="gander-replay-")))
        progress = stack.enter_context(Progress(console=err if as_json else out, transient=True))
        task = progress.add_task("loading the model", total=None)

        def moved(name: str, done: int, of: int) -> None:
            progress.update(task, description=name, completed=done, total=of if of > 1 else None)

        summary = replay_inputs(
            chosen,
            inputs,
            folder,
            models,
            speed=chosen_speed,
            motion=not no_motion,
            start=_moment(wall) if wall else None,
            listen=heard,
            progress=moved,
        )
    if as_json:
        print_json({"summary": summary})
    else:
        out.print(summary_table(summary))
        out.print(latency_table(summary["latency_ms"]))
        if kept:
            say(f"journal and pictures: {kept}")


def _moment(text: str) -> datetime:
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        raise Refused(f"--wall {text}: write it as 2026-01-01T12:00:00Z") from None
    if not 1970 <= moment.year < 3000:
        raise Refused(f"--wall {text}: give a year from 1970 to 2999")
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)


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
def check(config: ConfigOption = None, state: StateOption = None, overrides: SetOption = None) -> None:
    """Check the configuration and the model, and say what they would do together; starts and writes nothing."""
    chosen, folder = home(config, state, overrides)
    for line in check_all(chosen, folder):
        say(line)


@app.command("config")
def config_(
    show: Annotated[
        bool, typer.Option("--example", help="Print the documented defaults, to start a file from.")
    ] = False,
) -> None:
    """The configuration."""
    if not show:
        raise Refused("config: `gander config --example` prints one; `gander check --config FILE` checks one")
    sys.stdout.write(example())


if __name__ == "__main__":
    main()
