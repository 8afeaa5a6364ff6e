"""Posting to X in a test: a server that is X, the keys to an account of it, and what posts there."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from edge.config_feed import XConfig
from edge.publishers import Post
from edge.publishers.x import X
from tests.x_server import KEYS, XServer

JPEG = b"\xff\xd8\xff\xe0" + bytes(range(256)) * 40 + b"\r\n--\xff\xd9"
POST = Post("A jay", "A jay came to nest 2 at 07:41 and left 1.9 s after the light.")
PICTURED = Post("A jay", "A jay at nest 2.", JPEG, "A jay beside two eggs")
TWEETS, UPLOAD, METADATA = "/2/tweets", "/2/media/upload", "/2/media/metadata"
PATIENT_S = 60.0
Make = Callable[..., X]


@pytest.fixture
def server() -> Iterator[XServer]:
    made = XServer()
    yield made
    made.close()


@pytest.fixture
def keys(tmp_path: Path) -> Path:
    return key_file(tmp_path / "x.toml", "".join(f'{name} = "{key}"\n' for name, key in KEYS.items()))


@pytest.fixture
def make(server: XServer, keys: Path) -> Iterator[Make]:
    made: list[X] = []

    def build(
        api: str = "", deadline_s: float = PATIENT_S, clock: Callable[[], float] = time.monotonic, **config: object
    ) -> X:
        settings = XConfig.model_validate({"enabled": True, "credentials": str(keys), **config})
        made.append(X(settings, api=api or server.url, deadline_s=deadline_s, clock=clock))
        return made[-1]

    yield build
    for x in made:
        x.close()


def key_file(path: Path, text: str | bytes, mode: int = 0o600) -> Path:
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    path.chmod(mode)
    return path


def calls() -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name == "x-call"]


def until(true: Callable[[], object]) -> None:
    end = time.monotonic() + PATIENT_S
    while not true():
        assert time.monotonic() < end, "it did not come about"
        time.sleep(0.01)
