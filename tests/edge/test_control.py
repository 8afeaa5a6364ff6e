"""Commands: checked, answered, kept with who sent them; off at once, on only when written."""

from __future__ import annotations

import contextlib
import json
import socket
import sqlite3
import threading
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from edge.clock import ReplayClock
from edge.commands import TELLER, handlers
from edge.config import ModelsConfig
from edge.control import SOCKET, Control, ask, me
from edge.errors import GanderError, NotRunning, Refused, StateError
from edge.journal import EVENTS, OWNER, Journal, reader
from edge.keys import load_or_generate, public_path
from edge.model_store import ModelStore
from edge.owner import Owner, Pause, boot_id
from edge.values import Event, Mode


class UnknownClock(ReplayClock):
    def known(self) -> bool:
        return False


@pytest.fixture
def journal(tmp_path: Path) -> Iterator[Journal]:
    journal = Journal(tmp_path)
    yield journal
    journal.close()


@pytest.fixture
def owner(journal: Journal) -> Owner:
    return Owner(journal, "observe", ReplayClock(), "gander")


@pytest.fixture
def control(tmp_path: Path, owner: Owner) -> Iterator[Control]:
    def mode(who: str, mode: str) -> str:
        return owner.set_mode(mode, who)

    control = Control(tmp_path / SOCKET, {"mode": mode, "status": lambda who: {"who": who}})
    yield control
    control.close()


def test_a_command_is_carried_out_and_kept_with_who_sent_it(tmp_path: Path, owner: Owner, control: Control) -> None:
    assert ask(tmp_path, "mode", mode="armed") == "mode is armed"
    assert owner.settings.mode is Mode.ARMED
    assert ask(tmp_path, "status") == {"who": me()}
    ask(tmp_path, "mode", mode="observe")
    with reader(tmp_path / OWNER) as connection:
        audit = [(row["who"], row["command"]) for row in connection.execute("SELECT * FROM audit ORDER BY id")]
    assert audit[0] == (me(), "mode armed")
    with pytest.raises(GanderError, match="there is no such mode"):
        ask(tmp_path, "mode", mode="attack")
    assert owner.settings.mode is Mode.OBSERVE


@pytest.mark.parametrize(
    "line",
    [b"\n", b"{}\n", b"[]\n", b'{"command": 3}\n', b'{"command": ["mode"]}\n', b"\xff\xfe\n", b'{"command":"mode"}\n',
             b'{"command":"mode","arguments":[]}\n', b"x" * 70_000 + b"\n"]
)  # fmt: skip
def test_nonsense_is_answered_and_changes_nothing(tmp_path: Path, owner: Owner, control: Control, line: bytes) -> None:
    with socket.socket(socket.AF_UNIX) as connection:
        connection.connect(str(tmp_path / SOCKET))
        connection.sendall(line)
        reply = json.loads(connection.makefile().readline())
    assert reply["ok"] is False
    assert owner.settings.mode is Mode.OBSERVE
    assert ask(tmp_path, "status") == {"who": me()}


def test_nobody_there(tmp_path: Path) -> None:
    with pytest.raises(NotRunning, match="no gander runs there"):
        ask(tmp_path, "status")


def test_a_hanging_client_holds_up_nobody(tmp_path: Path, control: Control) -> None:
    silent = [socket.socket(socket.AF_UNIX) for _ in range(4)]
    for connection in silent:
        connection.connect(str(tmp_path / SOCKET))
    assert ask(tmp_path, "status") == {"who": me()}
    for connection in silent:
        connection.close()


def test_slow_talkers_shut_nobody_out(tmp_path: Path, control: Control, monkeypatch: pytest.MonkeyPatch) -> None:
    """As many as are heard at once, each with a byte now and then, and never a whole line."""
    monkeypatch.setattr("edge.control._READ_S", 0.5)
    slow = [socket.socket(socket.AF_UNIX) for _ in range(8)]
    heard = threading.Event()

    def talk() -> None:
        while not heard.wait(0.05):
            for connection in slow:
                with contextlib.suppress(OSError):  # it was hung up on
                    connection.send(b" ")

    for connection in slow:
        connection.connect(str(tmp_path / SOCKET))
    talking = threading.Thread(target=talk)
    talking.start()
    try:
        assert ask(tmp_path, "status", timeout_s=10) == {"who": me()}
    finally:
        heard.set()
        talking.join()
        for connection in slow:
            connection.close()


def test_a_machine_out_of_threads_hears_the_next_command(
    tmp_path: Path, control: Control, monkeypatch: pytest.MonkeyPatch
) -> None:
    start, refused = threading.Thread.start, []

    def refuse_one(thread: threading.Thread) -> None:
        if thread.name == "command" and not refused:
            refused.append(thread)
            raise RuntimeError("can't start new thread")
        start(thread)

    monkeypatch.setattr(threading.Thread, "start", refuse_one)
    with pytest.raises(GanderError):
        ask(tmp_path, "status", timeout_s=10)
    assert refused
    control.check()
    assert ask(tmp_path, "status") == {"who": me()}


def test_mode_and_pause_survive_a_restart(tmp_path: Path) -> None:
    journal = Journal(tmp_path)
    owner = Owner(journal, "observe", ReplayClock(), "gander")
    owner.set_mode("armed", "me")
    owner.pause(3600, "me")
    journal.close()
    journal = Journal(tmp_path)
    again = Owner(journal, "observe", ReplayClock(), "gander")
    assert again.settings.mode is Mode.ARMED
    assert again.paused()
    again.pause(0, "me")
    assert not again.paused()
    journal.close()


def test_a_pause_of_another_boot_needs_a_known_clock() -> None:
    later = datetime.now(UTC) + timedelta(hours=1)
    before_reboot = Pause(later, "another boot", 0.0)
    assert before_reboot.holds(ReplayClock())
    assert not before_reboot.holds(UnknownClock())
    assert not Pause(later - timedelta(hours=2), "another boot", 0.0).holds(ReplayClock())


def test_a_pause_of_this_boot_does_not_mind_a_wrong_clock() -> None:
    a_day_ago = datetime.now(UTC) - timedelta(days=1)
    assert Pause(a_day_ago, boot_id(), 1e12).holds(UnknownClock())


def test_going_off_does_not_wait_for_the_card(tmp_path: Path, journal: Journal, owner: Owner) -> None:
    owner.set_mode("armed", "me")
    card = sqlite3.connect(tmp_path / OWNER, isolation_level=None)
    card.execute("BEGIN IMMEDIATE")
    with pytest.raises(GanderError):
        owner.set_mode("observe", "me")
    assert owner.settings.mode is Mode.OBSERVE, "off although it could not be written"
    with pytest.raises(GanderError):
        owner.set_mode("armed", "me")
    assert owner.settings.mode is Mode.OBSERVE, "not on, since it could not be written"
    card.execute("ROLLBACK")


def test_a_label_is_appended_and_never_replaces(tmp_path: Path, journal: Journal, owner: Owner) -> None:
    for visit in ("0190-aaaa-1111", "0190-aaaa-2222"):
        journal.write("INSERT INTO visit VALUES (?, 'cam', 'then', NULL, 'threat', 'jay', 0.9, 1)", visit)
    journal.event(Event("e", "visit_started", {"wall": "then", "visit": {"id": visit}}))
    journal.ask(lambda owner_: None)
    assert owner.label("1111", "  blue   jay ", "me") == "visit 0190-aaaa-1111 was a blue jay"
    owner.label("0190-aaaa-1111", "hen", "me", note="I looked again")
    owner.label("last", "fox", "me")
    for visit, label, why in (("0190", "hen", "fits several"), ("77", "hen", "there is none"), ("%", "hen", "none"),
                              ("1111", " ", "give a name"), ("1111", "x" * 101, "give a name")):  # fmt: skip
        with pytest.raises(Refused, match=why):
            owner.label(visit, label, "me")
    with reader(tmp_path / OWNER) as connection:
        labels = [(row["visit_id"][-4:], row["label"]) for row in connection.execute("SELECT * FROM label ORDER BY id")]
    assert labels == [("1111", "blue jay"), ("1111", "hen"), ("2222", "fox")]
    with reader(tmp_path / EVENTS) as connection:
        commands = connection.execute("SELECT count(*) FROM event WHERE type = 'command'").fetchone()[0]
    assert commands >= 2


@pytest.mark.parametrize("seconds", [-1, 1e9, float("nan")])
def test_pauses_are_bounded(owner: Owner, seconds: float) -> None:
    with pytest.raises(Refused, match="give 0"):
        owner.pause(seconds, "me")
    assert not owner.paused()


@pytest.mark.parametrize("command", [{"trust": "path"}, {"promote": "name"}, {"rollback": ""}])
def test_what_publishes_decides_nothing_about_models(tmp_path: Path, owner: Owner, command: dict[str, str]) -> None:
    known = handlers(owner, ModelStore(tmp_path, ModelsConfig()), lambda *_: None, lambda: "", lambda *_: "")
    ((name, argument),) = command.items()
    arguments = {argument: str(tmp_path / "stranger.pub")} if argument else {}
    for who in (TELLER, f"{TELLER} via mqtt"):
        with pytest.raises(Refused, match="for an owner on the machine"):
            known[name](who, **arguments)
    with pytest.raises(GanderError, match=r"^(?!this is for an owner)"):
        known[name]("pi", **arguments)
    assert known["mode"](f"{TELLER} via mqtt", mode="observe") == "mode is observe"


def test_a_key_that_cannot_be_kept_is_refused_in_one_line(tmp_path: Path) -> None:
    signer = tmp_path / "signer.key"
    load_or_generate(signer, "somebody")
    (tmp_path / "keys").write_text("where the folder should be")
    with pytest.raises(StateError, match="keys: the key cannot be kept: "):
        ModelStore(tmp_path, ModelsConfig()).trust(public_path(signer))
