"""The README's fault table: `python -m tests.faults` breaks the pin guard and the firmware of a Pico, in every way."""

from __future__ import annotations

import sys
from typing import Any

from edge.bench_faults import bench_faults
from tests.beds import pico_bed


def measure(runs: int, pulses: int = 100) -> dict[str, dict[str, Any]]:
    """`bench_faults` of each controller."""
    return {"guard": bench_faults(runs, pulses), "Pico": bench_faults(runs, pulses, make_bed=pico_bed)}


def main(runs: int) -> None:
    found = measure(runs)
    say = sys.stdout.write
    say("| fault in a pulse of 5 s | guard: on for | off after the fault | Pico: on for | off after the fault |\n")
    say("|---|---|---|---|---|\n")
    for fault in found["guard"]["on_s"] | found["Pico"]["on_s"]:
        cells = [_cell(found[of][what], fault) for of in found for what in ("on_s", "stayed_on_s")]
        say(f"| {fault} | {' | '.join(cells)} |\n")
    for of, summary in found.items():
        say(f"order to acknowledgement, {of}: {summary['order_ms']}\n")


def _cell(figures: dict[str, float | None], fault: str) -> str:
    if fault not in figures:
        return "–"
    seconds = figures[fault]
    return "**without limit**" if seconds is None else f"{seconds:.2f} s"


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 1)
