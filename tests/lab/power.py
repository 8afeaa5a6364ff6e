"""What a power cut leaves: a recorded life of a state directory, up to any moment, less what was not made durable.

The model is a strict one. What a file holds is durable once it was synced, and a name once its folder was; of what was
written since, nothing, all of it, or any sectors of it survive, and of each folder's changes any first ones.
"""

from __future__ import annotations

import random
import re
import shutil
import struct
import subprocess
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path

SOURCE = Path(__file__).with_name("cut.c")
SECTOR = 512
_MEMORY = b"-shm"  # shared memory, which readers make as well, and nobody reads after a cut
_HALF = re.compile(r"^\.(.+)\.\w{8}$")  # a file while `atomic` writes it
_HEAD = struct.Struct("<IIIIQq")
CREATE, WRITE, TRUNCATE, SYNC, RENAME, UNLINK, LINK, MKDIR, RMDIR = range(1, 10)


def compile_recorder(folder: Path) -> Path | None:
    """The recorder as a library for LD_PRELOAD; None where no compiler is."""
    compiler, library = shutil.which("cc") or shutil.which("gcc"), folder / "cut.so"
    if not compiler:
        return None
    subprocess.run([compiler, "-shared", "-fPIC", "-O2", "-o", library, SOURCE, "-ldl"], check=True)
    return library


def recording(library: Path, state: Path, log: Path) -> dict[str, str]:
    """The environment of processes whose writes under `state` are to be recorded."""
    return {"LD_PRELOAD": str(library), "CUT_STATE": str(state), "CUT_LOG": str(log)}


@dataclass(frozen=True, slots=True)
class Op:
    """One change; `at` is an offset or a size, `end` the place in the log behind it."""

    kind: int
    inode: int
    at: int
    path: str
    other: str
    data: bytes
    end: int


def read(log: Path) -> list[Op]:
    """Everything that was recorded, in order; what the kill left half noted was not done."""
    data, at, found = log.read_bytes(), 0, []
    while at + _HEAD.size <= len(data):
        kind, *sizes, inode, offset = _HEAD.unpack_from(data, at)
        ends = [at + _HEAD.size]
        for size in sizes:
            ends.append(ends[-1] + size)
        if ends[-1] > len(data):
            break
        path, other, written = (data[begin:end] for begin, end in pairwise(ends))
        at = ends[-1]
        if not path.endswith(_MEMORY):
            found.append(Op(kind, inode, offset, path.decode(), other.decode(), written, at))
    return found


@dataclass(slots=True)
class File:
    durable: bytes = b""
    pending: list[Op] = field(default_factory=list)


@dataclass(slots=True)
class Folder:
    durable: dict[str, File | Folder] = field(default_factory=dict)
    now: dict[str, File | Folder] = field(default_factory=dict)
    pending: list[tuple[str, File | Folder | None]] = field(default_factory=list)

    def put(self, name: str, what: File | Folder | None) -> None:
        """A name is given, or taken away."""
        self.pending.append((name, what))
        _put(self.now, name, what)


def _put(entries: dict[str, File | Folder], name: str, what: File | Folder | None) -> None:
    if what is None:
        entries.pop(name, None)
    else:
        entries[name] = what


class Card:
    """The card that holds a state directory: what is on it, and what would be after a cut."""

    def __init__(self, state: Path, before: Path | None) -> None:
        """`before`: what was there, durably, when the record begins."""
        self._state, self._inodes = state.resolve(), dict[int, File]()
        self._root = self._load(before) if before else Folder()

    def _load(self, place: Path) -> Folder:
        folder = Folder()
        for path in place.iterdir():
            folder.durable[path.name] = self._load(path) if path.is_dir() else File(path.read_bytes())
        folder.now = dict(folder.durable)
        return folder

    def apply(self, op: Op) -> None:
        if op.kind == SYNC:
            self._sync(op)
        elif op.kind in (WRITE, TRUNCATE):
            file = self._file(op)
            if file:
                file.pending.append(op)
        else:
            self._name(op)

    def _sync(self, op: Op) -> None:
        if op.at:
            folder = self._find(op.path)
            assert isinstance(folder, Folder), op.path
            folder.durable, folder.pending = dict(folder.now), []
        elif file := self._file(op):
            file.durable, file.pending = _played(file.durable, file.pending), []

    def _name(self, op: Op) -> None:
        folder, name = self._split(op.path)
        if op.kind == CREATE:
            self._inodes[op.inode] = made = File()
            folder.put(name, made)
        elif op.kind == MKDIR:
            folder.put(name, Folder())
        elif op.kind in (UNLINK, RMDIR):
            self._forget(folder.now.get(name))
            folder.put(name, None)
        else:
            target, new = self._split(op.other)
            self._forget(target.now.get(new))
            target.put(new, folder.now[name])
            if op.kind == RENAME:
                folder.put(name, None)

    def _forget(self, gone: File | Folder | None) -> None:
        """The number of a file that has lost its name may be given to another, which a reader makes unrecorded."""
        self._inodes = {inode: file for inode, file in self._inodes.items() if file is not gone}

    def _file(self, op: Op) -> File | None:
        """The open file of a change; by its name at first, then by its number, since names change."""
        if op.inode not in self._inodes and not op.path.endswith(" (deleted)"):
            folder, name = self._split(op.path)
            if name not in folder.now:
                folder.put(name, File())  # by a reader, who is not recorded: SQLite's log, empty
            found = folder.now[name]
            assert isinstance(found, File), op.path
            self._inodes[op.inode] = found
        return self._inodes.get(op.inode)

    def _find(self, path: str) -> File | Folder:
        at: File | Folder = self._root
        for part in Path(path).relative_to(self._state).parts:
            assert isinstance(at, Folder)
            at = at.now[part]
        return at

    def _split(self, path: str) -> tuple[Folder, str]:
        parent = self._find(str(Path(path).parent))
        assert isinstance(parent, Folder)
        return parent, Path(path).name

    def cut(self, image: Path, rng: random.Random) -> None:
        """Write what a cut would leave now into an empty folder."""
        mood = rng.choice(("nothing", "all", "some", "some"))
        for name, what in _survivors(self._root, image, mood, rng):
            name.parent.mkdir(parents=True, exist_ok=True)
            if isinstance(what, Folder):
                name.mkdir(exist_ok=True)
            else:
                name.write_bytes(_torn(what, mood, rng))
            if name.suffix == ".db":  # of its shared memory whatever happened to be written back
                name.with_name(f"{name.name}{_MEMORY.decode()}").write_bytes(rng.randbytes(rng.choice((0, 3, 32768))))


def _survivors(folder: Folder, place: Path, mood: str, rng: random.Random) -> Iterator[tuple[Path, File | Folder]]:
    entries, most = dict(folder.durable), len(folder.pending)
    for name, what in folder.pending[: {"nothing": 0, "all": most}.get(mood, rng.randint(0, most))]:
        _put(entries, name, what)
    for name, what in entries.items():
        yield place / name, what
        if isinstance(what, Folder):
            yield from _survivors(what, place / name, mood, rng)


def _torn(file: File, mood: str, rng: random.Random) -> bytes:
    if mood == "nothing" or not file.pending:
        return file.durable
    return _played(file.durable, file.pending, None if mood == "all" else rng)


def _played(data: bytes, ops: Sequence[Op], rng: random.Random | None = None) -> bytes:
    """What becomes of a file; with `rng`, of each sector written it is left to chance."""
    room = bytearray(data)
    for op in ops:
        if op.kind == TRUNCATE:
            if rng is None or rng.random() < 0.5:
                del room[op.at :]
                room.extend(bytes(op.at - len(room)))
            continue
        end = op.at + len(op.data)
        sectors = range(op.at - op.at % SECTOR, end, SECTOR)
        for sector in sectors:
            if rng is None or rng.random() < 0.5:
                first, last = max(sector, op.at), min(sector + SECTOR, end)
                room.extend(bytes(max(last - len(room), 0)))
                room[first:last] = op.data[first - op.at : last - op.at]
    return bytes(room)


def written(ops: Sequence[Op], state: Path) -> dict[str, tuple[int, int]]:
    """Who writes what: bytes and syncs by what a file is for."""
    size, syncs = Counter[str](), Counter[str]()
    for op in ops:
        parts = Path(op.path.removesuffix(" (deleted)")).relative_to(state.resolve()).parts
        name = re.sub(_HALF, r"\1", parts[0]) if parts else "(the folder itself)"
        size[name] += len(op.data)
        syncs[name] += op.kind == SYNC
    return {name: (size[name], syncs[name]) for name in sorted(size | syncs)}


def images(
    state: Path, before: Path | None, ops: Sequence[Op], moments: Sequence[int], folder: Path, rng: random.Random
) -> Iterator[tuple[int, Path]]:
    """The state directory as cuts leave it, each after the first so many changes, which is told with it."""
    card, done = Card(state, before), 0
    for number, moment in enumerate(sorted(moments)):
        for op in ops[done:moment]:
            card.apply(op)
        done = moment
        place = folder / str(number)
        place.mkdir(parents=True)
        card.cut(place, rng)
        yield moment, place
