"""Ed25519 keys of those who make bundles: a private PEM file, a public file of one line."""

from __future__ import annotations

import base64
import binascii
import hashlib
import os
import re
from dataclasses import dataclass
from pathlib import Path

from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from edge.atomic import write_atomically
from edge.errors import Refused, StateError

_WORD = "gander-ed25519"
_LARGEST = 10_000


@dataclass(frozen=True, slots=True)
class PublicKey:
    """Whom to trust: 32 bytes and a comment for people."""

    raw: bytes
    comment: str = ""

    @property
    def fingerprint(self) -> str:
        """16 hex digits to compare by eye; what a manifest names as its signer."""
        return hashlib.sha256(self.raw).hexdigest()[:16]

    @property
    def line(self) -> str:
        """The one line of a public key file."""
        return f"{_WORD} {base64.b64encode(self.raw).decode()} {self.comment}".rstrip() + "\n"

    def signed(self, signature: bytes, data: bytes) -> bool:
        try:
            Ed25519PublicKey.from_public_bytes(self.raw).verify(signature, data)
        except InvalidSignature:
            return False
        return True


@dataclass(frozen=True, slots=True)
class SigningKey:
    """A private key in memory."""

    private: Ed25519PrivateKey
    comment: str = ""

    @property
    def public(self) -> PublicKey:
        return PublicKey(self.private.public_key().public_bytes_raw(), self.comment)

    def sign(self, data: bytes) -> bytes:
        """64 bytes."""
        return self.private.sign(data)


def generate(path: Path, comment: str = "") -> SigningKey:
    """Make a key pair: `path` (readable by its owner only) and `path` with `.pub` added.

    Raises `Refused` where the file exists (a key is never overwritten) or the comment is not one short line, and
    `StateError` where it cannot be written.
    """
    if not re.fullmatch(r"[\x20-\x7e]{0,100}", comment):
        raise Refused(f"key comment {comment!r}: at most 100 plain ASCII characters on one line")
    key = SigningKey(Ed25519PrivateKey.generate(), comment)
    pem = key.private.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    try:
        write_atomically(path, pem, 0o600, replace=False)
    except FileExistsError:
        raise Refused(f"{path}: there is a key already; move it away or choose another name") from None
    except OSError as error:
        raise StateError.of(error, f"{path}: the key cannot be written: {error.strerror}") from None
    _write_public(path, key)
    return key


def _write_public(path: Path, key: SigningKey) -> None:
    public = public_path(path)
    try:
        write_atomically(public, key.public.line.encode(), 0o644)
    except OSError as error:
        raise StateError.of(error, f"{public}: the key cannot be written: {error.strerror}") from None


def own_path() -> Path:
    """Where a user keeps the key by which he signs what he trains: on a laptop, not on an appliance."""
    base = os.environ.get("XDG_CONFIG_HOME") or Path(os.environ.get("HOME", "/")) / ".config"
    return Path(base) / "gander" / "laptop.key"


def public_path(path: Path) -> Path:
    return path.with_name(path.name + ".pub")


def load(path: Path) -> SigningKey:
    """Read a private key. Raises `Refused`."""
    data = _read(path, "private key")
    try:
        private = serialization.load_pem_private_key(data, password=None)
    except (ValueError, TypeError, UnsupportedAlgorithm):
        raise Refused(f"{path}: not a private key in PEM form without a password") from None
    if not isinstance(private, Ed25519PrivateKey):
        raise Refused(f"{path}: not an Ed25519 key; `gander-train keygen` makes one")
    public = public_path(path)
    return SigningKey(private, load_public(public).comment if public.is_file() else "")


def load_or_generate(path: Path, comment: str = "") -> SigningKey:
    """The device's own key: read, or made at the first call. Raises as `generate` and `load` do."""
    if not path.exists():
        try:
            return generate(path, comment)
        except Refused:
            if not path.exists():
                raise  # else another process was faster
    key = load(path)
    if not public_path(path).exists():  # a power cut came between the two files
        key = SigningKey(key.private, comment)
        _write_public(path, key)
    return key


def load_public(path: Path) -> PublicKey:
    """Read a public key file: one line, `gander-ed25519 BASE64 comment`. Raises `Refused`."""
    lines = _read(path, "public key").decode("utf-8", "replace").strip().splitlines() or [""]
    word, _, rest = lines[0].partition(" ")
    encoded, _, comment = rest.partition(" ")
    try:
        raw = base64.b64decode(encoded, validate=True)
    except (binascii.Error, ValueError):
        raw = b""
    if len(lines) != 1 or word != _WORD or len(raw) != 32:
        hint = "; this is a private key, it stays where it is: give its .pub" if "PRIVATE" in lines[0] else ""
        raise Refused(f"{path}: not a public key; it is one line, `{_WORD} BASE64 comment`{hint}")
    return PublicKey(raw, comment.strip())


def _read(path: Path, what: str) -> bytes:
    try:
        with path.open("rb") as file:
            return file.read(_LARGEST)
    except OSError as error:
        raise Refused(f"{path}: the {what} cannot be read: {error.strerror}") from None
