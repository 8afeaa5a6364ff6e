"""The table of faults: whatever breaks, the broker or the file gets every event, in order. `-s` prints the rows.

A row is: fault | events in the journal | events received | of these, received again | lost.
"""

from __future__ import annotations

import contextlib
import json
import random
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from edge.database import DELIVERIES
from tests.disk import fill
from tests.lab.mosquitto import Mosquitto, arrived, broker, ear, ended, feed, here, place, publish, settled
from tests.mqtt import Ear, until
from tests.proxy import proxy
from tests.scenarios.test_full_disk import small
from tests.yard import Yard, yard

__all__ = ["broker", "ear", "here", "small"]
pytestmark = [pytest.mark.lab, pytest.mark.timeout(600)]
LONG_S = 240  # for what takes seconds on a machine that is not busy
AT_ONCE = 4
Say = Callable[[str, Sequence[str], Sequence[str]], None]


@pytest.fixture
def tell(capsys: pytest.CaptureFixture[str]) -> Say:
    """A row of the table, of ids that were sent and ids that were received; nothing may be lost, nor out of order."""

    def say(fault: str, sent: Sequence[str], received: Sequence[str]) -> None:
        first = list(dict.fromkeys(received))
        lost = len(set(sent) - set(first))
        with capsys.disabled():
            again = len(received) - len(first)
            sys.stdout.write(f"\n| {fault} | {len(sent)} | {len(received)} | {again} | {lost} |\n")
        assert first == list(sent), "every event once, by first arrival, in order"

    return say


def received(ear: Ear) -> list[str]:
    """All that came, in order."""
    topics = ("yard/event", "yard/event/late")
    return [message.json["id"] for message in list(ear.heard) if message.topic in topics]


def linked(ear: Ear, since: float) -> bool:
    """Whether an appliance came since then."""
    return any(m.at > since and m.text == "online" and not m.retain for m in ear.of("yard/availability"))


@contextlib.contextmanager
def publisher(here: Yard, broker: Mosquitto, ear: Ear, port: int = 0) -> Iterator[subprocess.Popen[bytes]]:
    """`gander publish`, connected; told to end at the end of the block."""
    since, process = time.monotonic(), feed(here.state, port or broker.port, broker.password("dev"))
    try:
        until(lambda: linked(ear, since), LONG_S)
        yield process
        ended(process)
    finally:
        process.kill()
        process.wait()


@contextlib.contextmanager
def busy(here: Yard, per_s: float) -> Iterator[None]:
    """Visitors come and come."""
    over = threading.Event()

    def work() -> None:
        while not over.wait(1 / per_s):
            here.visitor()

    thread = threading.Thread(target=work)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()


def more(ear: Ear) -> None:
    """Wait until events come."""
    seen = len(arrived(ear))
    until(lambda: len(arrived(ear)) > seen, LONG_S)


def all_there(here: Yard, ear: Ear) -> None:
    """Wait for the last of all events, and for the word that it was taken."""
    last = here.visitor()
    until(lambda: last in here.events(), LONG_S)
    until(lambda: place(here.state) == last and last in arrived(ear), LONG_S)


def test_three_days_offline(here: Yard, broker: Mosquitto, ear: Ear, tell: Say) -> None:
    with proxy(broker.port) as network:
        with publisher(here, broker, ear, network.port):
            network.cut(stay=True)
            until(lambda: ear.last("yard/availability") == "offline")
            for number in range(1000):
                here.visitor(age_s=72 * 3600 * (1 - number / 2000))
        # The machine was started again meanwhile, and still nobody there.
        second = feed(here.state, network.port, broker.password("dev"))
        for number in range(1000, 2000):
            here.visitor(age_s=72 * 3600 * (1 - number / 2000))
        until(lambda: len(here.events()) == 2000, LONG_S)
        assert received(ear) == []
        network.mend()
        until(lambda: place(here.state) == here.events()[-1], LONG_S)
        until(lambda: len(arrived(ear)) == 2000, LONG_S)
        assert ear.events() == [], "none of them is news"
        last = here.visitor()
        until(lambda: ear.events() == [last], LONG_S)
        ended(second)
    tell("72 simulated hours offline, restarted meanwhile, then back", here.events(), received(ear))


def test_a_broker_killed_twenty_times(here: Yard, broker: Mosquitto, ear: Ear, tell: Say) -> None:
    """While the ear listens, since mosquitto says that it has a message before it has written it down."""
    rng = random.Random(6)
    with publisher(here, broker, ear):
        until(lambda: place(here.state) is not None)  # it tells what comes from now on
    with busy(here, 100.0), proxy(broker.port) as network:
        for _ in range(10):  # lives of the publisher, since it comes back ever more slowly
            with publisher(here, broker, ear, network.port):
                for _ in range(2):
                    more(ear)
                    time.sleep(rng.uniform(0.0, 0.2))
                    broker.kill()
                    network.cut(stay=True)
                    time.sleep(rng.uniform(0.0, 0.2))
                    subscribed = ear.subscribed
                    broker.start()
                    until(lambda: ear.subscribed > subscribed, LONG_S)  # noqa: B023
                    network.mend()
                more(ear)
    with publisher(here, broker, ear):
        all_there(here, ear)
    tell("broker killed 20 times (`kill -9`) under 100 events a second", here.events(), received(ear))


def test_a_network_frozen_and_cut(here: Yard, broker: Mosquitto, ear: Ear, tell: Say) -> None:
    rng = random.Random(7)
    with publisher(here, broker, ear):
        until(lambda: place(here.state) is not None)
    with proxy(broker.port) as network, busy(here, 50.0):
        for life in (("cut", "freeze"), ("freeze", "cut"), ("cut", "cut", "cut"), ("cut", "cut", "cut")):
            with publisher(here, broker, ear, network.port):
                for fault in life:
                    more(ear)
                    time.sleep(rng.uniform(0.0, 0.3))
                    if fault == "cut":
                        network.cut()
                    else:
                        network.freeze()
                        time.sleep(rng.uniform(1.0, 12.0))  # it notices after 10 s
                        network.mend()
                more(ear)
    with publisher(here, broker, ear):
        all_there(here, ear)
    tell("network frozen twice, cut 8 times, at random", here.events(), received(ear))


def test_a_slow_network(here: Yard, broker: Mosquitto, ear: Ear, tell: Say) -> None:
    with proxy(broker.port) as network, publisher(here, broker, ear, network.port):
        network.slow(256, 0.01)  # 25 kB a second at best, both ways together
        for _ in range(200):
            here.visitor()
        all_there(here, ear)
    tell("network of 25 kB/s", here.events(), received(ear))


def test_a_disk_too_full_to_keep_the_place(here: Yard, broker: Mosquitto, ear: Ear, tell: Say, small: Path) -> None:
    (here.state / DELIVERIES).symlink_to(small / DELIVERIES)
    with publisher(here, broker, ear):
        for _ in range(20):
            here.visitor()
        until(lambda: len(arrived(ear)) == 20, LONG_S)
        ballast = fill(small)
        for _ in range(400):
            here.visitor()
        time.sleep(5.0)
        # Without a place kept, no more than a batch is sent, and not again and again.
        assert len(received(ear)) < 20 + 3 * 100
        ballast.unlink()
        all_there(here, ear)
    tell("disk full, so that no place is kept, then freed", here.events(), received(ear))


def lines(path: Path) -> list[str]:
    """Ids in a file of events and in the one before it, of whole lines."""
    files = [path.with_name(f"{path.name}.1"), path]
    whole = [line for file in files if file.exists() for line in file.read_text().split("\n")[:-1]]
    return [json.loads(line)["id"] for line in whole]


def filing(state: Path, out: Path, **more: str) -> subprocess.Popen[bytes]:
    """`gander publish` into a file."""
    settings = ("--set", f"jsonl.path={json.dumps(str(out))}", "--set", "jsonl.max_mb=1")
    return publish(state, more, *settings)


def test_a_disk_too_full_for_the_file(here: Yard, tell: Say, small: Path) -> None:
    out = small / "events.jsonl"
    process = filing(here.state, out)
    for _ in range(20):
        here.visitor()
    until(lambda: out.exists() and len(lines(out)) == 20, LONG_S)
    ballast = fill(small)
    for _ in range(400):
        here.visitor()
    time.sleep(3.0)
    ballast.unlink()
    until(lambda: place(here.state) == here.events()[-1] and len(here.events()) == 420, LONG_S)
    ended(process)
    tell("`jsonl`: disk full, then freed", here.events(), lines(out))


@pytest.fixture
def killing(tmp_path: Path) -> dict[str, str]:
    """The environment of a process that is to die at a write."""
    compiler = shutil.which("cc") or shutil.which("gcc")
    if not compiler:
        pytest.skip("no C compiler: apt-get install gcc")
    library = tmp_path / "kill.so"
    source = Path(__file__).with_name("kill.c")
    subprocess.run([compiler, "-shared", "-fPIC", "-O2", "-o", library, source, "-ldl"], check=True)
    return {"LD_PRELOAD": str(library)}


def template(state: Path, begin: Callable[[], subprocess.Popen[bytes]]) -> list[str]:
    """A state directory whose publisher has begun, and then owes a few events. Returns their ids."""
    with yard(state, socket=False) as here:
        process = begin()
        until(lambda: place(state) is not None, LONG_S)
        ended(process)
        sent = [here.visitor() for _ in range(6)]
        until(lambda: here.events() == sent)
    return sent


def die_everywhere(
    template: Path,
    sent: Sequence[str],
    begin: Callable[[Path, dict[str, str]], subprocess.Popen[bytes]],
    killing: dict[str, str],
) -> tuple[int, list[Path]]:
    """One delivery for each of its writes, cut short there and then finished. Returns how many died, and all states."""

    def deliver(number: int) -> tuple[int, Path]:
        state = Path(shutil.copytree(template, template.with_name(f"n{number}")))
        counted = state / "counted"
        doomed = begin(state, killing | {"KILL_AT": str(number), "KILL_COUNTED": str(counted)})
        settled(doomed, state, lambda: place(state) == sent[-1], LONG_S)
        doomed.terminate()
        died = doomed.wait(60)
        assert died in (0, -9)
        if place(state) != sent[-1]:
            second = begin(state, {})
            settled(second, state, lambda: place(state) == sent[-1], LONG_S)
            ended(second)
        return int(counted.read_text()) if not number else int(died == -9), state

    writes, _ = deliver(0)
    with ThreadPoolExecutor(AT_ONCE) as pool:
        found = list(pool.map(deliver, range(1, writes + 1)))
    return sum(died for died, _ in found), [state for _, state in found]


def test_killed_at_every_write_of_the_file(tmp_path: Path, killing: dict[str, str], tell: Say) -> None:
    def begin(state: Path, more: dict[str, str]) -> subprocess.Popen[bytes]:
        return filing(state, state / "out.jsonl", **more)

    first = tmp_path / "template"
    sent = template(first, lambda: begin(first, {}))
    before = json.dumps({"id": "before", "pad": "x" * 999_000})  # so that the file is turned over, too
    (first / "out.jsonl").write_text(f"{before}\n")
    for path in first.glob(f"{DELIVERIES}*"):
        path.unlink()  # it is the first time
    died, states = die_everywhere(first, sent, begin, killing)
    assert died >= 20
    found = [lines(state / "out.jsonl") for state in states]
    for heard in found:
        assert list(dict.fromkeys(heard)) == ["before", *sent]
    once = [f"{n} {id_}" for n in range(len(found)) for id_ in ("before", *sent)]
    tell(
        f"`jsonl`: publisher killed at each of {died} writes",
        once,
        [f"{n} {i}" for n, h in enumerate(found) for i in h],
    )


def test_killed_at_every_write_and_every_packet(
    tmp_path: Path, broker: Mosquitto, ear: Ear, killing: dict[str, str], tell: Say
) -> None:
    def begin(state: Path, more: dict[str, str]) -> subprocess.Popen[bytes]:
        return feed(state, broker.port, broker.password("dev"), state.name, more)

    first = tmp_path / "template"
    sent = template(first, lambda: begin(first, {}))
    died, states = die_everywhere(first, sent, begin, killing)
    assert died >= 20
    once, found = [], []
    for state in states:
        until(lambda node=state.name: set(arrived(ear, node)) >= set(sent))  # type: ignore[misc]
        topics = (f"{state.name}/event", f"{state.name}/event/late")
        once += [f"{state.name} {id_}" for id_ in sent]
        found += [f"{state.name} {m.json['id']}" for m in list(ear.heard) if m.topic in topics]
    tell(f"publisher killed at each of {died} writes and packets", once, found)
