"""What a process tells the service manager that runs it (systemd): ready, alive, how it is, ending."""

from __future__ import annotations

import logging
import os
import socket
import time
from collections.abc import Callable, Mapping, MutableMapping
from pathlib import Path
from typing import Any

from edge.config import Config
from edge.errors import StateError
from edge.pin_guard import PINS

log = logging.getLogger(__name__)

_MOST_STATUS = 200  # characters
_EXTEND_S, _EXTEND_EVERY_S = 60.0, 5.0


class Service:
    """The manager's socket, or nobody. Never waits, so that the loop may use it: what cannot be sent is sent later.

    `alive` and `extend` are for the thread that is to be proved alive, `status` for any.
    """

    def __init__(self, address: str = "", watchdog_s: float = 0.0, now: Callable[[], float] = time.monotonic) -> None:
        """`address`: a path, or a name that begins with "@"; "": nobody listens. `watchdog_s`: 0: none is set."""
        self._address = "\0" + address[1:] if address.startswith("@") else address
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) if address else None
        self._every_s, self._now = watchdog_s / 3, now
        self._fed_at = self._extended_at = -float("inf")
        self._said = ""
        self.started = False

    @classmethod
    def of(cls, environment: MutableMapping[str, str]) -> Service:
        """The manager that the environment names. Taken out of it: no child may speak for this process."""
        address = environment.pop("NOTIFY_SOCKET", "")
        pid, microseconds = environment.pop("WATCHDOG_PID", ""), environment.pop("WATCHDOG_USEC", "")
        meant = pid in ("", str(os.getpid())) and microseconds.isdecimal()
        return cls(address if address[:1] in ("/", "@") else "", int(microseconds) / 1e6 if meant else 0.0)

    @property
    def listens(self) -> bool:
        return self._socket is not None

    def ready(self, status: str = "") -> None:
        """Started. Until it was heard, each call says it again."""
        if not self.started:
            self.started = self._send("READY=1", *([f"STATUS={_line(status)}"] if status else []))

    def alive(self) -> None:
        """Feed the watchdog; costs a datagram three times in its span, else nothing."""
        if self._every_s and self._now() - self._fed_at >= self._every_s and self._send("WATCHDOG=1"):
            self._fed_at = self._now()

    def extend(self) -> None:
        """Not started yet, but on the way: a minute more, asked for every few seconds."""
        if not self.started and self._now() - self._extended_at >= _EXTEND_EVERY_S:
            self._send(f"EXTEND_TIMEOUT_USEC={_EXTEND_S * 1e6:.0f}")
            self._extended_at = self._now()

    def status(self, text: str) -> None:
        """One line for `systemctl status`; sent when it is another than before."""
        if text != self._said and self._send(f"STATUS={_line(text)}"):
            self._said = text

    def stopping(self) -> None:
        self._send("STOPPING=1")

    def _send(self, *lines: str) -> bool:
        """Whether it is on its way, or nobody wants it."""
        if self._socket is None:
            return True
        try:
            self._socket.sendto("\n".join(lines).encode(), socket.MSG_DONTWAIT, self._address)
        except OSError as error:
            log.debug("the service manager does not listen: %s", error)
            return False
        return True


class Pulse:
    """The loop's own: one call in each of its turns, and it takes no other sign of life.

    A turn without a picture is one, too: a camera that is being opened again is progress, a stuck loop is not.
    """

    def __init__(self, service: Service) -> None:
        self._service = service

    def beat(self, frames: int) -> None:
        """`frames`: taken up by the loop so far; with the first of them the service has started."""
        if not self._service.started:
            if frames:
                self._service.ready()
            else:
                self._service.extend()
        self._service.alive()


def in_a_line(facts: Mapping[str, Any]) -> str:
    """How the appliance is (`app.Appliance.status`), in a line that stays the same while nothing happens."""
    words = [str(facts["mode"])]
    for camera in facts["cameras"]:
        words.append(f"camera {camera['id']} {'is tried again' if camera['trouble'] else 'delivers'}")
    found = [problem["what"] for problem in facts["problems"]]
    return "; ".join(
        [*words, f"{len(found)} problems: {found[0]}" if len(found) > 1 else (found or ["all is well"])[0]]
    )


def forget_pins(environment: Mapping[str, str]) -> None:
    """The channels of an earlier run are not this one's."""
    if folder := environment.get("RUNTIME_DIRECTORY"):
        (Path(folder) / PINS).unlink(missing_ok=True)


def with_credentials(config: Config, environment: Mapping[str, str]) -> Config:
    """The configuration with its secrets read from where the service manager put them for this process alone.

    A file `mqtt.password` that the configuration names is there as `secrets_mqtt.password`. What this process may read
    where the configuration says, and what is not there, is read as it says.
    """
    folder = environment.get("CREDENTIALS_DIRECTORY")
    if not folder:
        return config
    try:
        there = {path.name.removeprefix("secrets_"): str(path) for path in Path(folder).iterdir()}
    except OSError as error:
        raise StateError(f"{folder}: the service's credentials cannot be read: {error.strerror}") from None

    def found(path: str) -> str:
        return path if os.access(path, os.R_OK) else there.get(Path(path).name, path)

    mqtt, x = config.mqtt, config.x
    files = {name: found(getattr(mqtt, name)) for name in ("password_file", "ca", "certificate", "key")}
    return config.model_copy(
        update={
            "mqtt": mqtt.model_copy(update=files),
            "x": x.model_copy(update={"credentials": found(x.credentials)}),
            "notify": [one.model_copy(update={"urls_file": found(one.urls_file)}) for one in config.notify],
            "camera": [one.model_copy(update={"credentials": found(one.credentials)}) for one in config.camera],
        }
    )


def _line(text: str) -> str:
    return " ".join(text.split())[:_MOST_STATUS]
