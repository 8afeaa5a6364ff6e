"""Publisher: a file with one event a line, for programs that read files."""

from __future__ import annotations

import logging
import os
from pathlib import Path

from edge.config_feed import JsonlConfig
from edge.errors import ConfigError
from edge.journal import dump
from edge.publishers import Events, Later

log = logging.getLogger(__name__)

_UNSYNCED = 8_000_000  # bytes: more than a batch, of which a power cut may leave any sectors; the others are zeros


class Jsonl:
    """Appends events to `path`. A line is there whole or not at all; FILE.1 keeps what was there before FILE grew."""

    name = "jsonl"
    batch = 500
    from_start = True  # the file is the journal in another form
    trouble = ""

    def __init__(self, config: JsonlConfig) -> None:
        """Raises `ConfigError` where nothing can be written to `path`."""
        self._path, self._most = Path(config.path), config.max_mb * 1_000_000
        self._fd = -1
        try:
            self._open()
        except OSError as error:
            raise ConfigError(f"jsonl.path {self._path}: cannot be written: {error.strerror}") from None

    def ready(self, wait_s: float) -> bool:
        return True

    def send(self, events: Events) -> None:
        """Raises `Later` where the disk does not take it."""
        data = "".join(f"{dump(event)}\n" for event in events).encode()
        try:
            self._open()
            size = os.fstat(self._fd).st_size
            if size and size + len(data) > self._most:
                self._path.replace(self._path.with_name(f"{self._path.name}.1"))
                self._open()
            _write(self._fd, data)
        except OSError as error:
            self.close()  # half a line may be there: it is cut off when the file is opened again
            raise Later(f"{self._path}: {error.strerror}") from None

    def close(self) -> None:
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1

    def _open(self) -> None:
        """Open, again where the file was moved away, and cut off what a crash left half written."""
        if self._fd >= 0 and _same(self._fd, self._path):
            return
        self.close()
        self._path.parent.mkdir(parents=True, exist_ok=True)
        self._fd = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o660)
        whole = _whole_lines(self._fd)
        if whole < os.fstat(self._fd).st_size:
            log.warning("%s: its end was cut short by a crash; that is written anew", self._path)
            os.ftruncate(self._fd, whole)


def _write(fd: int, data: bytes) -> None:
    left = memoryview(data)
    while left:
        left = left[os.write(fd, left) :]
    os.fsync(fd)


def _same(fd: int, path: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(fd), path.stat())
    except FileNotFoundError:
        return False


def _whole_lines(fd: int) -> int:
    """How many bytes there are up to the end of the last whole line; before a hole that a power cut left, if any."""
    end = os.fstat(fd).st_size
    tail = max(end - _UNSYNCED, 0)
    if (hole := os.pread(fd, end - tail, tail).find(b"\0")) >= 0:
        end = tail + hole
    while end:
        start = max(end - 65536, 0)
        found = os.pread(fd, end - start, start).rfind(b"\n")
        if found >= 0:
            return start + found + 1
        end = start
    return 0
