"""The controller's greeting: what it is and what it allows, and whether that fits this Gander and its configuration."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from edge.config import DeterrentConfig
from edge.errors import ControllerError
from firmware import VERSION
from firmware.wire import PROTOCOL, number


@dataclass(frozen=True, slots=True)
class Limits:
    """What a controller allows one channel: longest pulse, most lit time in an hour, rest after a pulse; in ms."""

    max_on_ms: int
    hour_ms: int
    rest_ms: int


@dataclass(frozen=True, slots=True)
class Greeting:
    """A controller's word about itself. `tick`: its milliseconds; `seq`: the last number it has used up."""

    firmware: str
    session: str
    tick: int
    seq: int
    limits: dict[int, Limits]

    def facts(self) -> dict[str, Any]:
        """For status: as it would be written in JSON."""
        limits = {str(channel): asdict(limit) for channel, limit in sorted(self.limits.items())}
        return {"firmware": self.firmware, "protocol": PROTOCOL, "limits": limits}


def read_greeting(words: Sequence[str]) -> Greeting:
    """What follows HELLO. Raises `ControllerError`: another protocol, or no sense."""
    protocol = words[0] if words else ""
    if protocol != str(PROTOCOL):
        raise ControllerError(
            f"it speaks protocol {protocol}, this Gander speaks {PROTOCOL}; `deploy/flash.sh` brings it in line"
        )
    if len(words) < 5 or not words[2] or min(number(words[3]), number(words[4])) < 0:
        raise ControllerError(f"its greeting makes no sense: {' '.join(words)[:80]!r}; `deploy/flash.sh` mends it")
    return Greeting(words[1], words[2], number(words[3]), number(words[4]), dict(_limits(words[5:])))


def _limits(words: Sequence[str]) -> Iterable[tuple[int, Limits]]:
    for word in filter(None, words):
        numbers = [number(part) for part in word.split(":")]
        if len(numbers) != 4 or min(numbers) < 0:
            raise ControllerError(f"it greets with limits that make no sense: {word[:40]!r}; `deploy/flash.sh`")
        yield numbers[0], Limits(*numbers[1:])


def check_fit(greeting: Greeting, deterrents: Iterable[DeterrentConfig]) -> None:
    """Whether it can carry out what the configuration will order. Raises `ControllerError` with what to change."""
    for deterrent in deterrents:
        name, channel = f"deterrent {deterrent.id!r}", deterrent.channel
        limits = greeting.limits.get(channel)
        if limits is None:
            there = ", ".join(map(str, sorted(greeting.limits))) or "none"
            raise ControllerError(
                f"it has no channel {channel} for {name}, its channels: {there}; mend deterrent.channel, or "
                "firmware/settings.py and flash"
            )
        lit_ms = deterrent.count * deterrent.on_ms
        length_ms = lit_ms + (deterrent.count - 1) * deterrent.off_ms
        for asked, allowed, of in (
            (length_ms, limits.max_on_ms, "in one pulse"),
            (lit_ms, limits.hour_ms, "in an hour"),
        ):
            if asked > allowed:
                raise ControllerError(
                    f"channel {channel} allows {allowed} ms {of}, the pattern of {name} takes {asked}; lower its "
                    "count, on_ms or off_ms"
                )


def complaints(greeting: Greeting, deterrents: Iterable[DeterrentConfig]) -> list[tuple[str, str]]:
    """What does not keep it from working, but should be put right: what it is, and what to do."""
    found = [_of_another_version(greeting.firmware)] if greeting.firmware != VERSION else []
    for deterrent in deterrents:
        rest_ms = greeting.limits[deterrent.channel].rest_ms
        if rest_ms > deterrent.cooldown_s * 1000:
            says = f"channel {deterrent.channel} rests for {rest_ms / 1000:g} s, deterrent {deterrent.id!r} only for "
            found.append((f"{says}{deterrent.cooldown_s:g} s: orders in between are refused", "raise its cooldown_s"))
    return found


def _of_another_version(firmware: str) -> tuple[str, str]:
    told = f"the controller's firmware {firmware}"
    if _version(firmware) < _version(VERSION):
        return f"{told} is older than this Gander's {VERSION}", "`deploy/flash.sh` brings it up to date"
    return (
        f"{told} is newer than this Gander's {VERSION}",
        "update Gander, or bring the firmware to this one: `deploy/flash.sh`",
    )


def _version(text: str) -> tuple[int, ...]:
    """For comparison; what is no number counts as 0."""
    return tuple(max(number(part), 0) for part in text.split("."))
