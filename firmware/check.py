"""Whether the settings make sense: looked at before they are carried over, and by the Pico at its start.

`python -m firmware.check` on a computer: exit status 0, or 1 and what is wrong.
"""

import sys

from firmware import settings
from firmware.deterrent import Limits

_LIMITS = ("max_on_ms", "hour_ms", "rest_ms")
_EVERY = ("kind", "pin", "active_high", "max_on_ms", "hour_ms", "rest_ms")
OPTIONS = {
    # kind: option -> (what it is when not set, least, most)
    "relay": {},
    "strobe": {"hz": (3, 1, 50)},
    "siren": {"low_hz": (900, 100, 20000), "high_hz": (2800, 100, 20000), "sweep_ms": (600, 50, 5000)},
    "servo": {"safe_us": (1000, 500, 2500), "acting_us": (2000, 500, 2500)},
}
_PINS = range(23)  # what a Pico has on its edge: GP0 to GP22, and GP26 to GP28
_MORE_PINS = range(26, 29)
_SLICES = 8


def limits(channels: "dict[int, dict[str, object]]") -> "dict[int, Limits]":
    """The limits of every channel. Raises `ValueError`: what is wrong, and where."""
    if not 1 <= len(channels) <= 8:
        raise ValueError("CHANNELS must have from 1 to 8 channels")
    found = {}
    for n in channels:
        where = "channel %r" % (n,)
        if not isinstance(n, int) or not 0 <= n <= 7:
            raise ValueError("%s: its number must be from 0 to 7" % where)
        found[n] = _limits(channels[n], where)
    return found


def _limits(about: "dict[str, object]", where: str) -> Limits:
    kind = about.get("kind")
    if kind not in OPTIONS:
        raise ValueError("%s: kind must be one of %s, not %r" % (where, ", ".join(sorted(OPTIONS)), kind))
    for name in about:
        if name not in _EVERY and name not in OPTIONS[kind]:
            raise ValueError("%s: a %s has no %r" % (where, kind, name))
    if about.get("active_high", True) not in (True, False):
        raise ValueError("%s: active_high must be True or False" % where)
    if not about.get("active_high", True) and kind in ("siren", "servo"):
        raise ValueError("%s: a %s cannot be active low" % (where, kind))
    for name in OPTIONS[kind]:
        _, least, most = OPTIONS[kind][name]
        if not _whole(option(about, name), least, most):
            raise ValueError("%s: %s must be from %d to %d" % (where, name, least, most))
    for name in _LIMITS:
        if name not in about:
            raise ValueError("%s: %s is missing" % (where, name))
    try:
        return Limits(about["max_on_ms"], about["hour_ms"], about["rest_ms"])  # type: ignore[arg-type]
    except ValueError as error:
        raise ValueError("%s: %s" % (where, error)) from None


def option(about: "dict[str, object]", name: str) -> int:
    """An option of a channel, or what it is when not set."""
    return about.get(name, OPTIONS[about["kind"]][name][0])  # type: ignore[index,return-value]


def wiring(given: "object") -> None:
    """Whether the pins are there, and not taken twice. `given`: the settings. Raises `ValueError`."""
    channels = given.CHANNELS  # type: ignore[attr-defined]
    link = given.LINK  # type: ignore[attr-defined]
    if link not in ("usb", "uart"):
        raise ValueError('LINK must be "usb" or "uart", not %r' % (link,))
    if not _whole(given.BAUD, 57600, 1000000):  # type: ignore[attr-defined]
        raise ValueError("BAUD must be from 57600 to 1000000")
    taken = {0: "the UART", 1: "the UART"} if link == "uart" else {}
    for n in sorted(channels):
        _take(taken, channels[n].get("pin"), "channel %d" % n)
    if given.ARM_SWITCH is not None:  # type: ignore[attr-defined]
        _take(taken, given.ARM_SWITCH, "ARM_SWITCH")  # type: ignore[attr-defined]
    if given.LED != "LED":  # type: ignore[attr-defined]
        _take(taken, given.LED, "LED")  # type: ignore[attr-defined]
    slices: "dict[int, int]" = {}
    for n in sorted(channels):
        if channels[n]["kind"] in ("siren", "servo"):
            part = channels[n]["pin"] // 2 % _SLICES
            if part in slices:
                raise ValueError(
                    "channel %d: its pin shares a frequency with channel %d; take one two pins away" % (n, slices[part])
                )
            slices[part] = n


def _take(taken: "dict[int, str]", pin: object, who: str) -> None:
    if not isinstance(pin, int) or not (pin in _PINS or pin in _MORE_PINS):
        raise ValueError("%s: the pin must be a GPIO from 0 to 22 or 26 to 28, not %r" % (who, pin))
    if pin in taken:
        raise ValueError("%s: GPIO %d is taken by %s" % (who, pin, taken[pin]))
    taken[pin] = who


def _whole(value: object, least: int, most: int) -> bool:
    return isinstance(value, int) and least <= value <= most


def main() -> int:
    """Exit status."""
    try:
        limits(settings.CHANNELS)
        wiring(settings)
    except (ValueError, AttributeError, TypeError) as error:
        sys.stderr.write("firmware/settings.py: %s\n" % error)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
