"""The real daemon, publishing beside it: `gander run` on a desk, commands that fire nothing, a full disk."""

from __future__ import annotations

import json
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from edge.control import ask
from edge.errors import GanderError
from edge.journal import EVENTS, events_after, reader
from tests import contract
from tests.daemon import Daemon
from tests.disk import fill
from tests.mqtt import Ear, desk_broker, until
from tests.scenarios.test_full_disk import small
from tests.stage import clip, command, environment
from tests.yard import yard

__all__ = ["small"]


@pytest.fixture
def port() -> Iterator[int]:
    with desk_broker() as port:
        yield port


@pytest.fixture
def publisher(state: Path, port: int) -> Iterator[Callable[..., subprocess.Popen[bytes]]]:
    """`gander publish` on the state directory of the daemon."""
    running: list[subprocess.Popen[bytes]] = []

    def make(*settings: str) -> subprocess.Popen[bytes]:
        arguments = [part for setting in ("mqtt.version='3.1.1'", *settings) for part in ("--set", setting)]
        process = subprocess.Popen(
            command("publish", "--mqtt", f"127.0.0.1:{port}", *arguments), env=environment(state)
        )
        running.append(process)
        return process

    yield make
    for process in running:
        process.kill()
        process.wait()


def test_the_feed_tells_of_a_jay_and_lets_the_owner_command(
    start: Callable[..., Daemon], publisher: Callable[..., subprocess.Popen[bytes]], port: int
) -> None:
    ear = Ear(port)
    daemon = start("deterrent.0.on_ms=4500", "deterrent.0.count=1")  # long enough to be seen in status
    publishing = publisher("mqtt.ignore_s=0")
    until(lambda: ear.last("gander/availability") == "online")
    until(lambda: any(message.payload for message in ear.of("gander/image/last")))  # the first is that there is none
    until(lambda: daemon.events("visit") and len(ear.of("gander/event")) >= 3)
    heard = [message.json for message in ear.of("gander/event")]
    assert [event["type"] for event in heard if event["type"] != "suppressed"][:2] == ["visit_started", "action"]
    ids = [event["id"] for event in daemon.events_all() if event["type"] != "command"]
    assert [event["id"] for event in heard] == ids[: len(heard)]
    assert ear.of("gander/image/last")[-1].payload.startswith(b"\xff\xd8"), "a JPEG"
    assert "on" in [message.text for message in ear.of("gander/deterrent/state")]
    until(lambda: ear.last("gander/count/red") == "1")

    ear.say("gander/deterrent/armed/set", "OFF")
    until(lambda: ear.last("gander/mode") == "observe")
    ear.say("gander/label/set", "last fox")
    ear.say("gander/pause/set", json.dumps({"value": 60, "id": "p"}))
    until(lambda: len(ear.of("gander/result")) == 3)
    assert [message.json["ok"] for message in ear.of("gander/result")] == [True] * 3
    until(lambda: [event["who"].endswith(" via mqtt") for event in daemon.events("command")][-3:] == [True] * 3)

    daemon.process.send_signal(signal.SIGTERM)
    assert daemon.process.wait(60) == 0
    until(lambda: ear.last("gander/availability") == "offline")
    publishing.send_signal(signal.SIGTERM)
    assert publishing.wait(60) == 0
    ear.close()
    assert contract.faults(ear.heard, "gander") == []


def test_nothing_fires_by_what_is_retained_early_or_replayed(
    start: Callable[..., Daemon], publisher: Callable[..., subprocess.Popen[bytes]], port: int, tmp_path: Path
) -> None:
    ear = Ear(port)
    for topic in ("deterrent/test/set", "deterrent/armed/set"):
        ear.say(f"gander/{topic}", "ON", retain=True)
    daemon = start(film=clip(tmp_path / "still.avi", [], 60))
    daemon.wait(lambda: daemon.running() and daemon.status()["controller_ready"])
    publisher("mqtt.ignore_s=10")
    until(lambda: ear.last("gander/availability") == "online")
    ear.say("gander/deterrent/test/set", "PRESS")
    old = {"value": "PRESS", "sent": "2026-01-01T00:00:00Z"}
    until(lambda: len(ear.of("gander/result")) >= 3)
    time.sleep(10.0)  # `mqtt.ignore_s` is over
    ear.say("gander/deterrent/test/set", json.dumps(old))
    until(lambda: any("ago" in message.text for message in ear.of("gander/result")))
    assert not any(message.json["ok"] for message in ear.of("gander/result"))
    assert daemon.events("test_fire") == []
    assert {level for _, level in daemon.levels()} == {0}
    ear.say("gander/deterrent/test/set", "PRESS")  # and one of now does
    until(lambda: any(message.json["ok"] for message in ear.of("gander/result")))
    daemon.wait_on()
    ear.close()


def test_a_full_disk_loses_nothing_and_floods_nobody(small: Path) -> None:
    """The place cannot be kept: what was sent waits for that, and nothing is sent over and over."""
    with yard(small) as here, desk_broker() as port:
        ear = Ear(port)
        arguments = ("--set", "mqtt.version='3.1.1'", "--mqtt", f"127.0.0.1:{port}")
        with subprocess.Popen(command("publish", *arguments), env=environment(small)) as process:
            try:
                until(lambda: ear.last("gander/availability") == "online")
                first = [here.visitor() for _ in range(5)]
                until(lambda: ear.events("gander/event") == first)
                ballast = fill(small)
                second = [here.visitor() for _ in range(40)]
                time.sleep(4.0)
                assert len(ear.events("gander/event")) <= 5 + 40
                ballast.unlink()
                until(lambda: set(second) <= set(ear.events("gander/event") + ear.events("gander/event/late")), 60)
                assert ear.events("gander/event")[:5] == first
                process.send_signal(signal.SIGTERM)
                assert process.wait(60) == 0
            finally:
                process.kill()
        ear.close()


def told(path: Path) -> str:
    return path.read_text() if path.exists() else ""


def helper(parent: int, words: str) -> int:
    """The process of `gander run` whose command line holds `words`."""
    rows = subprocess.run(
        ["ps", "-eo", "pid,ppid,args"], capture_output=True, text=True, check=True
    ).stdout.splitlines()
    for row in rows[1:]:
        pid, ppid, args = row.split(None, 2)
        if int(ppid) == parent and words in args:
            return int(pid)
    return 0


def test_run_publishes_and_outlives_its_publisher(state: Path, jay_at_6_s: Path, tmp_path: Path) -> None:
    out = tmp_path / "said"
    with out.open("w") as file:
        run = subprocess.Popen(
            command("run", "--source", jay_at_6_s, "--set", "policy.initial_mode=armed"),
            env=environment(state, PYTHONUNBUFFERED="1"),
            stdout=file,
        )
    try:
        until(lambda: "mosquitto_sub" in told(out))
        options = told(out).split("mosquitto_sub ")[1].split()
        port = int(options[options.index("-p") + 1]) if "-p" in options else 1883
        ear = Ear(port)
        until(lambda: ear.last("gander/availability") == "online")
        until(lambda: ear.events("gander/event"))
        dead = helper(run.pid, "edge.cli_feed")
        subprocess.run(["kill", "-9", str(dead)], check=True)
        until(lambda: "publish has ended; the watch starts it again in 1 s" in told(out))
        until(lambda: helper(run.pid, "edge.cli_feed") not in (0, dead))
        until(lambda: ear.last("gander/availability") == "online")
        assert ask(state, "status")["frames"] > 0, "the watch went on"
        children = [helper(run.pid, words) for words in ("edge.cli watch", "edge.cli_feed", "publishers.broker")]
        assert all(children)
        run.send_signal(signal.SIGINT)
        assert run.wait(40) == 0
        assert [pid for pid in children if Path(f"/proc/{pid}").exists()] == [], "nobody is left behind"
        with reader(state / EVENTS) as connection:
            ids = [event["id"] for _, event in events_after(connection, 0) if event["type"] != "command"]
        owed = set(ids[ids.index(ear.events("gander/event")[0]) :])  # it may have begun after the first
        until(lambda: owed == set(ear.events("gander/event") + ear.events("gander/event/late")))  # the last ones too
        ear.close()
    finally:
        run.kill()
        run.wait()


def test_run_with_a_feed_that_is_refused_goes_on_without(state: Path, jay_at_6_s: Path, tmp_path: Path) -> None:
    password = tmp_path / "password"
    password.write_text("secret")
    password.chmod(0o644)
    settings = ("mqtt.host=127.0.0.1", "mqtt.user=me", f"mqtt.password_file='{password}'")
    arguments = [part for setting in settings for part in ("--set", setting)]
    out, words = tmp_path / "said", command("run", "--source", jay_at_6_s, *arguments)
    env = environment(state, PYTHONUNBUFFERED="1")
    with out.open("w") as file, subprocess.Popen(words, env=env, stdout=file, stderr=subprocess.STDOUT) as run:
        try:
            until(lambda: "publish has ended; the watch goes on without it" in told(out), 60)
            run.send_signal(signal.SIGINT)
            assert run.wait(60) == 0
        finally:
            run.kill()
    assert "everybody may read it" in told(out)
    assert "secret" not in told(out)


def test_without_a_watch_the_appliance_is_off_line(state: Path, publisher: Callable[..., object], port: int) -> None:
    with pytest.raises(GanderError, match="no gander runs there"):
        ask(state, "status")
    ear = Ear(port)
    publisher()
    until(lambda: ear.last("gander/availability") == "offline")
    ear.close()
