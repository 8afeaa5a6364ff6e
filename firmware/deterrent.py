"""The deterrent controller's rules as a pure state machine: time is passed in, nothing is read or driven.

Everything is off at the start, and stays off until a fresh order comes after `ARM 1`. Every pulse is bounded. Silence,
garbage, the end of the host, and the host's own word turn everything off.
"""

from firmware import VERSION
from firmware.wire import PROTOCOL, number, seal, unseal

SILENCE_MS = 2000
"""Without a sign of life for so long: off and disarmed."""
ORDER_MS = 500
"""An order based on an older tick is refused."""
BAD_LINES = 3
"""So many broken lines in a row are no noise any more: off and disarmed. One or two are a bad cable's right."""
LONGEST_MS = 5000
"""No limit allows a longer pulse."""
REST_MS = 100
"""No limit allows a shorter rest."""
HOUR_MS = 3_600_000
MINUTE_MS = 60_000

MASK = (1 << 30) - 1
_HALF = 1 << 29
_MINUTES = HOUR_MS // MINUTE_MS + 1  # any hour lies in so many of them


def ticks_diff(later: int, earlier: int) -> int:
    """Milliseconds between two ticks that wrap at 2^30 (as MicroPython's), within 6 days either way."""
    return (((later - earlier) & MASK) ^ _HALF) - _HALF


class Limits:
    """What a channel allows, in ms: its longest pulse, how long it may be on in any hour, how long it rests.

    It rests after a pulse, and after the controller's own start: one that resets again and again adds up no pulses.
    """

    def __init__(self, max_on_ms: int, hour_ms: int, rest_ms: int) -> None:
        """Raises `ValueError`: what no channel may allow."""
        for name, value, least, most in (
            ("max_on_ms", max_on_ms, 1, LONGEST_MS),
            ("hour_ms", hour_ms, 1, HOUR_MS),
            ("rest_ms", rest_ms, REST_MS, HOUR_MS),
        ):
            if not isinstance(value, int) or not least <= value <= most:
                raise ValueError("%s must be a whole number from %d to %d, not %r" % (name, least, most, value))
        self.max_on_ms = max_on_ms
        self.hour_ms = hour_ms
        self.rest_ms = rest_ms


class Hour:
    """How long an output was on in the last hour, by minutes: what was on counts for an hour, and for a minute more.

    Sixty-one numbers, and nothing is allocated after the start.
    """

    def __init__(self) -> None:
        self.spent_ms = 0
        self._minutes = [0] * _MINUTES
        self._at = 0
        self._began = 0  # tick of the minute `_at`

    def spend(self, ms: int, now: int) -> None:
        """It has been on for `ms`, until now."""
        self.forget(now)
        self._minutes[self._at] += ms
        self.spent_ms += ms

    def forget(self, now: int) -> None:
        """Let go of what is older. To be called at least once in 6 days, or ticks would mean something else."""
        while self.spent_ms and ticks_diff(now, self._began) >= MINUTE_MS:
            self._began = (self._began + MINUTE_MS) & MASK
            self._at = (self._at + 1) % _MINUTES
            self.spent_ms -= self._minutes[self._at]
            self._minutes[self._at] = 0
        if not self.spent_ms:
            self._began = now

    def due(self, now: int) -> int:
        """Milliseconds until there is something to forget; -1: there is nothing."""
        return max(MINUTE_MS - ticks_diff(now, self._began), 0) if self.spent_ms else -1


class Channel:
    """One output. `on` is what the pin shall be now."""

    def __init__(self, limits: Limits, now: int) -> None:
        self.limits = limits
        self.on = False
        self.pulsing = False
        self.resting = True
        self._hour = Hour()
        self._first = 0  # tick of the pulse that the maximum is counted from
        self._began = 0  # tick of the pattern now carried out
        self._ended = now
        self._flash, self._period, self._length = 0, 0, 0  # ms
        self._lit_since, self._lit_ms = 0, 0

    def fits(self, on_ms: int, off_ms: int, count: int) -> bool:
        """Whether the whole pattern stays within the maximum."""
        longest = self.limits.max_on_ms
        if not (1 <= on_ms <= longest and 0 <= off_ms <= longest and 1 <= count <= longest):
            return False
        return count * on_ms + (count - 1) * off_ms <= longest

    def has_left(self, ms: int) -> bool:
        """Whether it may be on for so long, by what it was on in the hour before the last `step`."""
        return self._hour.spent_ms + ms <= self.limits.hour_ms

    def begin(self, on_ms: int, off_ms: int, count: int, now: int) -> None:
        """Start a pattern that fits. One begun during another takes its place, but not its maximum anew."""
        if not self.pulsing:
            self._first = now
        left = self.limits.max_on_ms - ticks_diff(now, self._first)
        self._began, self._lit_ms = now, 0
        self._flash, self._period = on_ms, on_ms + off_ms
        self._length = min(count * self._period - off_ms, left)
        self.pulsing = True
        self._light(True, now)  # if it was on already, `step` has counted that to the pulse before

    def step(self, now: int) -> bool:
        """Bring `on` up to now. True when the pulse has just ended."""
        self._hour.forget(now)
        if self.resting and ticks_diff(now, self._ended) >= self.limits.rest_ms:
            self.resting = False
        if not self.pulsing:
            return False
        elapsed = ticks_diff(now, self._began)
        if elapsed >= self._length:
            return self.end(now)
        self._light(elapsed % self._period < self._flash, now)
        return False

    def end(self, now: int) -> bool:
        """Off, whatever it was doing. True when that was a pulse."""
        self._light(False, now)
        if not self.pulsing:
            return False
        self.pulsing, self.resting, self._ended = False, True, now
        return True

    def lit_ms(self, now: int) -> int:
        """How long the pulse has been on, or was until it ended; off times left out."""
        return self._lit_ms + (ticks_diff(now, self._lit_since) if self.on else 0)

    def due(self, now: int) -> int:
        """Milliseconds until `step` has something to do; -1: nothing."""
        soonest = self._hour.due(now)
        if self.pulsing:
            elapsed = ticks_diff(now, self._began)
            phase = elapsed % self._period
            edge = self._flash - phase if phase < self._flash < self._period else self._period - phase
            soonest = _sooner(soonest, max(min(edge, self._length - elapsed), 0))
        elif self.resting:
            soonest = _sooner(soonest, max(self.limits.rest_ms - ticks_diff(now, self._ended), 0))
        return soonest

    def _light(self, on: bool, now: int) -> None:
        if self.on:  # what has been on since the last time counts
            ms = ticks_diff(now, self._lit_since)
            self._lit_ms += ms
            self._hour.spend(ms, now)
        self._lit_since = now
        self.on = on


def _sooner(one: int, other: int) -> int:
    """The smaller of two times; -1 is never."""
    return other if one < 0 or 0 <= other < one else one


class Deterrent:
    """The whole controller. Call `step` when `due` says so; drive the pins to `outputs` before sending what it returns.

    `limits`: of each channel by its number. `session`: a word drawn anew at each start, so that an order meant for an
    earlier life is refused. `now`: milliseconds that wrap at 2^30. The arm switch is open until it is said to be not.
    """

    def __init__(self, limits: "dict[int, Limits]", session: str, now: int) -> None:
        self.session = session
        self.armed = False
        self._closed = False
        self._numbers = sorted(limits)
        self._channels = {n: Channel(limits[n], now) for n in self._numbers}
        self._seq = 0
        self._heard = 0
        self._bad = 0

    def outputs(self) -> "list[tuple[int, bool]]":
        """Every channel and whether it shall be on now."""
        return [(n, self._channels[n].on) for n in self._numbers]

    def greeting(self, now: int) -> bytes:
        words = ["HELLO %d %s %s %d %d" % (PROTOCOL, VERSION, self.session, now, self._seq)]
        for n in self._numbers:
            limits = self._channels[n].limits
            words.append("%d:%d:%d:%d" % (n, limits.max_on_ms, limits.hour_ms, limits.rest_ms))
        return seal(" ".join(words))

    def step(self, now: int) -> "list[bytes]":
        """Do what is due. Returns the lines to send."""
        lines: "list[bytes]" = []
        for n in self._numbers:
            channel = self._channels[n]
            if channel.step(now):
                lines.append(_done(n, channel.lit_ms(now)))
        if self.armed and ticks_diff(now, self._heard) >= SILENCE_MS:
            self._disarm(now, lines)
        return lines

    def due(self, now: int) -> int:
        """Milliseconds until `step` has something to do; -1: nothing until a line comes."""
        soonest = max(SILENCE_MS - ticks_diff(now, self._heard), 0) if self.armed else -1
        for n in self._numbers:
            soonest = _sooner(soonest, self._channels[n].due(now))
        return soonest

    def switch(self, closed: bool, now: int) -> "list[bytes]":
        """What the hardware arm switch is. Open: off, disarmed, and not to be armed. Returns the lines to send."""
        lines = self.step(now)  # what is due comes first
        if self._closed and not closed:
            self._disarm(now, lines)
        self._closed = closed
        return lines

    def off(self, now: int) -> "list[bytes]":
        """Everything off and disarmed: the host is gone, or this controller stops. Returns the lines to send."""
        lines: "list[bytes]" = []
        self._disarm(now, lines)
        return lines

    def handle(self, line: "bytes | None", now: int) -> "list[bytes]":
        """Obey or refuse one line (None: bytes that were no line). Returns the lines to send."""
        lines = self.step(now)  # what is due comes first: a late line finds the state that it deserves
        words = None if line is None else unseal(line)
        seq = number(words[0]) if words and len(words) > 1 else -1
        if words is None or seq < 0:
            self._bad = min(self._bad + 1, BAD_LINES)
            if self._bad == BAD_LINES:
                self._disarm(now, lines)
            lines.append(seal("NO 0 garbage"))
            return lines
        self._bad = 0
        verb, arguments = words[1], words[2:]
        reason = self._obey(seq, verb, arguments, now, lines)
        if reason:
            lines.append(seal("NO %d %s" % (seq, reason)))
            return lines
        lines.append(seal("OK %d %d %d %d" % (seq, now, self.armed, self._pulsing())))
        if verb == "PULSE":
            lines.append(seal("ON %d %d" % (number(arguments[2]), now)))
        elif verb == "STATE":
            lines.append(self.greeting(now))
        return lines

    def _obey(self, seq: int, verb: str, arguments: "list[str]", now: int, lines: "list[bytes]") -> str:
        """Carry out one order; returns why not, or an empty word."""
        if verb == "OFF":  # always, whoever asks
            self._all_off(now, lines)
            return ""
        if verb == "ARM" and arguments == ["0"]:
            self._disarm(now, lines)
            return ""
        if verb == "STATE":
            return ""
        # Only the rest can keep or turn anything on, so only the rest must be new.
        if verb not in ("PULSE", "PING", "ARM"):
            return "verb"
        if verb == "PULSE" and arguments[:1] != [self.session]:
            return "session"
        if seq <= self._seq:
            return "replay"
        self._seq = seq
        if verb == "PULSE":
            reason = self._pulse(arguments, now, lines)
        else:
            reason = self._arm(arguments) if verb == "ARM" else "arguments" if arguments else ""
        if not reason:
            self._heard = now
        return reason

    def _arm(self, arguments: "list[str]") -> str:
        if arguments != ["1"]:
            return "arguments"
        if not self._closed:
            return "switch"
        self.armed = True
        return ""

    def _pulse(self, arguments: "list[str]", now: int, lines: "list[bytes]") -> str:
        numbers = [number(word) for word in arguments[1:]]
        if len(numbers) != 5 or min(numbers) < 0:
            return "arguments"
        tick, n, on_ms, off_ms, count = numbers
        age = ticks_diff(now, tick)
        if age < 0:
            return "future"
        if age > ORDER_MS:
            return "old"
        if not self._closed:
            return "switch"
        if not self.armed:
            return "disarmed"
        channel = self._channels.get(n)
        if channel is None:
            return "channel"
        if not channel.fits(on_ms, off_ms, count):
            return "pattern"
        if channel.resting:
            return "rest"
        if not channel.has_left(count * on_ms):
            return "duty"
        if channel.pulsing:
            lines.append(_done(n, channel.lit_ms(now)))
        channel.begin(on_ms, off_ms, count, now)
        return ""

    def _pulsing(self) -> int:
        bits = 0
        for n in self._numbers:
            bits |= self._channels[n].pulsing << n
        return bits

    def _all_off(self, now: int, lines: "list[bytes]") -> None:
        for n in self._numbers:
            channel = self._channels[n]
            if channel.end(now):
                lines.append(_done(n, channel.lit_ms(now)))

    def _disarm(self, now: int, lines: "list[bytes]") -> None:
        self._all_off(now, lines)
        self.armed = False


def _done(channel: int, on_ms: int) -> bytes:
    return seal("DONE %d %d" % (channel, on_ms))
