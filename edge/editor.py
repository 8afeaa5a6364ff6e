"""What people are told and when: one post a visit, one for all after a flood or a long silence. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from fnmatch import fnmatchcase
from typing import Any

from edge.config_feed import PostsConfig
from edge.sun import is_quiet

_SETTLE_S = 15.0  # so long after a visit a person may still turn out to be on its pictures
_ENTERED_S = 60.0  # so long after its end a visit may still be on its way into the journal
NEWS_S = 900.0  # what is older is told together
_FLOOD = 3  # so many at once are told together
_WEEK = 7
_SHARE = 2  # problems get one post in so many: those that come and go leave the others to visits

Event = Mapping[str, Any]
Sent = Sequence[tuple[datetime, float]]
"""Posts that were made: when, and for how many dollars."""


@dataclass(frozen=True, slots=True)
class Plan:
    """What to do next. `tell`: the events of the next post; `expired`: those nobody will be told any more, and `why`;
    `overtaken`: problems that are no news; else `why` nothing is told now."""

    tell: tuple[Event, ...] = ()
    expired: tuple[Event, ...] = ()
    overtaken: tuple[Event, ...] = ()
    why: str = ""


def wanted(event: Event, config: PostsConfig) -> bool:
    """Whether people want to hear of an event at all."""
    if event["type"] == "health":
        return config.problems
    if event["type"] != "visit" or event["replayed"] or event["visit"]["kind"] not in config.kinds:
        return False
    return any(fnmatchcase(event["visit"]["label"] or "", glob) for glob in config.labels)


def is_sound(event: Event, now: datetime, config: PostsConfig) -> bool:
    """Whether an event can be judged at all: a damaged one would keep all others from being told."""
    try:
        wanted(event, config)
        plan([event], [], now, config)
    except (KeyError, TypeError, ValueError, AttributeError):
        return False
    return True


def plan(
    held: Sequence[Event],
    sent: Sent,
    now: datetime,
    config: PostsConfig,
    place: tuple[float, float] | None = None,
    known: str = "",
    problems: Sequence[datetime] = (),
) -> Plan:
    """What becomes of the events that wait, oldest first.

    `place`: latitude and longitude, for quiet hours by the sun; `known`: what was told last of the appliance's health;
    `problems`: when posts told of that.
    """
    if too_many := held[: max(len(held) - config.most, 0)]:
        return Plan(expired=tuple(too_many), why=f"more than {config.most} waited")
    old = tuple(event for event in held if event["clock_ok"] and _age_s(event, now) > config.max_age_h * 3600)
    if old:
        return Plan(expired=old, why=f"older than {config.max_age_h:g} h")
    if overtaken := _overtaken(held, known):
        return Plan(overtaken=overtaken)
    ripe = [event for event in held if _is_ripe(event, now)]
    if not ripe:
        return Plan()
    if why := closed(sent, now, config, place):
        return Plan(why=why)
    visits = tuple(event for event in ripe if event["type"] == "visit")
    if why := _full(problems, now, config, _SHARE):
        ripe = list(visits)
    if not ripe:
        return Plan(why=why)
    together = len(visits) >= _FLOOD or (len(visits) > 1 and _age_s(visits[0], now) > NEWS_S)
    if ripe[0]["type"] == "visit" and together:
        return Plan(tell=visits)
    return Plan(tell=(ripe[0],))


def closed(sent: Sent, now: datetime, config: PostsConfig, place: tuple[float, float] | None = None) -> str:
    """Why nothing may be told now; "" when something may."""
    if config.quiet_hours and is_quiet(config.quiet_hours, now, place):
        return f"quiet hours ({config.quiet_hours})"
    return _full([wall for wall, _ in sent], now, config)


def spent(sent: Sent, now: datetime) -> float:
    """Dollars spent in this calendar month (UTC)."""
    return sum(price for wall, price in sent if (wall.year, wall.month) == (now.year, now.month))


def due(now: datetime, config: PostsConfig) -> datetime | None:
    """The newest moment of a digest that can be made by now, aware; None where none is wanted."""
    if not config.digest:
        return None
    hour, minute = map(int, config.digest_at.split(":"))
    # By the clock on the wall, which twice a year has another offset than it has now.
    at = _on_the_wall(now).replace(hour=hour, minute=minute, second=0, microsecond=0, fold=0)
    if at.astimezone() + timedelta(seconds=_ENTERED_S) > now:
        at -= timedelta(days=1)
    return (at if config.digest == "daily" else at - timedelta(days=at.weekday())).astimezone()


def begin(due: datetime, config: PostsConfig) -> datetime:
    """Where the time begins that a digest tells of."""
    return (_on_the_wall(due) - timedelta(days=1 if config.digest == "daily" else _WEEK)).astimezone()


def _on_the_wall(moment: datetime) -> datetime:
    """A moment as the house has it, without an offset."""
    return moment.astimezone().replace(tzinfo=None)


def _full(walls: Sequence[datetime], now: datetime, config: PostsConfig, share: int = 1) -> str:
    """Why no further post may join those, one in `share` being theirs; "" when one may."""
    for most, hours, name in ((config.per_hour, 1, "per_hour"), (config.per_day, 24, "per_day")):
        theirs = max(most // share, 1)
        if sum(now - timedelta(hours=hours) < wall <= now for wall in walls) >= theirs:
            return (
                f"{name} = {most} posts are made" if share == 1 else f"of {name} = {most} posts {theirs} told problems"
            )
    return ""


def _overtaken(held: Sequence[Event], known: str) -> tuple[Event, ...]:
    """Problems that a newer state has replaced, and a state that was told before."""
    states = [event for event in held if event["type"] == "health"]
    if states and states[-1]["what"] == known:
        return tuple(states)
    return tuple(states[:-1])


def _is_ripe(event: Event, now: datetime) -> bool:
    return event["type"] != "visit" or not 0 <= _age_s(event, now) < _SETTLE_S


def _age_s(event: Event, now: datetime) -> float:
    return (now - datetime.fromisoformat(event["wall"])).total_seconds()
