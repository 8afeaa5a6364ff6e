"""The guard process itself, on gpiozero's recording pins: what it does to them, read from their history."""

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from firmware.wire import Lines, seal, unseal

CHANNELS = [
    {"channel": 0, "pin": 17, "active_high": True, "max_on_ms": 5000, "hour_ms": 10000, "rest_ms": 100},
    {"channel": 1, "pin": 27, "active_high": False, "max_on_ms": 5000, "hour_ms": 100, "rest_ms": 100},
]
LONG = "0 5000 0 1"


class Guard:
    """A guard, and a host's end of its line."""

    def __init__(self, folder: Path) -> None:
        self.history_file = folder / "history"
        environment = os.environ | {"GPIOZERO_PIN_FACTORY": "mock", "GANDER_PIN_HISTORY": str(self.history_file)}
        self.socket, theirs = socket.socketpair()
        self.socket.settimeout(20)
        self.process = subprocess.Popen(
            [sys.executable, "-m", "edge.pin_guard", json.dumps(CHANNELS)],
            stdin=theirs.fileno(),
            stdout=theirs.fileno(),
            stderr=subprocess.PIPE,
            env=environment,
            start_new_session=True,
        )
        theirs.close()
        self.lines = Lines()
        self.waiting: list[list[str]] = []
        self.seq = 0
        self.session, self.tick = self.answer("HELLO")[3:5]

    def answer(self, *verbs: str) -> list[str]:
        """The next line that begins with one of the verbs."""
        while True:
            while self.waiting:
                words = self.waiting.pop(0)
                if words[0] in verbs:
                    return words
            data = self.socket.recv(4096)
            assert data, "the guard has ended"
            self.waiting += [unseal(line) or [] for line in self.lines.feed(data) if line]

    def say(self, words: str) -> list[str]:
        self.seq += 1
        self.socket.sendall(seal(f"{self.seq} {words}"))
        answer = self.answer("OK", "NO")
        while answer[1] != str(self.seq):
            answer = self.answer("OK", "NO")
        if answer[0] == "OK":
            self.tick = answer[2]
        return answer

    def pulse(self, pattern: str) -> None:
        answer = ["NO", "", "rest"]
        while answer[2] in ("rest", "old", "disarmed"):  # it rests at its start; where all stood still it is late
            assert self.say("ARM 1")[0] == "OK"
            answer = self.say(f"PULSE {self.session} {self.tick} {pattern}")
        assert answer[0] == "OK"
        assert self.answer("ON")

    def levels(self, pin: int = 17) -> list[int]:
        return [level for _, level in self.history(pin)]

    def history(self, pin: int = 17) -> list[tuple[int, int]]:
        lines = [json.loads(line) for line in self.history_file.read_text().splitlines()]
        return [(line["ns"], line["level"]) for line in lines if line["pin"] == pin]

    def goes_dark(self) -> float:
        """Seconds that the pin was on; it must have gone off before its pulse was over."""
        until = time.monotonic() + 15
        while self.levels() != [0, 1, 0]:
            assert time.monotonic() < until, self.levels()
            time.sleep(0.01)
        (_, _), (on, _), (off, _) = self.history()
        assert off - on < 4_950_000_000
        return (off - on) / 1e9

    def close(self) -> None:
        self.socket.close()
        self.process.kill()
        self.process.communicate()


@pytest.fixture
def guard(tmp_path: Path) -> Iterator[Guard]:
    made = Guard(tmp_path)
    yield made
    made.close()


def test_a_pattern_reaches_the_pin(guard: Guard) -> None:
    for _ in range(5):  # a guard that stands still for a whole phase leaves it out
        before = len(guard.levels())
        guard.pulse("0 300 300 2")
        assert guard.levels()[before - 1 : before + 1] == [0, 1], "the pin moves before the line that says so"
        assert guard.answer("DONE")[1] == "0"
        if guard.levels()[before:] == [1, 0, 1, 0]:
            break
    assert guard.levels()[before:] == [1, 0, 1, 0]
    times = [ns for ns, _ in guard.history()]
    assert times[-1] - times[before] >= 898_000_000  # 300 on, 300 off, 300 on, less a millisecond or two


def test_an_active_low_relay_is_off_when_high(guard: Guard) -> None:
    assert guard.levels(27) == [0, 1]  # as found (an input), then off
    guard.pulse("1 20 0 1")
    guard.answer("DONE")
    assert guard.levels(27) == [0, 1, 0, 1]
    assert guard.levels(17) == [0]


def test_a_channel_rests_and_has_its_share_of_the_hour(guard: Guard) -> None:
    guard.say("STATE")
    assert guard.answer("HELLO")[6:] == ["0:5000:10000:100", "1:5000:100:100"]
    guard.pulse("1 20 0 1")
    answers: list[str] = []
    while "duty" not in answers:
        assert guard.say("ARM 1")[0] == "OK"  # also after two seconds without a word
        answers.append(guard.say(f"PULSE {guard.session} {guard.tick} 1 20 0 1")[2])
        if answers[-1].isdigit():
            guard.answer("DONE")
    assert "rest" in answers
    assert guard.levels(27)[2:].count(0) <= 5, "100 ms in an hour; a busy machine ends a pulse late"


def test_end_of_the_host(guard: Guard) -> None:
    guard.pulse(LONG)
    guard.socket.close()
    guard.goes_dark()
    assert guard.process.wait(10) == 0


def test_half_a_line_and_the_end_of_the_host(guard: Guard) -> None:
    guard.pulse(LONG)
    guard.socket.sendall(seal(f"9 PULSE {guard.session} {guard.tick} {LONG}")[:-4])
    guard.socket.shutdown(socket.SHUT_WR)
    guard.goes_dark()
    assert guard.process.wait(10) == 0


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
def test_signals(guard: Guard, number: signal.Signals) -> None:
    guard.pulse(LONG)
    guard.process.send_signal(number)
    guard.goes_dark()
    assert guard.process.wait(10) == 0


def test_silence(guard: Guard) -> None:
    guard.pulse(LONG)
    assert guard.goes_dark() >= 1.9
    assert guard.say("STATE")[3] == "0", "disarmed"


@pytest.mark.parametrize("noise", [b"\xff\x00\n" * 3, b"x" * 5000, b"1 PULSE *0000\n" * 4])
def test_garbage(guard: Guard, noise: bytes) -> None:
    guard.pulse(LONG)
    guard.socket.sendall(noise)
    assert guard.answer("DONE")
    guard.goes_dark()
    guard.socket.sendall(b"\n")
    assert guard.say("STATE")[3] == "0"


def test_late_bytes_are_refused(guard: Guard) -> None:
    guard.say("ARM 1")
    late = f"PULSE {guard.session} {guard.tick} {LONG}"
    time.sleep(0.6)
    assert guard.say("PING")[0] == "OK"
    assert guard.say(late)[2] == "old"
    assert guard.levels() == [0]


def test_a_host_that_does_not_read_blocks_nothing(guard: Guard) -> None:
    guard.pulse("0 5000 0 1")
    guard.socket.setblocking(False)
    for _ in range(20000):  # far more answers than the socket holds
        guard.seq += 1
        try:
            guard.socket.send(seal(f"{guard.seq} STATE"))
        except BlockingIOError:
            time.sleep(0.001)
            break
    guard.goes_dark()  # no PING among it: silence


def started(environment: dict[str, str], *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "edge.pin_guard", *arguments]
    return subprocess.run(
        command, env=os.environ | environment, stdin=subprocess.DEVNULL, capture_output=True, text=True
    )


@pytest.mark.parametrize(
    ("environment", "channels", "complaint"),
    [
        ({"GPIOZERO_PIN_FACTORY": "nonsense"}, CHANNELS, "nonsense"),
        ({"GPIOZERO_PIN_FACTORY": "mock"}, [{"channel": 0, "pin": 17}], "channels must be given as JSON like"),
        ({"GPIOZERO_PIN_FACTORY": "mock"}, [CHANNELS[0] | {"max_on_ms": 3600000}], "max_on_ms must be a whole number"),
        ({"GPIOZERO_PIN_FACTORY": "mock"}, [CHANNELS[0] | {"pin": 99}], "99"),
        ({"GPIOZERO_PIN_FACTORY": "mock"}, [CHANNELS[0], CHANNELS[1] | {"pin": 17}], "17"),
        ({"GPIOZERO_PIN_FACTORY": "mock", "GANDER_PIN_HISTORY": "/nowhere/at/all"}, CHANNELS, "/nowhere/at/all"),
    ],
)
def test_no_pins_is_one_line_and_status_2(environment: dict[str, str], channels: object, complaint: str) -> None:
    result = started(environment, json.dumps(channels))
    assert result.returncode == 2
    assert result.stdout == ""
    assert result.stderr.count("\n") == 1
    assert complaint in result.stderr


@pytest.mark.skipif(Path("/dev/gpiochip0").exists(), reason="this machine has pins, and a test does not touch them")
def test_a_machine_without_gpio() -> None:
    environment = {"GPIOZERO_PIN_FACTORY": "lgpio"}
    result = started(environment, json.dumps(CHANNELS))
    assert result.returncode == 2
    assert result.stderr.startswith("pin guard: no pins: ")
    assert result.stderr.count("\n") == 1


def test_it_stays_small() -> None:
    """What would make it slow to start and heavy to keep must not be among its imports."""
    code = "import sys, edge.pin_guard; print(*sys.modules)"
    modules = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()
    assert not {"numpy", "cv2", "pydantic", "gpiozero"} & set(modules)
