"""Addresses of network cameras: checked, given their credentials, and asked why they do not open."""

from __future__ import annotations

import re
import socket
import stat
from pathlib import Path
from urllib.parse import SplitResult, quote, urlsplit

from edge.errors import SourceError

PORTS = {"rtsp": 554, "rtsps": 322, "http": 80, "https": 443}
USER, PASSWORD = "{user}", "{password}"
LONGEST_ANSWER = 512
LARGEST_FILE = 4096


def checked(source: str) -> SplitResult:
    """The parts of a stream's address. Raises `SourceError` for what is none, without repeating what may be secret."""
    scheme = source.partition(":")[0].lower()
    if scheme not in PORTS:
        raise SourceError(f"source {scheme}://…: not a camera's address; give {', '.join(PORTS)} or /dev/video0")
    try:
        parts = urlsplit(source)
        bad = not parts.hostname or parts.password is not None or parts.port == 0 or not source.isprintable()
    except ValueError:
        bad = True
    if bad or " " in source:
        raise SourceError(f"source {scheme}://…: not a camera's address; write {scheme}://HOST:PORT/PATH")
    return parts


def place(parts: SplitResult) -> str:
    """What may be said aloud of an address: where it is, and nothing that could be a secret."""
    host = f"[{parts.hostname}]" if ":" in (parts.hostname or "") else parts.hostname
    return f"{parts.scheme}://{host}:{parts.port or PORTS[parts.scheme]}"


def credentials(file: str) -> tuple[str, str]:
    """User and password from a file of one line `user:password` that not everybody can read.

    Raises `SourceError`, which never repeats what is in it.
    """
    path = Path(file).expanduser()
    try:
        status = path.stat()
        if not stat.S_ISREG(status.st_mode) or status.st_size > LARGEST_FILE:
            raise SourceError(f"credentials {path}: not a file of one line user:password")
        if status.st_mode & 0o007:
            raise SourceError(f"credentials {path}: everybody may read it; chmod 600")
        text = path.read_text(encoding="utf-8").removesuffix("\n").removesuffix("\r")
    except OSError as error:
        raise SourceError(f"credentials {path}: {error.strerror}; give a file of one line user:password") from None
    except UnicodeDecodeError:
        raise SourceError(f"credentials {path}: not text in UTF-8; write one line user:password") from None
    user, colon, password = text.partition(":")
    if not user or not colon or not text.isprintable():
        raise SourceError(f"credentials {path}: write one line user:password and nothing else")
    return user, password


def with_credentials(source: str, file: str) -> str:
    """The address as the camera wants it: user and password before the host, or where `{user}` and `{password}` are.

    A secret: for nobody but the library that opens it. Raises `SourceError`.
    """
    parts = checked(source)
    if not file:
        if PASSWORD in source:
            raise SourceError(f"{place(parts)}: {PASSWORD} stands in the source, but no file is named as credentials")
        return source
    user, password = (quote(secret, safe="") for secret in credentials(file))
    if PASSWORD in source:
        return source.replace(USER, user).replace(PASSWORD, password)
    host = parts.netloc.rpartition("@")[2]
    return parts._replace(netloc=f"{user}:{password}@{host}").geturl()


def why_not(source: str, has_credentials: bool, patience_s: float) -> str:
    """Why a stream does not open, found out by asking once more by hand: OpenCV does not tell.

    For people, one line. Takes at most about `patience_s`, beside looking up the name.
    """
    parts = checked(source)
    here = place(parts)
    try:
        with socket.create_connection(
            (parts.hostname or "", parts.port or PORTS[parts.scheme]), timeout=patience_s
        ) as line:
            if parts.scheme in ("https", "rtsps"):
                return f"{here} can be reached, but no stream opens; check path, user and password"
            line.sendall(_question(source, parts))
            answer = line.recv(LONGEST_ANSWER).decode("latin-1")
    except socket.gaierror:
        return f"{here}: no such name in this network; check the address, or whether the network is up"
    except ConnectionRefusedError:
        return f"{here}: connection refused; its stream is off, still starting, or on another port"
    except TimeoutError:
        return f"{here} does not answer; is the camera on, in this network, and its address still the same?"
    except OSError as error:
        return f"{here}: {error.strerror or 'the connection was cut'}; is the network up?"
    return f"{here} {_meaning(answer, has_credentials)}"


def _question(source: str, parts: SplitResult) -> bytes:
    """The first request of a client, without credentials."""
    if parts.scheme == "rtsp":
        plain = parts._replace(netloc=parts.netloc.rpartition("@")[2]).geturl()
        return f"DESCRIBE {plain} RTSP/1.0\r\nCSeq: 1\r\nAccept: application/sdp\r\n\r\n".encode()
    path = parts._replace(scheme="", netloc="", fragment="").geturl() or "/"
    return f"GET {path} HTTP/1.0\r\nHost: {parts.netloc.rpartition('@')[2]}\r\nConnection: close\r\n\r\n".encode()


def _meaning(answer: str, has_credentials: bool) -> str:
    """What the first line of an HTTP or RTSP answer comes to."""
    match = re.match(r"(?:HTTP|RTSP)/\d\.\d (\d{3})", answer)
    if match is None:
        return "answers, but not as a camera; check port and path"
    status = int(match[1])
    if status in (401, 403, 407):
        if has_credentials:
            return f"refuses ({status}); check user and password in the file named as credentials"
        return f"refuses ({status}); check user and password: put them into a file and name it as credentials"
    if status in (404, 454):
        return f"has no such stream ({status}); check the path"
    if status >= 400:
        return f"answers with error {status}; is another program using its only stream?"
    return "answers, but sends no pictures that can be read; check that the path is that of a video stream"
