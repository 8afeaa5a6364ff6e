"""Decides on a reboot: exit status 0 lets systemd reboot (see systemd/gander-reboot.service), 1 refuses.

`python -m edge.reboot --request GLOB [--kept FILE]`. It imports little, and needs no rights.
"""

from __future__ import annotations

import argparse
import json
import logging
import sys
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

from edge.atomic import write_atomically
from edge.clock import boot_id
from edge.errors import Refused

log = logging.getLogger(__name__)

KEPT = Path("/var/lib/gander-reboot/reboots.jsonl")
TOLD = "reboots.told"
"""In the state directory: when the last reboot was of which the journal tells."""
APART, IN_ALL, MOST = timedelta(hours=6), timedelta(days=7), 3
_KEPT = 20  # lines
_LONGEST = 200  # characters of a reason


@dataclass(frozen=True, slots=True)
class Reboot:
    """One that was let through. `boot`: the id of the boot it ended."""

    wall: str
    boot: str
    why: str


def wanted(request: str) -> str:
    """Why a reboot is wanted, one line; of the files that `request` matches the newest says so.

    Raises `Refused` where nobody wants it.
    """
    try:
        newest = max(Path("/").glob(request.lstrip("/")), key=lambda path: path.stat().st_mtime)
        with newest.open(encoding="utf-8", errors="replace") as file:
            line = file.readline(_LONGEST)
    except (OSError, ValueError) as error:
        raise Refused(f"{request}: nobody asked for it: {error}") from None
    why = "".join(letter if letter.isprintable() else " " for letter in line).strip()
    if not why:
        raise Refused(f"{request}: it must say why, in one line")
    return why


def against(past: Sequence[Reboot], now: datetime, boot: str) -> str:
    """What speaks against one more; "" if nothing does. Pure.

    By the wall clock, which a Pi without a battery keeps over a reboot but not while it is off: so it is never too
    soon, at worst too late. What seems to come from the future is counted as of now.
    """
    if any(one.boot == boot for one in past):
        return "one was let through in this boot already, and has not come about"
    ages = [max(now - datetime.fromisoformat(one.wall), timedelta()) for one in past]
    if ages and min(ages) < APART:
        return f"the last one was less than {APART // timedelta(hours=1)} hours ago"
    if sum(age < IN_ALL for age in ages) >= MOST:
        return f"there were {MOST} within {IN_ALL.days} days"
    return ""


def read(kept: Path) -> list[Reboot]:
    """Those that were let through, the oldest first; a line that is damaged is one that was."""
    try:
        lines = kept.read_text(encoding="utf-8", errors="replace").splitlines()
    except FileNotFoundError:
        return []
    found = []
    for line in lines:
        try:
            one = Reboot(**json.loads(line))
            datetime.fromisoformat(one.wall) - datetime.now(UTC)
            found.append(one)
        except (ValueError, TypeError):
            found.append(Reboot(datetime.now(UTC).isoformat(), "", "unreadable"))
    return found


def decide(request: str, kept: Path) -> str:
    """Why the machine may be rebooted; that is kept before it happens. Raises `Refused`, `OSError`."""
    why, past, now = wanted(request), read(kept), datetime.now(UTC)
    refusal = against(past, now, boot_id())
    if refusal:
        raise Refused(f"wanted, because {why}; but {refusal}")
    past.append(Reboot(now.isoformat(timespec="seconds"), boot_id(), why))
    lines = "".join(json.dumps(asdict(one)) + "\n" for one in past[-_KEPT:])
    write_atomically(kept, lines.encode())
    return why


def tell(told: Path, say: Callable[[list[dict[str, str]]], None], kept: Path = KEPT) -> None:
    """Say of each reboot, once, that it was done and why: nobody could before it. `told`: a file that remembers."""
    try:
        last = _moment(told)
        news = [one for one in read(kept) if one.boot and one.wall > last]
        for one in news:
            what = f"the machine was rebooted at {one.wall}: {one.why}"
            say([{"what": what, "advice": "nothing, unless it comes to that again; the log says more"}])
        if news:
            write_atomically(told, news[-1].wall.encode(), 0o640)
    except OSError as error:
        log.warning("of reboots nothing can be told: %s", error)


def _moment(told: Path) -> str:
    """What the file remembers; "" where there is none, or it is damaged."""
    try:
        last = told.read_text(encoding="utf-8", errors="replace").strip()
        datetime.fromisoformat(last)
    except (FileNotFoundError, ValueError):
        return ""
    return last


def main(arguments: Sequence[str]) -> int:
    """Exit status 0: it may be; 1: refused, or the budget cannot be kept; and why, in one line."""
    parser = argparse.ArgumentParser(prog="gander-reboot")
    parser.add_argument("--request", required=True)
    parser.add_argument("--kept", type=Path, default=KEPT)
    chosen = parser.parse_args(arguments)
    try:
        sys.stderr.write(f"reboot: {decide(chosen.request, chosen.kept)}\n")
    except (Refused, OSError) as error:
        sys.stderr.write(f"no reboot: {error}\n")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
