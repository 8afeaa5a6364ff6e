"""Events in words. Pure: the same event gives the same sentence."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from edge.labels import NOBODY

_WHY = {
    "observe": "it would have fired, but the mode is observe",
    "paused": "it would have fired, but is paused",
    "maintenance": "it would have fired, but the mode is maintenance",
    "quiet_hours": "it held because of quiet hours",
    "clock_unknown": "it held because the clock is not set, so quiet hours cannot be told",
    "cooldown": "it held because the deterrent was just used",
    "quota": "it held because it has fired often enough",
    "person_veto": "it held because a person is, was just, or may be there",
    "near_residents": "it held because a resident is in the picture",
    "no_verdict": "it held because no model answered in time",
    "no_controller": "it could not fire: there is no deterrent, or its controller does not answer",
    "demo_model": "it held because the model is a demonstration",
    "weak_evidence": "nothing was done: too little speaks for a threat",
}


def who(event: Mapping[str, Any]) -> str:
    """The visitor's name, for people: the common name where a label has one."""
    label = (event.get("visit") or {}).get("label")
    if not label:
        return "somebody"
    if label in NOBODY:
        return "something"
    name = str(label)
    if name.endswith(")") and "(" in name:
        name = name[name.rindex("(") + 1 : -1]
    return name.replace("_", " ")


def why(event: Mapping[str, Any]) -> str:
    """The reason of a decision, in words."""
    return _WHY.get(str(event.get("reason")), str(event.get("reason") or "")).replace("_", " ")


def words(event: Mapping[str, Any]) -> str:
    """One plain sentence on one event, without anything that tells where the house is."""
    kind, name, camera = event["type"], _article(who(event)), event.get("camera", "")
    at = _time(event)
    if kind == "visit_started":
        return f"{at} {name} is at {camera}."
    if kind == "action":
        action = event["action"]
        if not action["acknowledged"]:
            return f"{at} {name} came to {camera}; the {action['deterrent']} did not answer ({action['result']})."
        onset = event["latency_ms"].get("onset")
        after = f", {onset / 1000:.2f} s after it was first seen" if onset is not None else ""
        return f"{at} {name} came to {camera}: the {action['deterrent']} fired{after}."
    if kind == "suppressed":
        return f"{at} {name} came to {camera}; {why(event)}."
    if kind == "visit":
        visit = event["visit"]
        times = visit.get("actions", 0)
        scared = {0: "", 1: ", scared off once"}.get(times, f", scared off {times} times")
        return f"{at} {name} was at {camera} for {stay_s(event):.0f} s{scared}."
    if kind == "command":
        return f"{at} {event['who']} said: {event['command']}."
    return f"{at} {kind}: {event.get('what', '')}".rstrip(": ")


def post(event: Mapping[str, Any]) -> str | None:
    """What would be posted about an event: one post for an action. None for everything else."""
    if event["type"] != "action" or not event["action"]["acknowledged"]:
        return None
    onset = event["latency_ms"].get("onset")
    after = f" {onset / 1000:.2f} s after it showed up" if onset is not None else ""
    return f"{_article(who(event)).capitalize()} came by. The {event['action']['deterrent']} was on{after}."


def _time(event: Mapping[str, Any]) -> str:
    return datetime.fromisoformat(event["wall"]).astimezone().strftime("%H:%M:%S")


def stay_s(event: Mapping[str, Any]) -> float:
    """How many seconds an ended visit lasted."""
    visit = event["visit"]
    return (datetime.fromisoformat(visit["ended"]) - datetime.fromisoformat(visit["started"])).total_seconds()


def _article(name: str) -> str:
    if name in ("somebody", "something"):
        return name
    return f"{'an' if name[:1].lower() in 'aeiou' else 'a'} {name}"
