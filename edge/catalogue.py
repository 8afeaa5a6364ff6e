"""A small catalogue of ready-made models: where they are, what they must be to the byte, what their labels mean."""

from __future__ import annotations

import hashlib
import http.client
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from edge.atomic import write_atomically
from edge.config import LabelsConfig
from edge.errors import BundleError

BASE = "https://raw.githubusercontent.com/google-coral/test_data/master/"
_CHUNK = 64 * 1024

Progress = Callable[[int, int], None]
"""Called with the bytes so far and the bytes in all, of both files together."""


@dataclass(frozen=True, slots=True)
class RemoteFile:
    name: str
    size: int
    sha256: str


@dataclass(frozen=True, slots=True)
class Entry:
    """One model of the catalogue. `notes` is for people: what it knows and what it does not."""

    name: str
    model: RemoteFile
    labels: RemoteFile
    kinds: LabelsConfig
    licence: str
    notes: str


ENTRIES = (
    Entry(
        name="inat-birds",
        model=RemoteFile(
            "mobilenet_v2_1.0_224_inat_bird_quant.tflite",
            3_579_500,
            "350fcd8cf1df1560060d464595dfed8b174b05792788052896004848d9ad04f9",
        ),
        labels=RemoteFile(
            "inat_bird_labels.txt", 37_146, "a16108dfe3f8daff015b87a97ab6a17e717b9b1bccd719f6d8f747746d7b9277"
        ),
        kinds=LabelsConfig(
            threat=["Corvus *", "* (*Jay)", "Pica *"], resident=["Gallus gallus domesticus*"], person=[]
        ),
        licence="Apache-2.0",
        notes="964 species of birds: crows, jays and magpies are threats, the domestic chicken lives here. "
        "It knows no people and no animals but birds.",
    ),
    Entry(
        name="imagenet",
        model=RemoteFile(
            "mobilenet_v2_1.0_224_quant.tflite",
            3_610_798,
            "7aad0c74c5e3c06e5eb3c827e13304fdd68a83da6087d92ee169c24ff9fd4776",
        ),
        labels=RemoteFile(
            "imagenet_labels.txt", 21_686, "b8aaeb5630c62626a7d124a05c0e14230a7ffdd2136a31d0190a4fb71c1d82f1"
        ),
        kinds=LabelsConfig(
            threat=[
                *("red fox, *", "grey fox, *", "kit fox, *", "coyote, *", "weasel", "mink", "polecat, *", "skunk, *"),
                *("black-footed ferret, *", "mongoose", "badger", "otter", "tabby, *", "tiger cat", "Egyptian cat"),
                *("jay", "magpie"),
            ],
            resident=["hen", "cock"],
            person=[],
        ),
        licence="Apache-2.0",
        notes="1000 things of ImageNet: foxes, martens' kin, house cats, jay and magpie are threats, hen and cock live "
        "here. It has no label for people, for crows, or for rats; dogs are known by breed and left alone.",
    ),
)


def find(name: str) -> Entry:
    """The entry of that name. Raises `BundleError`, naming those there are."""
    for entry in ENTRIES:
        if entry.name == name:
            return entry
    raise BundleError(f"{name}: not in the catalogue; there are: {', '.join(entry.name for entry in ENTRIES)}")


def fetch(
    entry: Entry, cache: Path, progress: Progress | None = None, *, folder: Path | None = None, base: str = BASE
) -> tuple[Path, Path]:
    """Get model and labels into the folder `cache`; returns their paths there.

    What lies in `cache` already and is right is not fetched again. `folder` takes the files from there instead of
    from the network. Raises `BundleError` where a file is not to be had or not the one it must be.
    """
    total = entry.model.size + entry.labels.size
    paths = []
    done = 0
    for file in (entry.model, entry.labels):
        path = cache / file.name
        if not _right(path, file):
            started = done

            def step(count: int, started: int = started) -> None:
                if progress:
                    progress(started + count, total)

            data = _local(folder / file.name, file) if folder else _download(base + file.name, file, step)
            _keep(path, data)
        done += file.size
        if progress:
            progress(done, total)
        paths.append(path)
    return paths[0], paths[1]


def _right(path: Path, file: RemoteFile) -> bool:
    try:
        return path.stat().st_size == file.size and hashlib.sha256(path.read_bytes()).hexdigest() == file.sha256
    except OSError:
        return False


def _local(path: Path, file: RemoteFile) -> bytes:
    try:
        with path.open("rb") as opened:
            data = opened.read(file.size + 1)
    except OSError as error:
        raise BundleError(f"{path}: cannot be read: {error.strerror}") from None
    return _checked(data, file, str(path))


def _download(address: str, file: RemoteFile, step: Callable[[int], None]) -> bytes:
    """Read at most one byte more than the file may have."""
    _safe(address)
    data = bytearray()
    try:
        with urllib.request.build_opener(_Redirects).open(address, timeout=30) as answer:
            while len(data) <= file.size and (chunk := answer.read(min(_CHUNK, file.size + 1 - len(data)))):
                data += chunk
                step(min(len(data), file.size))
    except urllib.error.HTTPError as error:
        raise BundleError(
            f"{address}: the server answers {error.code} {(str(error.reason).splitlines() or [''])[0]}"
        ) from None
    except (OSError, http.client.HTTPException) as error:
        reason = getattr(error, "reason", error)
        raise BundleError(
            f"{address}: cannot be fetched: {reason}; without a network give --from FOLDER with {file.name} in it"
        ) from None
    return _checked(bytes(data), file, address)


class _Redirects(urllib.request.HTTPRedirectHandler):
    """Follows redirects, but only to where one may fetch from."""

    def redirect_request(
        self,
        req: urllib.request.Request,
        fp: IO[bytes],
        code: int,
        msg: str,
        headers: http.client.HTTPMessage,
        newurl: str,
    ) -> urllib.request.Request | None:
        _safe(newurl)
        return super().redirect_request(req, fp, code, msg, headers, newurl)


def _safe(address: str) -> None:
    """https only; plain http only to this machine itself."""
    parts = urllib.parse.urlsplit(address)
    if parts.scheme != "https" and (parts.scheme, parts.hostname) != ("http", "127.0.0.1"):
        raise BundleError(f"{address}: only https addresses are fetched from")


def _checked(data: bytes, file: RemoteFile, where: str) -> bytes:
    if len(data) != file.size:
        found = f"more than {file.size}" if len(data) > file.size else str(len(data))
        raise BundleError(f"{where}: has {found} bytes, must have {file.size}: cut short, or another file")
    if hashlib.sha256(data).hexdigest() != file.sha256:
        raise BundleError(f"{where}: not the file of the catalogue (its sha256 differs): do not use it")
    return data


def _keep(path: Path, data: bytes) -> None:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(path, data)
    except OSError as error:
        raise BundleError(f"{path}: cannot be written: {error.strerror}") from None
