"""What the owner says holds in the order it was said, also on a card that stalls."""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from edge.clock import Ids, LiveClock, ReplayClock, iso, uptime
from edge.config_file import load
from edge.errors import ConfigError, GanderError, StateError
from edge.journal import EVENTS, OWNER, Journal, recent_visits
from edge.owner import Owner
from edge.past import Now, past
from edge.values import Event, Mode
from tests.mqtt import until


@pytest.fixture
def journal(tmp_path: Path) -> Iterator[Journal]:
    made = Journal(tmp_path)
    yield made
    made.close()


def stalled(journal: Journal) -> threading.Event:
    """Hold the writer until the event is set."""
    go = threading.Event()
    begun = threading.Event()

    def work(owner: sqlite3.Connection) -> None:
        begun.set()
        go.wait(20)

    journal.later(work)
    assert begun.wait(20)
    return go


def test_a_disarm_is_not_revoked_by_an_earlier_arm_that_is_still_being_kept(journal: Journal) -> None:
    owner = Owner(journal, "observe", LiveClock(), "coop")
    go = stalled(journal)
    refused: list[str] = []

    def arm() -> None:
        try:
            owner.set_mode("armed", "me")
        except GanderError as error:
            refused.append(str(error))

    arming = threading.Thread(target=arm)
    arming.start()
    until(lambda: journal.waiting == 1)
    disarming = threading.Thread(target=owner.set_mode, args=("observe", "me"))
    disarming.start()
    until(lambda: journal.waiting == 2)
    go.set()
    arming.join(20)
    disarming.join(20)
    assert owner.settings.mode is Mode.OBSERVE
    assert "a later command" in refused[0]
    journal.settle()
    with closing(sqlite3.connect(journal.state / OWNER)) as kept:
        assert kept.execute("SELECT value FROM setting WHERE name = 'mode'").fetchall() == [("observe",)]
        audit = dict(kept.execute("SELECT command, answer FROM audit"))
    assert audit == {"mode armed": "a later command came first", "mode observe": "done"}


@pytest.mark.parametrize("pause", [False, True])
def test_a_command_that_was_overtaken_on_its_way_to_the_card_is_not_kept(
    journal: Journal, monkeypatch: pytest.MonkeyPatch, pause: bool
) -> None:
    owner, ask = Owner(journal, "observe", LiveClock(), "coop"), journal.ask

    def late(work, timeout_s=10.0):  # type: ignore[no-untyped-def]
        monkeypatch.undo()
        owner.pause(60, "me") if pause else owner.set_mode("observe", "me")
        return ask(work, timeout_s)

    monkeypatch.setattr(journal, "ask", late)
    with pytest.raises(GanderError, match="a later command"):
        owner.pause(0, "me") if pause else owner.set_mode("armed", "me")
    assert owner.paused() is pause
    after = Owner(journal, "armed", LiveClock(), "coop")
    assert after.paused() is pause
    assert after.settings.mode is (Mode.ARMED if pause else Mode.OBSERVE)


def test_an_arm_that_was_refused_is_not_kept_after_all(journal: Journal, monkeypatch: pytest.MonkeyPatch) -> None:
    owner = Owner(journal, "observe", LiveClock(), "coop")
    ask = journal.ask
    monkeypatch.setattr(journal, "ask", lambda work, timeout_s=10.0: ask(work, 0.2))
    write = Journal.later
    refused = threading.Event()

    def slowly(self: Journal, work):  # type: ignore[no-untyped-def]
        def late(connection: sqlite3.Connection) -> None:
            work(connection)
            refused.wait(20)

        return write(self, late)

    monkeypatch.setattr(Journal, "later", slowly)
    with pytest.raises(StateError, match="not kept"):
        owner.set_mode("armed", "me")
    refused.set()
    monkeypatch.undo()
    journal.ask(lambda connection: None)
    assert owner.settings.mode is Mode.OBSERVE
    with closing(sqlite3.connect(journal.state / OWNER)) as kept:
        assert kept.execute("SELECT value FROM setting WHERE name = 'mode'").fetchall() == [("observe",)]


def visit(journal: Journal, id_: str) -> None:
    """One begins."""
    row = id_, "cam", iso(datetime.now(UTC)), None, "threat", "jay", 0.9, 0
    journal.write("INSERT INTO visit VALUES (?, ?, ?, ?, ?, ?, ?, ?)", *row)
    journal.event(Event(f"e{id_}", "visit_started", {"wall": row[2], "visit": {"id": id_}}))
    journal.settle()


def test_a_clock_set_back_gives_no_label_to_an_earlier_visit_nor_the_last_word_to_an_earlier_label(
    journal: Journal,
) -> None:
    """A Pi has no clock of its own: after a power cut it may begin with a time long past."""
    owner, ids, now = Owner(journal, "observe", LiveClock(), "coop"), Ids(), datetime.now(UTC)
    early, late = ids.new(now), ids.new(now - timedelta(days=90))
    visit(journal, early)
    visit(journal, late)
    journal.event(Event("e", "visit", {"wall": iso(now), "visit": {"id": early}}))
    assert owner.label("last", "fox", "me") == f"visit {late} was a fox"
    ahead = ids.new(now + timedelta(days=90))
    row = ahead, early, None, "cat", "me", iso(now), ""
    journal.ask(lambda kept: kept.execute("INSERT INTO label VALUES (?, ?, ?, ?, ?, ?, ?)", row))
    for word in ("hen", "jay"):
        owner.label(early, word, "me")
        assert {visit["id"]: visit["owner"] for visit in recent_visits(journal.state, None)}[early] == word


def write_event(journal: Journal, number: int, wall: datetime, body: str) -> None:
    sql = "INSERT INTO event (id, type, wall, visit_id, json) VALUES (?, 'action', ?, 'v', ?)"
    journal.write(sql, f"e{number}", iso(wall), body)


def test_a_damaged_row_does_not_wipe_the_limits(journal: Journal) -> None:
    now = datetime.now(UTC)
    good = '{"action":{"deterrent":"light","result":"on"},"replayed":false}'
    for number, body in enumerate((good, "{torn", good)):
        write_event(journal, number, now - timedelta(seconds=100 - number), body)
    journal.event(Event("last", "visit", {"wall": iso(now)}))
    journal.ask(lambda owner: None)
    journal.close()
    history = past(journal.state, load(None))
    assert [acted.deterrent for acted in history.acted] == ["light"] * 3


def test_a_command_does_not_make_the_past_older_where_the_clock_jumps(journal: Journal) -> None:
    up = uptime()
    assert up
    body = {"action": {"deterrent": "light", "result": "on"}, "wall": iso(datetime.now(UTC) - timedelta(days=90))}
    body |= {"clock_ok": True, "replayed": False, "boot": up.boot, "boot_s": up.seconds - 10.0}
    journal.event(Event("e1", "action", body))
    Owner(journal, "observe", ReplayClock(), "coop").set_mode("armed", "me")  # to which its clock is set
    journal.settle()
    now = Now(datetime.now(UTC) + timedelta(days=90), True, replace(up, seconds=up.seconds + 60.0))
    assert [-acted.at for acted in past(journal.state, load(None), now).acted] == pytest.approx([70.0])


def test_who_was_there_at_a_power_cut_may_be_a_person(journal: Journal) -> None:
    now = datetime.now(UTC)
    sql = "INSERT INTO visit (id, camera, started, ended, kind, actions) VALUES (?, 'cam', ?, ?, 'other', 0)"
    journal.write(sql, "old", iso(now - timedelta(hours=5)), None)
    journal.write(sql.replace("other", "person"), "gone", iso(now - timedelta(days=90)), None)
    journal.ask(lambda owner: None)
    assert past(journal.state, load(None)).person_seen is None
    journal.write(sql, "new", iso(now - timedelta(seconds=20)), None)
    journal.ask(lambda owner: None)
    assert past(journal.state, load(None)).person_seen == pytest.approx(0.0, abs=5.0)
    assert (journal.state / EVENTS).exists()


@pytest.mark.parametrize(
    "override",
    ['mqtt.password="hunter2"', 'camera=["rtsp://u:hunter2@h/"]', 'camera.0.pasword="hunter2"'],
)
def test_a_password_in_the_wrong_place_is_not_repeated(override: str) -> None:
    with pytest.raises(ConfigError) as refused:
        load(None, [override])
    assert "hunter2" not in str(refused.value)


def test_a_cameras_query_is_not_shown() -> None:
    camera = load(None, ['camera.0.source="http://h:80/v.cgi?user=a&pwd=hunter2"']).camera[0]
    assert camera.shown == "http://h:80/v.cgi"
    assert load(None, ['camera.0.source="synthetic:day?seed=7"']).camera[0].shown == "synthetic:day?seed=7"
