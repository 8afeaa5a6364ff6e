"""Altering any limit of the firmware, in its text, is noticed by the rules of `tests/firmware/rules.py`."""

import random
import sys
from pathlib import Path
from types import ModuleType

import pytest

import firmware
from tests.firmware.rules import Code, Step, play, seal

START = (1 << 30) - 5000  # the ticks go round in the first history
ARMED: list[Step] = [("wait", 700), ("switch", True), ("order", "ARM 1")]
ALIVE: Step = ("order", "PING")
SPENT: list[Step] = [*ARMED, *[("pulse", 0, 500), ("wait", 601), ALIVE] * 3]

DIRECTED: list[list[Step]] = [
    [("wait", 700), ("order", "ARM 1"), ("pulse", 0, 100)],  # the switch is not known to be closed
    [*ARMED, ("pulse", 3, 1500), ("wait", 400), ("switch", False), ("order", "ARM 1"), ("pulse", 3, 10)],
    [*ARMED, ("pulse", 0, 400), ("wait", 300), ALIVE, ("pulse", 0, 500)],
    [*ARMED, ("pulse", 3, 1500), ("hold_up", 2500), ALIVE],
    [*ARMED, ("pulse", 3, 500), ("hold_up", 700), ("switch", True)],
    # What is left of an hour: to the last millisecond, for every flash, and for the one that shines
    [*SPENT, ("pulse", 0, 1)],
    [*ARMED, *[("pulse", 0, 300), ("wait", 601), ALIVE] * 4, ("pulse", 0, 250, 10, 2)],
    [*ARMED, *[("pulse", 0, 500), ("wait", 601), ALIVE] * 2, ("pulse", 0, 400), ("wait", 300), ("pulse", 0, 300)],
    # When it is forgotten: not before an hour has gone, and soon after
    *[[*SPENT, ("wait", m * 60_000 - 3000), ("order", "ARM 1"), ("pulse", 0, 500)] for m in (50, 55, 59, 60)],
    [*SPENT, ("wait", 62 * 60_000), ("order", "ARM 1"), *[("pulse", 0, 500), ("wait", 700), ALIVE] * 4],
    [*ARMED, *[("pulse", 0, 300), ("wait", 660_000), ("order", "ARM 1")] * 7],
    # Patterns and lines that are none
    [*ARMED, ("pulse", 0, 0, 100, 3)],
    [*ARMED, ("pulse", 0, 10, 10, 0)],
    [*ARMED, ("line", seal("9 PING\t"))],
    [*ARMED, ("line", seal("9 BURN " + "x" * 300))],
    [*ARMED, ("line", seal(f"{1 << 30} PING"))],
]


def histories() -> list[list[Step]]:
    """The directed ones, and random ones that are the same every time."""
    chance = random.Random(2017)
    return DIRECTED + [_history(chance) for _ in range(400)]


def _history(chance: random.Random) -> list[Step]:
    steps = list(ARMED)
    for _ in range(chance.randint(5, 25)):
        steps.append(_step(chance))
        if chance.random() < 0.5:
            steps.append(("order", "ARM 1"))
    return steps


def _step(chance: random.Random) -> Step:
    number = chance.randint
    match chance.randint(0, 15):
        case 0 | 1 | 2 | 3:
            return ("pulse", chance.choice([0, 3]), number(1, 400), number(0, 150), number(1, 4))
        case 4 | 5 | 6:
            return ("wait", chance.choice([number(0, 900), 1, 99, 100, 500, 501, 699, 700, 1999, 2000]))
        case 7:
            session, age = chance.choice(["", "0"]), chance.choice([number(-600, 900), 0, 500, 501, -1])
            return ("pulse", chance.choice([0, 1]), number(0, 700), number(0, 700), number(0, 3), age, session)
        case 8:
            return ("pulse", 0, 10, 0, 1, 0, "", number(0, 2))
        case 9:
            return ("order", chance.choice(["OFF", "ARM 0", "STATE", "BURN 1", "PING 1", "ARM 2", "ARM"]))
        case 10:
            return chance.choice([("switch", False), ("switch", True), ("reset", True), ("reset", None)])
        case 11:
            return ("again", number(0, 50))
        case 12:
            return ("altered", number(0, 50), number(0, 80), number(0, 255))
        case 13:
            return ("resealed", number(0, 50), number(0, 80), number(0, 94))
        case 14:
            return ("line", chance.choice([None, b"", b"x", chance.randbytes(20)]))
        case _:
            return ("wait", chance.choice([2500, 60_000, 1_200_000, 3_600_000]))


RULES = {
    # What a limit is
    "silence twice as long": ("SILENCE_MS = 2000", "SILENCE_MS = 4000"),
    "silence never ends it": ("ticks_diff(now, self._heard) >= SILENCE_MS", "False"),
    "silence leaves it armed": (
        ">= SILENCE_MS:\n            self._disarm",
        ">= SILENCE_MS:\n            self._all_off",
    ),
    "silence is not waited for": ("max(SILENCE_MS - ticks_diff(now, self._heard), 0) if self.armed else -1", "-1"),
    "orders live longer": ("ORDER_MS = 500", "ORDER_MS = 501"),
    "orders never age": ("if age > ORDER_MS:", "if False:"),
    "orders of the future": ("if age < 0:", "if False:"),
    "more noise is borne": ("BAD_LINES = 3", "BAD_LINES = 4"),
    "any noise is borne": ("if self._bad == BAD_LINES:", "if False:"),
    "noise leaves it armed": ("BAD_LINES:\n                self._disarm", "BAD_LINES:\n                self._all_off"),
    "noise is never forgotten": ("        self._bad = 0\n        verb", "        verb"),
    "an hour has fifty minutes": ("HOUR_MS = 3_600_000", "HOUR_MS = 3_000_000"),
    "an hour is shorter": ("HOUR_MS // MINUTE_MS + 1 ", "HOUR_MS // MINUTE_MS - 1 "),
    "ticks do not go round": ("(((later - earlier) & MASK) ^ _HALF) - _HALF", "later - earlier"),
    # The maximum
    "a pulse never ends": ("if elapsed >= self._length:", "if False:"),
    "a pulse ends late": ("if elapsed >= self._length:", "if elapsed > self._length:"),
    "a second pulse begins the maximum anew": (
        "min(count * self._period - off_ms, left)",
        "count * self._period - off_ms",
    ),
    "every pulse is the first": ("if not self.pulsing:\n            self._first", "if True:\n            self._first"),
    "a pattern longer than the maximum": ("return count * on_ms + (count - 1) * off_ms <= longest", "return True"),
    "pauses do not count": ("count * on_ms + (count - 1) * off_ms <= longest", "count * on_ms <= longest"),
    "any pattern": ("if not channel.fits(on_ms, off_ms, count):", "if False:"),
    "flashes do not end": ("elapsed % self._period < self._flash", "True"),
    "flashes are not waited for": ("max(min(edge, self._length - elapsed), 0)", "max(self._length - elapsed, 0)"),
    # The rest
    "no rest": ("if channel.resting:", "if False:"),
    "half a rest": (">= self.limits.rest_ms", ">= self.limits.rest_ms // 2"),
    "no rest after a start": ("self.resting = True\n        self._hour", "self.resting = False\n        self._hour"),
    "no rest after a pulse": (
        "self.pulsing, self.resting, self._ended = False, True, now",
        "self.pulsing, self._ended = False, now",
    ),
    # The hour
    "no duty": ("if not channel.has_left(count * on_ms):", "if False:"),
    "one flash counts": ("has_left(count * on_ms)", "has_left(on_ms)"),
    "nothing is spent": ("self.spent_ms += ms", "pass"),
    "one pulse more": ("self._hour.spent_ms + ms <=", "self._hour.spent_ms <="),
    "what shines does not count": ("self._hour.spend(ms, now)", "pass"),
    "everything is forgotten at once": ("self.spent_ms -= self._minutes[self._at]", "self.spent_ms = 0"),
    "nothing is forgotten": ("while self.spent_ms and", "while False and"),
    # The order
    "pulses while disarmed": ("if not self.armed:\n            return", "if False:\n            return"),
    "armed from the start": ("self.armed = False\n        self._closed", "self.armed = True\n        self._closed"),
    "any order arms": ('if arguments != ["1"]:', "if False:"),
    "armed with the switch open": (
        'if not self._closed:\n            return "switch"\n        self.armed',
        "self.armed",
    ),
    "an open switch is not heeded": ("if self._closed and not closed:", "if False:"),
    "an open switch leaves it armed": (
        "not closed:\n            self._disarm",
        "not closed:\n            self._all_off",
    ),
    "the switch counts as closed": ("self._closed = False", "self._closed = True"),
    "any session": ('if verb == "PULSE" and arguments[:1] != [self.session]:', "if False:"),
    "orders again": ("if seq <= self._seq:", "if seq < self._seq:"),
    "orders in any order": ("if seq <= self._seq:", "if False:"),
    "numbers are not used up": ("        self._seq = seq\n", ""),
    "refused orders keep it alive": (
        "        if not reason:\n            self._heard",
        "        if True:\n            self._heard",
    ),
    "OFF is refused": ('if verb == "OFF":', "if False:"),
    "OFF leaves it on": ("            self._all_off(now, lines)\n            return", "            return"),
    "ARM 0 does nothing": ('["0"]:\n            self._disarm(now, lines)', '["0"]:\n            pass'),
    "off keeps the light": ("self._light(False, now)\n        if not self.pulsing", "if not self.pulsing"),
    "any channel": ("self._channels.get(n)", "self._channels.get(n, self._channels[0])"),
    "what is due waits for more than the switch": (
        "lines = self.step(now)  # what is due comes first\n",
        'lines: "list[bytes]" = []\n',
    ),
    "what is due waits for the line": (
        "lines = self.step(now)  # what is due comes first: a",
        'lines: "list[bytes]" = []  # what is due comes first: a',
    ),
    "a flash of nothing": ("1 <= on_ms <= longest", "0 <= on_ms <= longest"),
    "no flash at all": ("1 <= count <= longest", "0 <= count <= longest"),
}
"""What is altered in `firmware/deterrent.py`: the text, and what takes its place."""
LINE = {
    "any checksum": ('if line[-4:] != ("%04X" % crc16(body)).encode():', "if False:"),
    "any bytes": ("if not 32 <= byte < 127:", "if False:"),
    "any length": ("if not 7 <= len(line) <= LINE_MAX or", "if len(line) < 7 or"),
    "any number": ('if not "0" <= letter <= "9":', "if False:"),
    "numbers beyond": ("return value if value <= NUMBER_MAX else -1", "return value"),
}
"""In `firmware/wire.py`."""


def shipped(name: str) -> str:
    assert firmware.__file__
    return (Path(firmware.__file__).parent / f"{name}.py").read_text(encoding="utf-8")


def altered(name: str, old: str, new: str) -> str:
    text = shipped(name)
    assert text.count(old) == 1, "the text has changed: so must the mutant"
    return text.replace(old, new)


def code_of(wire: str, deterrent: str, monkeypatch: pytest.MonkeyPatch) -> Code:
    """The modules that these texts are."""
    modules = []
    for name, text in (("firmware.wire", wire), ("firmware.deterrent", deterrent)):
        module = ModuleType(name)
        exec(compile(text, name, "exec"), module.__dict__)
        monkeypatch.setitem(sys.modules, name, module)  # the second imports the first
        modules.append(module)
    return Code(modules[1], modules[0])


def breach(code: Code) -> str:
    """The first breach of a rule in all the histories, or nothing."""
    for number, history in enumerate(HISTORIES):
        try:
            play(code, START if number % 2 == 0 else number, history)
        except (AssertionError, ArithmeticError, LookupError, ValueError) as error:
            return f"{number}: {error!r}"
    return ""


HISTORIES = histories()


def test_what_is_shipped_breaks_no_rule(monkeypatch: pytest.MonkeyPatch) -> None:
    assert breach(code_of(shipped("wire"), shipped("deterrent"), monkeypatch)) == ""


@pytest.mark.parametrize("name", RULES)
def test_an_altered_rule_is_noticed(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    assert breach(code_of(shipped("wire"), altered("deterrent", *RULES[name]), monkeypatch))


@pytest.mark.parametrize("name", LINE)
def test_an_altered_line_is_noticed(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    assert breach(code_of(altered("wire", *LINE[name]), shipped("deterrent"), monkeypatch))
