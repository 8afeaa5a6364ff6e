"""What the owner said: mode, pause, labels; and who said it. Kept in `owner.db`."""

from __future__ import annotations

import sqlite3
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

from edge.clock import Clock, Ids, boot_id, iso, uptime
from edge.errors import GanderError, Refused, StateError
from edge.journal import EVENTS, Journal, reader
from edge.values import Event, Mode

MAX_PAUSE_S = 7 * 86400.0


@dataclass(frozen=True, slots=True)
class Pause:
    """Nothing fires until then. In the boot it was given in, the time since boot counts, so no clock jump ends it."""

    until: datetime
    boot_id: str
    until_boot_s: float

    def holds(self, clock: Clock) -> bool:
        """Still paused? After a reboot without a known clock the pause has ended."""
        if self.boot_id == boot_id():
            return time.clock_gettime(time.CLOCK_BOOTTIME) < self.until_boot_s
        return clock.known() and datetime.now(UTC) < self.until


@dataclass(frozen=True, slots=True)
class Settings:
    """The owner's switches, replaced as a whole."""

    mode: Mode
    pause: Pause | None = None


class Owner:
    """Carries out the owner's commands. `settings` may be read by any thread at any time."""

    def __init__(
        self, journal: Journal, initial_mode: str, clock: Clock, node: str, off: Callable[[], None] = lambda: None
    ) -> None:
        """`off` ends a pulse that is under way when the owner says stop."""
        self._journal, self._clock, self._node, self._off = journal, clock, node, off
        self._ids = Ids()
        self._turn = threading.Lock()  # guards `settings` and the numbers: commands come from many threads
        self._newest = {"mode": 0, "pause": 0}
        kept: dict[str, str] = journal.ask(lambda owner: dict(owner.execute("SELECT name, value FROM setting")), 30.0)
        pause = None
        if until := kept.get("paused_until"):
            pause = Pause(datetime.fromisoformat(until), kept["paused_boot"], float(kept["paused_until_boot_s"]))
        self.settings = Settings(Mode(kept.get("mode", initial_mode)), pause)

    def paused(self) -> bool:
        pause = self.settings.pause
        return pause is not None and pause.holds(self._clock)

    def set_mode(self, mode: str, who: str) -> str:
        """Change the mode. Going off takes effect before it is written, going on only after."""
        try:
            wanted = Mode(mode)
        except ValueError:
            raise Refused(f"mode {mode}: there is no such mode; use one of {', '.join(Mode)}") from None
        self._carry_out("mode", wanted, wanted is not Mode.ARMED, who, f"mode {wanted}")
        return f"mode is {wanted}"

    def _carry_out(self, what: str, value: Mode | Pause, at_once: bool, who: str, command: str) -> None:
        """Set a switch when it is kept; `at_once` before it. The newest of its commands wins, here and on the card."""
        change: dict[str, Any] = {what: value}
        with self._turn:
            self._newest[what] += 1
            number = self._newest[what]
            if at_once:
                self.settings = replace(self.settings, **change)
        if at_once:
            self._off()

        def keep(owner: sqlite3.Connection) -> None:
            if self._newest[what] == number:
                _set(owner, value)

        try:
            self._journal.ask(keep)
        except StateError:
            # It may be kept all the same, after so long: then what holds now is kept after it.
            self._journal.later(lambda owner: _set(owner, getattr(self.settings, what)))
            raise
        with self._turn:
            overtaken = self._newest[what] != number
            if not overtaken:
                self.settings = replace(self.settings, **change)
        self.audit(who, command, "a later command came first" if overtaken else "done")
        if overtaken:
            raise GanderError(f"{command}: a later command came before it was kept; `gander status` shows it")

    def pause(self, seconds: float, who: str) -> str:
        """Nothing fires for `seconds`; 0 ends a pause."""
        if not 0 <= seconds <= MAX_PAUSE_S:
            raise Refused(f"pause {seconds:g} s: give 0 (end the pause) to 7 days")
        until = datetime.now(UTC) + timedelta(seconds=seconds)
        pause = Pause(until, boot_id(), time.clock_gettime(time.CLOCK_BOOTTIME) + seconds)
        self._carry_out("pause", pause, seconds > 0, who, f"pause {seconds:g}")
        return f"nothing fires until {iso(until)}" if seconds else "the pause has ended"

    def label(self, visit: str, label: str, who: str, note: str = "") -> str:
        """Append the owner's word on who a visit was. `visit` may be shortened to where it is unique."""
        label = " ".join(label.split())
        if not (0 < len(label) <= 100 and label.isprintable() and len(note) <= 1000):
            raise Refused(f"label {label!r}: give a name of 1 to 100 characters (and a note of at most 1000)")

        with reader(self._journal.state / EVENTS) as events:
            visit_id = find_visit(events, visit)

        def work(owner: sqlite3.Connection) -> None:
            wall = datetime.now(UTC)
            newest = owner.execute("SELECT max(id) FROM label WHERE visit_id = ?", (visit_id,)).fetchone()[0]
            # The latest word is the one whose id sorts last; a clock set back must not leave it to an earlier one.
            id_ = max(self._ids.new(wall), str(UUID(int=UUID(newest).int + 1)) if newest else "")
            row = (id_, visit_id, None, label, who, iso(wall), note)
            owner.execute("INSERT INTO label VALUES (?, ?, ?, ?, ?, ?, ?)", row)

        self._journal.ask(work)
        self.audit(who, f"label {visit_id} {label}")
        return f"visit {visit_id} was a {label}"

    def audit(self, who: str, command: str, answer: str = "done") -> None:
        """Keep who asked for what, and what came of it: a row for the owner and an event for the feed."""
        wall = datetime.now(UTC)
        event_id = self._ids.new(wall)

        def work(owner: sqlite3.Connection) -> None:
            owner.execute("INSERT INTO audit VALUES (?, ?, ?, ?, ?)", (event_id, iso(wall), who, command, answer))

        self._journal.later(work)
        body: dict[str, Any] = {"v": 1, "id": event_id, "type": "command", "node": self._node, "wall": iso(wall)}
        body |= {"clock_ok": self._clock.known(), "media_time": None, "command": command, "who": who}
        body |= {"answer": answer, "replayed": False}
        if up := uptime():  # without it the next start would take the clock's word for how long ago things were
            body |= {"boot": up.boot, "boot_s": up.seconds}
        self._journal.event(Event(event_id, "command", body))


def _set(owner: sqlite3.Connection, value: Mode | Pause | None) -> None:
    rows: dict[str, str] = {}
    if isinstance(value, Mode):
        rows = {"mode": value.value}
    elif value:
        rows = {"paused_until": value.until.isoformat(), "paused_boot": value.boot_id}
        rows |= {"paused_until_boot_s": str(value.until_boot_s)}
    owner.executemany("INSERT OR REPLACE INTO setting VALUES (?, ?)", rows.items())


def find_visit(events: sqlite3.Connection, text: str) -> str:
    """The id of the one visit whose id starts or ends with `text`; "last" is the one that began last."""
    if text == "last":  # by its place: a clock set back gives ids that sort before those of earlier visits
        begun = "SELECT visit_id FROM event WHERE type = 'visit_started' AND +visit_id IN (SELECT id FROM visit)"
        rows = events.execute(f"{begun} ORDER BY place DESC LIMIT 1").fetchall()
    else:
        safe = text.replace("%", "").replace("_", "")
        like = (f"{safe}%", f"%{safe}")
        rows = (
            events.execute("SELECT id FROM visit WHERE id LIKE ? OR id LIKE ? LIMIT 2", like).fetchall() if safe else []
        )
    if len(rows) == 1:
        return str(rows[0][0])
    raise Refused(f"visit {text}: {'fits several' if rows else 'there is none'}; `gander visits` lists them")
