"""Publishing as a whole: who is told, by which process, and what it takes to stop it."""

from __future__ import annotations

import contextlib
import json
import signal
import sqlite3
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest

from edge.config import Config
from edge.config_feed import JsonlConfig
from edge.database import DELIVERIES
from edge.deliveries import name_active
from edge.errors import ConfigError, StateError
from edge.journal import EVENTS
from edge.publish import _Running, publish
from edge.queues import look
from tests.mqtt import until
from tests.yard import Yard, yard


@pytest.fixture
def here(tmp_path: Path) -> Iterator[Yard]:
    with yard(tmp_path, socket=False) as made:
        yield made


def test_a_newer_journal_ends_the_publishing_in_one_line(here: Yard) -> None:
    with sqlite3.connect(here.state / EVENTS) as connection:
        connection.execute("PRAGMA user_version = 99")
    config = Config(jsonl=JsonlConfig(path=str(here.state / "out.jsonl")))
    with pytest.raises(StateError, match="written by a newer gander"):
        publish(config, here.state, threading.Event())


def test_there_must_be_somebody_to_tell_and_nobody_else_telling(here: Yard) -> None:
    with pytest.raises(ConfigError, match=r"set mqtt\.host"):
        publish(Config(), here.state, threading.Event())
    config = Config(jsonl=JsonlConfig(path=str(here.state / "out.jsonl")))
    ending = threading.Event()
    first = threading.Thread(target=publish, args=(config, here.state, ending))
    first.start()
    until(lambda: (here.state / "out.jsonl").exists())
    with pytest.raises(StateError, match="another gander is at work"):
        publish(config, here.state, ending)
    ending.set()
    first.join()


def test_a_sink_that_is_unfit_is_named_and_begins_once_it_is_mended(here: Yard) -> None:
    """A share that was not mounted yet, a file with nothing in it."""
    here.visitor()
    here.journal.settle()
    share, urls, ending = here.state / "share", here.state / "urls", threading.Event()
    share.touch()
    urls.touch(0o600)
    name_active(here.state, [])
    sections = {"jsonl": {"path": str(share / "out.jsonl")}, "notify": [{"name": "phone", "urls_file": str(urls)}]}
    config = Config.model_validate(sections | {"mqtt": {"host": "127.0.0.1", "port": 9}})
    thread = threading.Thread(target=publish, args=(config, here.state, ending, None, 0.2))
    thread.start()
    try:
        until(lambda: "cannot be written" in look(here.state).get("jsonl", {}).get("trouble", ""))
        until(lambda: str(urls) in look(here.state)["phone"]["trouble"])
        assert look(here.state)["phone"]["waiting"] == 0
        # Nobody is at that port; what it never told it does not owe.
        assert look(here.state)["mqtt"]["waiting"] == look(here.state)["jsonl"]["waiting"] == 0
        share.unlink()
        until(lambda: (share / "out.jsonl").exists())
        until(lambda: look(here.state)["jsonl"]["trouble"] == "")
    finally:
        ending.set()
        thread.join()


def test_why_a_sink_is_unfit_is_kept_as_soon_as_the_books_take_it(here: Yard) -> None:
    """Not only where they took it at the first try."""
    config = Config.model_validate({"notify": [{"name": "phone", "urls_file": str(here.state / "nowhere")}]})
    name_active(here.state, ["phone"])
    with contextlib.ExitStack() as stack, contextlib.closing(sqlite3.connect(here.state / DELIVERIES)) as other:
        running = _Running(config, here.state, stack)
        other.execute("BEGIN IMMEDIATE")
        running.begin()
        assert "phone" in running.unfit
        other.rollback()
        assert look(here.state)["phone"]["trouble"] == ""
        running.begin()
        assert "nowhere" in look(here.state)["phone"]["trouble"]


def lines(path: Path) -> list[str]:
    return [json.loads(line)["id"] for line in path.read_text().splitlines()]


def longer(path: Path, size: int) -> bool:
    return path.exists() and path.stat().st_size > size


def start(state: Path, out: Path) -> subprocess.Popen[bytes]:
    arguments = ("--state", state, "--set", f"jsonl.path={json.dumps(str(out))}")
    return subprocess.Popen([sys.executable, "-m", "edge.cli_feed", *arguments], stderr=subprocess.DEVNULL)


def test_killed_at_any_point_no_event_is_lost(here: Yard) -> None:
    out = here.state / "out.jsonl"
    size = 0
    for round_ in range(4):
        process = start(here.state, out)
        for _ in range(400):
            here.visitor()
        until(partial(longer, out, size))
        size = out.stat().st_size
        time.sleep(0.01 * round_)
        process.send_signal(signal.SIGKILL)
        process.wait()
    process = start(here.state, out)
    last = here.visitor()
    until(lambda: last in out.read_text(), 60)
    process.send_signal(signal.SIGTERM)
    assert process.wait(60) == 0
    assert list(dict.fromkeys(lines(out))) == here.events()


def test_publish_knows_no_device(here: Yard) -> None:
    """What the process loads, and what it holds open: no camera, no pin, no model, no picture library."""
    script = "import sys, edge.cli_feed; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    tops = {name.partition(".")[0] for name in done.stdout.split()}
    assert "paho" in tops
    assert not tops & {
        "cv2",
        "gpiozero",
        "lgpio",
        "picamera2",
        "libcamera",
        "ai_edge_litert",
        "tflite_runtime",
        "serial",
    }
    assert not {"edge.app", "edge.frames", "edge.actuators", "edge.runtimes", "edge.watch"} & set(done.stdout.split())
    out = here.state / "out.jsonl"
    process = start(here.state, out)
    try:
        here.visitor()
        until(lambda: out.exists() and out.stat().st_size)
        held = []
        for link in Path(f"/proc/{process.pid}/fd").iterdir():
            with contextlib.suppress(OSError):  # closed meanwhile
                held.append(str(link.readlink()))
        assert [name for name in held if name.startswith("/dev/") and name not in ("/dev/null", "/dev/urandom")] == []
        assert any(name.endswith(EVENTS) for name in held)
    finally:
        process.kill()
        process.wait()
