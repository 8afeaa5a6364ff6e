"""A state directory with something of everything that is precious, and what is in one."""

from __future__ import annotations

import hashlib
import os
import sqlite3
from contextlib import closing
from pathlib import Path

from edge import keys
from tests.edge.test_export import Shelf


def stocked(state: Path) -> Shelf:
    """Visits, one of them labelled, one of a person; a mode, keys, models."""
    shelf = Shelf(state)
    labelled, _ = shelf.visit(0), shelf.visit(1, person=1)
    shelf.said("jay", labelled["visit"])
    shelf.owner.execute("INSERT INTO setting VALUES ('mode', 'armed')")
    shelf.owner.commit()
    keys.load_or_generate(shelf.state / "device.key")
    for name in ("models/colours-1.gander", "models/roles.json", "keys/laptop.pub"):
        path = shelf.state / name
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(os.urandom(3000))
    return shelf


def content(state: Path) -> dict[str, str]:
    """Every file but databases by its checksum, and the databases by what is in them."""
    found = {}
    for path in sorted(state.rglob("*")):
        name = str(path.relative_to(state))
        if path.suffix == ".db":
            with closing(sqlite3.connect(path)) as connection:
                found[name] = hashlib.sha256("\n".join(connection.iterdump()).encode()).hexdigest()
        elif path.is_file() and path.suffix not in (".db-wal", ".db-shm", ".lock") and path.name != "lock":
            found[name] = hashlib.sha256(path.read_bytes()).hexdigest()
    return found
