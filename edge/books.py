"""Both databases read together, for retention: which pictures, visits and events are due, and which the owner keeps."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path, PurePosixPath

from edge.clock import first_id
from edge.database import EVENTS, OWNER, reader

PLAUSIBLE = "2026"
"""Earlier dates are of a clock that was not set: from them no age can be told."""

SAME_S = 10
"""A clock that differs by less was not set meanwhile."""

# The owner's word keeps a picture: on its visit, on it, or on another of the same moment. Where the journal was lost
# and the word was not, nobody knows which pictures it keeps: all of them that got their rows back.
_LABELLED = """(coalesce(visit_id, '') IN (SELECT visit_id FROM owner.label WHERE visit_id IS NOT NULL)
    OR coalesce(crop_of, id) IN (SELECT coalesce(crop_of, id) FROM picture
        WHERE id IN (SELECT picture_id FROM owner.label))
    OR (picture.kind = 'stray' AND EXISTS (SELECT 1 FROM owner.label WHERE visit_id IS NOT NULL
        AND NOT EXISTS (SELECT 1 FROM visit WHERE visit.id = owner.label.visit_id))))"""
_LABELLED_VISITS = """(SELECT visit_id FROM owner.label WHERE visit_id IS NOT NULL UNION SELECT visit_id FROM picture
    WHERE visit_id IS NOT NULL AND id IN (SELECT picture_id FROM owner.label))"""
# The journal writes no blanks, and quotes within a text are escaped: no need to parse, nor to trust a damaged row.
_DATED = """instr(json, '"clock_ok":true')"""
_THREAT = "coalesce((SELECT kind = 'threat' OR actions > 0 FROM visit WHERE visit.id = picture.visit_id), 0)"


@dataclass(frozen=True, slots=True)
class Kept:
    """One picture on the card.

    `wall` is ISO 8601, empty where unknown; `threat`: its visit was one, or was acted upon; `person`: 0 none, 1 there
    is one, 2 nobody knows.
    """

    id: str
    path: str
    bytes: int
    wall: str
    kind: str
    visit_id: str | None
    person: int
    threat: bool
    labelled: bool


@dataclass(frozen=True, slots=True)
class Stock:
    """What is on the card."""

    pictures: int = 0
    bytes: int = 0
    labelled_bytes: int = 0


class Books:
    """Questions to both databases; each is one statement, so that nobody who writes has to wait."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._ask = connection.execute

    def stock(self) -> Stock:
        pictures, size = self._ask("SELECT count(*), coalesce(sum(bytes), 0) FROM picture").fetchone()
        labelled = f"SELECT coalesce(sum(bytes), 0) FROM picture WHERE {_LABELLED}"  # noqa: S608
        return Stock(pictures, size, self._ask(labelled).fetchone()[0])

    def over(self, before: str, limit: int) -> list[Kept]:
        """Pictures from before that moment, of those whose date can be believed."""
        return self._kept("picture.wall >= ? AND picture.wall < ?", limit, PLAUSIBLE, before)

    def people(self, before: str, limit: int) -> list[Kept]:
        """Pictures with a person from before that moment."""
        return self._kept("person = 1 AND picture.wall < ?", limit, before)

    def oldest(self, threat: bool, limit: int) -> list[Kept]:
        """The oldest pictures of threats, or of the others."""
        return self._kept(f"{_THREAT} = {threat:d}", limit)

    def _kept(self, condition: str, limit: int, *values: str) -> list[Kept]:
        """Pictures without a label, the oldest first, of one moment the full view first."""
        columns = f"id, path, bytes, coalesce(wall, ''), kind, visit_id, person, {_THREAT}, 0"
        order = "picture.wall, kind != 'frame', id"
        sql = f"SELECT {columns} FROM picture WHERE {condition} AND NOT {_LABELLED} ORDER BY {order} LIMIT {limit}"  # noqa: S608
        return [Kept(*row) for row in self._ask(sql, values)]

    def decoys_of_people(self, before: str) -> list[str]:
        """What the models were shown in visits with a person that began before that moment."""
        sql = f"""SELECT DISTINCT picture FROM prediction WHERE role = 'decoy' AND visit_id IN (
            SELECT id FROM visit WHERE kind = 'person' AND started < :before
            UNION SELECT visit_id FROM picture WHERE person = 1 AND wall < :before)
            AND visit_id NOT IN {_LABELLED_VISITS}"""  # noqa: S608
        return [row[0] for row in self._ask(sql, {"before": before})]

    def visits(self, before: str, limit: int) -> list[str]:
        """Visits that began before that moment, without a label, a picture or an event."""
        sql = f"""SELECT id FROM visit WHERE id < ? AND started < ? AND id NOT IN {_LABELLED_VISITS}
            AND NOT EXISTS (SELECT 1 FROM picture WHERE picture.visit_id = visit.id)
            AND NOT EXISTS (SELECT 1 FROM event WHERE event.visit_id = visit.id) LIMIT {limit}"""  # noqa: S608
        return [row[0] for row in self._ask(sql, (_first_of(before), before))]

    def events(self, before: str, limit: int, known: bool) -> list[str]:
        """Events from before that moment, but for those of labelled visits; `known`: it is by a clock that was set.

        When an event without a date happened, only a dated one tells that was committed later: it was before that.
        Where none is dated, and the clock is not set, all go by the same clock.
        """
        sql = f"""SELECT id FROM event WHERE id < ?1 AND wall < ?2
            AND (visit_id IS NULL OR visit_id NOT IN {_LABELLED_VISITS})
            AND ({_DATED} OR place < (SELECT max(+place) FROM event WHERE id < ?1 AND wall < ?2 AND {_DATED})
                OR (NOT ?3 AND NOT EXISTS (SELECT 1 FROM event WHERE {_DATED})))
            ORDER BY id LIMIT {limit}"""  # noqa: S608
        return [row[0] for row in self._ask(sql, (_first_of(before), before, known))]

    def undated(self, boot: str, zero: str, limit: int) -> list[tuple[str, str, str]]:
        """Pictures that this boot took before the clock was set, the oldest first: the time at which each was taken,
        its visit, and the time it bears. `zero`: when the machine's uptime was 0.
        """
        since = """SELECT place FROM event WHERE instr(json, '"boot":"') AND NOT instr(json, ?1)
            ORDER BY place DESC LIMIT 1"""
        taken = "strftime('%Y-%m-%dT%H:%M:%fZ', ?2, json_extract(json, '$.boot_s') || ' seconds')"
        sql = f"""SELECT {taken} AS taken, visit_id, wall FROM event WHERE place > coalesce(({since}), 0)
            AND instr(json, ?1) AND NOT {_DATED} AND json_valid(json)
            AND EXISTS (SELECT 1 FROM picture WHERE picture.visit_id = event.visit_id AND picture.wall = event.wall)
            AND abs(julianday(taken) - julianday(wall)) * 86400 >= {SAME_S} ORDER BY place LIMIT {limit}"""  # noqa: S608
        return list(self._ask(sql, (f'"boot":"{boot}"', zero)))

    def newest(self) -> str:
        """When the last picture was taken or the last event happened; empty where there is none."""
        sql = """SELECT max(coalesce((SELECT max(wall) FROM picture), ''),
            coalesce((SELECT wall FROM event ORDER BY place DESC LIMIT 1), ''))"""
        return str(self._ask(sql).fetchone()[0])

    def written_on(self, day: str) -> int:
        """Bytes of the pictures of one day."""
        sql = "SELECT coalesce(sum(bytes), 0) FROM picture WHERE wall >= ? AND wall < ?"
        return int(self._ask(sql, (day, f"{day}U")).fetchone()[0])  # U follows the T between date and time

    def labelled(self, id_: str) -> bool:
        """Whether the owner's word keeps this picture, now."""
        return bool(self._ask(f"SELECT count(*) FROM picture WHERE id = ? AND {_LABELLED}", (id_,)).fetchone()[0])  # noqa: S608

    def unknown(self, ids: Iterable[str]) -> list[str]:
        """Those of the ids that no picture has."""
        has = "SELECT 1 FROM picture WHERE id = ?"
        return [id_ for id_ in ids if not self._ask(has, (id_,)).fetchone()]

    def people_seen(self, since: str) -> list[tuple[str, str]]:
        """Camera and end of the visits of people since that moment."""
        sql = "SELECT camera, coalesce(ended, started) FROM visit WHERE id > ? AND kind = 'person' AND started >= ?"
        return [(row[0], row[1]) for row in self._ask(sql, (_first_of(since), since))]


def is_inside(path: str) -> bool:
    """Whether a picture's path, as a row has it, stays in the folder of pictures: a row may be damaged."""
    parts = PurePosixPath(path)
    return not parts.is_absolute() and ".." not in parts.parts


@contextmanager
def open_books(state: Path) -> Iterator[Books]:
    """Both databases, to be read only. Raises `StateError` where they cannot be read."""
    with reader(state / EVENTS) as connection:
        connection.row_factory = None
        connection.execute("ATTACH ? AS owner", (f"{(state / OWNER).absolute().as_uri()}?mode=ro",))
        yield Books(connection)


def _first_of(wall: str) -> str:
    return first_id(datetime.fromisoformat(wall))
