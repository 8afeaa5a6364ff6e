"""This repository's firmware on real MicroPython, on an emulated RP2040; times are the chip's own, read at its pins."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from firmware import settings
from firmware.deterrent import BAD_LINES, SILENCE_MS
from firmware.wire import LINE_MAX, seal
from tests.lab.pico.chip import PINS, ROOT, Pico, flash, lines
from tests.lab.pico.parts import NotHere, Parts, built

pytestmark = [pytest.mark.lab, pytest.mark.timeout(5400)]  # from an empty cache

LAMP, SIREN, WATER, SERVO, STROBE = 0, 1, 2, 3, 4
LATE_MS = 100.0  # what the README promises above the ordered pulse
WATCHDOG_MS = float(re.findall(r"^WATCHDOG_MS = (\d+)", (ROOT / "firmware" / "pins.py").read_text(), re.M)[0])
SWITCH = 22
LOOP, DEAD, ERROR = 20, 21, 19  # inputs that bring a fault about
SCRATCH = 0x4005800C  # a register that a watchdog leaves alone
WDT_RESET = 3
SHORT = {SIREN: {"max_on_ms": 1200}}
CHANNELS = {
    number: {**about, "rest_ms": 200, "hour_ms": 700 if number == WATER else 60_000, **SHORT.get(number, {})}
    for number, about in settings.CHANNELS.items()
}
SETTINGS = f"CHANNELS = {CHANNELS}\nARM_SWITCH = {SWITCH}\nLED = 'LED'\nLINK = 'usb'\nBAUD = 115200\n"
FAULTS = f"""
import machine
machine.mem32[{SCRATCH}] = machine.reset_cause()
from firmware import pins
led = pins.Board.led
loop, dead, error = [machine.Pin(n, machine.Pin.IN) for n in ({LOOP}, {DEAD}, {ERROR})]
def hang(board, on):
    while loop.value():
        pass
    if dead.value():
        machine.disable_irq()
        while True:
            pass
    if error.value():
        raise RuntimeError("asked for")
    led(board, on)
pins.Board.led = hang
"""


@pytest.fixture(scope="module")
def parts(cache: Path) -> Parts:
    try:
        return built(cache)
    except NotHere as reason:
        pytest.skip(str(reason))


@pytest.fixture(scope="module")
def table() -> Iterator[list[tuple[str, float, float]]]:
    """(fault, ordered ms, longest ms on); shown at the end."""
    rows: list[tuple[str, float, float]] = []
    yield rows
    print("\n\n| fault, on a Pico | ordered | longest on |\n|---|---|---|")
    for fault, ordered, longest in rows:
        print(f"| {fault} | {ordered:.0f} ms | {longest:.1f} ms |")


@pytest.fixture(scope="module")
def shipped(parts: Parts, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The firmware as it is shipped."""
    return flash(parts, tmp_path_factory.mktemp("pico") / "shipped.bin", {})


@pytest.fixture(scope="module")
def lab(parts: Parts, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The firmware with limits that can be met in seconds, and with faults that can be asked for."""
    files = {"/firmware/settings.py": SETTINGS, "/boot.py": FAULTS}
    return flash(parts, tmp_path_factory.mktemp("pico") / "lab.bin", files)


@pytest.fixture(scope="module")
def power(parts: Parts) -> Iterator[Callable[[Path], Pico]]:
    picos: list[Pico] = []

    def on(image: Path) -> Pico:
        picos.append(Pico.start(parts, image))
        picos[-1].drive(SWITCH, False)
        return picos[-1]

    yield on
    for pico in picos:
        pico.close()


@pytest.fixture(scope="module")
def plugged(power: Callable[[Path], Pico], lab: Path) -> Pico:
    """One for all: what a boot takes here is ten times a second."""
    return power(lab)


@pytest.fixture
def pico(plugged: Pico) -> Pico:
    """Up, greeted, rested and armed; nothing that was before counts."""
    plugged.greet()
    plugged.run(220)
    assert ok(plugged.ask("ARM 1"))
    plugged.forget()
    return plugged


def ok(answers: list[list[str]]) -> bool:
    return any(words[0] == "OK" for words in answers)


def refused(answers: list[list[str]]) -> str:
    """Why; fails when it was not."""
    (why,) = [words[2] for words in answers if words[0] == "NO"]
    return why


def longest(pico: Pico, channel: int, since: float = 0.0) -> float:
    return max((end - start for start, end in pico.high(channel, since)), default=0.0)


def quiet(pico: Pico, since: float) -> None:
    """No output but the servo was ever high since then, and the servo was held safe."""
    for channel in (LAMP, SIREN, WATER, STROBE):
        assert pico.high(channel, since) == [], f"channel {channel}"
    for start, end in pico.high(SERVO, since)[:-1]:
        assert end - start == pytest.approx(1.0, abs=0.05), "the servo's pulse for its safe position"


def test_from_power_on_no_output_is_ever_high(power: Callable[[Path], Pico], shipped: Path) -> None:
    pico = power(shipped)
    words = pico.greet()
    pico.run(100)
    quiet(pico, 0)
    driven = [next(at for at, pin, level in pico.levels if (pin, level) == (PINS[n], "low")) for n in (0, 1, 2, 4)]
    greeted = pico.now
    print(f"\nfrom power-on: outputs driven low after {max(driven):.0f} ms, greeted by {greeted:.0f} ms")
    assert words[:2] == ["1", "0.1.0"]
    assert len(words) == 5 + len(settings.CHANNELS)
    pico.ask("ARM 1")
    assert refused(pico.pulse(WATER, 500)) == "rest", "it rests after a start"
    quiet(pico, 0)


def test_a_pulse_a_pattern_and_the_maximum(pico: Pico, table: list[tuple[str, float, float]]) -> None:
    assert ["ON", "0"] in [words[:2] for words in pico.pulse(LAMP, 300)]
    said = pico.hear("DONE", 400)
    done = next(words for words in lines(said) if words[0] == "DONE")
    pico.run(220)
    width = longest(pico, LAMP)
    table.append(("none, one pulse", 300, width))
    assert width == pytest.approx(300, abs=15)
    assert int(done[2]) == pytest.approx(width, abs=15), "it says what it did"

    since = pico.now
    assert ok(pico.pulse(LAMP, 100, 50, 3))
    pico.run(450)
    assert [end - start for start, end in pico.high(LAMP, since)] == pytest.approx([100] * 3, abs=15)

    assert refused(pico.pulse(LAMP, int(CHANNELS[LAMP]["max_on_ms"]) + 1)) == "pattern"  # type: ignore[call-overload]
    assert refused(pico.pulse(LAMP, 1000, 1000, 4)) == "pattern"
    assert refused(pico.pulse(7, 100)) == "channel"


def test_a_second_order_never_extends_the_first(pico: Pico, table: list[tuple[str, float, float]]) -> None:
    most = int(CHANNELS[SIREN]["max_on_ms"])  # type: ignore[call-overload]
    assert ok(pico.pulse(SIREN, most))
    pico.keep(most - 400)
    assert ok(pico.pulse(SIREN, most)), "it takes the first one's place"
    pico.keep(600)
    edges = pico.high(SIREN)
    lasted = edges[-1][1] - edges[0][0]
    table.append(("a second order on top of the first (siren)", most, lasted))
    assert lasted <= most + LATE_MS
    assert max(end - start for start, end in edges) < 1, "a tone, not a level"
    assert len(edges) > 900


def test_duty_exhausted(pico: Pico) -> None:
    assert ok(pico.pulse(WATER, 500))
    pico.keep(750)
    assert refused(pico.pulse(WATER, 500)) == "duty"
    assert ok(pico.pulse(WATER, 150)), "there is as much left"
    pico.keep(400)
    assert refused(pico.pulse(WATER, 150)) == "duty"
    assert sum(end - start for start, end in pico.high(WATER)) <= 700 + LATE_MS


def test_silence(pico: Pico, table: list[tuple[str, float, float]]) -> None:
    """Host stopped, killed or unplugged: to the Pico all the same."""
    assert ok(pico.pulse(LAMP, 4000))
    pico.run(SILENCE_MS + 300)
    width = longest(pico, LAMP)
    table.append(("silence: host stopped, killed, unplugged", 4000, width))
    assert width == pytest.approx(SILENCE_MS, abs=LATE_MS)
    assert refused(pico.pulse(LAMP, 100)) == "disarmed"


def test_one_broken_line_is_a_bad_cable_s_right(pico: Pico) -> None:
    assert ok(pico.pulse(LAMP, 300))
    pico.raw(b"half a li\n")
    pico.run(350)
    assert longest(pico, LAMP) == pytest.approx(300, abs=15)


@pytest.mark.parametrize(
    ("noise", "of", "within"),
    [
        (b"\xff\x00\x7f\n" * BAD_LINES, "short lines of noise", LATE_MS),
        ((seal("99 PING")[:-3] + b"0\n") * BAD_LINES, "wrong checksums", LATE_MS),
        (b"A" * (BAD_LINES + 1) * LINE_MAX, "one line without an end", 600.0),  # it takes so long to read it
    ],
)
def test_garbage(pico: Pico, noise: bytes, of: str, within: float, table: list[tuple[str, float, float]]) -> None:
    assert ok(pico.pulse(LAMP, 1500))
    pico.run(100)
    pico.raw(noise)
    pico.run(within + 50)
    pico.raw(b"\n")
    width = longest(pico, LAMP)
    table.append((f"garbage after 100 ms: {of}, {len(noise)} bytes", 1500, width))
    assert width <= 110 + within
    assert refused(pico.pulse(LAMP, 100)) == "disarmed"


def test_arm_switch_opened_in_mid_pulse(pico: Pico, table: list[tuple[str, float, float]]) -> None:
    assert ok(pico.pulse(LAMP, 600))
    pico.run(100)
    opened = pico.now
    pico.drive(SWITCH, True)
    pico.run(200)
    (start, end), *more = pico.high(LAMP)
    table.append(("arm switch opened after 100 ms", 600, end - start))
    assert not more
    assert end - opened < 30
    assert refused(pico.pulse(LAMP, 50)) == "switch"
    assert refused(pico.ask("ARM 1")) == "switch"
    pico.drive(SWITCH, False)
    pico.run(20)
    assert refused(pico.pulse(LAMP, 50)) == "disarmed", "closing it arms nothing"


def test_replayed_old_and_late(pico: Pico) -> None:
    order = seal(f"{pico.seq + 1} PULSE {pico.session} {pico.ticks()} {LAMP} 100 0 1")
    pico.raw(order)
    pico.hear("DONE", 300)
    pico.seq += 1
    pico.run(250)
    since = pico.now
    pico.raw(order)
    assert "replay" in pico.hear("NO")
    pico.ask("PING")
    half = seal(f"{pico.seq + 1} PULSE {pico.session} {pico.ticks()} {LAMP} 100 0 1")
    pico.raw(half[:20])
    pico.run(700)
    pico.raw(half[20:])
    assert "old" in pico.hear("NO")
    pico.seq += 1
    pico.ask("PING")
    assert refused(pico.pulse(LAMP, 100, age=-1000)) == "future"
    assert refused(pico.ask(f"PULSE 00000000 {pico.ticks()} {LAMP} 100 0 1")) == "session"
    assert refused(pico.ask("FIRE 1 2 3")) == "verb"
    pico.run(100)
    assert pico.high(LAMP, since) == []


def test_reset_in_mid_pulse(pico: Pico, table: list[tuple[str, float, float]]) -> None:
    assert ok(pico.pulse(LAMP, 1500))
    pico.run(100)
    old, since = pico.session, pico.now
    pico.order(reset=True)
    table.append(("reset button after 100 ms", 1500, longest(pico, LAMP)))
    assert longest(pico, LAMP) <= 100 + LATE_MS
    pico.greet()
    pico.run(250)
    quiet(pico, since + 0.1)
    assert pico.session != old
    assert refused(pico.ask(f"PULSE {old} {pico.ticks()} {LAMP} 100 0 1")) == "session"
    assert refused(pico.pulse(LAMP, 100)) == "disarmed"
    quiet(pico, since + 0.1)


@pytest.mark.parametrize(
    ("fault", "pin", "within"),
    [
        ("the loop hangs after 100 ms", LOOP, LATE_MS),
        ("the program ends in an error after 100 ms", ERROR, LATE_MS),
        ("the interpreter is dead after 100 ms, no interrupts (residue: the watchdog)", DEAD, WATCHDOG_MS),
    ],
)
def test_a_hung_program_is_off_and_the_watchdog_resets_it(
    pico: Pico, fault: str, pin: int, within: float, table: list[tuple[str, float, float]]
) -> None:
    assert ok(pico.pulse(LAMP, 3000))
    pico.run(100)
    happened = pico.now
    pico.drive(pin, True)
    pico.run(WATCHDOG_MS + LATE_MS)
    pico.drive(pin, False)
    ((start, end),) = pico.high(LAMP)
    (at, why), *more = pico.resets
    table.append((fault, 3000, end - start))
    assert (why, more) == ("watchdog", [])
    assert at - happened <= WATCHDOG_MS + 50
    assert end - happened <= within + 10
    pico.greet()
    assert pico.peek(SCRATCH) == WDT_RESET, "machine.reset_cause()"
    assert refused(pico.pulse(LAMP, 100)) == "disarmed"
    quiet(pico, max(end, at) + 0.1)


def test_every_file_compiles(parts: Parts, tmp_path: Path) -> None:
    """A Pico 2 cannot be emulated: its byte code is the same, and so is this compiler."""
    sources = sorted((ROOT / "firmware").glob("*.py"))
    assert len(sources) > 5
    for source in sources:
        command = [parts.mpy_cross, "-O2", "-o", tmp_path / f"{source.stem}.mpy", source]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
