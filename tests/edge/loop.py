"""What a test of the loop needs: a desk with a real model, cameras of plain pictures, an ear for what is told."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Generator, Iterator
from pathlib import Path
from typing import Any

import pytest

from edge.app import Desk, desk
from edge.clock import Ids, LiveClock
from edge.config import Config
from edge.frames import Shot, Wanted, always
from edge.frames.luma import luma_of
from edge.model_store import ModelStore
from edge.values import Event
from tests.stage import bundle
from tests.tiny_tflite import picture

RED, GREEN = 0, 1  # a threat and a resident


class Camera:
    """So many pictures of one colour, then silence; it begins when it is let."""

    live, fps, skipped, reopened, trouble = True, 15.0, 0, 0, ""

    def __init__(
        self, colour: int, count: int, begin: threading.Event, end: threading.Event, apart_s: float = 1 / 15
    ) -> None:
        self._colour, self._count, self._begin, self._end, self._apart_s = colour, count, begin, end, apart_s

    def shots(self, wanted: Wanted = always) -> Generator[Shot, None, None]:
        self._begin.wait()
        for number in range(self._count):
            image = picture(self._colour, (64, 64))
            yield Shot(image, luma_of(image), number / self.fps)
            self._end.wait(self._apart_s)
        self._end.wait()


class Ear:
    """What the journal is told, and what a test does about it."""

    def __init__(self) -> None:
        self.events: list[dict[str, Any]] = []
        self.then: Callable[[str, str], None] = lambda type_, camera: None

    def __call__(self, event: Event) -> None:
        self.events.append(event.body)
        self.then(event.type, str(event.body.get("camera")))

    def told(self, type_: str, camera: str) -> list[dict[str, Any]]:
        return [body for body in self.events if (body["type"], body.get("camera")) == (type_, camera)]


@contextlib.contextmanager
def ready(config: Config, folder: Path, ear: Ear) -> Iterator[Desk]:
    """A desk in `folder / "state"` whose champion tells colours, once it answers."""
    state = folder / "state"
    store = ModelStore(state, config.models)
    store.promote(store.install(bundle(state, folder))[0])
    with desk(config, state, state, LiveClock(), Ids(), listen=ear) as made:
        made.rendezvous.wait_ready(60)
        yield made


@pytest.fixture(scope="module")
def ear() -> Ear:
    return Ear()


@pytest.fixture(scope="module")
def made(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory, ear: Ear) -> Iterator[Desk]:
    """The desk of a test file, by its `CONFIG`."""
    with ready(request.module.CONFIG, tmp_path_factory.mktemp("loop"), ear) as made:
        yield made
