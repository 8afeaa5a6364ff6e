"""`gander run`: all under one command, for a desk, with a live view."""

from __future__ import annotations

import io
import re
import signal
from contextlib import ExitStack, closing, suppress
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.live import Live

from edge import feed
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
from edge.console import LiveView, latency_table
from edge.errors import Refused
from edge.run import run as run_daemon

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)


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
    overrides = with_mqtt(with_source(overrides, source), mqtt)
    chosen, folder = home(config, state, overrides)
    arguments = ["--state", str(folder), *(["--config", str(config)] if config else [])]
    arguments += [part for override in overrides for part in ("--set", override)]
    view, status = LiveView(f"gander · {chosen.node.name}", chosen.x), None
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
        say(f"would be posted to X: {view.bill}; see `gander publish --test x`")
    if picture:
        _save_picture(view, picture)


def _save_picture(view: LiveView, path: Path) -> None:
    paper = Console(record=True, width=120, file=io.StringIO(), force_terminal=True)
    paper.print(view)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        picture = paper.export_svg(title="make run")
        path.write_text(re.sub(r"@font-face \{.*?\}\s*", "", picture, flags=re.DOTALL))  # nothing from elsewhere
    except OSError as error:
        raise Refused(f"{path}: the picture cannot be written: {error.strerror}") from None
