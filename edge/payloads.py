"""What goes over MQTT, topic by topic: pure functions from status and events to topics and payloads, and back."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

from edge import feed
from edge.errors import Refused

COMMANDS = (
    "deterrent/armed/set",
    "mode/set",
    "deterrent/test/set",
    "pause/set",
    "label/set",
    "model/install/set",
)
MOST_BYTES = 2048  # of a command
_OLD_S = 30.0
_MODELS = ("name", "role", "ready")
_STEPS = ("pin", "onset", "predict")


def compact(value: Any) -> str:
    """JSON without spaces, as in the journal."""
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"))


def level(text: str) -> str:
    """Text as one level of a topic: what means something to MQTT, and what cannot be seen, becomes `_`."""
    safe = "".join("_" if c in "+#/" or not c.isprintable() else c for c in text[:100])
    return safe or "_"


def event_topic(event: Mapping[str, Any], now: datetime, since: datetime, late_s: float) -> str:
    """`event`; or `event/late` for one that is old, or from before the connection was made (`since`)."""
    wall = datetime.fromisoformat(event["wall"])
    late = wall < since or now - wall > timedelta(seconds=late_s) or bool(event.get("replayed"))
    return "event/late" if late else "event"


def states(
    status: Mapping[str, Any] | None,
    visitor: Mapping[str, Any] | None,
    counts: Mapping[str, int],
    more: Mapping[str, Any],
) -> dict[str, str]:
    """The retained topics and what they say, in the order they should be sent.

    `status` as `gander status` has it, None when the watch does not answer; `visitor`: the newest event about a
    visit; `counts`: today's visits by label; `more`: what only the publisher knows, for `status`.
    """
    if status is None:
        unknown = {"v": 1, "healthy": False, "problems": ["gander watch does not answer"]}
        return {
            "status": compact(unknown),
            "motion": "OFF",
            "deterrent/state": "unavailable",
            "availability": "offline",  # last, so that nobody takes the others for news
        }
    ready, acting = status["controller_ready"], status["acting"]
    found = {
        "availability": "online",
        "status": compact(health(status) | dict(more)),
        "mode": str(status["mode"]),
        "deterrent/armed": "ON" if status["mode"] == "armed" else "OFF",
        "deterrent/state": ("on" if acting else "off") if ready else "unavailable",
        "model/state": compact(_models(status)),
        "motion": "ON" if status["visits"] else "OFF",
    }
    if visitor:
        found["visitor/last"] = compact(last_visitor(visitor))
    for label, number in counts.items():
        topic = f"count/{level(label)}"
        found[topic] = str(int(found.get(topic, "0")) + number)  # two labels may come to one topic
    return found


def _models(status: Mapping[str, Any]) -> dict[str, Any]:
    """The `model/state` topic: who judges, and whether a newer model came."""
    versions = status.get("versions", {})
    return {
        "champion": status["model"],
        "demo": status["demo"],
        "installed_version": versions.get("installed", status["model"]),
        "latest_version": versions.get("latest", status["model"]),
        "models": [{name: model[name] for name in _MODELS} for model in status["models"]],
    }


def health(status: Mapping[str, Any]) -> dict[str, Any]:
    """The `status` topic: how the appliance is."""
    problems = [problem["what"] for problem in status["problems"]]
    latency, publishers = status["latency_ms"], status.get("publishers", {})
    return {
        "v": 1,
        "healthy": not problems,
        "problems": problems,
        "mode": status["mode"],
        "armed": status["mode"] == "armed",
        "paused": status["paused"],
        "model": status["model"],
        "cameras": {camera["id"]: not camera["trouble"] for camera in status["cameras"]},
        "latency_ms": {
            step: {name: round(latency[step][name], 1) for name in ("p50", "p95", "max")}
            for step in _STEPS
            if latency.get(step, {}).get("n")
        },
        "queues": {"journal": status["journal"]["waiting"]} | _each(publishers, "waiting"),
        "oldest_s": _each(publishers, "oldest_s"),
        "disk_free": status.get("disk", {}).get("free"),
        "temperature": status.get("temperature"),
        "uptime_s": round(status["uptime_s"]),
    }


def _each(publishers: Mapping[str, Mapping[str, Any]], what: str) -> dict[str, int]:
    return {name: round(facts.get(what) or 0) for name, facts in publishers.items()}


_MOVING = ("latency_ms", "queues", "oldest_s", "disk_free", "temperature", "uptime_s")


def gist(payload: str) -> str:
    """What of the `status` topic is worth telling at once; figures that always move are told with the next."""
    said = json.loads(payload)
    measured = sorted(said.get("latency_ms", {}))  # a step's first figures are news
    return compact([measured, {name: value for name, value in said.items() if name not in _MOVING}])


def last_visitor(event: Mapping[str, Any]) -> dict[str, Any]:
    """The `visitor/last` topic."""
    visit = event["visit"]
    return {
        "v": 1,
        "words": feed.words(event),
        "visit": visit["id"],
        "name": feed.who(event),
        "label": visit["label"],
        "kind": visit["kind"],
        "p": visit["p"],
        "camera": event.get("camera"),
        "started": visit["started"],
        "ended": visit["ended"],
        "actions": visit["actions"],
    }


@dataclass(frozen=True, slots=True)
class Command:
    """What somebody asks for: a name the control socket knows, and its arguments."""

    name: str
    arguments: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Request:
    """A command's payload, opened. `sent` is when it was, where it says so."""

    value: Any
    id: str | None = None
    sent: datetime | None = None


def request(payload: bytes) -> Request:
    """Open a payload: plain text, or JSON `{"value": …, "sent": …, "id": …}`. Raises `Refused`."""
    if len(payload) > MOST_BYTES:
        raise Refused(f"a command of {len(payload)} bytes: at most {MOST_BYTES} are read")
    try:
        text = payload.decode("utf-8").strip()
    except UnicodeDecodeError:
        raise Refused("a command that is no text: write it in UTF-8") from None
    if not text.startswith("{"):
        if not text.isprintable():
            raise Refused("a command with control characters")
        return Request(text)
    try:
        opened = json.loads(text)
    except (ValueError, RecursionError):
        raise Refused('a command that is no JSON: write {"value": …, "sent": …, "id": …}') from None
    id_ = opened.get("id")
    if id_ is not None and not (isinstance(id_, str | int) and len(str(id_)) <= 100):
        raise Refused("id: give a text of at most 100 characters")
    sent = None if opened.get("sent") is None else _moment(opened["sent"])
    value = opened.get("value", {k: v for k, v in opened.items() if k not in ("id", "sent")})
    return Request(value, None if id_ is None else str(id_), sent)


def _moment(sent: Any) -> datetime:
    try:
        if isinstance(sent, str):
            moment = datetime.fromisoformat(sent)
            return moment if moment.tzinfo else moment.replace(tzinfo=UTC)
        if isinstance(sent, int | float) and not isinstance(sent, bool):
            return datetime.fromtimestamp(sent, UTC)
    except (ValueError, OverflowError, OSError):
        pass
    raise Refused(f"sent: {str(sent)[:40]!r} is no time; write 2026-01-01T12:00:00Z, or seconds since 1970")


def stale(sent: datetime | None, now: datetime) -> str:
    """Why a command is not of now; "" when it is, or does not say."""
    age_s = (now - sent).total_seconds() if sent else 0.0
    if abs(age_s) <= _OLD_S:
        return ""
    return f"sent {abs(age_s):.0f} s {'ago' if age_s > 0 else 'from now'}: only what was sent just now is obeyed"


def command(topic: str, value: Any) -> Command:
    """The command that a value on one of the `COMMANDS` topics means. Raises `Refused`."""
    return _COMMANDS[topic](value)


def _text(value: Any) -> str:
    if isinstance(value, bool):
        return "ON" if value else "OFF"
    if isinstance(value, str | int | float):
        return str(value).strip()
    raise Refused(f"{compact(value)[:40]}: give a plain value")


def _armed(value: Any) -> Command:
    mode = {"ON": "armed", "OFF": "observe"}.get(_text(value).upper())
    if mode is None:
        raise Refused(f"{_text(value)[:40]!r}: write ON or OFF")
    return Command("mode", {"mode": mode})


def _test(value: Any) -> Command:
    name = _text(value)
    return Command("test_fire", {"deterrent": "" if name == "PRESS" else name})  # what Home Assistant's button sends


def _pause(value: Any) -> Command:
    try:
        seconds = float(_text(value))
    except ValueError:
        seconds = math.nan
    if not math.isfinite(seconds):
        raise Refused(f"{_text(value)[:40]!r}: write the pause in seconds")
    return Command("pause", {"seconds": seconds})


def _label(value: Any) -> Command:
    if isinstance(value, str):
        visit, _, label = value.partition(" ")
        value = {"visit": visit, "label": label}
    if not isinstance(value, dict) or not {"visit", "label"} <= value.keys() <= {"visit", "label", "note"}:
        raise Refused('write VISIT LABEL, or {"visit": …, "label": …, "note": …}; the visit may be "last"')
    return Command("label", {name: _text(part) for name, part in value.items()})


def _install(value: Any) -> Command:
    name = _text(value)
    if name == "INSTALL":  # what Home Assistant's update sends
        return Command("update")
    if not re.fullmatch(r"[\w][\w.@-]{0,99}\.gander", name, re.ASCII):
        raise Refused(
            f"{name[:40]!r}: give the bare name of a bundle in the folder `incoming` of the state directory, or INSTALL"
        )
    return Command("install", {"path": name})


_COMMANDS = {
    "deterrent/armed/set": _armed,
    "mode/set": lambda value: Command("mode", {"mode": _text(value)}),
    "deterrent/test/set": _test,
    "pause/set": _pause,
    "label/set": _label,
    "model/install/set": _install,
}
