"""The verb `effect`: whether the deterrents do anything. Reads only, also beside a daemon."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.table import Table

from edge.atomic import write_atomically
from edge.cli_common import ConfigOption, JsonOption, StateOption, home, out, print_json, say
from edge.cli_keep import moment
from edge.clock import iso
from edge.effect import Effect, Told, effect
from edge.effect_words import (
    as_json,
    count,
    figures_json,
    gone_in,
    left_out,
    opening,
    sentence,
    share,
    sparkline,
    who,
)
from edge.errors import Refused, StateError
from edge.stays import Season, read
from edge.values import Kind

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)

_NO_TRIAL = (
    "Without: visits in which a threat was there by all that is known, and nothing fired (observe, quiet hours, …). "
    "They were other days, so this is no trial."
)


@app.command(name="effect")
def tell(
    since: Annotated[str | None, typer.Option(help="2h, 7d, or a date.")] = None,
    back_within: Annotated[
        str,
        typer.Option("--back-within", metavar="MINUTES", help="Who comes within that time has come back: 10, 90s, 2h."),
    ] = "10",
    table: Annotated[
        Path | None, typer.Option("--csv", metavar="FILE", help="Each stay as a row of a new file.")
    ] = None,
    config: ConfigOption = None,
    state: StateOption = None,
    as_lines: JsonOption = False,
) -> None:
    """How soon threats leave when a deterrent fires, how many come back, and whether it wears off."""
    chosen, folder = home(config, state)
    labels = chosen.labels
    globs = {Kind.THREAT: labels.threat, Kind.RESIDENT: labels.resident, Kind.PERSON: labels.person}
    back_s = _back_s(back_within)
    season = read(folder, moment("--since", since), globs, chosen.visits.gap_s, chosen.visits.cap_s)
    found = effect(season, back_s)
    if table:
        _write(table, found)
    if as_lines:
        for one in found.told:
            print_json(row(one))
        print_json({"summary": _summary(found, season, back_s)})
    else:
        _show(found, season, back_s)
        if table:
            say(f"{table}: {count(len(found.told), 'stay')}")


def _back_s(text: str) -> float:
    match = re.fullmatch(r"(\d{1,6}(?:\.\d+)?)([smhd]?)", text)
    seconds = float(match[1]) * {"s": 1, "m": 60, "": 60, "h": 3600, "d": 86400}[match[2]] if match else 0.0
    if not 10.0 <= seconds <= 7 * 86400.0:
        raise Refused(f"--back-within {text}: give minutes, or a length of time from 10s to 7d as 90s, 15m, 2h")
    return seconds


def row(told: Told) -> dict[str, Any]:
    """A stay for programs and spreadsheets. Times are seconds; see `Told`."""
    stay = told.stay
    return {
        "label": stay.label,
        "corrected": stay.corrected,
        "camera": stay.camera,
        "started": _wall(stay.began),
        "ended": _wall(stay.ended),
        "left": stay.left,
        "blind_s": round(stay.blind_s, 3),
        "deterrent": stay.pulses[-1].deterrent if stay.pulses else None,
        "deterrents": list(told.deterrents),
        "pulses": len(stay.pulses),
        "leave_s": _rounded(told.leave_s),
        "after_first_s": _rounded(told.after_first_s),
        "after_last_s": _rounded(told.after_last_s),
        "held": stay.why,
        "without_s": _rounded(told.without_s),
        "returned": told.back,
        "returned_after_s": _rounded(told.back_s),
        "visits": list(stay.visits),
    }


def _rounded(seconds: float | None) -> float | None:
    return None if seconds is None else round(seconds, 3)


def _wall(epoch: float) -> str:
    return iso(datetime.fromtimestamp(epoch, UTC))


def _summary(found: Effect, season: Season, back_s: float) -> dict[str, Any]:
    findings = [as_json(finding, back_s) for finding in found.findings]
    ladders = [
        {"label": ladder.label, "deterrents": list(ladder.deterrents), **figures_json(ladder.figures)}
        for ladder in found.ladders
    ]
    return {
        "visits": sum(len(one.stay.visits) for one in found.told),
        "stays": len(found.told),
        "acted": sum(bool(one.stay.pulses) for one in found.told),
        "back_within_s": back_s,
        "findings": findings,
        "without": {label: figures_json(figures) for label, figures in found.alone.items()},
        "combinations": ladders,
        "left_out": {why: n for why, n in season.left_out.items() if n},
        "words": opening(found) or "; ".join(finding["words"] for finding in findings),
    }


def _write(path: Path, found: Effect) -> None:
    text = io.StringIO()
    columns = list(row(found.told[0])) if found.told else ["label"]
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(columns)
    writer.writerows([_cell(value) for value in row(one).values()] for one in found.told)
    try:
        write_atomically(path, text.getvalue().encode(), replace=False)
    except FileExistsError:
        raise Refused(f"--csv {path}: is there already; give another name") from None
    except OSError as error:
        raise StateError.of(error, f"--csv {path}: cannot be written: {error.strerror}") from None


def _cell(value: Any) -> Any:
    if isinstance(value, list):
        return " ".join(value)
    return "" if value is None else str(value).lower() if isinstance(value, bool) else value


def _show(found: Effect, season: Season, back_s: float) -> None:
    if words := opening(found):
        say(words)
    if found.told:
        out.print(_table(found))
    for finding in found.findings:
        say(sentence(finding, back_s))
    if any(finding.sureness is not None for finding in found.findings):
        say(_NO_TRIAL)
    if why := left_out(season.left_out):
        say(why)


def _table(found: Effect) -> Table:
    table = Table(box=None, pad_edge=False, header_style="dim")
    for name in ("threat", "deterrent", "n", "gone in", "came back", "by week"):
        table.add_column(name, justify="right" if name == "n" else "left")
    labels: Sequence[str] = list(found.alone)
    for label in labels:
        for finding in found.findings:
            if finding.label == label:
                mine = finding.figures
                weeks = sparkline(finding.weeks)
                table.add_row(who(label), finding.deterrent, str(mine.n), gone_in(mine), share(mine), weeks)
        for ladder in found.ladders:
            if ladder.label == label:
                names, mine = ", then ".join(ladder.deterrents), ladder.figures
                table.add_row(who(label), names, str(mine.n), gone_in(mine), share(mine), "", style="dim")
        alone = found.alone[label]
        if alone.n:
            table.add_row(who(label), "none", str(alone.n), gone_in(alone), share(alone), "", style="dim")
    return table
