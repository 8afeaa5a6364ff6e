"""Beside the live path: the events that wait in a state directory are sent to a broker, over and over.

    python -m tests.lab.drain STATE PORT PASSWORD_FILE

Each time a copy of STATE, whose publisher owes events, is delivered by a `gander publish` of its own.
"""

from __future__ import annotations

import shutil
import sys
import tempfile
from pathlib import Path

from edge.journal import EVENTS, events_after, reader
from tests.lab.mosquitto import ended, feed, place
from tests.mqtt import until


def main() -> None:
    state, port, secret = Path(sys.argv[1]), int(sys.argv[2]), sys.argv[3]
    with reader(state / EVENTS) as connection:
        last = events_after(connection, 0, 10**6)[-1][1]["id"]
    while True:
        with tempfile.TemporaryDirectory(prefix="gander-drain-") as folder:
            copy = Path(shutil.copytree(state, Path(folder) / "state", ignore=shutil.ignore_patterns("*.sock")))
            process = feed(copy, port, secret)
            until(lambda copy=copy: place(copy) == last, 600)  # type: ignore[misc]
            ended(process)


if __name__ == "__main__":
    main()
