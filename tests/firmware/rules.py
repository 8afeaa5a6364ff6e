"""The controller's safety rules, restated by themselves and compared with it at every moment of a history.

Nothing here is taken from the code that is judged: the numbers are those of the contract, and so are the checksum and
the clock. A history is a list of steps, `("wait", 500)`; `play` carries it out and raises `AssertionError` at the
first breach.
"""

from __future__ import annotations

import binascii
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

SILENCE_MS, ORDER_MS, BAD_LINES, HOUR_MS, LINE_MAX = 2000, 500, 3, 3_600_000, 256
MASK = (1 << 30) - 1
DUTY_SLACK_MS = 60_000  # it may remember what was on for so much longer
LIMITS = {0: (600, 1500, 100), 3: (1500, 4000, 700)}
"""Channel -> longest pulse, most in an hour, rest; in ms."""

Step = tuple[Any, ...]


@dataclass(frozen=True)
class Code:
    """The code that is judged: `firmware.deterrent` and `firmware.wire`, or what a mutation made of them."""

    deterrent: Any
    wire: Any


@dataclass
class Pulse:
    """One that the rules allow. In ms of the trial's clock."""

    first: int  # when the output's maximum began to count
    began: int
    end: int
    flash: int
    period: int

    def shines(self, now: int) -> bool:
        return (now - self.began) % self.period < self.flash

    def lit_ms(self, now: int) -> int:
        whole, part = divmod(now - self.began, self.period)
        return whole * self.flash + min(part, self.flash)


@dataclass
class Output:
    """What the rules know of one channel."""

    pulse: Pulse | None = None
    ended: int = 0
    on: bool = False  # when last seen
    lit: list[list[int]] = field(default_factory=list)  # [from, to] of each time that it was seen on

    def seen(self, on: bool, now: int) -> None:
        if self.on:
            self.lit[-1][1] = now
        if on and not self.on:
            self.lit.append([now, now])
        self.on = on

    def lit_in(self, begin: int, end: int) -> int:
        return sum(max(min(b, end) - max(a, begin), 0) for a, b in self.lit)


def seal(text: str) -> bytes:
    return f"{text} *{binascii.crc_hqx(text.encode(), 0xFFFF):04X}".encode()


def words_of(line: bytes | None) -> list[str] | None:
    if line is None or len(line) > LINE_MAX or not all(32 <= byte < 127 for byte in line):
        return None
    body = line[:-6].decode()
    words = body.split(" ")
    return words if len(words) > 1 and seal(body) == line and number(words[0]) >= 0 else None


def number(word: str) -> int:
    right = word.isascii() and word.isdigit() and len(word) <= 10 and int(word) <= MASK
    return int(word) if right else -1


class Trial:
    """A controller, its host, its arm switch, and the rules. It is stepped exactly when it asks for it."""

    def __init__(self, code: Code, start: int = 0, closed: bool | None = True) -> None:
        self._code, self._start = code, start
        self.now = 0
        self.late = False  # it was held up: then an output stays on, and only what comes after can be judged
        self.sent: list[bytes] = []
        self.said: list[list[str]] = []
        self._lives = 0
        self.begin(closed)

    def begin(self, closed: bool | None = None) -> None:
        """Power on, or a reset: everything is off, and nothing that was said before counts. `closed`: None: unknown."""
        self._lives += 1
        self.session = f"5e55{self._lives:04x}"
        limits = {n: self._code.deterrent.Limits(*LIMITS[n]) for n in LIMITS}
        self.controller = self._code.deterrent.Deterrent(limits, self.session, self.tick)
        self.lines = self._code.wire.Lines()
        self.armed, self.closed = False, False
        self.seq = self.used = self.bad = 0
        self.alive_at = self.born = self.now
        self.outputs = {n: Output(ended=self.now) for n in LIMITS}
        self._observe([])
        if closed is not None:
            self.switch(closed)

    @property
    def tick(self) -> int:
        return (self._start + self.now) & MASK

    # What happens

    def wait(self, ms: int) -> None:
        until = self.now + ms
        self._observe(self.controller.step(self.tick))
        while True:
            due = self.controller.due(self.tick)
            assert due != 0, "what is due is done: a guard that sleeps until then must not spin"
            if due < 0 or self.now + due > until:
                break
            self.now += due
            self._observe(self.controller.step(self.tick))
        self.now = until
        self._observe(self.controller.step(self.tick))

    def hold_up(self, ms: int) -> None:
        """Nobody calls it for so long."""
        self.late = self.late or self.armed
        self.now += ms

    def switch(self, closed: bool) -> None:
        answers = self.controller.switch(closed, self.tick)
        self._settle(answers)
        if self.closed and not closed:
            self._dark(answers)
        self.closed = closed
        self._observe(answers, settled=True)

    def feed(self, data: bytes) -> None:
        """Bytes arrive."""
        for line in self.lines.feed(data):
            self.line(line)

    def say(self, words: str) -> list[str]:
        """Send words; returns the answer to them."""
        self.sent.append(seal(words))
        return self.line(self.sent[-1])

    def order(self, verb: str) -> list[str]:
        self.seq = max(self.seq, self.used) + 1
        return self.say(f"{self.seq} {verb}")

    def pulse(
        self, channel: int, on: int, off: int = 0, count: int = 1, age: int = 0, session: str = "", again: int = 0
    ) -> list[str]:
        self.seq = max(self.seq, self.used) + 1
        tick = (self.tick - age) & MASK
        return self.say(f"{self.seq - again} PULSE {session or self.session} {tick} {channel} {on} {off} {count}")

    def line(self, line: bytes | None) -> list[str]:
        """One line, or what is none, reaches it. Returns the answer to it."""
        answers = self.controller.handle(line, self.tick)
        self._settle(answers)
        words = words_of(line)
        got = [answer for answer in self._read(answers) if answer[0] in ("OK", "NO")]
        assert len(got) == 1, "one answer to one line"
        if words is None:
            self.bad += 1
            assert got[0] == ["NO", "0", "garbage"], "noise is obeyed"
            if self.bad >= BAD_LINES:
                self._dark(answers)
        else:
            self.bad = 0
            self._judge(words, got[0], answers)
        self._observe(answers, settled=True)
        if got[0][0] == "OK":
            bits = sum((output.pulse is not None) << n for n, output in self.outputs.items())
            assert got[0][2:] == [str(self.tick), str(int(self.armed)), str(bits)], "it tells another state"
        return got[0]

    def finish(self) -> None:
        """Silence to the end."""
        self.wait(10_000)
        assert not self.controller.armed
        assert not any(on for _, on in self.controller.outputs()), "on at the end"

    # The rules

    def _judge(self, words: list[str], got: list[str], answers: list[bytes]) -> None:
        seq, verb, arguments = number(words[0]), words[1], words[2:]
        assert got[1] == str(seq)
        if verb == "OFF" or (verb == "ARM" and arguments == ["0"]):
            assert got[0] == "OK", "off, whoever asks"
            if verb == "ARM":
                self._dark(answers)
            else:
                self._all_off(answers)
            return
        if verb == "STATE":
            assert got[0] == "OK"
            limits = [f"{n}:{':'.join(map(str, LIMITS[n]))}" for n in sorted(LIMITS)]
            greeting = self._read(answers)[-1]
            assert greeting[:2] + greeting[3:] == ["HELLO", "1", self.session, str(self.tick), str(self.used), *limits]
            return
        why = self._refusals(seq, verb, arguments)
        if verb in ("PULSE", "PING", "ARM") and "session" not in why:
            self.used = max(self.used, seq)
        if got[0] == "NO":
            assert got[2] in why or (got[2] == "duty" and not why and self._nearly_spent(arguments)), (
                "refused, and why?"
            )
            return
        assert not why, f"obeyed in spite of {why}"
        self.alive_at = self.now
        if verb == "ARM":
            self.armed = True
        elif verb == "PULSE":
            self._allow(*map(number, arguments[2:]), answers)  # type: ignore[arg-type]

    def _refusals(self, seq: int, verb: str, arguments: list[str]) -> set[str]:
        """Every reason there is to refuse."""
        if verb not in ("PULSE", "PING", "ARM"):
            return {"verb"}
        why = {"replay"} if seq <= self.used else set()
        if verb != "PULSE":
            if arguments != (["1"] if verb == "ARM" else []):
                why.add("arguments")
            elif verb == "ARM" and not self.closed:
                why.add("switch")
            return why
        if arguments[:1] != [self.session]:
            why.add("session")
        numbers = [number(word) for word in arguments[1:]]
        if len(numbers) != 5 or min(numbers) < 0:
            return why | {"arguments"}
        return why | self._refusals_of_pulse(*numbers)

    def _refusals_of_pulse(self, tick: int, channel: int, on: int, off: int, count: int) -> set[str]:
        age = (self.tick - tick) & MASK
        age -= (age > MASK >> 1) * (MASK + 1)
        why = {"future"} if age < 0 else {"old"} if age > ORDER_MS else set()
        why |= set() if self.closed else {"switch"}
        why |= set() if self.armed else {"disarmed"}
        if channel not in LIMITS:
            return why | {"channel"}
        longest, hour, rest = LIMITS[channel]
        output = self.outputs[channel]
        if on < 1 or count < 1 or off > longest or count * on + (count - 1) * off > longest:
            why.add("pattern")
        if not output.pulse and self.now - output.ended < rest:
            why.add("rest")
        if output.lit_in(max(self.now - HOUR_MS, self.born), self.now) + count * on > hour:
            why.add("duty")
        return why

    def _nearly_spent(self, arguments: list[str]) -> bool:
        channel, on, _, count = map(int, arguments[2:])
        lit = self.outputs[channel].lit_in(max(self.now - HOUR_MS - DUTY_SLACK_MS, self.born), self.now)
        return lit + count * on > LIMITS[channel][1]

    def _allow(self, channel: int, on: int, off: int, count: int, answers: list[bytes]) -> None:
        output = self.outputs[channel]
        first = output.pulse.first if output.pulse else self.now
        if output.pulse:
            self._ended(channel, answers)
        end = min(self.now + count * on + (count - 1) * off, first + LIMITS[channel][0])
        output.pulse = Pulse(first, self.now, end, on, on + off)
        assert ["ON", str(channel), str(self.tick)] in self._read(answers)

    def _settle(self, answers: list[bytes]) -> None:
        """What time alone brings: the end of pulses, and of patience with a silent host."""
        for channel, output in self.outputs.items():
            output.seen(output.on, self.now)  # it was on until now, if it was on
            if output.pulse and self.now >= output.pulse.end:
                assert self.late or self.now == output.pulse.end, "it did not ask to be called when the pulse ends"
                self._ended(channel, answers)
        if self.armed and self.now - self.alive_at >= SILENCE_MS:
            assert self.late or self.now - self.alive_at == SILENCE_MS, (
                "it did not ask to be called when silence ends it"
            )
            self._dark(answers)

    def _dark(self, answers: list[bytes]) -> None:
        self._all_off(answers)
        self.armed = False

    def _all_off(self, answers: list[bytes]) -> None:
        for channel, output in self.outputs.items():
            if output.pulse:
                self._ended(channel, answers)

    def _ended(self, channel: int, answers: list[bytes]) -> None:
        output = self.outputs[channel]
        assert output.pulse
        told = [answer for answer in self._read(answers) if answer[:2] == ["DONE", str(channel)]]
        assert told, "the end of a pulse is told"
        assert self.late or told[0][2] == str(output.pulse.lit_ms(self.now)), "it tells another on-time"
        output.pulse, output.ended = None, self.now

    def _observe(self, answers: list[bytes], settled: bool = False) -> None:
        """Every output is on or off as the rules say, and has not been on for too long."""
        if not settled:
            self._settle(answers)
        self.said += self._read(answers)
        assert self.controller.armed is self.armed, "armed, or not, against the rules"
        for channel, on in self.controller.outputs():
            output = self.outputs[channel]
            output.seen(on, self.now)
            allowed = output.pulse is not None and output.pulse.shines(self.now)
            assert on is allowed, "on against the rules" if on else "off in mid-order"
            assert not on or (self.armed and self.closed)
            if not self.late:
                self._bounded(channel, output)

    def _bounded(self, channel: int, output: Output) -> None:
        longest, hour, _ = LIMITS[channel]
        assert output.lit_in(self.now - HOUR_MS, self.now) <= hour, "more than its share of an hour"
        assert not output.pulse or self.now - output.pulse.first < longest, "longer than the maximum"
        assert all(end - begin <= longest for begin, end in output.lit[-1:]), "longer than the maximum"

    def _read(self, answers: list[bytes]) -> list[list[str]]:
        read = []
        for answer in answers:
            assert answer.endswith(b"\n")
            body = answer[:-7].decode()
            assert seal(body) == answer[:-1], "every answer is sealed"
            read.append(body.split(" "))
        return read


def play(code: Code, start: int, history: Sequence[Step]) -> Trial:
    """Carry out a history, then silence. Raises `AssertionError` at the first breach of a rule."""
    trial = Trial(code, start, closed=None)
    for name, *arguments in history:
        take(trial, name, arguments)
    trial.finish()
    return trial


def take(trial: Trial, name: str, arguments: list[Any]) -> None:
    """One step of a history."""
    if name in ("wait", "hold_up", "switch", "feed", "order", "pulse", "line"):
        getattr(trial, name)(*arguments)
    elif name == "say":  # the words are told the session, the tick and a new number
        trial.seq = max(trial.seq, trial.used) + 1
        trial.say(arguments[0].format(seq=trial.seq, session=trial.session, tick=trial.tick))
    elif name == "reset":
        trial.begin(*arguments)
    elif trial.sent:  # something said before, again, or altered
        line = trial.sent[arguments[0] % len(trial.sent)]
        if name == "altered":
            at = arguments[1] % len(line)
            line = line[:at] + bytes([arguments[2]]) + line[at + 1 :]
        elif name == "cut":
            line = line[: arguments[1] % len(line)]
        elif name == "resealed":
            at = arguments[1] % (len(line) - 6)
            line = seal((line[:at] + bytes([32 + arguments[2] % 95]) + line[at + 1 : -6]).decode())
        trial.line(line)
