"""`gander bench acting`: what the line makes of its own deterrents."""

from __future__ import annotations

from typing import Annotated

import typer
from rich.progress import Progress

from edge.bench_acting import bench_acting
from edge.cli_common import ConfigOption, JsonOption, SetOption, StateOption, err, home, print_json, say


def acting(
    seeds: Annotated[int, typer.Option(min=0, max=1000, help="How many yards of each kind of light.")] = 2,
    config: ConfigOption = None,
    state: StateOption = None,
    overrides: SetOption = None,
    as_json: JsonOption = False,
) -> None:
    """A rendered lamp, strobe, jet and siren that answer each order: who is taken for somebody, and when a jay left."""
    chosen, folder = home(config, state, overrides)
    with Progress(console=err, transient=True) as progress:
        task = progress.add_task("", total=None)
        summary = bench_acting(
            chosen,
            folder,
            seeds,
            lambda name, done, of: progress.update(task, description=name, completed=done, total=of),
        )
    if as_json:
        print_json({"summary": summary})
        return
    for name, row in summary["deterrents"].items():
        left, again = row["left_error_s"] or {}, row["again_s"] or {}
        say(
            f"{name}: {row['pulses']} pulses; {row['false_visits']} visits and {row['false_actions']} actions of nobody"
        )
        say(f"  {row['acted']} of {row['jays']} jays acted on, {row['visits_per_jay']} visits each")
        say(f"  end of a visit wrong by {left.get('p50', '-')} s, at most {left.get('max', '-')} s")
        say(f"  next order {again.get('p50', '-')} s after a pulse, at most {again.get('max', '-')} s")
