"""The sinks, looked over: whether they can be reached, and by whom they can be read. Nothing is posted."""

from __future__ import annotations

from collections.abc import Iterator

from edge.config import Config
from edge.errors import ConfigError, GanderError
from edge.health import Finding
from edge.publish import poster, sinks
from edge.publishers import secret
from edge.publishers.mqtt_link import probe


def findings(config: Config) -> Iterator[Finding]:
    """All that are configured."""
    yield from _mqtt(config)
    for name in sinks(config):
        if name not in ("mqtt", "jsonl"):
            yield _poster(config, name)


def _closed(what: str) -> Finding:
    return Finding("advice", what, "its secrets are closed to you", "`sudo gander doctor` looks at them, too")


def _poster(config: Config, name: str) -> Finding:
    if secret.hidden(config.x.credentials if name == "x" else _urls_file(config, name)):
        return _closed(name)
    try:
        poster(config, name).close()
    except ConfigError as error:
        return Finding("problem", name, str(error), "mend that; it is left out until then")
    return Finding("ok", name, f"is set up; `gander publish --test {name} --send` tries it")


def _urls_file(config: Config, name: str) -> str:
    return next((notify.urls_file for notify in config.notify if notify.name == name), "")


def _mqtt(config: Config) -> Iterator[Finding]:
    mqtt = config.mqtt
    if not mqtt.host:
        yield Finding("ok", "mqtt", "no broker configured: events stay on this machine")
        return
    if secret.hidden(mqtt.password_file, mqtt.key, mqtt.certificate, mqtt.ca):
        yield _closed("mqtt")
        return
    where = f"{mqtt.host}:{mqtt.service}"
    try:
        says = probe(mqtt, f"gander-{config.node.name}-doctor")
    except GanderError as error:
        yield Finding("problem", "mqtt", f"{where}: {error}", "mend [mqtt] in the configuration, or start the broker")
        return
    if not mqtt.local and not mqtt.secure:
        yield Finding(
            "advice",
            "mqtt",
            f"{where}: {says}, without TLS",
            "everybody on the network can read along: mqtt.tls = true",
        )
    elif not mqtt.local and mqtt.commands and not (mqtt.user or mqtt.certificate):
        yield Finding(
            "advice",
            "mqtt",
            f"{where}: {says}, nobody need log in",
            "whoever reaches the broker can arm: set a password",
        )
    else:
        yield Finding("ok", "mqtt", f"{where}: {says}")
