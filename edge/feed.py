"""Events in words: all the English that people read of them is here. Pure: the same event gives the same sentence."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

from edge.labels import NOBODY
from edge.publishers import Post

WELL = "all is well again"
_MOST_NAMES = 4  # of visitors in one post
_TIMES = "{} times"

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


def visit_post(event: Mapping[str, Any], now: datetime) -> Post:
    """One visit that is over."""
    name, camera, pulses = who(event), event["camera"], event.get("pulses")
    came = f"{_capital(_article(name))} came to {camera}{_when(event, now)}"
    title = f"{_capital(name)} at {camera}"
    if not pulses:
        held = f"; {_WHY[event['reason']]}" if event["reason"] in _WHY else ""
        stay = f"left after {_seconds(stay_s(event))}" if event["visit"].get("left", True) else "stayed"
        return Post(title, f"{came} and {stay}{held}.")
    used = _list(list(dict.fromkeys(f"the {pulse['deterrent']}" for pulse in pulses)))
    if not event["visit"]["left"]:
        return Post(title, f"{came}. It met {used}, and may still be there.")
    met = "" if len(pulses) == 1 else f", met {used}{' ' + _TIMES.format(len(pulses)) if ' and ' not in used else ''},"
    return Post(title, f"{came}{met} and {_left(event)}.")


def digest(events: Sequence[Mapping[str, Any]], now: datetime) -> Post:
    """Several visits, after a silence or a flood."""
    since = _when(events[0], now).removeprefix(" at").strip()
    answered = sum(bool(event["visit"]["actions"]) for event in events)
    acted = f" {answered} of {len(events)} met a deterrent." if answered else ""
    last = visit_post(events[-1], now).text
    return Post(
        f"{len(events)} visits",
        f"{'Since ' + since if since else 'Not told before'}: {_counted(events)}.{acted} The last: {last}",
    )


def season(events: Sequence[Mapping[str, Any]], begin: datetime, end: datetime) -> Post:
    """All that came in a day or a week, `begin` to `end`."""
    week = end - begin > timedelta(days=2)
    day = end.astimezone()
    title = f"The week to {day:%A, %-d %B}" if week else f"{day:%A, %-d %B}"
    if not events:
        return Post(title, f"{title}: nobody came.")
    threats = [event for event in events if event["visit"]["kind"] == "threat"]
    answered = [event for event in threats if event["visit"]["actions"]]
    after = sorted(_after_s(event) for event in answered if event["visit"]["left"])
    text = f"{title}: {_counted(events)}."
    if threats:
        text += f" Threats: {len(threats)}, of which {len(answered)} met a deterrent"
        text += f"; half of them had left after {_seconds(after[len(after) // 2])}." if after else "."
    return Post(title, text)


def problem_post(event: Mapping[str, Any]) -> Post:
    """What is wrong with the appliance, or that it no longer is."""
    if not event["problems"]:
        return Post("All is well again", f"{event['node']}: {WELL}.")
    told = " ".join(f"{_capital(problem['what'])}: {problem['advice']}." for problem in event["problems"])
    return Post("Something is wrong", f"{event['node']}: {told}")


def with_missing(post: Post, count: int) -> Post:
    """A post that also says how much could not be told."""
    return replace(post, text=f"{post.text} ({_many(count, 'earlier visit')} could not be told.)")


def alt(event: Mapping[str, Any] | None) -> str:
    """In words what the picture of a visit shows."""
    return f"{_capital(_article(who(event)))} at {event['camera']}, marked with a box" if event else ""


def _left(event: Mapping[str, Any]) -> str:
    """How soon it left after what it met last."""
    last = event["pulses"][-1]
    # While a deterrent acts the picture is spoilt: whoever was gone afterwards left at some time in between.
    how = "within {} of" if event["visit"]["blind_s"] else "{} after"
    return f"left {how.format(_seconds(_after_s(event)))} the {last['deterrent']}"


def _after_s(event: Mapping[str, Any]) -> float:
    """From the last pulse until it was gone, at the latest."""
    gone_s: float = stay_s(event) + event["visit"]["blind_s"] - event["pulses"][-1]["at_s"]
    return max(gone_s, 0.0)


def _counted(events: Sequence[Mapping[str, Any]]) -> str:
    """Who came how often: "5 jays, a fox and 3 others"."""
    counts = Counter(who(event) for event in events).most_common()
    parts = [_many(number, name) for name, number in counts[:_MOST_NAMES]]
    if others := sum(number for _, number in counts[_MOST_NAMES:]):
        parts.append(_many(others, "other"))
    return _list(parts)


def _many(number: int, name: str) -> str:
    if number == 1 and name != "other":
        return _article(name)
    if number == 1 or name in ("somebody", "something"):
        return f"{number} × {name}" if number > 1 else f"one {name}"
    ending = name[-2:]
    if name.endswith(("s", "x", "z", "ch", "sh")):
        return f"{number} {name}es"
    if ending[-1:] == "y" and ending[:1] not in "aeiou":
        return f"{number} {name[:-1]}ies"
    return f"{number} {name}s"


def _list(parts: Sequence[str]) -> str:
    return parts[0] if len(parts) == 1 else f"{', '.join(parts[:-1])} and {parts[-1]}"


def _capital(text: str) -> str:
    return text[:1].upper() + text[1:]


def _seconds(seconds: float) -> str:
    return f"{seconds:.1f} s" if seconds < 10 else f"{seconds:.0f} s"


def _when(event: Mapping[str, Any], now: datetime) -> str:
    """When a visit began, as seen from `now`; nothing where the clock was not set."""
    if not event["clock_ok"]:
        return ""
    begun, today = datetime.fromisoformat(event["visit"]["started"]).astimezone(), now.astimezone().date()
    if begun.date() == today:
        return f" at {begun:%H:%M}"
    if begun.date() == today - timedelta(days=1):
        return f" yesterday at {begun:%H:%M}"
    return f" on {begun:%-d %B} at {begun:%H:%M}"


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
