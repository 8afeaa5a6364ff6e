"""Bundles that came: which of them is newer than the champion. Only what they say of themselves is read here."""

from __future__ import annotations

import contextlib
import logging
import lzma
import zipfile
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from pydantic import ValidationError

from edge.manifest import SUFFIX, Manifest

log = logging.getLogger(__name__)

_MOST = 100  # files looked at in a folder
_LARGEST = 4_000_000  # bytes of a manifest
_UNREADABLE = (OSError, EOFError, zipfile.BadZipFile, zlib.error, lzma.LZMAError)
_Seen = tuple[int, int, Manifest | None]


@dataclass(frozen=True, slots=True)
class Offer:
    """A bundle's file, and what it says of itself."""

    path: Path
    manifest: Manifest

    @property
    def name(self) -> str:
        """What it is called when it is installed."""
        return self.manifest.file_name.removesuffix(SUFFIX)


class Offers:
    """Looks into folders of bundles. A file is opened once, and again when it changes. Any thread."""

    def __init__(self, folders: Sequence[Path]) -> None:
        """A bundle that lies in several counts where it comes first."""
        self._folders = folders
        self._known: dict[Path, _Seen] = {}

    def newest(self, champion: str) -> Offer | None:
        """The newest bundle, where one is newer than `champion` (a file's name without its suffix).

        Of the same name the serial decides, else the time of making. A champion that lies nowhere (the starter) is
        older than all. Whether it can be trusted is not known here: installing it tells.
        """
        found: dict[str, Offer] = {}
        known: dict[Path, _Seen] = {}
        for folder in self._folders:
            for path in self._files(folder):
                seen = self._look(path)
                known[path] = seen
                if manifest := seen[2]:
                    found.setdefault(manifest.file_name, Offer(path, manifest))
        self._known = known
        best = found.pop(f"{champion}{SUFFIX}", None)
        for other in sorted(found.values(), key=lambda offer: offer.manifest.created):
            if best is None or _newer(other.manifest, best.manifest):
                best = other
        return best if best and best.name != champion else None

    @staticmethod
    def _files(folder: Path) -> list[Path]:
        with contextlib.suppress(OSError):
            return sorted(folder.glob(f"[!.]*{SUFFIX}"))[:_MOST]
        return []

    def _look(self, path: Path) -> _Seen:
        try:
            facts = path.stat()
        except OSError:
            return (0, 0, None)
        before = self._known.get(path)
        if before and before[:2] == (facts.st_mtime_ns, facts.st_size):
            return before
        return (facts.st_mtime_ns, facts.st_size, _manifest(path))


def _newer(one: Manifest, other: Manifest) -> bool:
    if one.name == other.name:
        return one.serial > other.serial
    return one.created > other.created


def _manifest(path: Path) -> Manifest | None:
    """What a file says it is; None where that cannot be read, as while it is being copied here."""
    try:
        with zipfile.ZipFile(path) as bundle, bundle.open("manifest.json") as part:
            return Manifest.model_validate_json(part.read(_LARGEST))
    except (*_UNREADABLE, KeyError, ValidationError, RuntimeError, ValueError) as error:
        log.debug("%s: %s", path, error)
        return None
