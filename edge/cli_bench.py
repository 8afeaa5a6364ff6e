"""`gander bench …`: what it costs on this machine, as percentiles."""

from __future__ import annotations

import json
import tempfile
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.progress import Progress

from edge.bench import bench_models, bench_pipeline
from edge.bench_faults import bench_faults
from edge.bench_motion import bench_motion
from edge.bench_scenes import bench_real, bench_scenes
from edge.cli_bench_acting import acting
from edge.cli_common import ConfigOption, JsonOption, SetOption, StateOption, err, home, out, print_json, say
from edge.console import latency_table, scenes_table
from edge.model_store import ModelStore

app = typer.Typer(
    help="Measure on this machine: motion, models, pipeline, faults, scenes, acting.", no_args_is_help=True
)
app.command()(acting)

ChampionOption = Annotated[str | None, typer.Option(metavar="BUNDLE", help="The model to time; default the champion.")]


@app.command()
def motion(
    data: Annotated[Path | None, typer.Option(help="Folder with CDnet's highway, to score against.")] = None,
    config: ConfigOption = None,
    overrides: SetOption = None,
    as_json: JsonOption = False,
) -> None:
    """Milliseconds per frame of the motion detector, and its score on CDnet highway where that is at hand."""
    chosen, _ = home(config, None, overrides)
    summary = bench_motion(data, chosen.motion)
    if as_json:
        print_json({"summary": summary})
        return
    out.print(latency_table({f"motion {' x '.join(map(str, summary['size']))}": summary["ms"]}))
    for name, value in (summary["highway"] or {"highway": summary.get("note")}).items():
        if not isinstance(value, dict):
            say(f"{name.replace('_', ' ')}: {value}")


@app.command()
def models(
    champion: ChampionOption = None,
    config: ConfigOption = None,
    state: StateOption = None,
    overrides: SetOption = None,
    as_json: JsonOption = False,
) -> None:
    """Milliseconds per question of one model, by threads, and the way there and back."""
    chosen, folder = home(config, state, overrides)
    store = ModelStore(folder, chosen.models)
    summary = bench_models(store.load(champion) if champion else store.champion())
    if as_json:
        print_json({"summary": summary})
        return
    say(summary["model"])
    for threads, figures in summary["threads"].items():
        say(f"{threads} threads, {figures['pss_mb']} MB")
        out.print(latency_table({"invoke": figures["invoke_ms"], "overhead": figures["overhead_ms"]}))


@app.command()
def pipeline(
    champion: ChampionOption = None,
    orders: Annotated[int, typer.Option(min=10, help="How many orders to time.")] = 2000,
    config: ConfigOption = None,
    state: StateOption = None,
    overrides: SetOption = None,
    as_json: JsonOption = False,
) -> None:
    """From the frame to the pin, dry, at real pace: overhead is pin less that event's own invoke."""
    changes = [f"models.champion={json.dumps(champion)}"] if champion else []
    chosen, folder = home(config, state, [*(overrides or ()), *changes])
    with tempfile.TemporaryDirectory(prefix="gander-bench-") as scratch, Progress(console=err, transient=True) as bar:
        task = bar.add_task("orders", total=orders)
        summary: dict[str, Any] = bench_pipeline(
            chosen, Path(scratch), folder, orders, lambda done, of: bar.update(task, completed=done, total=of)
        )
    if as_json:
        print_json({"summary": summary})
        return
    say(
        f"{summary['model']}: {summary['orders']} orders, {summary['dropped']} frames dropped, {summary['cores']} cores"
    )
    out.print(latency_table({"overhead": summary["overhead_ms"]} | summary["latency_ms"]))
    say(f"idle: {summary['idle_cpu_percent']} % of one core at 10 pictures a second")


@app.command()
def faults(
    runs: Annotated[int, typer.Option(min=1, max=100, help="How often each fault is tried.")] = 3,
    orders: Annotated[int, typer.Option(min=1, max=10_000, help="Of how many orders the time is taken.")] = 200,
    as_json: JsonOption = False,
) -> None:
    """How long the pin stays on when something breaks in mid-pulse: on recording pins, nothing real moves."""
    with Progress(console=err, transient=True) as bar:
        task = bar.add_task("faults", total=None)
        summary = bench_faults(runs, orders, progress=lambda done, of: bar.update(task, completed=done, total=of))
    if as_json:
        print_json({"summary": summary})
        return
    for fault, seconds in summary["stayed_on_s"].items():
        say(f"{fault:36} {'still on after the pulse' if seconds is None else f'{seconds:.3f} s'}")
    out.print(latency_table({"order to pin": summary["order_ms"]}))


@app.command()
def scenes(
    inputs: Annotated[
        list[Path] | None, typer.Argument(help="Real clips and tables, also played as by infrared.")
    ] = None,
    seeds: Annotated[int, typer.Option(min=0, max=1000, help="How many yards of each scene; 0: real ones only.")] = 2,
    seconds: Annotated[float, typer.Option(min=10.0, max=86400.0, help="How long each is watched.")] = 120.0,
    champion: ChampionOption = None,
    config: ConfigOption = None,
    state: StateOption = None,
    overrides: SetOption = None,
    as_json: JsonOption = False,
) -> None:
    """Hard light: who is recognised at night, in rain, among insects; what is taken for somebody that is not."""
    changes = [f"models.champion={json.dumps(champion)}"] if champion else []
    chosen, folder = home(config, state, [*(overrides or ()), *changes])
    with Progress(console=err, transient=True) as progress:
        task = progress.add_task("", total=None)

        def moved(name: str, done: int, of: int) -> None:
            progress.update(task, description=name, completed=done, total=of)

        summary = bench_scenes(chosen, folder, seeds, seconds, moved)
        summary["real"] = bench_real(chosen, folder, inputs or [], moved)
    if as_json:
        print_json({"summary": summary})
        return
    out.print(scenes_table(summary))
    for name, row in summary["real"].items():
        say(f"{name}: acted upon {row['by_day']} of {row['n']} as it is, {row['as_infrared']} made grey and noisy")
    say(f"untested: {', '.join(summary['untested'])}")
