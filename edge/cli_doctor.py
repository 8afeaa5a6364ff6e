"""`gander doctor`: looks everything over, and says what to do."""

from __future__ import annotations

from dataclasses import asdict
from typing import Annotated

import typer
from rich.table import Table
from rich.text import Text

from edge.cli_common import ConfigOption, JsonOption, SetOption, StateOption, give_way, home, out, print_json, say
from edge.doctor import examine
from edge.health import Finding

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)

_STYLE = {"ok": ("✓", "green"), "advice": ("→", "yellow"), "problem": ("✗", "bold red")}


@app.command()
def doctor(
    full: Annotated[bool, typer.Option("--full", help="Also read all of the journal and every picture.")] = False,
    config: ConfigOption = None,
    state: StateOption = None,
    overrides: SetOption = None,
    as_json: JsonOption = False,
) -> None:
    """Look everything over, and say what to do. Exit status 1 where something is broken. Moves and writes nothing."""
    if full:
        give_way()
    chosen, folder = home(config, state, overrides)
    counts = {"ok": 0, "advice": 0, "problem": 0}
    for finding in examine(chosen, folder, full):
        counts[finding.level] += 1
        if as_json:
            print_json(asdict(finding))
        else:
            out.print(_shown(finding))
    if as_json:
        print_json({"summary": counts})
    elif counts["problem"]:
        say(f"\n{counts['problem']} to mend, {counts['advice']} to think about")
    else:
        say(f"\nnothing is broken; {counts['advice']} to think about")
    raise typer.Exit(1 if counts["problem"] else 0)


def _shown(finding: Finding) -> Table:
    sign, style = _STYLE[finding.level]
    table = Table.grid(padding=(0, 1))
    table.add_column(width=1)
    table.add_column(width=18)
    table.add_column()
    text = Text(finding.says)
    if finding.advice:
        text.append(f"\n{finding.advice}", style="italic" if finding.level == "advice" else "italic bold")
    table.add_row(Text(sign, style=style), Text(finding.what, style="bold"), text)
    return table
