"""What lies in the state directory, looked over for `gander doctor`: secrets, keys, models, databases, pictures."""

from __future__ import annotations

import fcntl
import hashlib
import os
import sqlite3
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from edge.bundle import verify
from edge.config import Config, PolicyConfig
from edge.database import DELIVERIES, EVENTS, OWNER, reader
from edge.errors import GanderError, StateError
from edge.health import Finding
from edge.model_store import ModelStore
from edge.retention import FOLDER
from edge.values import Mode

_TABLES = {EVENTS: ("event", "events"), OWNER: ("label", "labels"), DELIVERIES: ("delivery", "deliveries")}
_DAMAGED = "`gander restore --force` brings back a backup, and keeps what is here aside"


def closed(state: Path) -> Finding | None:
    """A state directory this user may not look into, so that nothing else can be said."""
    try:
        if not state.exists() or os.access(state, os.R_OK | os.X_OK):
            return None
    except PermissionError:
        pass
    return Finding("problem", "state", f"{state} is closed to you", "run it as `sudo gander doctor`")


def taken(state: Path) -> bool:
    """Whether a process holds the state directory for itself, as a daemon does from its first moment to its last."""
    try:
        fd = os.open(state / "lock", os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        return False
    try:
        fcntl.flock(fd, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(fd)
    return False


def secrets(config: Config, state: Path) -> Iterator[Finding]:
    """Files that only few may read."""
    named = {"mqtt.password_file": config.mqtt.password_file, "mqtt.key": config.mqtt.key}
    named |= {"x.credentials": config.x.credentials}
    named |= {f"notify {notify.name} urls_file": notify.urls_file for notify in config.notify}
    named |= {f"camera {camera.id} credentials": camera.credentials for camera in config.camera}
    named["device key"] = str(state / "device.key") if (state / "device.key").exists() else ""
    for name, path in named.items():
        if not path:
            continue
        try:
            mode = Path(path).stat().st_mode
        except PermissionError:
            yield Finding("advice", name, f"{path} is closed to you", "`sudo gander doctor` looks at it, too")
            continue
        except OSError as error:
            yield Finding(
                "problem", name, f"{path}: {error.strerror}", "write it, or mend the path in the configuration"
            )
            continue
        if mode & 0o007:
            yield Finding("problem", name, f"everybody here may read {path}", f"`chmod o= {path}`")
        else:
            yield Finding("ok", name, "only who must can read it")


def bundles(config: Config, state: Path, full: bool) -> Iterator[Finding]:
    """Keys and installed bundles; `full`: each verified. Raises `GanderError` for a trusted key that is none."""
    store = ModelStore(state, config.models)
    known, found, bad = store.trusted(), store.installed(), 0
    for installed in found if full else ():
        try:
            verify(installed.path, known, config.models.allow_unsigned)
        except GanderError as error:
            bad += 1
            yield Finding("problem", "installed model", str(error), "delete this file, and install the model again")
    if found and not bad:
        says = f"{len(found)}{', each as it was signed' if full else ''}"
        yield Finding("ok", "installed models", f"{says}; {len(known)} keys are trusted")


def mode(policy: PolicyConfig, state: Path) -> Finding:
    """What a daemon would do if it were started now."""
    wanted = policy.initial_mode
    if (state / OWNER).exists():
        with reader(state / OWNER) as connection:
            row = connection.execute("SELECT value FROM setting WHERE name = 'mode'").fetchone()
        wanted = row[0] if row else wanted
    return mode_found(wanted)


def mode_found(wanted: str) -> Finding:
    """What a mode means."""
    if wanted == Mode.ARMED:
        return Finding("ok", "mode", "armed: threats are acted upon")
    if wanted == Mode.MAINTENANCE:
        return Finding(
            "advice", "mode", "maintenance: only `gander fire --test` fires", "when you are done: `gander arm`"
        )
    return Finding("advice", "mode", "observe: nothing fires", "when `gander visits` looks right: `gander arm`")


def databases(state: Path, full: bool) -> Iterator[Finding]:
    """Whether each can be read; `full`: all of it."""
    for name, (table, things) in _TABLES.items():
        if not (state / name).exists():
            if name != DELIVERIES:  # many publish nothing
                yield Finding("ok", name, "not begun yet")
            continue
        try:
            with reader(state / name) as connection:
                count = connection.execute(f"SELECT count(*) FROM {table}").fetchone()[0]  # noqa: S608  # one of three
                said = connection.execute("PRAGMA quick_check(1)").fetchone()[0] if full else "ok"
        except StateError as error:
            says, _, advice = str(error).partition("; ")
            yield Finding("problem", name, says, advice or _DAMAGED)
            continue
        except sqlite3.Error as error:
            yield Finding("problem", name, str(error), _DAMAGED)
            continue
        if said == "ok":
            yield Finding("ok", name, f"{count} {things}{', all pages sound' if full else ''}")
        else:
            yield Finding("problem", name, f"damaged: {said}", _DAMAGED)


def pictures(state: Path, pause: Callable[[float], None] = time.sleep) -> Iterator[Finding]:
    """Whether each picture is what was written. Raises `StateError` where the journal cannot be read."""
    if not (state / EVENTS).exists():
        return
    with reader(state / EVENTS) as connection:
        rows = connection.execute("SELECT path, sha256 FROM picture").fetchall()
    bad = missing = 0
    for number, (path, sha256) in enumerate(rows):
        try:
            bad += hashlib.sha256((state / FOLDER / path).read_bytes()).hexdigest() != sha256
        except (OSError, ValueError):  # gone; or no path at all: the row is damaged
            missing += 1
        if number % 50 == 0:
            pause(0.01)  # the live path is more important
    if bad or missing:
        yield Finding(
            "problem", "pictures", f"of {len(rows)}: {bad} altered, {missing} missing", "is the card dying? back up now"
        )
    else:
        yield Finding("ok", "pictures", f"{len(rows)}, all as written")
