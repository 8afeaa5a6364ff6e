"""What systemd hears: on a real socket as its end. And two users on one state directory."""

from __future__ import annotations

import os
import shutil
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest

from edge.capture import Cameras, Capture
from edge.clock import Ids, LiveClock, iso
from edge.config import CameraConfig, Config
from edge.deliveries import Deliveries, name_active
from edge.errors import SourceError
from edge.frames.live import Device, LiveSource
from edge.journal import Journal
from edge.publish import publish
from edge.queues import look as queues
from edge.reading import Reading
from edge.sender import Sender
from edge.service import Pulse, Service, in_a_line, with_credentials
from edge.values import Event
from tests.manager import Manager


@pytest.fixture(params=["path", "abstract"])
def manager(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Manager]:
    made = Manager(f"@gander-test-{os.getpid()}" if request.param == "abstract" else str(tmp_path / "notify"))
    yield made
    made.close()


class Time:
    now = 100.0

    def __call__(self) -> float:
        return self.now


def test_nobody_listens() -> None:
    service = Service.of({})
    for call in (service.ready, service.alive, service.extend, service.stopping):
        call()
    service.status("well")
    assert (service.listens, service.started) == (False, True)
    assert not Service.of({"NOTIFY_SOCKET": "vsock:2:1234"}).listens, "another manager's way of speaking"


def test_no_child_speaks_for_this_process(manager: Manager) -> None:
    environment = {"NOTIFY_SOCKET": manager.address, "WATCHDOG_USEC": "3000000", "WATCHDOG_PID": "1", "HOME": "/"}
    service = Service.of(environment)
    assert environment == {"HOME": "/"}
    service.alive()
    assert manager.heard() == [], "the watchdog is another process's"
    service.ready("mode\nobserve")
    service.status("all is well")
    service.status("all is well")
    service.stopping()
    assert manager.heard() == ["READY=1", "STATUS=mode observe", "STATUS=all is well", "STOPPING=1"]


def test_started_with_the_first_frame_then_fed_by_each_turn(manager: Manager) -> None:
    now = Time()
    pulse = Pulse(Service(manager.address, 30.0, now))
    pulse.beat(0)
    assert manager.heard() == ["EXTEND_TIMEOUT_USEC=60000000", "WATCHDOG=1"]
    for _ in range(24):  # five seconds without a picture
        now.now += 0.2
        pulse.beat(0)
    assert manager.heard() == []
    now.now += 0.3
    pulse.beat(0)
    assert manager.heard() == ["EXTEND_TIMEOUT_USEC=60000000"]
    pulse.beat(1)
    assert manager.heard() == ["READY=1"]
    for _ in range(150):  # half a minute
        now.now += 0.2
        pulse.beat(2)
    assert manager.heard() == ["WATCHDOG=1"] * 3
    now.now += 3600.0  # the loop is stuck: nobody else feeds
    assert manager.heard() == []


def test_a_manager_that_does_not_read_holds_up_no_loop(tmp_path: Path) -> None:
    service = Service(str(tmp_path / "notify"), 0.001)
    service.ready()
    assert not service.started, "nobody is there yet"
    manager = Manager(str(tmp_path / "notify"))
    service.ready()
    assert (service.started, manager.heard()) == (True, ["READY=1"])
    for number in range(20_000):  # far more than a socket keeps
        service.status(str(number))
    assert manager.heard()[0] == "STATUS=0"
    manager.close()


def test_a_camera_that_is_opened_again_is_progress(manager: Manager) -> None:
    def refuse() -> Device:
        raise SourceError("no such camera")

    camera = CameraConfig(source="/dev/video9")
    source, turn = LiveSource("cam", refuse, camera), threading.Condition()
    pulse, turns = Pulse(Service(manager.address, 0.3)), 0
    with Cameras([Capture(source, camera, LiveClock(), turn=turn)], turn) as cameras:
        for frame in cameras:
            assert frame is None
            pulse.beat(0)
            turns += 1
            if turns == 6:
                break
    heard = manager.heard()
    assert heard.count("WATCHDOG=1") >= 4
    assert heard.count("READY=1") == 0


def test_how_it_is_in_a_line() -> None:
    well = {"mode": "armed", "cameras": [{"id": "door", "trouble": ""}], "problems": []}
    assert in_a_line(well) == "armed; camera door delivers; all is well"
    problems = [{"what": "camera door gives no picture: it is off"}, {"what": "the disk is nearly full"}]
    bad = well | {"cameras": [{"id": "door", "trouble": "it is off"}], "problems": problems}
    assert in_a_line(bad) == "armed; camera door is tried again; 2 problems: camera door gives no picture: it is off"


def test_secrets_come_from_where_systemd_put_them(tmp_path: Path) -> None:
    (tmp_path / "secrets_mqtt.password").write_text("x")
    (tmp_path / "secrets_coop.pem").write_text("x")
    (tmp_path / "secrets_phone.urls").write_text("x")
    (tmp_path / "secrets_door").write_text("x")
    etc, ca = "/etc/gander/secrets", tmp_path / "coop.pem"
    ca.write_text("of the broker, called as our own is")
    config = Config.model_validate(
        {
            "mqtt": {
                "host": "h",
                "user": "u",
                "password_file": f"{etc}/publish/mqtt.password",
                "key": f"{etc}/publish/coop.pem",
                "certificate": f"{etc}/publish/coop.pem",
                "ca": str(ca),
            },
            "x": {"credentials": f"{etc}/publish/x.toml"},
            "notify": [{"urls_file": f"{etc}/publish/phone.urls"}],
            "camera": [{"id": "a", "credentials": f"{etc}/watch/door"}, {"id": "b"}],
        }
    )
    found = with_credentials(config, {"CREDENTIALS_DIRECTORY": str(tmp_path)})
    assert found.mqtt.password_file == str(tmp_path / "secrets_mqtt.password")
    assert found.mqtt.key == found.mqtt.certificate == str(tmp_path / "secrets_coop.pem")
    assert found.mqtt.ca == str(ca), "readable where it is"
    assert found.notify[0].urls_file == str(tmp_path / "secrets_phone.urls")
    assert [camera.credentials for camera in found.camera] == [str(tmp_path / "secrets_door"), ""]
    assert found.x.credentials == f"{etc}/publish/x.toml", "not there: as the configuration says"
    assert with_credentials(config, {}) is config


class Stuck(Sender):
    """A sink whose library never comes back, until it is `let_go`."""

    let_go = threading.Event()

    def follow(self, reading: Reading) -> None:
        self.insist(reading.news)
        self.let_go.wait()
        while not self.ending:
            self.rest(0.05)


def test_a_sender_is_stuck_when_it_neither_turns_nor_rests(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("edge.sender._BOUNDED_S", 0.3)
    sender = Stuck(tmp_path, "x")
    sender.start()
    until(lambda: sender.stuck)
    monkeypatch.setattr("edge.sender._BOUNDED_S", 60.0)
    sender.let_go.set()
    until(lambda: not sender.stuck)
    sender.end()
    sender.join()


def test_publish_tells_when_its_loops_run_and_feeds_while_they_move(
    manager: Manager, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = Config.model_validate({"jsonl": {"path": str(tmp_path / "out.jsonl")}})
    ending, service = threading.Event(), Service(manager.address, 0.3)
    thread = threading.Thread(target=publish, args=(config, tmp_path, ending, service))
    thread.start()
    try:
        manager.until("READY=1")
        manager.until("STATUS=tells jsonl")
        manager.until("WATCHDOG=1")
        monkeypatch.setattr(Sender, "stuck", property(lambda self: True))
        manager.until("STATUS=stuck: jsonl")
        manager.heard()
        assert "WATCHDOG=1" not in manager.heard(1.0), "then systemd ends it"
    finally:
        ending.set()
        thread.join()
    assert manager.heard()[-1] == "STOPPING=1"


def until(condition: Callable[[], bool], seconds: float = 20.0) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.02)


WATCH, PUBLISH, OWNER, GROUP = 60001, 60002, 60003, 60004


@pytest.fixture
def shared() -> Iterator[Path]:
    """A state directory as the installation makes it, where other users come to it."""
    if os.geteuid() != 0:
        pytest.skip("only root can be two other users")
    folder = Path(tempfile.mkdtemp(dir="/tmp"))  # pytest's own folders are closed to others
    folder.chmod(0o755)
    state = folder / "state"
    state.mkdir()
    os.chown(state, WATCH, GROUP)
    state.chmod(0o2770)
    yield state
    shutil.rmtree(folder)


def as_user(user: int, work: Callable[[], None], group: int = GROUP) -> int:
    """Do it in a process of that user and of the group, with the units' UMask. Returns the exit status."""
    child = os.fork()
    if child == 0:
        status = 1
        try:
            os.setgroups([])
            os.setgid(group)
            os.setuid(user)
            os.umask(0o007)
            work()
            status = 0
        finally:
            os._exit(status)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def test_two_users_share_the_journal(shared: Path) -> None:
    ids = Ids()

    def write() -> None:
        journal = Journal(shared)
        id_ = ids.new(datetime.now(UTC))
        journal.event(Event(id_, "health", {"id": id_, "type": "health", "wall": iso(datetime.now(UTC))}))
        journal.close()

    def tell() -> None:
        reading, pages = Reading(shared), Deliveries(shared, "jsonl")
        assert reading.last_place() >= 1
        pages.keep("kept")
        name_active(shared, ["jsonl"])
        pages.close()
        reading.close()

    def look() -> None:
        assert queues(shared)["jsonl"]["waiting"] == 3, "no event is called so: all of them wait"

    assert as_user(OWNER, write) == 0, "a command given before the daemon ever ran"
    assert as_user(WATCH, write) == 0
    assert as_user(PUBLISH, tell) == 0, "also while no daemon has the journal open"
    assert as_user(WATCH, write) == 0
    assert as_user(WATCH, look) == 0
    assert as_user(PUBLISH, tell, group=PUBLISH) == 1, "who is not of the group reads nothing"
    assert {path.stat().st_gid for path in shared.iterdir()} == {GROUP}
    assert {path.stat().st_mode & 0o007 for path in shared.iterdir()} == {0}
