"""A stage for scenarios: coloured discs walk over a grey yard, and a tiny real model names their colour.

Red is a threat, green a resident, blue a person. Clips are real files, the model a real TFLite bundle.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from edge import keys
from edge.config import LabelsConfig
from edge.model_import import Overrides, import_tflite
from tests.tiny_tflite import model

SIZE = (640, 360)
FPS = 15
COLOURS = {"red": (40, 40, 230), "green": (40, 200, 40), "blue": (230, 60, 40)}  # BGR
KINDS = LabelsConfig(threat=["red"], resident=["green"], person=["blue"])


@dataclass(frozen=True, slots=True)
class Actor:
    """A disc that walks from the left edge inward between two moments (seconds)."""

    colour: str
    enters: float
    leaves: float
    row: float = 0.5  # height in the picture


class Scene:
    """A still, slightly noisy yard."""

    def __init__(self) -> None:
        self._rng = np.random.default_rng(5)
        self._yard = cv2.resize(
            self._rng.integers(190, 235, (SIZE[1] // 12, SIZE[0] // 12), np.uint8), SIZE, interpolation=cv2.INTER_CUBIC
        )

    def at(self, now: float, actors: Sequence[Actor]) -> NDArray[np.uint8]:
        """The next picture, uint8 (height, width, BGR), of whoever of the actors is there."""
        width, height = SIZE
        noise = self._rng.integers(-2, 3, self._yard.shape, np.int16)
        picture = cv2.cvtColor(np.clip(self._yard + noise, 0, 255).astype(np.uint8), cv2.COLOR_GRAY2BGR)
        for actor in actors:
            if actor.enters <= now < actor.leaves:
                x = round(40 + (now - actor.enters) * 30) % width
                cv2.circle(picture, (x, round(actor.row * height)), 36, COLOURS[actor.colour], cv2.FILLED, cv2.LINE_AA)
        return np.asarray(picture, np.uint8)


class Live(Scene):
    """The yard as a network camera at `address` shows it for ever: somebody comes when a test is ready for it."""

    def __init__(self) -> None:
        super().__init__()
        self.address = ""
        self._actors: Sequence[Actor] = ()

    @property
    def settings(self) -> tuple[str, str]:
        return f"camera.0.source={self.address}", f"camera.0.fps={FPS}"

    def comes(self, colour: str, seconds: float) -> None:
        """Now, and stays that long."""
        now = time.monotonic()
        self._actors = (Actor(colour, now, now + seconds),)

    def picture(self, number: int) -> bytes:
        """For `tests.mjpeg`."""
        return bytes(cv2.imencode(".jpg", self.at(time.monotonic(), self._actors))[1].tobytes())


def clip(path: Path, actors: Sequence[Actor], seconds: float) -> Path:
    """Write a clip (Motion JPEG) of the actors on a still, slightly noisy yard."""
    scene = Scene()
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"MJPG"), FPS, SIZE)
    assert writer.isOpened()
    for number in range(round(seconds * FPS)):
        writer.write(scene.at(number / FPS, actors))
    writer.release()
    return path


def bundle(
    state: Path,
    folder: Path,
    name: str = "colours",
    kinds: LabelsConfig = KINDS,
    labels: Sequence[str] = ("red", "green", "blue"),
) -> Path:
    """The colour model as a bundle signed by the device key of `state`."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "colours.tflite").write_bytes(model(gain=40.0))
    (folder / "labels.txt").write_text("\n".join(labels))
    state.mkdir(parents=True, exist_ok=True)
    key = keys.load_or_generate(state / "device.key")
    wanted = Overrides(kinds=kinds)
    out = folder / f"{name}.gander"
    return import_tflite(
        folder / "colours.tflite", folder / "labels.txt", key=key, out=out, name=name, overrides=wanted
    )[0]


@dataclass(frozen=True, slots=True)
class Answer:
    """What a command came to."""

    status: int
    out: str
    err: str

    @property
    def objects(self) -> list[dict[str, Any]]:
        """The JSON lines it printed."""
        return [json.loads(line) for line in self.out.splitlines() if line.startswith("{")]

    @property
    def summary(self) -> dict[str, Any]:
        summary: dict[str, Any] = self.objects[-1]["summary"]
        return summary

    def events(self, type_: str) -> list[dict[str, Any]]:
        return [event for event in self.objects if event.get("type") == type_]


def gander(*arguments: object, state: Path, timeout: float = 90) -> Answer:
    """Run a verb as a user would, in a process of its own, and wait for it."""
    done = subprocess.run(
        command(*arguments), env=environment(state), capture_output=True, text=True, timeout=timeout, check=False
    )
    return Answer(done.returncode, done.stdout, done.stderr)


def command(*arguments: object) -> list[str]:
    return [sys.executable, "-m", "edge.cli", *map(str, arguments)]


def environment(state: Path, **more: str) -> dict[str, str]:
    wanted = {"GANDER_STATE": str(state), "GPIOZERO_PIN_FACTORY": "mock", "COLUMNS": "160"}
    return {**os.environ, **wanted, **more}
