"""`gander publish --test`: what a sink would be sent, and what it costs; and whether it takes it."""

from __future__ import annotations

import contextlib
import sqlite3
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from edge import editor, feed, payloads, unit
from edge.clock import Ids, iso
from edge.config import Config
from edge.config_feed import XConfig
from edge.errors import ConfigError, Refused, StateError
from edge.journal import dump
from edge.postcard import postcard
from edge.publish import poster, rules, sinks
from edge.publishers.jsonl import Jsonl
from edge.publishers.mqtt_link import Message, probe
from edge.publishers.x_text import fit
from edge.reading import Reading

_LOGS = Path("/var/log/gander")  # gander-publish.service's
_LOOKED_AT = 2000  # of the newest events
_MOST_PICTURE = 1_000_000  # where the sink cannot be asked


@dataclass(frozen=True, slots=True)
class Trial:
    """What would be sent. `sample`: made up, since the journal has nothing this sink wants; `dollars`: None where
    nothing is asked for; `missing`: why it could not be sent, "" when it could; `send` does it and says what came of
    it (raises `GanderError`)."""

    sink: str
    title: str
    text: str
    picture: bytes | None
    alt: str
    sample: bool
    dollars: float | None
    missing: str
    send: Callable[[], str]


@contextlib.contextmanager
def trial(config: Config, state: Path, sink: str) -> Iterator[Trial]:
    """Make ready what `sink` would be sent of the newest event it wants. Raises `Refused`, `ConfigError`."""
    known = [*dict.fromkeys([*sinks(config), "x"])]
    if sink not in known:
        raise Refused(f"publish --test {sink}: no such sink is configured; there are {', '.join(known)}")
    with contextlib.closing(Reading(state)) as reading:
        if sink in ("jsonl", "mqtt"):
            yield _stream(config, state, sink, reading)
        else:
            with contextlib.ExitStack() as stack:
                yield _post(config, sink, reading, stack)


def _stream(config: Config, state: Path, sink: str, reading: Reading) -> Trial:
    """An event as programs get it, on a topic no automation acts upon."""
    found = _newest(reading, lambda event: True)
    event = found or _sample(config)

    def mqtt() -> str:
        message = Message(f"{config.mqtt.root}/{config.node.name}/event/late", dump(event))
        return f"{probe(config.mqtt, f'gander-{config.node.name}-test', message)}, and acknowledges it"

    def jsonl() -> str:
        if unit.there():
            return by_the_service(Path(config.jsonl.path), state)
        Jsonl(config.jsonl).close()
        return f"{config.jsonl.path} can be written; nothing was added to it"

    title = f"{config.mqtt.root}/{config.node.name}/event/late" if sink == "mqtt" else config.jsonl.path
    text = payloads.compact(event)
    return Trial(sink, title, text, None, "", found is None, None, "", mqtt if sink == "mqtt" else jsonl)


def by_the_service(path: Path, state: Path) -> str:
    """That the unit lets the service write there; who tries it here may write elsewhere. Raises `ConfigError`."""
    if not {_LOGS, state.absolute()} & set(path.absolute().parents):
        allowed = f"its unit lets the service write in {_LOGS} and {state} only"
        raise ConfigError(f"jsonl.path {path}: {allowed}; set it to {_LOGS}/events.jsonl")
    return f"the service may write {path}; nothing was added to it"


def _post(config: Config, sink: str, reading: Reading, stack: contextlib.ExitStack) -> Trial:
    section, missing = rules(config, sink), ""
    try:
        made = poster(config, sink)
        stack.callback(made.close)
    except ConfigError as error:
        made, missing = None, str(error)
    found = _newest(reading, lambda event: event["type"] == "visit" and editor.wanted(event, section))
    event = found or _sample(config)
    post = feed.visit_post(event, datetime.now(UTC))
    if section.picture and found:
        with contextlib.suppress(sqlite3.Error, StateError):
            data = reading.picture(event["picture"] or "", config.media.publish_people)
            small = postcard(data, made.most_picture if made else _MOST_PICTURE) if data else None
            post = replace(post, picture=small, alt=feed.alt(event) if small else "")

    def send() -> str:
        if made is None:
            raise ConfigError(missing)
        name = made.send(post)
        return f"sent{': ' + name if name else ''}"

    dollars = None
    if isinstance(section, XConfig):
        dollars = made.price(post) if made else section.price + (section.price_picture if post.picture else 0.0)
    text = fit(post.text, section.urls) if isinstance(section, XConfig) else post.text
    return Trial(sink, post.title, text, post.picture, post.alt, found is None, dollars, missing, send)


def _newest(reading: Reading, wanted: Callable[[dict[str, Any]], bool]) -> dict[str, Any] | None:
    try:
        last = reading.last_place()
        return next((e for _, e in reversed(reading.after(max(last - _LOOKED_AT, 0), _LOOKED_AT)) if wanted(e)), None)
    except (sqlite3.Error, StateError):
        return None


def _sample(config: Config) -> dict[str, Any]:
    """A visit as there might be one."""
    now = datetime.now(UTC)
    camera, deterrent = config.camera[0].id, config.deterrent[0].id if config.deterrent else "light"
    pulse = {"id": Ids().new(now), "deterrent": deterrent, "at_s": 0.6, "on_ms": 1600}
    return {
        "v": 1,
        "id": Ids().new(now),
        "type": "visit",
        "node": config.node.name,
        "wall": iso(now),
        "clock_ok": True,
        "camera": camera,
        "media_time": None,
        "visit": {
            "id": Ids().new(now),
            "label": "jay",
            "kind": "threat",
            "p": 0.97,
            "threat_p": 0.99,
            "answers": 12,
            "actions": 1,
            "started": iso(now),
            "ended": iso(now),
            "box": [0.4, 0.4, 0.1, 0.1],
            "left": True,
            "blind_s": 1.9,
        },
        "action": None,
        "reason": "threat",
        "deterrent": None,
        "model": None,
        "top": [],
        "latency_ms": {},
        "picture": None,
        "pulses": [pulse],
        "replayed": True,
    }
