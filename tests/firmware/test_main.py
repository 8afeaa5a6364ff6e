"""The Pico's program on a board whose clock is the test's: what it drives, says, shows and how it ends."""

from dataclasses import dataclass, field
from typing import Any

import pytest

from firmware import check, settings
from firmware.main import DISARMED, LEAVE, LISTENING, SWITCHED_OFF, TURN_MS, run
from firmware.wire import Lines, seal, unseal

CHANNELS: dict[int, dict[str, Any]] = {
    0: {"kind": "relay", "pin": 2, "max_on_ms": 5000, "hour_ms": 60000, "rest_ms": 100},
    1: {"kind": "siren", "pin": 4, "max_on_ms": 500, "hour_ms": 60000, "rest_ms": 100},
}


class End(Exception):
    """The script is over."""


@dataclass
class Board:
    """`script`: at which ms what happens: bytes come, the switch is moved, the loop is held up."""

    script: list[tuple[int, Any]]
    until: int = 5000
    channels: dict[int, dict[str, Any]] = field(default_factory=lambda: CHANNELS)
    ms: int = 0
    closed: bool = True
    trace: list[tuple[Any, ...]] = field(default_factory=list)  # (ms, what, …) in the order in which it happened
    fed: list[int] = field(default_factory=list)
    _shown: dict[int, bool] = field(default_factory=dict)
    _shining: list[int] = field(default_factory=list)
    lines: Lines = field(default_factory=Lines)
    session: str = ""

    def now(self) -> int:
        return self.ms

    def armed_switch(self) -> bool:
        while self.script and self.ms >= self.script[0][0] and isinstance(self.script[0][1], bool):
            self.closed = self.script.pop(0)[1]
        return self.closed

    def show(self, outputs: list[tuple[int, bool]]) -> None:
        for channel, on in outputs:
            if self._shown.get(channel) is not on:
                self._shown[channel] = on
                self.trace.append((self.ms, "pin", channel, on))

    def read(self) -> bytes:
        if self.script and self.ms >= self.script[0][0] and not isinstance(self.script[0][1], bool):
            said = self.script.pop(0)[1]
            return said if isinstance(said, bytes) else seal(said.format(session=self.session, tick=self.ms))
        return b""

    def write(self, line: bytes) -> None:
        for whole in self.lines.feed(line):
            words = unseal(whole or b"") or ["?"]
            self.session = words[3] if words[0] == "HELLO" else self.session
            self.trace.append((self.ms, *words))

    def led(self, on: bool) -> None:
        self._shining += [self.ms] * on

    def feed(self) -> None:
        self.fed.append(self.ms)

    def wait(self, ms: int) -> None:
        assert 0 <= ms <= TURN_MS
        self.ms += max(ms, 1)
        if self.ms > self.until:
            raise End

    def flashes(self, begin: int, end: int) -> int:
        """How often the LED came on."""
        shining = [ms for ms in self._shining if begin <= ms < end]
        return sum(1 for a, b in zip([begin - 100, *shining], shining, strict=False) if b - a > 2 * TURN_MS)

    def pins(self) -> list[tuple[Any, ...]]:
        return [(ms, *rest) for ms, what, *rest in self.trace if what == "pin"]


def told(*script: tuple[int, Any], until: int = 5000, closed: bool = True) -> Board:
    board = Board(list(script), until, closed=closed)
    with pytest.raises(End):
        run(board)
    return board


ARM = (200, "1 ARM 1")


def test_it_greets_with_everything_off_and_its_limits() -> None:
    board = told(until=3000)
    assert board.trace[0][1:4] == ("HELLO", "1", "0.1.0")
    assert board.trace[0][7:] == ("0:5000:60000:100", "1:500:60000:100")
    assert board.pins() == [(0, 0, False), (0, 1, False)]
    assert told().session != board.session


def test_the_pin_moves_before_the_line_that_says_so() -> None:
    board = told(ARM, (300, "2 PULSE {session} {tick} 0 253 0 1"))
    events = [event for event in board.trace if event[1] in ("pin", "ON", "DONE") and event[0] > 0]
    assert [event[1] for event in events] == ["pin", "ON", "pin", "DONE"]
    on, off = [event[0] for event in events if event[1] == "pin"]
    assert off - on == 253, "to the millisecond, by the board's own clock"


def test_silence_garbage_and_the_switch_turn_off() -> None:
    pulse = (300, "2 PULSE {session} {tick} 0 5000 0 1")
    silence = told(ARM, pulse).pins()
    assert 2000 <= silence[-1][0] - silence[-2][0] <= 2000 + TURN_MS
    for event in (b"?\n" * 3, b"\xff" * 256 * 3, b"\x03" * 3 + b"\n?\n?\n", False):
        pins = told(ARM, pulse, *[(700 + n, event) for n in range(4)]).pins()
        assert [on for _, channel, on in pins if channel == 0] == [False, True, False], event
        assert pins[-1][0] <= 700 + 4 * TURN_MS


def test_an_open_switch_refuses_to_arm_and_a_closed_one_fires_nothing() -> None:
    board = told(ARM, (300, "2 PULSE {session} {tick} 0 100 0 1"), (400, True), (500, "3 ARM 1"), closed=False)
    answers = [event[1:] for event in board.trace if event[1] in ("OK", "NO")]
    assert [answer[0::2] for answer in answers[:2]] == [("NO", "switch"), ("NO", "switch")]
    assert answers[2][0] == "OK"
    assert all(not on for _, _, on in board.pins())


def test_leave_is_off_and_the_end() -> None:
    board = Board([ARM, (300, "2 PULSE {session} {tick} 0 5000 0 1"), (700, LEAVE + b"\n")])
    run(board)
    assert board.pins()[-1] == (700, 0, False)
    assert board.trace[-1][1] == "DONE"


def test_the_watchdog_is_fed_in_every_turn_also_in_a_flood() -> None:
    board = told(*[(ms, b"x" * 64) for ms in range(0, 3000, 5)], until=3000)
    assert max(b - a for a, b in zip(board.fed, board.fed[1:], strict=False)) <= TURN_MS + 1


def test_what_the_led_says() -> None:
    chatter = [(ms, f"{ms} PING") for ms in range(4096, 9000, 400)]
    assert told(until=4200).flashes(2048, 4096) == LISTENING
    assert told(*chatter, until=8200, closed=False).flashes(6144, 8192) == SWITCHED_OFF
    assert told(*chatter, until=8200).flashes(6144, 8192) == DISARMED
    board = told((4096, "4096 ARM 1"), *chatter[1:], until=8200)
    assert board.flashes(6144, 8192) == 1
    assert sum(6144 <= ms < 8192 for ms in board._shining) > 250, "on, but for a gap"
    board = told(ARM, (300, "2 PULSE {session} {tick} 0 1500 0 1"))
    assert board.flashes(512, 1536) == 8, "it flickers in a pulse"


def test_the_shipped_settings_are_right() -> None:
    check.limits(settings.CHANNELS)
    check.wiring(settings)


@dataclass
class Wiring:
    """Settings with one thing changed."""

    CHANNELS: dict[int, dict[str, Any]] = field(default_factory=lambda: CHANNELS)
    ARM_SWITCH: int | None = 22
    LED: object = "LED"
    LINK: str = "usb"
    BAUD: int = 115200


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        ({"max_on_ms": 3_600_000}, "channel 0: max_on_ms must be a whole number from 1 to 5000"),
        ({"max_on_ms": 0}, "channel 0: max_on_ms"),
        ({"hour_ms": 0}, "channel 0: hour_ms"),
        ({"rest_ms": 0}, "channel 0: rest_ms"),
        ({"max_on": 1}, "channel 0: a relay has no 'max_on'"),
        ({"hz": 3}, "channel 0: a relay has no 'hz'"),
        ({"kind": "laser"}, "channel 0: kind must be one of"),
        ({"kind": "strobe", "hz": 0}, "channel 0: hz must be from 1 to 50"),
        ({"kind": "servo", "active_high": False}, "cannot be active low"),
        ({"active_high": 2}, "active_high must be True or False"),
    ],
)
def test_channels_that_would_allow_harm_or_are_misspelt(change: dict[str, Any], complaint: str) -> None:
    with pytest.raises(ValueError, match=complaint):
        check.limits({0: CHANNELS[0] | change})


@pytest.mark.parametrize(
    ("channels", "complaint"),
    [
        ({}, "CHANNELS must have from 1 to 8 channels"),
        ({8: CHANNELS[0]}, "channel 8: its number must be from 0 to 7"),
        ({0: {"kind": "relay", "pin": 2}}, "channel 0: max_on_ms is missing"),
    ],
)
def test_channels_that_cannot_be(channels: dict[int, dict[str, Any]], complaint: str) -> None:
    with pytest.raises(ValueError, match=complaint):
        check.limits(channels)


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        ({"ARM_SWITCH": 2}, "ARM_SWITCH: GPIO 2 is taken by channel 0"),
        ({"ARM_SWITCH": 23}, "must be a GPIO from 0 to 22 or 26 to 28"),
        ({"LED": 4}, "LED: GPIO 4 is taken"),
        ({"LINK": "wifi"}, 'LINK must be "usb" or "uart"'),
        ({"BAUD": 1200}, "BAUD must be"),
        ({"CHANNELS": {0: CHANNELS[0] | {"pin": "2"}}}, "channel 0: the pin must be"),
        ({"CHANNELS": {0: CHANNELS[0] | {"pin": 1}}, "LINK": "uart"}, "channel 0: GPIO 1 is taken by the UART"),
        (
            {"CHANNELS": {1: CHANNELS[1], 2: CHANNELS[0] | {"kind": "servo", "pin": 5}}},
            "channel 2: its pin shares a frequency with channel 1",
        ),
    ],
)
def test_wiring_that_cannot_be(change: dict[str, Any], complaint: str) -> None:
    with pytest.raises(ValueError, match=complaint):
        check.wiring(Wiring(**change))
