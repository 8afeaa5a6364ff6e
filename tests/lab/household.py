"""A household: the appliance's two programs, a broker, Home Assistant and a phone, and who walks through the yard."""

from __future__ import annotations

import contextlib
import sqlite3
import subprocess
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from edge.database import OWNER
from tests import stage
from tests.daemon import Daemon
from tests.lab.home_assistant import HomeAssistant, Phone
from tests.lab.mosquitto import Mosquitto
from tests.mqtt import until
from tests.stage import command, environment

PATIENCE_S = 120.0  # whatever else this machine does


class Scene:
    """What the camera sees: a still yard, and a visitor as long as one is wanted."""

    def __init__(self) -> None:
        rng = np.random.default_rng(5)
        grey = rng.integers(190, 235, (30, 54), np.uint8)
        self._empty = cv2.cvtColor(cv2.resize(grey, stage.SIZE, interpolation=cv2.INTER_CUBIC), cv2.COLOR_GRAY2BGR)
        self._since = 0.0

    def comes(self) -> None:
        self._since = time.monotonic()

    def goes(self) -> None:
        self._since = 0.0

    def __call__(self, number: int) -> bytes:
        picture = self._empty.copy()
        if since := self._since:
            x = round(40 + (time.monotonic() - since) * 60) % stage.SIZE[0]
            cv2.circle(picture, (x, stage.SIZE[1] // 2), 36, stage.COLOURS["red"], cv2.FILLED, cv2.LINE_AA)
        return bytes(cv2.imencode(".jpg", picture)[1].tobytes())


@dataclass
class Place:
    """The whole of it: broker, Home Assistant, phone, and the appliance's two programs."""

    broker: Mosquitto
    home: HomeAssistant
    phone: Phone
    scene: Scene
    state: Path
    source: str
    running: list[subprocess.Popen[bytes]] = field(default_factory=list)

    def watch(self, *settings: str) -> Daemon:
        history = self.state.parent / "pins.jsonl"
        wanted = ("controller.kind=guard", "policy.initial_mode=armed", "node.name=yard", *settings)
        env = environment(self.state, GANDER_PIN_HISTORY=str(history))
        process = self._start(env, "watch", "--source", self.source, *_set(*wanted))
        return Daemon(process, self.state, history)

    def publish(self, *settings: str) -> subprocess.Popen[bytes]:
        access = ("mqtt.user=dev", f"mqtt.password_file='{self.broker.password('dev')}'", "node.name=yard")
        arguments = _set(*access, "mqtt.ignore_s=0", *settings)
        return self._start(environment(self.state), "publish", "--mqtt", f"127.0.0.1:{self.broker.port}", *arguments)

    def _start(self, env: dict[str, str], *arguments: object) -> subprocess.Popen[bytes]:
        out = (self.state.parent / f"{arguments[0]}.out").open("ab")
        self.running.append(subprocess.Popen(command(*arguments), env=env, stdout=out, stderr=out))
        return self.running[-1]

    def end(self, process: subprocess.Popen[bytes]) -> None:
        process.terminate()
        assert process.wait(60) == 0

    def shows(self, entity: str, state: str) -> None:
        """Wait until an entity of the appliance shows what it should."""
        until(lambda: self.home.state(entity_id(entity)) == state, PATIENCE_S)

    def visit(self, daemon: Daemon) -> dict[str, Any]:
        """Somebody comes, is known, is scared off, and goes. Returns the event that he left."""
        fired, left = len(daemon.events("action")), len(daemon.events("visit"))
        self.scene.comes()
        try:
            until(lambda: len(daemon.events("action")) > fired, PATIENCE_S)
            time.sleep(1.0)
        finally:
            self.scene.goes()
        until(lambda: len(daemon.events("visit")) > left and not daemon.status()["visits"], PATIENCE_S)
        last = daemon.events("visit")[-1]  # a busy machine may lose sight of one visitor, and see another
        until(lambda: self.attributes("event", "event").get("id") == last["id"], PATIENCE_S)
        until(lambda: self.attributes("sensor", "last_visitor").get("visit") == last["visit"]["id"], PATIENCE_S)
        until(
            lambda: last["visit"]["id"] in [push["data"]["tag"] for push in self.pushed("automation.phone")], PATIENCE_S
        )
        return last

    def pushed(self, automation: str, before: int = 0) -> list[dict[str, Any]]:
        """What an automation told the phone of visitors; but for the first `before`."""
        return [
            push
            for push in self.phone.pushes[before:]
            if any(action["action"].startswith(f"gander|{automation}|") for action in push["data"].get("actions", []))
        ]

    def attributes(self, domain: str, name: str) -> dict[str, Any]:
        with contextlib.suppress(KeyError):
            return self.home.attributes(f"{domain}.gander_yard_{name}")
        return {}

    def labels(self) -> list[tuple[str, str, str]]:
        """Of `owner.db`: visit, label, who said it."""
        with contextlib.closing(sqlite3.connect(self.state / OWNER)) as owner:
            return owner.execute("SELECT visit_id, label, who FROM label ORDER BY id").fetchall()


def entity_id(short: str) -> str:
    domain, name = short.split(".")
    return f"{domain}.gander_yard_{name}"


def _set(*settings: str) -> list[str]:
    return [part for setting in settings for part in ("--set", setting)]
