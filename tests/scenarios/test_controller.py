"""The real daemon and a Pico's firmware on a pseudo-terminal: it acts, is unplugged, is fought over, is left alone."""

from __future__ import annotations

import json
import signal
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from edge.actuators.serial import find
from edge.bench_faults import lit_s
from edge.config import DeterrentConfig
from edge.errors import ControllerError
from tests.beds import PicoBed
from tests.daemon import SLACK_MS, Daemon, stall_ms
from tests.stage import Answer, Live, gander

__all__ = ["stall_ms"]


@pytest.fixture
def pico(tmp_path: Path) -> Iterator[PicoBed]:
    made = PicoBed(tmp_path, [DeterrentConfig(rest_ms=100)])
    yield made
    made.close()


def serial(pico: PicoBed) -> tuple[str, str]:
    return "controller.kind=serial", f"controller.port={pico.port}"


def doctor(daemon: Daemon, pico: PicoBed) -> tuple[Answer, dict[str, list[str]]]:
    settings = [part for setting in serial(pico) for part in ("--set", setting)]
    answer = gander("doctor", "--json", *settings, state=daemon.state)
    found: dict[str, list[str]] = {}
    for one in answer.objects[:-1]:
        found.setdefault(one["what"], []).append(f"{one['level']}: {one['says']} | {one['advice']}")
    return answer, found


def test_the_daemon_acts_through_a_pico_and_tells_how_it_is(
    start: Callable[..., Daemon], pico: PicoBed, live: Live, stall_ms: Callable[[], float]
) -> None:
    daemon = start(*serial(pico), *live.settings, film=None)
    daemon.wait(daemon.watching)
    live.comes("red", 9)
    daemon.wait(lambda: bool(daemon.events("action")))
    action = daemon.events("action")[0]
    assert action["action"]["result"] == "on"
    assert 0 < action["latency_ms"]["pin"] < action["latency_ms"]["onset"] < 3000
    daemon.wait(lambda: not daemon.status()["acting"] and pico.changes()[-1][1] == 0)
    flashes = lit_s(pico.changes())
    if stall_ms() < 150:  # else two of them may have been one: a pause lasts 200 ms
        shortest, longest = 400 - 5 - stall_ms(), 400 + SLACK_MS + stall_ms()
        assert [level for _, level in pico.changes()] == [0, 1, 0, 1, 0, 1, 0]
        assert all(shortest <= 1000 * seconds <= longest for seconds in flashes), (shortest, pico.changes())
    with pytest.raises(ControllerError, match="is in use"):
        find(str(pico.port), 115200)
    daemon.wait(lambda: doctor(daemon, pico)[1]["controller"][0].startswith("ok"))
    _, found = doctor(daemon, pico)
    [controller] = found["controller"]
    assert controller.startswith(f"ok: {pico.port}: firmware ")
    assert "channel 0 at most 5 s at once, 60 s in an hour, rest 0.1 s" in controller
    assert "channel 0" in found["deterrent"][0]

    pico.unplug()
    daemon.wait(lambda: not daemon.status()["controller_ready"])
    daemon.wait(lambda: any(f"there is no {pico.port}" in problem["what"] for problem in daemon.status()["problems"]))
    answer, found = doctor(daemon, pico)
    assert answer.status == 1
    assert "plugged in, by a cable" in found["controller"][0]
    pico.plug()
    daemon.wait(lambda: (s := daemon.status())["controller_ready"] and "controller" not in str(s["problems"]))
    assert len(lit_s(pico.changes())) == len(flashes), "nothing fires at reconnect"
    daemon.process.send_signal(signal.SIGTERM)
    assert daemon.process.wait(60) == 0


@pytest.mark.lab
@pytest.mark.alone
def test_watch_killed_in_mid_pulse_of_a_pico(
    start: Callable[..., Daemon], pico: PicoBed, stall_ms: Callable[[], float]
) -> None:
    daemon = start(*serial(pico), "deterrent.0.on_ms=4500", "deterrent.0.count=1")
    daemon.wait(lambda: bool(lit_s(pico.changes())))
    daemon.process.kill()
    daemon.process.wait()
    daemon.wait(lambda: pico.changes()[-1][1] == 0, 10)
    assert lit_s(pico.changes())[0] < 2.5 + (SLACK_MS + stall_ms()) / 1000, "silence for two seconds means off"
    settings = [part for setting in serial(pico) for part in ("--set", setting)]
    answer = gander("doctor", "--json", *settings, state=daemon.state)
    says = [one["says"] for one in answer.objects if one.get("what") == "controller"]
    assert json.dumps(says).count("firmware") == 1, "no daemon runs, so doctor itself looks at the port"
    again = start(*serial(pico), "deterrent.0.enabled=false")
    again.wait(again.running)
    again.wait(lambda: again.status()["controller_ready"] and again.status()["frames"] > 15)
    assert len(lit_s(pico.changes())) == 1, "armed and watching, and every deterrent disabled"
