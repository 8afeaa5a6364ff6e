"""Orders to the pin, through the real guard on recording pins; hosts and guards are killed, stopped and starved."""

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from edge.actuators import Actuator
from edge.actuators.controller import Controller
from edge.actuators.dry import Dry
from edge.actuators.guard import Guard
from edge.config import ControllerConfig, DeterrentConfig
from edge.errors import ControllerError
from edge.values import Order
from firmware.wire import seal

LIGHT = DeterrentConfig()
PATIENT = ControllerConfig(kind="guard", patience_ms=1000)
NEVER = 1 << 62

HOST = """
import sys, time
from edge.actuators.controller import Controller
from edge.actuators.guard import Guard
from edge.config import ControllerConfig, DeterrentConfig
from edge.values import Order
deterrents = [DeterrentConfig()]
controller = Controller(deterrents, ControllerConfig(kind="guard", patience_ms=1000), lambda: Guard(deterrents))
assert controller.wait_ready(20), controller.trouble
action = controller.fire(Order("a", "light", 0, 5000, 0, 1, 1 << 62))
print(action.result, flush=True)
was = True
while True:
    controller.beat()
    if was is not controller.ready():
        was = not was
        print("ready" if was else "lost", controller.restarts, flush=True)
    time.sleep(0.02)
"""


def order(on_ms: int = 100, off_ms: int = 0, count: int = 1, channel: int = 0, expires_ns: int = NEVER) -> Order:
    return Order("an-id", "light", channel, on_ms, off_ms, count, expires_ns)


def eventually(true: Callable[[], object], beating: Controller | None = None) -> None:
    """Wait until it is true, with the loop's heart beating or not."""
    until = time.monotonic() + 15.0
    while not true():
        if beating:
            beating.beat()
        assert time.monotonic() < until, true
        time.sleep(0.01)


def children(pid: int) -> list[int]:
    found: list[int] = []
    for task in Path(f"/proc/{pid}/task").iterdir():
        found += [int(child) for child in (task / "children").read_text().split()]
    return found


def levels(file: Path) -> list[int]:
    return [json.loads(line)["level"] for line in file.read_text().splitlines()]


def lit_s(file: Path) -> float:
    """Seconds between the first on and the first off after it."""
    lines = [json.loads(line) for line in file.read_text().splitlines()]
    on: int = next(line["ns"] for line in lines if line["level"])
    off: int = next(line["ns"] for line in lines if line["ns"] > on and not line["level"])
    return (off - on) / 1e9


@pytest.fixture
def history(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("GPIOZERO_PIN_FACTORY", "mock")
    monkeypatch.setenv("GANDER_PIN_HISTORY", str(tmp_path / "history"))
    return tmp_path / "history"


@pytest.fixture
def controller(history: Path) -> Iterator[Controller]:
    made = Controller([LIGHT], PATIENT, lambda: Guard([LIGHT]))
    assert made.wait_ready(20), made.trouble
    yield made
    made.close()


@pytest.fixture
def host(history: Path) -> Iterator[subprocess.Popen[str]]:
    """A host of its own, in mid-pulse of 5 s."""
    process = subprocess.Popen([sys.executable, "-c", HOST], stdout=subprocess.PIPE, text=True)
    assert process.stdout
    assert process.stdout.readline() == "on\n"
    yield process
    process.kill()
    process.communicate()


def test_they_are_actuators(controller: Controller) -> None:
    actuators: list[Actuator] = [controller, Dry([LIGHT])]  # mypy reads this too
    assert [a.real for a in actuators] == [True, False]
    assert all(a.ready() for a in actuators)


def test_a_pulse(controller: Controller, history: Path) -> None:
    before = time.monotonic_ns()
    action = controller.fire(order(300, 100, 2))
    assert (action.result, action.pattern, action.on_ms) == ("on", "2x300/100", 600)
    assert before <= action.ordered_at_ns < action.acknowledged_at_ns <= time.monotonic_ns()
    assert controller.acting_until_ns() > action.acknowledged_at_ns
    while not (finished := controller.finished()):
        controller.beat()
        time.sleep(0.01)
    [(name, on_ms)] = finished
    assert name == "an-id"
    assert on_ms > 300  # both flashes; a busy machine begins one late, and ends it in time
    assert controller.finished() == []
    assert levels(history) == [0, 1, 0, 1, 0]
    assert controller.acting_until_ns() == 0


def test_what_is_not_carried_out(controller: Controller, history: Path) -> None:
    assert controller.fire(order(expires_ns=time.monotonic_ns())).result == "expired"
    assert controller.fire(order(channel=5)).result == "refused: channel"
    refused = controller.fire(order(4000, 0, 2))
    assert (refused.result, refused.acknowledged_at_ns, refused.on_ms) == ("refused: pattern", 0, 0)
    assert controller.refused == 2
    assert levels(history) == [0]


def test_off(controller: Controller, history: Path) -> None:
    controller.fire(order(5000))
    controller.off()
    eventually(lambda: levels(history) == [0, 1, 0])
    eventually(lambda: controller.acting_until_ns() == 0)
    assert lit_s(history) < 4


def test_close_is_off_and_leaves_no_process(history: Path) -> None:
    controller = Controller([LIGHT], PATIENT, lambda: Guard([LIGHT]))
    assert controller.wait_ready(20)
    guards = children(os.getpid())
    controller.fire(order(5000))
    controller.close()
    assert levels(history) == [0, 1, 0]
    assert not [pid for pid in guards if Path(f"/proc/{pid}").exists()]
    assert controller.fire(order()).result == "no controller"


def test_a_hung_loop_is_silence(controller: Controller, history: Path) -> None:
    controller.beat()
    assert controller.fire(order(5000)).result == "on"
    eventually(lambda: levels(history) == [0, 1, 0])  # without a beat
    assert lit_s(history) < 4.5
    assert not controller.ready()
    eventually(controller.ready, controller)
    assert levels(history) == [0, 1, 0], "nothing fires by itself"


def test_a_killed_guard_is_replaced_and_nothing_fires(controller: Controller, history: Path) -> None:
    controller.fire(order(5000))
    [guard] = children(os.getpid())
    os.kill(guard, signal.SIGKILL)
    eventually(lambda: controller.restarts and controller.ready(), controller)
    # The recording pin of the dead one stays as it was; the successor opens its own, off.
    assert levels(history) == [0, 1, 0]
    assert controller.acting_until_ns() == 0
    assert controller.fire(order(20)).result == "on"


def test_a_frozen_guard_is_replaced(controller: Controller, history: Path) -> None:
    [guard] = children(os.getpid())
    os.kill(guard, signal.SIGSTOP)
    assert controller.fire(order(5000)).result == "silent"
    assert controller.acting_until_ns() > time.monotonic_ns()
    eventually(lambda: controller.restarts and controller.ready(), controller)
    assert not Path(f"/proc/{guard}").exists()
    assert levels(history) == [0, 0], "the order was not carried over"


def test_no_pins_is_no_controller(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    monkeypatch.setenv("GPIOZERO_PIN_FACTORY", "nonsense")
    controller = Controller([LIGHT], PATIENT, lambda: Guard([LIGHT]))
    try:
        assert controller.fire(order()).result == "no controller"
        eventually(lambda: controller.restarts)
        assert "nonsense" in controller.trouble
        assert not controller.ready()
        assert len(caplog.records) == 1, "told once"
    finally:
        controller.close()


class Rehearsed:
    """A wire whose far end has already said all it will say."""

    name = "a rehearsal"

    def __init__(self, *lines: str) -> None:
        self.near, self.far = socket.socketpair()
        self.near.setblocking(False)
        self.far.sendall(b"".join(seal(line) for line in lines))

    def fileno(self) -> int:
        return self.near.fileno()

    def send(self, data: bytes) -> None:
        self.near.sendall(data)

    def receive(self) -> bytes:
        try:
            return self.near.recv(4096)
        except BlockingIOError:
            return b""

    def close(self) -> str:
        self.near.close()
        self.far.close()
        return ""


@pytest.mark.parametrize(
    ("greeting", "complaint"),
    [("HELLO 2 0.1.0 s 0 0 0:5000", "protocol 2"), ("HELLO 1 0.1.0 s 0 0 3:5000", "no channel 0")],
)
def test_a_controller_that_does_not_fit(greeting: str, complaint: str) -> None:
    controller = Controller([LIGHT], PATIENT, lambda: Rehearsed(greeting))
    try:
        eventually(lambda: complaint in controller.trouble)
        assert not controller.ready()
    finally:
        controller.close()


def test_a_controller_that_cannot_be_opened() -> None:
    def refuse() -> Rehearsed:
        raise ControllerError("/dev/ttyACM0: no such port")

    controller = Controller([LIGHT], PATIENT, refuse)
    try:
        eventually(lambda: "/dev/ttyACM0" in controller.trouble)
    finally:
        controller.close()


def test_a_stopped_host(host: subprocess.Popen[str], history: Path) -> None:
    host.send_signal(signal.SIGSTOP)
    eventually(lambda: levels(history) == [0, 1, 0])
    assert lit_s(history) < 4
    host.send_signal(signal.SIGCONT)
    assert host.stdout
    assert [host.stdout.readline(), host.stdout.readline()] == ["lost 0\n", "ready 0\n"], "the guard is the same"
    time.sleep(0.5)
    assert levels(history) == [0, 1, 0], "nothing fires by itself"


def test_a_killed_host(host: subprocess.Popen[str], history: Path) -> None:
    [guard] = children(host.pid)
    host.kill()
    eventually(lambda: levels(history) == [0, 1, 0])
    assert lit_s(history) < 4
    eventually(lambda: not Path(f"/proc/{guard}/fd").exists() or not alive(guard))


def alive(pid: int) -> bool:
    """A zombie that nobody collects is not."""
    try:
        return "\nState:\tZ" not in Path(f"/proc/{pid}/status").read_text()
    except OSError:
        return False


def test_ctrl_c_at_the_hosts_terminal_does_not_reach_the_guard(host: subprocess.Popen[str]) -> None:
    [guard] = children(host.pid)
    assert os.getsid(guard) == guard != os.getsid(host.pid)


def test_dry_remembers_and_refuses() -> None:
    dry = Dry([LIGHT])
    action = dry.fire(order(200, 100, 2))
    assert (action.result, action.on_ms) == ("on", 400)
    assert action.ordered_at_ns == action.acknowledged_at_ns
    assert 0 < dry.acting_until_ns() - action.ordered_at_ns <= 500_000_000
    assert dry.fire(order(expires_ns=1)).result == "expired"
    assert dry.fire(order(channel=4)).result == "refused: channel"
    assert dry.fire(order(3000, 0, 2)).result == "refused: pattern"
    assert dry.refused == 3
    assert [action.result.partition(":")[0] for _, action in dry.orders] == ["on", "expired", "refused", "refused"]
    dry.off()
    assert dry.acting_until_ns() == 0
    for _ in range(2000):
        dry.fire(order())
    assert len(dry.orders) == 1000
