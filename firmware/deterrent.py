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
REST_MS = 100
"""Rest of a channel after a pulse, so that no two pulses join into one that is longer than the maximum."""

MASK = (1 << 30) - 1
_HALF = 1 << 29


def ticks_diff(later: int, earlier: int) -> int:
    """Milliseconds between two ticks that wrap at 2^30 (as MicroPython's), within 6 days either way."""
    return (((later - earlier) & MASK) ^ _HALF) - _HALF


class Channel:
    """One output. `on` is what the pin shall be now."""

    def __init__(self, max_on_ms: int) -> None:
        self.max_on_ms = max_on_ms
        self.on = False
        self.pulsing = False
        self.resting = False
        self._first = 0  # tick of the pulse that the maximum is counted from
        self._began = 0  # tick of the pattern now carried out
        self._ended = 0
        self._flash, self._period, self._length = 0, 0, 0  # ms
        self._lit_since, self._lit_ms = 0, 0

    def fits(self, on_ms: int, off_ms: int, count: int) -> bool:
        """Whether the whole pattern stays within the maximum."""
        if not (1 <= on_ms <= self.max_on_ms and 0 <= off_ms <= self.max_on_ms and 1 <= count <= self.max_on_ms):
            return False
        return count * on_ms + (count - 1) * off_ms <= self.max_on_ms

    def begin(self, on_ms: int, off_ms: int, count: int, now: int) -> None:
        """Start a pattern that fits. One begun during another takes its place, but not its maximum anew."""
        if not self.pulsing:
            self._first = now
        left = self.max_on_ms - ticks_diff(now, self._first)
        self._began, self._lit_ms = now, 0
        self._flash, self._period = on_ms, on_ms + off_ms
        self._length = min(count * self._period - off_ms, left)
        self._lit_since = now  # if it is lit already, that time was counted to the pulse before
        self.pulsing = True
        self._light(True, now)

    def step(self, now: int) -> bool:
        """Bring `on` up to now. True when the pulse has just ended."""
        if self.resting and ticks_diff(now, self._ended) >= REST_MS:
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
        if not self.pulsing:
            return max(REST_MS - ticks_diff(now, self._ended), 0) if self.resting else -1
        elapsed = ticks_diff(now, self._began)
        phase = elapsed % self._period
        edge = self._flash - phase if phase < self._flash < self._period else self._period - phase
        return max(min(edge, self._length - elapsed), 0)

    def _light(self, on: bool, now: int) -> None:
        if on and not self.on:
            self._lit_since = now
        elif self.on and not on:
            self._lit_ms += ticks_diff(now, self._lit_since)
        self.on = on


class Deterrent:
    """The whole controller. Call `step` when `due` says so; drive the pins to `outputs` before sending what it returns.

    `limits`: channel number -> longest pulse in ms. `session`: a word drawn anew at each start, so that an order meant
    for an earlier life is refused. `now`: milliseconds that wrap at 2^30.
    """

    def __init__(self, limits: "dict[int, int]", session: str) -> None:
        self.session = session
        self.armed = False
        self._numbers = sorted(limits)
        self._channels = {n: Channel(limits[n]) for n in self._numbers}
        self._seq = 0
        self._heard = 0
        self._bad = 0

    def outputs(self) -> "list[tuple[int, bool]]":
        """Every channel and whether it shall be on now."""
        return [(n, self._channels[n].on) for n in self._numbers]

    def greeting(self, now: int) -> bytes:
        limits = " ".join(["%d:%d" % (n, self._channels[n].max_on_ms) for n in self._numbers])
        return seal("HELLO %d %s %s %d %d %s" % (PROTOCOL, VERSION, self.session, now, self._seq, limits))

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
            due = self._channels[n].due(now)
            if due >= 0 and (soonest < 0 or due < soonest):
                soonest = due
        return soonest

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
            reason = "" if arguments == (["1"] if verb == "ARM" else []) else "arguments"
            self.armed = self.armed or (verb == "ARM" and not reason)
        if not reason:
            self._heard = now
        return reason

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
        if not self.armed:
            return "disarmed"
        channel = self._channels.get(n)
        if channel is None:
            return "channel"
        if not channel.fits(on_ms, off_ms, count):
            return "pattern"
        if channel.resting:
            return "rest"
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
