"""The real daemon on a clip, the pin guard on gpiozero's recording pins: faults in mid-pulse, and what the pin did."""

from __future__ import annotations

import contextlib
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
    levels, pulses = [level for _, level in daemon.levels()], daemon.pulses()
    assert levels[0] == levels[-1] == 0, "off at start, three flashes, off"
    if stall_ms() < 150:  # else two of them may have been one: a pause lasts 200 ms
        assert levels == [0, 1, 0, 1, 0, 1, 0]
        shortest, longest = 400 - 5 - stall_ms(), 400 + SLACK_MS + stall_ms()
        assert all(shortest <= pulse <= longest for pulse in pulses), (shortest, pulses)
    assert 1 <= len(pulses) <= 3
    assert sum(pulses) <= 3 * 400 + 2 * 200 + SLACK_MS + stall_ms()
    action = daemon.events("action")[0]
    assert action["action"]["result"] == "on"
    assert action["reason"] == "threat"
    assert 0 < action["latency_ms"]["pin"] < action["latency_ms"]["onset"] < 3000
    assert len(daemon.events("action")) == 1, "the cool-down holds"
    daemon.process.send_signal(signal.SIGTERM)
    assert daemon.process.wait(60) == 0
    assert daemon.levels()[-1][1] == 0


def test_nothing_fires_in_observe_nor_at_an_armed_restart(start: Callable[..., Daemon], live: Live) -> None:
    daemon = start("policy.initial_mode=observe", *live.settings, film=None)
    daemon.wait(daemon.watching)
    live.comes("red", 60)
    daemon.wait(lambda: bool(daemon.events("suppressed")))
    live.comes("red", 0)
    daemon.wait(lambda: bool(daemon.events("visit")))  # it was in view, and has left
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
    before = len(again.events("suppressed"))
    live.comes("red", 30)
    again.wait(lambda: "cooldown" in [event["reason"] for event in again.events("suppressed")[before:]])
    assert len([event for event in again.events("action") if event["action"]["acknowledged"]]) == 1


def test_watch_stopped_in_mid_pulse(start: Callable[..., Daemon], live: Live, stall_ms: Callable[[], float]) -> None:
    daemon = start(*LONG, "deterrent.0.cooldown_s=1", *live.settings, film=None)
    daemon.wait(daemon.watching)
    live.comes("red", 30)
    daemon.wait_on()
    stopped = time.monotonic() * 1e3
    daemon.process.send_signal(signal.SIGSTOP)
    live.comes("red", 0)
    daemon.wait(lambda: daemon.levels()[-1][1] == 0, 10)
    assert daemon.levels()[-1][0] < stopped + 2000 + SLACK_MS + stall_ms(), "silence for two seconds means off"
    assert daemon.pulses()[0] < 4500
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
        with contextlib.suppress(ProcessLookupError):  # a thread that has ended
            os.setpriority(os.PRIO_PROCESS, int(task.name), 19)
            os.sched_setaffinity(int(task.name), {core})
    hog = "import os; os.nice(10)\nwhile True: pass"  # starves the daemon, not the tests beside
    hogs = [subprocess.Popen([sys.executable, "-c", hog]) for _ in range(6)]
    try:
        for process in hogs:
            os.sched_setaffinity(process.pid, {core})
        daemon.wait(lambda: daemon.levels()[-1][1] == 0, 10)
        assert daemon.pulses()[0] <= 2000 + SLACK_MS + stall_ms()
    finally:
        for process in hogs:
            process.kill()
            process.wait()


def test_guard_killed_in_mid_pulse(start: Callable[..., Daemon], live: Live) -> None:
    daemon = start(*LONG, "deterrent.0.cooldown_s=1", *live.settings, film=None)
    daemon.wait(daemon.watching)
    before = daemon.status()["controller_facts"]["restarts"]
    live.comes("red", 30)
    daemon.wait_on()
    live.comes("red", 0)
    dead = daemon.guard()
    os.kill(dead, signal.SIGKILL)
    daemon.wait(lambda: (s := daemon.status())["controller_facts"]["restarts"] > before and s["controller_ready"])
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
    daemon.wait(lambda: (s := daemon.status())["journal"]["waiting"] > 0 and "pin" in s["latency_ms"])
    time.sleep(max(locked + 5.0 - time.monotonic(), 0))
    waiting = daemon.status()
    assert waiting["journal"]["waiting"] > 0
    assert waiting["journal"]["dropped"] == 0
    assert waiting["latency_ms"]["pin"]["max"] < 1000
    other.execute("ROLLBACK")
    daemon.wait(lambda: bool(daemon.events("action")))
    assert daemon.events("action")[0]["latency_ms"]["pin"] < 1000
    daemon.process.send_signal(signal.SIGTERM)
    assert daemon.process.wait(60) == 0
    told = [event["type"] for event in daemon.events_all() if event["type"] in ("visit_started", "action", "visit")]
    assert (told[:2], told[-1]) == (["visit_started", "action"], "visit"), "nothing was lost, and all in order"


def test_no_gpio_is_a_reason_not_a_crash(start: Callable[..., Daemon]) -> None:
    daemon = start(pins="lgpio")
    daemon.wait(lambda: "no_controller" in [event["reason"] for event in daemon.events("suppressed")])
    assert not daemon.status()["controller_ready"]
    assert daemon.levels() == []


def test_disarming_ends_the_pulse(start: Callable[..., Daemon], stall_ms: Callable[[], float]) -> None:
    daemon = start(*LONG)
    daemon.wait_on()
    ask(daemon.state, "mode", mode="observe")
    answered = time.monotonic() * 1e3
    daemon.wait(lambda: daemon.levels()[-1][1] == 0, 10)
    assert daemon.levels()[-1][0] < answered + SLACK_MS + stall_ms()
    assert daemon.pulses()[0] < 4500
