"""The model bundle: one signed file with a model, what it wants to be shown, what its answers mean, and its proof.

The file is a zip without compression, in one fixed form. So any changed byte is found by writing it anew and comparing,
nothing in it can unfold to more than it is, and other tools can open it.
"""

from __future__ import annotations

import hashlib
import io
import json
import re
import struct
import zipfile
import zlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydantic import ValidationError

from edge.atomic import write_atomically
from edge.errors import BundleError
from edge.keys import PublicKey, SigningKey
from edge.manifest import FORMAT, Manifest
from edge.values import Image

_LARGEST = 256 * 1024 * 1024
_LARGEST_PART = {"manifest.json": 4_000_000, "manifest.sig": 64, "model.tflite": 200_000_000, "golden.npz": 16_000_000}
_LARGEST_GOLDEN = 64_000_000  # unfolded
_MOST_PARTS = 64
_PART = re.compile(r"manifest\.json|manifest\.sig|model\.tflite|golden\.npz|report/[A-Za-z0-9][A-Za-z0-9._-]{0,99}")
_FIRST = ("manifest.json", "manifest.sig", "model.tflite", "golden.npz")
_ENTRY = struct.Struct("<4s5H3I2H")  # the local header of a zip entry
_TIME = (1980, 1, 1, 0, 0, 0)


@dataclass(frozen=True, slots=True)
class Golden:
    """Rendered pictures (uint8[h, w, 3] RGB, of any size) and what the model said to them, float32[n, K]."""

    crops: tuple[Image, ...]
    expected: NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Bundle:
    """A bundle in memory. `signed_by` is None until `verify` found a trusted key's signature on it."""

    manifest: Manifest
    model: bytes = field(repr=False)
    golden: Golden = field(repr=False)
    report: Mapping[str, bytes] = field(default_factory=dict, repr=False)
    signed_by: PublicKey | None = None
    sha256: str = ""

    @property
    def name(self) -> str:
        return self.manifest.name

    @property
    def version(self) -> str:
        return self.manifest.version

    @property
    def labels(self) -> tuple[str, ...]:
        return self.manifest.labels


def write(
    path: Path,
    manifest: Manifest,
    model: bytes,
    golden: Golden,
    key: SigningKey | None,
    report: Mapping[str, bytes] | None = None,
) -> Bundle:
    """Write a bundle to `path`, whole or not at all; `key` None leaves it unsigned. Returns what was written.

    `labels.txt` is added to the model as an associated file. Raises `BundleError`.
    """
    parts = {"model.tflite": _with_labels(model, manifest.labels), "golden.npz": _golden_bytes(golden)}
    parts |= {f"report/{name}": content for name, content in (report or {}).items()}
    files = {name: hashlib.sha256(content).hexdigest() for name, content in parts.items()}
    manifest = manifest.model_copy(update={"files": files, "signer": key.public.fingerprint if key else ""})
    parts["manifest.json"] = json.dumps(manifest.model_dump(mode="json"), ensure_ascii=False, indent=1).encode()
    if key:
        parts["manifest.sig"] = key.sign(parts["manifest.json"])
    data = _canonical(parts)
    bundle = _checked(_split(data, str(path)), data, str(path))
    try:
        write_atomically(path, data)
    except OSError as error:
        raise BundleError(f"{path}: the bundle cannot be written: {error.strerror}") from None
    return bundle


def read(path: Path) -> Bundle:
    """Read a bundle and check that it is whole and makes sense, whoever made it. Raises `BundleError`."""
    data, where = _load(path), str(path)
    return _checked(_split(data, where), data, where)


def verify(path: Path, trusted: Iterable[PublicKey], allow_unsigned: bool = False) -> Bundle:
    """Read a bundle that one of the `trusted` signed. Raises `BundleError` on anything else.

    `allow_unsigned` accepts one without a signature, never one with a wrong one.
    """
    data, where = _load(path), str(path)
    parts = _split(data, where)
    signer = _signer(parts, tuple(trusted), allow_unsigned, where)
    return replace(_checked(parts, data, where), signed_by=signer)


def _load(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            data = file.read(_LARGEST + 1)
    except OSError as error:
        raise BundleError(f"{path}: the bundle cannot be read: {error.strerror}") from None
    if len(data) > _LARGEST:
        raise BundleError(f"{path}: too large: a bundle has at most {_LARGEST} bytes")
    return data


def _split(data: bytes, where: str) -> dict[str, bytes]:
    """The parts by name, from one fixed form of zip. Nothing is unpacked, so nothing can unfold."""
    if data[:4] != b"PK\x03\x04":
        raise BundleError(f"{where}: not a bundle; `gander bundle import` makes one from a .tflite file and its labels")
    parts: dict[str, bytes] = {}
    at = 0
    while data[at : at + 4] == b"PK\x03\x04":
        name, content, at = _entry(data, at, where)
        if name in parts:
            raise BundleError(f"{where}: holds {name} twice")
        if len(parts) == _MOST_PARTS:
            raise BundleError(f"{where}: holds more than {_MOST_PARTS} parts")
        parts[name] = content
    missing = [name for name in _FIRST if name not in parts and name != "manifest.sig"]
    written = b"" if missing else _canonical(parts)
    if len(data) - at < 4 or (written != data and written.startswith(data)):
        raise _cut_short(data, where)
    if missing:
        raise BundleError(f"{where}: {missing[0]} is missing; a bundle has {', '.join(_FIRST)}")
    if written != data:
        raise BundleError(f"{where}: altered: not byte for byte as it was written: fetch it again")
    return parts


def _cut_short(data: bytes, where: str) -> BundleError:
    return BundleError(f"{where}: cut short at {len(data)} bytes: fetch it again")


def _entry(data: bytes, at: int, where: str) -> tuple[str, bytes, int]:
    """The zip entry at `at`: name, content, and where the next one begins."""
    if at + _ENTRY.size > len(data):
        raise _cut_short(data, where)
    _, _, flags, method, _, _, _, packed, size, name_length, extra = _ENTRY.unpack_from(data, at)
    start = at + _ENTRY.size + name_length
    if start > len(data):
        raise _cut_short(data, where)
    name = data[at + _ENTRY.size : start].decode("ascii", "backslashreplace")
    if not _PART.fullmatch(name):
        shown = name[:80].encode("unicode_escape").decode()
        raise BundleError(f"{where}: holds {shown!r}; a bundle has only {', '.join(_FIRST)} and report/NAME")
    if flags or method != zipfile.ZIP_STORED or packed != size or extra:
        raise BundleError(f"{where}: {name} is compressed or has extra fields; a bundle's parts are stored as they are")
    if size > _LARGEST_PART.get(name, _LARGEST_PART["golden.npz"]):
        raise BundleError(f"{where}: {name} says it has {size} bytes, more than any such part may have")
    end = start + size
    if end > len(data):
        raise _cut_short(data, where)
    return name, data[start:end], end


def _canonical(parts: Mapping[str, bytes]) -> bytes:
    """The one zip these parts give: fixed order and times, and stored, since deflate differs between zlibs."""
    file = io.BytesIO()
    ordered = [name for name in _FIRST if name in parts] + sorted(name for name in parts if name not in _FIRST)
    with zipfile.ZipFile(file, "w", zipfile.ZIP_STORED) as archive:
        for name in ordered:
            archive.writestr(_info(name), parts[name])
    return file.getvalue()


def _info(name: str) -> zipfile.ZipInfo:
    info = zipfile.ZipInfo(name, _TIME)
    info.create_system = 3  # said, since else it is the machine's
    info.external_attr = 0o100644 << 16
    return info


def _signer(
    parts: Mapping[str, bytes], trusted: tuple[PublicKey, ...], allow_unsigned: bool, where: str
) -> PublicKey | None:
    """The trusted key that signed the manifest. Nothing inside is believed before."""
    signature, signed = parts.get("manifest.sig"), parts["manifest.json"]
    if signature is None:
        if allow_unsigned:
            return None
        raise BundleError(f"{where}: unsigned; sign it when packing, or on a desk set models.allow_unsigned")
    for key in trusted:
        if key.signed(signature, signed):
            return key
    try:
        claims = str(json.loads(signed)["signer"])[:16]
    except (ValueError, TypeError, KeyError, RecursionError):
        claims = "?"
    if claims in [key.fingerprint for key in trusted]:
        raise BundleError(f"{where}: altered: not what key {claims}, which it names, has signed: fetch it again")
    raise BundleError(f"{where}: signed by unknown key {claims}; if you trust its maker: `gander bundle trust KEY.pub`")


def _checked(parts: Mapping[str, bytes], data: bytes, where: str) -> Bundle:
    """What the parts say, once they are found to agree with the manifest and with each other."""
    manifest = _manifest(parts["manifest.json"], where)
    contents = {name: content for name, content in parts.items() if not name.startswith("manifest.")}
    if set(manifest.files) != set(contents):
        odd = sorted(set(manifest.files) ^ set(contents))
        raise BundleError(f"{where}: altered: the manifest and the parts disagree about {odd[0]!r}")
    for name, content in contents.items():
        if hashlib.sha256(content).hexdigest() != manifest.files[name]:
            raise BundleError(f"{where}: altered: {name} is not the one of the manifest (sha256): fetch it again")
    golden = _golden(contents["golden.npz"], len(manifest.labels), where)
    report = {name.removeprefix("report/"): content for name, content in contents.items() if name.startswith("report/")}
    return Bundle(manifest, contents["model.tflite"], golden, report, None, hashlib.sha256(data).hexdigest())


def _manifest(data: bytes, where: str) -> Manifest:
    try:
        raw: Any = json.loads(data)
        form = raw["format"]
    except (ValueError, TypeError, KeyError, RecursionError):
        raise BundleError(f"{where}: manifest.json is not a manifest") from None
    if isinstance(form, int) and form > FORMAT:
        raise BundleError(f"{where}: of the newer format {form}, this Gander reads format {FORMAT}: update Gander")
    try:
        return Manifest.model_validate(raw)
    except ValidationError as error:
        first = error.errors()[0]
        what = "unknown key" if first["type"] == "extra_forbidden" else first["msg"].removeprefix("Value error, ")
        at = ".".join(str(part) for part in first["loc"]) or "manifest"
        raise BundleError(f"{where}: manifest.json: {at}: {what}") from None


def _with_labels(model: bytes, labels: tuple[str, ...]) -> bytes:
    """The model with labels.txt in a zip at its end, where other tools look for it; it loads as before."""
    file = io.BytesIO(model)
    try:
        with zipfile.ZipFile(file, "a", zipfile.ZIP_STORED) as archive:
            if "labels.txt" not in archive.namelist():
                archive.writestr(_info("labels.txt"), "".join(f"{label}\n" for label in labels))
    except zipfile.BadZipFile:
        return model  # a damaged zip at its end is no hindrance to running it
    return file.getvalue()


def _golden_bytes(golden: Golden) -> bytes:
    file = io.BytesIO()
    crops = {f"crop{i}": crop for i, crop in enumerate(golden.crops)}
    np.savez_compressed(file, expected=golden.expected, **crops)  # type: ignore[arg-type]  # stubs know one more keyword
    return file.getvalue()


def _golden(data: bytes, labels: int, where: str) -> Golden:
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            unfolded = sum(info.file_size for info in archive.infolist())
        arrays = {}
        if unfolded <= _LARGEST_GOLDEN:  # zipfile unfolds no more than an entry's declared size
            with np.load(io.BytesIO(data), allow_pickle=False) as stored:
                arrays = dict(stored)
        expected = arrays.pop("expected")
        crops = tuple(arrays[f"crop{i}"] for i in range(len(arrays)))
    except (zipfile.BadZipFile, zlib.error, ValueError, KeyError, OSError, EOFError, RuntimeError, struct.error):
        raise BundleError(f"{where}: golden.npz is not made of crops and expected answers, or too large") from None
    good = expected.dtype == np.float32 and expected.shape == (len(crops), labels) and np.isfinite(expected).all()
    pictures = all(c.dtype == np.uint8 and c.ndim == 3 and c.shape[2] == 3 and c.size for c in crops)
    if not (crops and good and pictures):
        raise BundleError(f"{where}: golden.npz must hold uint8[h, w, 3] crops and float32[n, {labels}] answers")
    return Golden(crops, expected)
