"""A backup back into a state directory: all of it checked before anything is touched, and nothing lost."""

from __future__ import annotations

import json
import os
import shutil
import sqlite3
import tarfile
import tempfile
from contextlib import ExitStack, closing, suppress
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path, PurePosixPath
from typing import Any

from edge.atomic import sync
from edge.backup import ALLOWED, CONFIG, DATABASES, FORMAT, KEY, MANIFEST, Hashing
from edge.database import EVENTS, OWNER, connect, reader
from edge.errors import GanderError, Refused, StateError
from edge.journal import lock
from edge.values import Mode

LOCKS = ("lock", "publish.lock")
_MOST_MANIFEST = 256 * 2**20  # bytes
_GZIP = b"\x1f\x8b"
_SHUT_OFF = ("pictures", "models", "keys")  # from what publishes, by its unit, which can do so where they are


@dataclass(frozen=True, slots=True)
class Restored:
    """What came back. `before`: where the former state lies now, `config`: where the configuration that was in use;
    each empty where there was none."""

    node: str
    wall: str
    files: int
    bytes: int
    mode: str
    before: str
    config: str


def restore(state: Path, file: Path, force: bool = False) -> Restored:
    """Put a backup in the place of a state directory. The former state is moved aside, never deleted.

    Raises `Refused` for a file that is cut, altered, newer or no backup, for a state that holds a journal unless
    `force`, and for one in which a folder is a mount point; `StateError` while a daemon runs there, or where the disk
    refuses.
    """
    state = state.resolve()  # of a link the folder is replaced, and the link stays
    mounts = _mounts(state)
    fixed = os.path.ismount(state) or "." in mounts
    if mounts and not fixed:  # it would move along, and hide what comes back there as soon as it is mounted anew
        raise Refused(f"{state / mounts[0]}: is a mount point; unmount it, restore, and move what came back onto it")
    if not force and (state / EVENTS).exists():
        aside = "before-… in it" if fixed else f"{state.name}.before-…"
        raise Refused(f"{state}: holds a journal already; --force moves it aside first, to {aside}")
    if not file.is_file():
        raise Refused(f"{file}: there is no such file")
    try:
        state.parent.mkdir(parents=True, exist_ok=True)
        with ExitStack() as stack:
            if state.exists():
                for name in LOCKS:
                    stack.callback(os.close, lock(state, name))
            home = state if fixed else state.parent
            name = stack.enter_context(tempfile.TemporaryDirectory(prefix=f".{state.name}.", dir=home))
            staged = Path(name) / "state"
            staged.mkdir()
            manifest = _unpack(file, staged)
            mode = _examine(file, staged)
            _belong(staged, state)
            for folder in (staged, *(path for path in staged.rglob("*") if path.is_dir())):
                sync(folder)
            before = _exchange(state, staged) if fixed else _replace(state, staged)
            sync(home)
    except OSError as error:
        where = f"{error.filename}: " if error.filename else ""
        raise StateError.of(error, f"{state}: not restored: {where}{error.strerror or error}") from None
    sizes = [entry["bytes"] for entry in manifest["files"].values()]
    node, wall = str(manifest.get("node", "")), str(manifest.get("wall", ""))
    config = str(state / CONFIG) if CONFIG in manifest["files"] else ""
    return Restored(node, wall, len(sizes), sum(sizes), mode, str(before or ""), config)


def _unpack(file: Path, staged: Path) -> dict[str, Any]:
    """Write the members into an empty folder, each checked. Returns the manifest."""
    size = file.stat().st_size
    if size > (free := shutil.disk_usage(staged).free):
        raise Refused(f"{staged.parent.parent}: {free / 1e6:.0f} MB are free there, the backup needs {size / 1e6:.0f}")
    found: dict[str, dict[str, Any]] = {}
    try:
        with file.open("rb") as raw:
            if raw.read(2) == _GZIP:
                raise Refused(f"{file}: is compressed, and a backup is not; `gunzip` it first")
        with file.open("rb") as raw, tarfile.open(fileobj=raw, mode="r:") as tar:
            for member in tar:
                if MANIFEST in found:
                    raise Refused(f"{file}: something follows its manifest: not a backup of ours, or altered")
                found[member.name] = _member(file, tar, member, staged, found)
            whole = -(-(tar.offset + 2 * tarfile.BLOCKSIZE) // tarfile.RECORDSIZE) * tarfile.RECORDSIZE
    except (tarfile.TarError, EOFError, ValueError) as error:
        if isinstance(error, GanderError):
            raise
        raise Refused(f"{file}: not a backup of ours, or damaged: {error}") from None
    if found.pop(MANIFEST, None) is None:
        raise Refused(f"{file}: cut short, or not a backup of ours: it has no manifest")
    manifest = _manifest(file, staged / MANIFEST)
    for name in sorted(manifest["files"].keys() | found.keys()):
        if manifest["files"].get(name) != found.get(name):
            raise Refused(f"{file}: {name!r} is not what the manifest says: altered, or cut")
    if size != whole:
        raise Refused(f"{file}: {size} bytes, should be {whole}: cut, or something was added")
    (staged / MANIFEST).unlink()
    return manifest


def _member(
    file: Path, tar: tarfile.TarFile, member: tarfile.TarInfo, staged: Path, found: dict[str, dict[str, Any]]
) -> dict[str, Any]:
    """Write one member, if it is a plain file of a name we know. Returns its checksum and size."""
    if not ALLOWED.fullmatch(member.name):
        raise Refused(f"{file}: has {member.name[:80]!r}, which is nothing a backup holds: nothing was restored")
    if not member.isreg() or member.issparse():
        raise Refused(f"{file}: {member.name!r} is a link, folder or device, not a plain file: nothing was restored")
    if member.name in found:
        raise Refused(f"{file}: {member.name!r} is in it twice: nothing was restored")
    target = staged / member.name
    target.parent.mkdir(parents=True, exist_ok=True)
    source = tar.extractfile(member)
    if source is None:
        raise Refused(f"{file}: {member.name!r} cannot be read")
    with source, target.open("xb") as copy:
        hashing = Hashing(source)
        shutil.copyfileobj(hashing, copy)
        os.fchmod(copy.fileno(), 0o600 if member.name == KEY else 0o660)
        copy.flush()
        os.fsync(copy.fileno())
        return {"sha256": hashing.hexdigest(), "bytes": copy.tell()}


def _manifest(file: Path, path: Path) -> dict[str, Any]:
    """What the backup says of itself. Raises `Refused`."""
    if path.stat().st_size > _MOST_MANIFEST:
        raise Refused(f"{file}: its manifest is larger than any of ours")
    try:
        manifest = json.loads(path.read_bytes())
    except (ValueError, RecursionError):
        raise Refused(f"{file}: its manifest cannot be read: altered") from None
    number = manifest.get("format") if isinstance(manifest, dict) else None
    if not isinstance(number, int) or not isinstance(manifest.get("files"), dict):
        raise Refused(f"{file}: its manifest is not one of ours")
    if number != FORMAT:
        raise Refused(
            f"{file}: made by a newer gander ({str(manifest.get('gander'))[:20]}, format {number}; this one knows "
            f"{FORMAT}); update this one"
        )
    return dict(manifest)


def _examine(file: Path, staged: Path) -> str:
    """Whether the databases can be used here. Returns the mode it was in; it begins in observe, as any new one."""
    mode = ""
    for name in DATABASES:
        path = staged / name
        if not path.exists():
            if name in (EVENTS, OWNER):
                raise Refused(f"{file}: has no {name}")
            continue
        try:
            with closing(sqlite3.connect(path)) as connection:
                if connection.execute("PRAGMA quick_check(1)").fetchone()[0] != "ok":
                    raise Refused(f"{file}: {name} in it is damaged")
            with reader(path) as connection:
                if name == OWNER:
                    row = connection.execute("SELECT value FROM setting WHERE name = 'mode'").fetchone()
                    mode = str(row[0]) if row else Mode.OBSERVE.value
            if name == OWNER:
                with closing(sqlite3.connect(path)) as connection, connection:
                    connection.execute("DELETE FROM setting WHERE name = 'mode'")
                    connection.execute("INSERT INTO setting VALUES ('mode', ?)", (Mode.OBSERVE.value,))
        except sqlite3.Error as error:
            raise Refused(f"{file}: {name} in it cannot be used: {error}") from None
        except StateError as error:
            raise Refused(f"{file}: {name} in it cannot be used: {str(error).removeprefix(f'{path}: ')}") from None
    return mode


def _belong(staged: Path, state: Path) -> None:
    """What is restored belongs to whom the state belonged, so that the daemon's own user can go on with it."""
    there = state.stat() if state.exists() else None
    staged.chmod(there.st_mode & 0o7777 if there else 0o2770)
    for name in _SHUT_OFF:
        (staged / name).mkdir(exist_ok=True)
    for path in (staged, *staged.rglob("*")):
        if path.is_dir() and path != staged:
            path.chmod(0o2750 if path == staged / "keys" else 0o2770)
        if there:
            with suppress(PermissionError):  # only root gives files away; others restore what is theirs
                os.chown(path, there.st_uid, there.st_gid)


def _replace(state: Path, staged: Path) -> Path | None:
    """Two renames; if the second fails, the first is taken back. Returns where the former state is, if it held any."""
    if not state.exists():
        staged.rename(state)
        return None
    before = state.with_name(f"{state.name}.{_before()}")
    state.rename(before)
    try:
        staged.rename(state)
    except OSError:
        before.rename(state)
        raise
    if {path.name for path in before.iterdir()} <= {*LOCKS}:
        shutil.rmtree(before)
        return None
    return before


def _mounts(state: Path) -> list[str]:
    """Where in the folder something is mounted, `.` where it is the folder itself.

    A folder bound from elsewhere on the same disk looks like any other.
    """
    shown = str(state).translate({ord(letter): f"\\{ord(letter):03o}" for letter in " \t\n\\"})
    try:
        mounts = Path("/proc/self/mountinfo").read_text(encoding="utf-8", errors="surrogateescape")
    except OSError:  # not Linux
        return []
    places = [PurePosixPath(line.split(" ")[4]) for line in mounts.split("\n") if line]
    return [str(place.relative_to(shown)) for place in places if place.is_relative_to(shown)]


def _exchange(state: Path, staged: Path) -> Path | None:
    """The same for a mount point, which cannot be renamed: what is in it, name by name, and back if one fails.

    Cut in the middle, all of both is still there: the former state in the folder returned, or on the way to it.
    """
    for name in DATABASES:  # a log must not be parted from its database
        with suppress(sqlite3.Error):
            if (state / f"{name}-wal").exists():
                with connect(state / name):
                    pass
    before = state / _before()
    stays = {*LOCKS, staged.parent.name, "lost+found"}
    former = [path for path in state.iterdir() if path.name not in stays and not path.name.startswith("before-")]
    moves = [(path, before / path.name) for path in former] + [(path, state / path.name) for path in staged.iterdir()]
    with ExitStack() as back:
        if former:
            before.mkdir(0o2770)
            back.callback(before.rmdir)
        for path, target in moves:
            path.rename(target)
            back.callback(target.rename, path)
        back.pop_all()
    if not former:
        return None
    sync(before)
    return before


def _before() -> str:
    return f"before-{datetime.now().astimezone():%Y%m%d-%H%M%S-%f}"
