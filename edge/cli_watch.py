"""The verbs of the line: watch, replay, and what they would do."""

from __future__ import annotations

import json
import logging
import signal
import sys
import tempfile
from contextlib import ExitStack
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import typer
from rich.progress import Progress

from edge import feed
from edge.app import Speed, appliance
from edge.check import check as check_all
from edge.cli_common import (
    ConfigOption,
    ForOption,
    JsonOption,
    MqttOption,
    SetOption,
    SourceOption,
    StateOption,
    err,
    home,
    out,
    print_json,
    say,
    with_mqtt,
    with_source,
)
from edge.config_file import example
from edge.console import latency_table, summary_table
from edge.errors import Refused
from edge.replay import replay as replay_inputs
from edge.values import Event

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)


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
    chosen, folder = home(config, state, with_mqtt(with_source(overrides, source), mqtt))
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
