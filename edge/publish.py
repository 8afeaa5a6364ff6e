"""Publishing: a loop for each sink that is configured, until it is time to end."""

from __future__ import annotations

import contextlib
import logging
import os
import sqlite3
import threading
from collections.abc import Iterator
from pathlib import Path

from edge.config import Config
from edge.config_feed import NotifyConfig, XConfig
from edge.deliveries import WHY, Deliveries, name_active
from edge.errors import ConfigError, GanderError
from edge.journal import lock
from edge.outbox import Bounds, Outbox
from edge.publishers import Poster, Publisher, secret
from edge.publishers.jsonl import Jsonl
from edge.publishers.mqtt import Mqtt
from edge.sender import LOOK_S, Sender
from edge.service import Service

log = logging.getLogger(__name__)

_MEND_S = 600.0  # between two tries of a sink that is unfit
_GOODBYE_S = 5.0


def sinks(config: Config) -> list[str]:
    """The names of the sinks that are configured."""
    return [
        *(["jsonl"] if config.jsonl.path else []),
        *(["mqtt"] if config.mqtt.host else []),
        *(["x"] if config.x.enabled else []),
        *(notify.name for notify in config.notify),
    ]


def publisher(config: Config, state: Path, name: str) -> tuple[Publisher, Bounds]:
    """A sink that wants every event. Raises `ConfigError`."""
    if name == "jsonl":
        return Jsonl(config.jsonl), Bounds()
    mqtt = config.mqtt
    bounds = Bounds(mqtt.max_age_h * 3600, mqtt.most)
    return Mqtt(mqtt, config.node.name, state, config.media.publish_people), bounds


def rules(config: Config, name: str) -> XConfig | NotifyConfig:
    """The section of a sink that people read."""
    return config.x if name == "x" else next(notify for notify in config.notify if notify.name == name)


def poster(config: Config, name: str) -> Poster:
    """A sink that people read. Its library is loaded only now: most appliances have none. Raises `ConfigError`."""
    section = rules(config, name)
    if isinstance(section, XConfig):
        if not section.credentials:
            raise ConfigError("x.credentials: name the file with the four keys of the app and the account")
        from edge.publishers.x import X

        return X(section)
    from edge.publishers.notify import Notify

    return Notify(section)


class _Running:
    """The loops of the sinks, and why some cannot begin: a file may be mended, or a disk mounted, at any time."""

    def __init__(self, config: Config, state: Path, stack: contextlib.ExitStack) -> None:
        self._config, self._state, self._stack = config, state, stack
        self.senders: dict[str, Sender] = {}
        self.unfit: dict[str, str] = {}
        self._unkept: set[str] = set()  # of those, what could not be written down

    def begin(self) -> None:
        """Begin those that do not run yet."""
        for name in sinks(self._config):
            if name in self.senders:
                continue
            try:
                self.senders[name] = self._stack.enter_context(_sender(self._config, self._state, name))
                self.unfit.pop(name, None)
            except ConfigError as error:
                self._leave_out(name, str(error))

    def mend(self, ending: threading.Event, every_s: float) -> None:
        """Try those that cannot begin again and again, until all run. For a thread: a library may take its time."""
        while self.unfit and not ending.wait(every_s):
            try:
                self.begin()
            except (GanderError, sqlite3.Error, OSError, ImportError) as error:
                log.warning("%s", error)

    def _leave_out(self, name: str, why: str) -> None:
        """Say why, once, and keep it for `gander status`; where it cannot be kept, the next time."""
        advice = "" if name == "jsonl" else secret.advice(os.environ)
        if self.unfit.get(name) != why:
            self.unfit[name] = why
            self._unkept.add(name)
            if len(sinks(self._config)) > 1:  # the only one ends all, with this as its last word
                log.error("%s%s", why, advice)
        if name not in self._unkept:
            return
        with contextlib.suppress(sqlite3.Error), contextlib.closing(Deliveries(self._state, name)) as pages:
            pages.away(f"{why}{advice}")
            if name not in ("jsonl", "mqtt"):  # what people read is counted otherwise
                pages.remember(WHY, "")
            self._unkept.remove(name)


def publish(
    config: Config, state: Path, ending: threading.Event, service: Service | None = None, mend_s: float = _MEND_S
) -> None:
    """Publish until told to end. The others go on without a sink that is unfit, which is tried again every `mend_s`.

    `service` is told. Raises `ConfigError` when there is nobody to tell, `StateError`, `GanderError`.
    """
    wanted = sinks(config)
    if not wanted:
        raise ConfigError(
            "publish: there is nobody to tell; set mqtt.host (or --mqtt HOST:PORT), jsonl.path, [x] or [[notify]]"
        )
    with contextlib.ExitStack() as stack:
        stack.callback(os.close, lock(state, "publish.lock"))
        name_active(state, wanted)
        running = _Running(config, state, stack)
        running.begin()
        if not running.senders:
            why, *others = running.unfit.values()
            raise ConfigError("publish: none of the sinks can be used; see above" if others else why)
        service = service or Service()
        mending = threading.Thread(target=running.mend, args=(ending, mend_s), name="mending", daemon=True)
        mending.start()
        stack.callback(mending.join, _GOODBYE_S)
        while not ending.wait(LOOK_S):
            senders = running.senders.copy()
            for sender in senders.values():
                sender.check()
            service.ready()
            stuck = [name for name, sender in senders.items() if sender.stuck]
            service.status(f"stuck: {', '.join(stuck)}" if stuck else f"tells {', '.join(senders)}")
            if not stuck:
                service.alive()
        service.stopping()


@contextlib.contextmanager
def _sender(config: Config, state: Path, name: str) -> Iterator[Sender]:
    """One sink's loop, running."""
    with contextlib.ExitStack() as stack:
        if name in ("jsonl", "mqtt"):
            stream, bounds = publisher(config, state, name)
            stack.callback(stream.close)
            sender: Sender = Outbox(state, stream, config.node.name, bounds)
        else:
            from edge.posting import Posting, Setting

            post = poster(config, name)
            stack.callback(post.close)
            section = rules(config, name)
            budget = {"budget": section.dollars_a_month} if isinstance(section, XConfig) else {}
            setting = Setting(config.media.publish_people, config.node.place, **budget)
            sender = Posting(state, post, section, setting)
        stack.callback(sender.join)
        stack.callback(sender.end)
        yield sender
