"""The serial port to a Pico: found, opened by one host only, lost, found again, and never waited for."""

from __future__ import annotations

import contextlib
import grp
import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from edge.actuators.controller import Controller
from edge.actuators.serial import Serial, find, ports, to_open
from edge.app import open_actuator
from edge.config import Config, ControllerConfig, DeterrentConfig
from edge.controller_check import findings
from edge.errors import ControllerError
from edge.values import Order
from tests.beds import PicoBed, Rig
from tests.terminal import Terminal

LIGHT = DeterrentConfig(rest_ms=100)
NEVER = 1 << 62


@pytest.fixture
def pico(tmp_path: Path) -> Iterator[PicoBed]:
    made = PicoBed(tmp_path)
    yield made
    made.close()


@pytest.fixture
def plug() -> Iterator[Callable[..., Terminal]]:
    """Ports at whose far end is what a test makes of it."""
    made: list[Terminal] = []

    def make(*answer: str, noise: bytes = b"", deaf: bool = False) -> Terminal:
        made.append(Terminal(*answer, noise=noise, deaf=deaf))
        return made[-1]

    yield make
    for terminal in made:
        terminal.close()


def config(port: object, **deterrent: object) -> Config:
    return Config.model_validate(
        {"controller": {"kind": "serial", "port": str(port), "patience_ms": 1000}, "deterrent": [deterrent]}
    )


def test_the_configuration_leads_to_the_port(pico: PicoBed) -> None:
    actuator = open_actuator(config(pico.port))
    try:
        assert isinstance(actuator, Controller)
        assert actuator.name == "serial"
        assert actuator.wait_ready(20), actuator.trouble
        assert actuator.facts()["where"] == str(pico.port)
    finally:
        actuator.close()


def test_several_deterrents_on_a_pico_need_no_pins_of_this_pi() -> None:
    deterrents = [{"id": "light", "channel": 0}, {"id": "siren", "kind": "siren", "channel": 1}]
    Config.model_validate({"controller": {"kind": "serial"}, "deterrent": deterrents})
    with pytest.raises(ValueError, match=r"deterrent\.pin"):
        Config.model_validate({"controller": {"kind": "guard"}, "deterrent": deterrents})


@pytest.mark.parametrize("baud", [1200, 9600, 5_000_000])
def test_speeds_that_cannot_work_are_refused(baud: int) -> None:
    with pytest.raises(ValueError, match="baud"):
        ControllerConfig(kind="serial", baud=baud)


@pytest.mark.parametrize(
    ("port", "complaint"),
    [
        ("/nowhere/ttyACM0", "there is no /nowhere/ttyACM0; is the Pico plugged in"),
        (__file__, "cannot be used: Could not configure port"),
        ("/tmp", "cannot be used"),
    ],
)
def test_what_is_no_port(port: str, complaint: str) -> None:
    with pytest.raises(ControllerError, match=complaint) as told:
        find(port, 115200)
    assert "; " in str(told.value), "what, and what to do"
    assert "\n" not in str(told.value)


def test_no_permission(plug: Callable[..., Terminal]) -> None:
    port = plug().port
    Path(port).chmod(0)
    reader, writer = os.pipe()
    child = os.fork()
    if not child:  # as somebody who may not do everything
        try:
            os.setuid(65534)
            find(port, 115200, patience_s=0.1)
        except ControllerError as error:
            os.write(writer, str(error).encode())
        finally:
            os._exit(0)
    os.waitpid(child, 0)
    told = os.read(reader, 1000).decode()
    assert told.startswith(f"{port}: permission denied; `sudo usermod -aG dialout nobody`"), told
    os.close(reader)
    os.close(writer)


def test_two_hosts_on_one_port(tmp_path: Path) -> None:
    rig = Rig("serial", tmp_path, [LIGHT])
    try:
        rig.ready()
        session = rig.session()
        assert rig.fire(Order("a", "light", 0, 300, 0, 1, NEVER)).result == "on"
        with pytest.raises(ControllerError, match="is in use; another gander"):
            rig.bed.open()
        rig.eventually(lambda: rig.levels() == [0, 1, 0])
        assert rig.lit_s()[0] > 0.25, "the second did not disturb the first"
        assert rig.session() == session, "nor was it started anew"
    finally:
        rig.close()


@pytest.mark.parametrize(
    ("answer", "complaint"),
    [
        (b"", "nobody answers; `deploy/flash.sh`"),
        (b"\r\n>>> 0 ARM 0 *1234\r\n", "MicroPython answers, but not Gander's firmware; `deploy/flash.sh`"),
        (b'Traceback (most recent call last):\r\n  File "main.py"\r\n', "MicroPython answers"),
        (b"$GPGGA,123519,4807.038,N*47\r\n" * 100, "something else answers"),
        (bytes(range(256)) * 8, "something else answers"),
        (b"HELLO 1 0.1.0 s 0 0 0:5000:60000:1000 *0000\n", "something else answers"),
    ],
)
def test_who_else_may_be_on_a_port(plug: Callable[..., Terminal], answer: bytes, complaint: str) -> None:
    terminal = plug(noise=answer)
    with pytest.raises(ControllerError, match=complaint) as told:
        find(terminal.port, 115200)
    assert str(told.value).startswith(terminal.port)
    assert terminal.heard.startswith(b"\n0 ARM 0 *"), "what another host left half said is ended, and all is off"
    assert b"0 STATE *" in terminal.heard


def test_the_port_is_found_among_others(plug: Callable[..., Terminal], pico: PicoBed) -> None:
    other = plug().port
    wire = find("", 115200, lambda: ["/nowhere/ttyACM7", other, str(pico.port)], patience_s=3)
    assert wire.name == str(pico.port)
    wire.close()
    with pytest.raises(ControllerError, match="there is no /nowhere/ttyACM7"):
        find("", 115200, lambda: ["/nowhere/ttyACM7", other], patience_s=0.1)
    with pytest.raises(ControllerError, match="no Pico on USB, and no /dev/serial0; plug it in"):
        find("", 115200, list)


def test_who_is_in_the_group_already_has_a_console_in_the_way() -> None:
    dialout = grp.getgrnam("dialout").gr_gid
    assert "usermod -aG dialout root" in to_open(0, [0])
    assert "serial console" in to_open(0, [0, dialout])


def test_the_candidates_are_ports() -> None:
    assert all(port.startswith("/dev/") for port in ports())


def test_unplugged_and_plugged_in_again(tmp_path: Path) -> None:
    rig = Rig("serial", tmp_path, [LIGHT])
    pico = rig.bed
    assert isinstance(pico, PicoBed)
    try:
        rig.ready()
        assert rig.fire(Order("a", "light", 0, 5000, 0, 1, NEVER)).result == "on"
        pico.unplug()
        rig.eventually(lambda: not rig.controller.ready())
        rig.eventually(lambda: "there is no" in rig.controller.facts()["trouble"])
        assert rig.controller.fire(Order("a", "light", 0, 100, 0, 1, NEVER)).result == "no controller"
        pico.plug()
        began = time.monotonic()
        rig.eventually(rig.controller.ready)
        assert time.monotonic() - began < 6, "within a second or so"
        assert rig.controller.restarts == 1
        assert rig.levels() == [0, 1, 0], "nothing fires at reconnect"
    finally:
        rig.close()


def test_the_arm_switch(tmp_path: Path) -> None:
    rig = Rig("serial", tmp_path, [LIGHT])
    assert isinstance(rig.bed, PicoBed)
    try:
        rig.ready()
        session = rig.session()
        assert rig.fire(Order("a", "light", 0, 5000, 0, 1, NEVER)).result == "on"
        rig.bed.switch.touch()
        rig.eventually(lambda: rig.levels() == [0, 1, 0])
        assert rig.lit_s()[0] < 4.5, "before its end: the host goes on beating"
        rig.eventually(lambda: "arm switch" in rig.controller.facts()["trouble"])
        assert rig.controller.fire(Order("a", "light", 0, 100, 0, 1, NEVER)).result.startswith("refused")
        rig.bed.switch.unlink()
        rig.eventually(rig.controller.ready)
        assert rig.levels() == [0, 1, 0], "nothing fires by itself"
        assert rig.session() == session
    finally:
        rig.close()


def test_a_port_that_takes_nothing_holds_up_nobody(plug: Callable[..., Terminal]) -> None:
    """The far end does not read: the kernel's buffer fills, and a write that waited would wait for ever."""
    wire = Serial(plug(deaf=True).port, 115200)
    began, sent = time.monotonic(), 0
    with contextlib.suppress(OSError):
        while sent < 10**6:
            wire.send(b"x" * 100)
            sent += 100
    assert sent < 10**6
    assert wire.receive() == b""
    wire.close()
    assert time.monotonic() - began < 15


def test_a_controller_that_stops_reading_is_let_go(plug: Callable[..., Terminal]) -> None:
    terminal = plug("HELLO 1 0.1.0 s 0 0 0:5000:60000:1000")
    light = [DeterrentConfig()]
    controller = Controller(light, ControllerConfig(kind="serial"), lambda: find(terminal.port, 115200, patience_s=5))
    try:
        took, until = [0.0], time.monotonic() + 15
        while "answer" not in controller.trouble and time.monotonic() < until:
            began = time.monotonic()
            controller.beat()
            controller.ready()
            controller.fire(Order("a", "light", 0, 100, 0, 1, NEVER))
            took.append(time.monotonic() - began)
        assert "not answered" in controller.trouble
        assert controller.silent > 0
        assert sorted(took)[-2] < 1.0, "patience is 60 ms; once the machine may have stood still"
    finally:
        controller.close()


def test_doctor_looks_at_the_pico(pico: PicoBed, tmp_path: Path) -> None:
    [found] = findings(config(pico.port), tmp_path)
    assert (found.level, found.what) == ("ok", "controller")
    assert str(pico.port) in found.says
    assert "protocol 1" in found.says
    assert "channel 0 at most" in found.says
    [found] = findings(config(pico.port, channel=7), tmp_path)
    assert found.level == "problem"
    assert "no channel 7" in found.says
    assert "deterrent.channel" in found.advice
    assert list(findings(Config(), tmp_path)) == []


def test_doctor_says_what_to_do(plug: Callable[..., Terminal], tmp_path: Path) -> None:
    [found] = findings(config("/nowhere/ttyACM0"), tmp_path)
    assert (found.level, found.says) == ("problem", "there is no /nowhere/ttyACM0")
    assert "plugged in" in found.advice
    [found] = findings(config(plug("HELLO 2 9.9.9 s 0 0 0:5000:60000:1000").port), tmp_path)
    assert "protocol 2" in found.says
    assert "deploy/flash.sh" in found.advice
    good, newer = findings(config(plug("HELLO 1 9.9.9 s 0 0 0:5000:60000:1000").port), tmp_path)
    assert good.level == "ok"
    assert newer.level == "problem"
    assert "9.9.9 is newer" in newer.says
