"""The real daemon on a clip, the pin guard on gpiozero's recording pins: faults in mid-pulse, and what the pin did."""

from __future__ import annotations

import os
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

from edge.control import ask
from edge.journal import EVENTS
from tests.daemon import SLACK_MS, Daemon, stall_ms
from tests.stage import Live

__all__ = ["stall_ms"]
LONG = ("deterrent.0.on_ms=4500", "deterrent.0.count=1")


def test_from_a_frame_to_the_pin(start: Callable[..., Daemon], stall_ms: Callable[[], float]) -> None:
    daemon = start()
    daemon.wait(lambda: bool(daemon.events("visit")))
    assert [level for _, level in daemon.levels()] == [0, 1, 0, 1, 0, 1, 0], "off at start, three flashes, off"
    shortest, longest = 400 - 5 - stall_ms(), 400 + SLACK_MS + stall_ms()
    assert all(shortest <= pulse <= longest for pulse in daemon.pulses()), (shortest, daemon.pulses())
    action = daemon.events("action")[0]
    assert action["action"]["result"] == "on"
    assert action["reason"] == "threat"
    assert 0 < action["latency_ms"]["pin"] < action["latency_ms"]["onset"] < 3000
    assert len(daemon.events("action")) == 1, "the cool-down holds"
    daemon.process.send_signal(signal.SIGTERM)
    assert daemon.process.wait(20) == 0
    assert daemon.levels()[-1][1] == 0


def test_nothing_fires_in_observe_nor_at_an_armed_restart(start: Callable[..., Daemon], live: Live) -> None:
    daemon = start("policy.initial_mode=observe", *live.settings, film=None)
    daemon.wait(daemon.watching)
    live.comes("red", 2)
    daemon.wait(lambda: bool(daemon.events("visit")))  # it was in view, and has left
    assert daemon.events("suppressed")
    ask(daemon.state, "mode", mode="armed")
    daemon.process.kill()
    daemon.process.wait()
    again = start(*live.settings, film=None)
    again.wait(again.watching)
    assert again.status()["mode"] == "armed"
    assert {level for _, level in again.levels()} == {0}, "armed and watching, and nobody came"


def test_limits_outlast_a_restart(start: Callable[..., Daemon], live: Live) -> None:
    daemon = start(*live.settings, film=None)
    daemon.wait(daemon.watching)
    live.comes("red", 9)
    daemon.wait(lambda: bool(daemon.events("action")))
    daemon.process.kill()
    daemon.process.wait()
    live.comes("red", 0)
    lasting = ("deterrent.0.cooldown_s=600", "policy.person_veto_s=0")  # who was there may have been a person
    again = start(*lasting, *live.settings, film=None)
    again.wait(again.watching)
    live.comes("red", 9)
    again.wait(lambda: bool(again.events("suppressed")))
    assert len(again.events("action")) == 1
    assert again.events("suppressed")[0]["reason"] == "cooldown"


def test_watch_stopped_in_mid_pulse(start: Callable[..., Daemon], live: Live, stall_ms: Callable[[], float]) -> None:
    daemon = start(*LONG, "deterrent.0.cooldown_s=1", *live.settings, film=None)
    daemon.wait(daemon.watching)
    live.comes("red", 2)
    daemon.wait_on()
    daemon.process.send_signal(signal.SIGSTOP)
    daemon.wait(lambda: daemon.levels()[-1][1] == 0, 10)
    assert daemon.pulses()[0] < 2000 + SLACK_MS + stall_ms(), "silence for two seconds means off"
    time.sleep(2.5)  # by now the visitor has left
    daemon.process.send_signal(signal.SIGCONT)
    daemon.wait(lambda: daemon.status()["controller_ready"])
    time.sleep(2)
    assert len(daemon.pulses()) == 1, "nothing fires on waking up"


def test_watch_killed_in_mid_pulse(start: Callable[..., Daemon], stall_ms: Callable[[], float]) -> None:
    daemon = start(*LONG)
    daemon.wait_on()
    daemon.process.kill()
    killed = time.monotonic() * 1e3
    daemon.wait(lambda: daemon.levels()[-1][1] == 0, 10)
    assert daemon.levels()[-1][0] < killed + SLACK_MS + stall_ms(), "end of file means off"


def test_watch_starved_in_mid_pulse(start: Callable[..., Daemon], stall_ms: Callable[[], float]) -> None:
    daemon = start("deterrent.0.on_ms=2000", "deterrent.0.count=1")
    daemon.wait_on()
    core = min(os.sched_getaffinity(0))
    for task in Path(f"/proc/{daemon.process.pid}/task").iterdir():
        os.setpriority(os.PRIO_PROCESS, int(task.name), 19)
        os.sched_setaffinity(int(task.name), {core})
    hogs = [subprocess.Popen([sys.executable, "-c", "while True: pass"]) for _ in range(6)]
    try:
        for hog in hogs:
            os.sched_setaffinity(hog.pid, {core})
        daemon.wait(lambda: daemon.levels()[-1][1] == 0, 10)
        assert daemon.pulses()[0] <= 2000 + SLACK_MS + stall_ms()
    finally:
        for hog in hogs:
            hog.kill()
            hog.wait()


def test_guard_killed_in_mid_pulse(start: Callable[..., Daemon], live: Live) -> None:
    daemon = start(*LONG, "deterrent.0.cooldown_s=1", *live.settings, film=None)
    daemon.wait(daemon.watching)
    live.comes("red", 2)
    daemon.wait_on()
    dead = daemon.guard()
    os.kill(dead, signal.SIGKILL)
    daemon.wait(lambda: not daemon.status()["controller_ready"])
    daemon.wait(lambda: daemon.status()["controller_ready"])
    assert daemon.guard() != dead
    time.sleep(6)  # past the pulse, the cool-down and the visit
    assert daemon.levels()[-1][1] == 0, "the new guard begins with everything off, and nothing fires by itself"
    assert len(daemon.pulses()) == 1


def test_the_journal_locked_for_five_seconds(start: Callable[..., Daemon]) -> None:
    daemon = start()
    daemon.wait(lambda: (daemon.state / EVENTS).exists() and daemon.history.exists())
    other = sqlite3.connect(daemon.state / EVENTS, isolation_level=None, timeout=10)
    other.execute("BEGIN IMMEDIATE")
    locked = time.monotonic()
    daemon.wait_on()
    time.sleep(max(locked + 5.0 - time.monotonic(), 0))
    waiting = daemon.status()
    assert waiting["journal"]["waiting"] > 0
    assert waiting["journal"]["dropped"] == 0
    assert waiting["latency_ms"]["pin"]["max"] < 1000
    other.execute("ROLLBACK")
    daemon.wait(lambda: bool(daemon.events("action")))
    assert daemon.events("action")[0]["latency_ms"]["pin"] < 1000
    daemon.process.send_signal(signal.SIGTERM)
    assert daemon.process.wait(20) == 0
    told = [event["type"] for event in daemon.events_all() if event["type"] != "command"]
    assert (told[:2], told[-1]) == (["visit_started", "action"], "visit"), "nothing was lost, and all in order"


def test_no_gpio_is_a_reason_not_a_crash(start: Callable[..., Daemon]) -> None:
    daemon = start(pins="lgpio")
    daemon.wait(lambda: bool(daemon.events("suppressed")))
    assert daemon.events("suppressed")[0]["reason"] == "no_controller"
    assert not daemon.status()["controller_ready"]
    assert daemon.levels() == []


def test_disarming_ends_the_pulse(start: Callable[..., Daemon]) -> None:
    daemon = start(*LONG)
    daemon.wait_on()
    ask(daemon.state, "mode", mode="observe")
    daemon.wait(lambda: daemon.levels()[-1][1] == 0, 10)
    assert daemon.pulses()[0] < 3000
