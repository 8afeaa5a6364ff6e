"""What is kept for how long: pictures, decoys, and the journal's past. What the owner labelled is never deleted."""

from __future__ import annotations

import hashlib
import json
import shutil
import time
from collections.abc import Iterable
from contextlib import AbstractContextManager, nullcontext, suppress
from dataclasses import dataclass, fields
from datetime import datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edge import reserve
from edge.books import PLAUSIBLE, Books, Kept, Stock, is_inside, open_books
from edge.clock import Clock, iso
from edge.config import Config, MediaConfig
from edge.database import wall_of
from edge.dating import Dating
from edge.errors import StateError
from edge.journal import Journal

if TYPE_CHECKING:  # it brings the pictures' library, which who only reads does without
    from edge.decoy import Decoys

FOLDER = "pictures"
SLICE = 200  # pictures, visits or events deleted at a time, so that saving goes on between
_LOOKED = 5000  # files looked at in a turn, and those of one more day
_RECENT = 2  # days
_STRAYS = 100  # files read and entered at a time
_MARGIN = 0.05  # of the most bytes: a full card is tidied now and then, not at every picture
_LEAP = timedelta(days=366)  # a clock nobody set is not believed when it says that so much time has passed
_SETTLE_S = 1.0  # how long the journal is given to write what waits
_BREATH_S = 0.001  # between two slices: who waits for his turn gets it
_YOUNG_S = 3600.0  # a file younger than this may still be getting its row

INSERT = (
    "INSERT OR IGNORE INTO picture (id, path, sha256, bytes, kind, visit_id, crop_of, wall, camera, person) "
    "VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"
)


@dataclass(frozen=True, slots=True)
class Limits:
    """Pictures from before these moments (ISO 8601; empty: none) have had their time; those with a person sooner."""

    before: str
    people_before: str

    def over(self, picture: Kept) -> bool:
        """Whether its time is over. Without a plausible date nothing is too old."""
        too_old = PLAUSIBLE <= picture.wall < self.before
        return not picture.labelled and (too_old or (picture.person == 1 and picture.wall < self.people_before))


def choose(pictures: Iterable[Kept], limits: Limits, excess: int) -> list[Kept]:
    """Which pictures go: those whose time is over; then, while `excess` bytes are still too many, ordinary ones before
    those of threats, the oldest first; of one moment the full view before what was cut from it, since it takes most
    room and shows least. Never a labelled one.
    """
    free = [picture for picture in pictures if not picture.labelled]
    going = [picture for picture in free if limits.over(picture)]
    excess -= sum(picture.bytes for picture in going)
    for picture in sorted((picture for picture in free if not limits.over(picture)), key=_rank):
        if excess <= 0:
            break
        going.append(picture)
        excess -= picture.bytes
    return going


def _rank(picture: Kept) -> tuple[bool, str, bool, str]:
    return picture.threat, picture.wall, picture.kind != "frame", picture.id


@dataclass(slots=True)
class Pruned:
    """What went. `strays` did not: files without a row, which got one."""

    pictures: int = 0
    bytes: int = 0
    decoy_bytes: int = 0
    visits: int = 0
    events: int = 0
    strays: int = 0
    unfinished: bool = False

    def __iadd__(self, other: Pruned) -> Pruned:
        for field in fields(self):
            setattr(self, field.name, getattr(self, field.name) + getattr(other, field.name))
        return self

    def __bool__(self) -> bool:
        return any(getattr(self, field.name) for field in fields(self))

    def __str__(self) -> str:
        gone = [
            f"{self.pictures} pictures ({self.bytes / 1e6:.1f} MB)" if self.pictures else "",
            f"{self.decoy_bytes / 1e6:.1f} MB of decoys" if self.decoy_bytes else "",
            f"{self.visits} visits" if self.visits else "",
            f"{self.events} events" if self.events else "",
        ]
        said = ", ".join(part for part in gone if part)
        said = f"deleted {said}" if said else "nothing was due"
        said += f"; {self.strays} pictures the journal did not know are entered" if self.strays else ""
        return said + ("; there is more to delete, which goes on" if self.unfinished else "")


class Retention:
    """Deletes what is due, a slice at a time, and says what there is room for. For one thread at a time.

    Where the card or the journal cannot be used its methods raise `OSError` or `StateError`.
    """

    def __init__(
        self,
        state: Path,
        media: MediaConfig,
        keep_days: int,
        journal: Journal,
        decoys: Decoys,
        clock: Clock,
        slice_: int = SLICE,
    ) -> None:
        """`keep_days`: of events and visits."""
        self._state, self._folder, self._config, self._keep_days = state, state / FOLDER, media, keep_days
        self._journal, self._decoys, self._clock = journal, decoys, clock
        self._days: list[str] | None = None  # folders still to be looked through; None: a pass begins
        self._slice, self._settled = slice_, True
        self.dating = Dating(journal, clock)
        self._back = 0  # days that a pass looks through; 0: all
        self._day, self.written = "", 0
        self.stock = Stock()

    def prune(self, seconds: float, turns: AbstractContextManager[Any] | None = None) -> Pruned:
        """Delete all that is due, for as long as that; each slice within `turns`, so that others have theirs."""
        end, done, turns = time.monotonic() + seconds, Pruned(), turns or nullcontext()
        with turns:
            self.begin()
        while not done.unfinished:
            with turns:
                went = self.turn()
            if not went:
                break
            done += went
            done.unfinished = time.monotonic() > end
            time.sleep(_BREATH_S)
        return done

    def begin(self) -> None:
        """Begin a new pass: the next turns look at everything again."""
        self._days = None

    def turn(self) -> Pruned:
        """One slice of what is due, pictures first; empty when this pass has nothing left to do."""
        self._settle()
        with open_books(self._state) as books:
            first = self._days is None
            if self._days is None:
                self._decoys.look()
                # Only a crash leaves strays: the past is looked through once.
                self._days = sorted(folder.name for folder in self._folder.glob("????-??-??"))[-self._back :]
            done = self._pictures(books, first) or self._past(books)
            looked = 0
            while self._settled and not done and self._days and looked < _LOOKED:
                done, seen = self._adopt(books, self._folder / self._days[-1])
                looked += seen
                if not done:
                    self._days.pop()
                    self._back = self._back if self._days else _RECENT
            done.unfinished = not done and bool(self._days) and self._settled
        # Rows stay where the journal cannot write: they would be chosen for ever.
        return done if self._settled or done.bytes or done.decoy_bytes else Pruned()

    def room(self, size: int, wall: datetime) -> str:
        """Why a picture of so many bytes is not to be kept; empty where it is. Makes room first, by one slice."""
        config, most = self._config, self._config.max_mb * 10**6
        if self.written_on(wall) + size > config.per_day_mb * 10**6:
            return (
                f"the {config.per_day_mb} MB of pictures that may be written in a day are (media.per_day_mb): none is "
                "saved until midnight UTC; raise it, or lower media.per_visit"
            )
        if self.stock.bytes + size > most or self._lacking() + size > 0:
            self._settle()
            with open_books(self._state) as books:
                self._pictures(books, size=size)
        if self._lacking() + size > 0:
            return self.disk_full
        if self.stock.bytes + size <= most:
            return ""
        if self.stock.labelled_bytes and self.stock.labelled_bytes + size > most:
            return (
                f"labelled pictures alone fill media.max_mb = {config.max_mb}: no picture is saved, and none of them "
                "is deleted; raise it, where the disk has room"
            )
        return f"more pictures than media.max_mb = {config.max_mb}: none is saved until enough of them are deleted"

    def spare(self) -> bool:
        """Whether there is room for a decoy: these take at most half of a day's bytes, and nothing of a full disk."""
        return self.written < self._config.per_day_mb * 10**6 // 2 and self._lacking() <= 0

    @property
    def disk_full(self) -> str:
        """What to say when the disk lacks room."""
        share = f" ({self._config.min_free:.0%} of it stay free: media.min_free)" if self._config.min_free else ""
        return (
            f"the disk is full{share}: no picture is saved; free some space, or let `gander prune` delete what is due"
        )

    def saved(self, size: int, pictures: int = 0) -> None:
        """So many bytes were written now: of pictures, or of a decoy."""
        self.written += size
        if pictures:
            self.stock = Stock(self.stock.pictures + pictures, self.stock.bytes + size, self.stock.labelled_bytes)

    def written_on(self, wall: datetime) -> int:
        """Bytes of pictures and decoys written on that day (UTC), also before a restart."""
        day = iso(wall)[:10]
        if day != self._day:
            with open_books(self._state) as books:
                written = books.written_on(day)
            midnight = wall.replace(hour=0, minute=0, second=0, microsecond=0)
            self._day, self.written = day, written + self._decoys.since(midnight.timestamp())
        return self.written

    def _settle(self) -> None:
        """Have the journal write what waits, and mend dates. On a full card it cannot before something is deleted."""
        try:
            self._journal.settle(_SETTLE_S)
            while self.dating.mend():
                self._journal.settle(_SETTLE_S)
            self._settled = True
        except StateError:
            self._settled = False

    def _pictures(self, books: Books, first: bool = False, size: int = 0) -> Pruned:
        """The slice of pictures that is due, with room for `size` more bytes; on a full disk decoys go first."""
        self.stock, limits, done = books.stock(), self._limits(books), Pruned()
        if self._lacking() <= 0:
            reserve.make(self._state)
        people = books.people(limits.people_before, self._slice)
        if people or first:
            done.decoy_bytes = self._decoys.drop(books.decoys_of_people(limits.people_before))
        if (lacking := self._lacking() + size) > 0:
            done.decoy_bytes += self._decoys.shrink(max(self._decoys.kept_bytes - lacking, 0))
        kept, excess = people + books.over(limits.before, self._slice), 0
        if len(kept) < self._slice and (excess := self._excess(size)) > 0:  # else enough goes already
            ordinary = books.oldest(threat=False, limit=self._slice)
            kept += ordinary
            kept += books.oldest(threat=True, limit=self._slice) if len(ordinary) < self._slice else []
        self._delete(choose(dict.fromkeys(kept), limits, excess), done, books)
        return done

    def _limits(self, books: Books) -> Limits:
        now, newest, known = self._clock.wall(0.0), books.newest(), self._clock.known()
        unsure = self.dating.pending if known else newest and newest < iso(now - _LEAP)
        if unsure:
            return Limits("", "")
        days, hours = timedelta(days=self._config.days), timedelta(hours=self._config.person_hours)
        return Limits(iso(now - days), iso(now - hours))

    def _excess(self, size: int) -> int:
        """How many bytes of pictures are too many, if `size` more are to come."""
        most, wanted = self._config.max_mb * 10**6, self.stock.bytes + size
        return max(wanted - round(most * (1 - _MARGIN)) if wanted > most else 0, self._lacking() + size)

    def _lacking(self) -> int:
        """How many more bytes of this disk ought to be free; below 0: none. The last of them are the journal's."""
        disk = shutil.disk_usage(self._state)
        least = max(round(self._config.min_free * disk.total), reserve.size(disk.total))
        return least + reserve.missing(self._state) - disk.free

    def _delete(self, chosen: list[Kept], done: Pruned, books: Books) -> None:
        """Files before rows: a crash in between leaves rows without files, which are chosen again."""
        pictures = []
        for picture in chosen:
            path = self._folder / picture.path
            # On a card that stalls the owner may have labelled it since it was chosen.
            if books.labelled(picture.id) or not is_inside(picture.path):
                continue
            pictures.append(picture)
            done.bytes += picture.bytes if path.exists() else 0
            path.unlink(missing_ok=True)
        done.pictures = len(pictures)
        self._strike("DELETE FROM picture WHERE id IN (SELECT value FROM json_each(?))", [p.id for p in pictures])
        for folder in {(self._folder / picture.path).parent for picture in pictures}:
            with suppress(OSError):  # it is not empty
                folder.rmdir()
        gone = sum(picture.bytes for picture in pictures)
        self.stock = Stock(self.stock.pictures - len(pictures), self.stock.bytes - gone, self.stock.labelled_bytes)

    def _past(self, books: Books) -> Pruned:
        """A slice of visits and events whose time is over."""
        before = self._limits(books).before and iso(self._clock.wall(0.0) - timedelta(days=self._keep_days))
        if not before:
            return Pruned()
        visits = books.visits(before, self._slice)
        events = books.events(before, self._slice, self._clock.known())
        self._strike("DELETE FROM prediction WHERE visit_id IN (SELECT value FROM json_each(?))", visits)
        self._strike("DELETE FROM visit WHERE id IN (SELECT value FROM json_each(?))", visits)
        self._strike("DELETE FROM event WHERE id IN (SELECT value FROM json_each(?))", events)
        return Pruned(visits=len(visits), events=len(events))

    def _strike(self, sql: str, ids: list[str]) -> None:
        if ids:
            self._journal.write(sql, json.dumps(ids))

    def _adopt(self, books: Books, day: Path) -> tuple[Pruned, int]:
        """Pictures of one day whose rows were lost get one: nobody can know that the owner did not label them.

        Returns also how many files were looked at.
        """
        done, old = Pruned(), time.time() - _YOUNG_S
        names = {path.stem: path for path in day.iterdir() if path.stat().st_mtime < old} if day.is_dir() else {}
        for name, path in names.items():
            if name.startswith("."):
                path.unlink(missing_ok=True)  # half written when the power went
        strays = [name for name in books.unknown(names) if wall_of(name) and names[name].suffix == ".jpg"]
        for name in strays[:_STRAYS]:
            data = names[name].read_bytes()
            where, sha256 = f"{day.name}/{names[name].name}", hashlib.sha256(data).hexdigest()
            values = name, where, sha256, len(data), "stray", None, None, wall_of(name), None, 2
            done.strays += self._journal.write(INSERT, *values)
        return done, len(names)


def prune(state: Path, config: Config, journal: Journal, clock: Clock, seconds: float = 3600.0) -> str:
    """Without a daemon: delete all that is due, and say what went. Raises `StateError`."""
    from edge.decoy import Decoys

    decoys = Decoys(state, config.media.decoy_mb * 10**6)
    try:
        return str(Retention(state, config.media, config.journal.days, journal, decoys, clock).prune(seconds))
    except OSError as error:
        raise StateError(f"{error.filename or state}: {error.strerror}") from None
