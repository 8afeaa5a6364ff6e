"""Commands: checked, answered, kept with who sent them; off at once, on only when written."""

from __future__ import annotations

import json
import socket
import sqlite3
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from edge.clock import ReplayClock
from edge.control import SOCKET, Control, ask, me
from edge.errors import GanderError, NotRunning, Refused
from edge.journal import EVENTS, OWNER, Journal, reader
from edge.owner import Owner, Pause, boot_id
from edge.values import Mode


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
