"""Publishing: a loop for each sink that is configured, until it is time to end."""

from __future__ import annotations

import contextlib
import logging
import os
import threading
from collections.abc import Iterator
from pathlib import Path

from edge.config import Config
from edge.config_feed import NotifyConfig, XConfig
from edge.deliveries import name_active
from edge.errors import ConfigError
from edge.journal import lock
from edge.outbox import Bounds, Outbox
from edge.publishers import Poster, Publisher
from edge.publishers.jsonl import Jsonl
from edge.publishers.mqtt import Mqtt
from edge.sender import LOOK_S, Sender
from edge.service import Service

log = logging.getLogger(__name__)


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


def publish(config: Config, state: Path, ending: threading.Event, service: Service | None = None) -> None:
    """Publish until told to end. A sink that is unfit is said and left out; the others go on. `service` is told.

    Raises `ConfigError` when there is nobody to tell, `StateError`, `GanderError`.
    """
    wanted = sinks(config)
    if not wanted:
        raise ConfigError(
            "publish: there is nobody to tell; set mqtt.host (or --mqtt HOST:PORT), jsonl.path, [x] or [[notify]]"
        )
    with contextlib.ExitStack() as stack:
        stack.callback(os.close, lock(state, "publish.lock"))
        senders: list[Sender] = []
        for name in wanted:
            try:
                senders.append(stack.enter_context(_sender(config, state, name)))
            except ConfigError as error:
                if len(wanted) == 1:
                    raise
                log.error("%s", error)
        if not senders:
            raise ConfigError("publish: none of the sinks can be used; see above")
        name_active(state, (sender.name for sender in senders))
        service = service or Service()
        while not ending.wait(LOOK_S):
            for sender in senders:
                sender.check()
            service.ready()
            stuck = [sender.name for sender in senders if sender.stuck]
            service.status(f"stuck: {', '.join(stuck)}" if stuck else f"tells {', '.join(s.name for s in senders)}")
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
