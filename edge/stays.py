"""What the journal says of threats: who stayed from when to when, what fired at them, and whether they were let be."""

from __future__ import annotations

import json
import sqlite3
from bisect import bisect_left
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

from edge import feed
from edge.clock import iso
from edge.database import EVENTS, OWNER, reader
from edge.labels import NOBODY
from edge.values import Kind, Reason

# A visit that was decided upon and left alone for one of these is what would have been without. Not those with a
# person about, who scares by himself, nor those just after an action.
_LET_BE = frozenset(
    reason.value
    for reason in (
        *(Reason.OBSERVE, Reason.PAUSED, Reason.QUIET_HOURS, Reason.CLOCK_UNKNOWN, Reason.QUOTA),
        *(Reason.NEAR_RESIDENTS, Reason.NO_CONTROLLER, Reason.DEMO_MODEL),
    )
) | {"withheld"}
_UNDECIDED = frozenset({Reason.NO_VERDICT.value, Reason.WEAK_EVIDENCE.value})
FAILED = "failed"

_FACTS = """'$.camera', '$.media_time', '$.visit.label', '$.visit.kind', '$.visit.started', '$.visit.ended',
    '$.visit.left', '$.visit.blind_s', '$.action.deterrent', '$.action.result', '$.latency_ms.pin', '$.reason'"""
_ABOUT = f"""SELECT type, visit_id,
    CASE WHEN json_valid(json) THEN json_extract(json, '$.replayed') ELSE 0 END AS replayed,
    CASE WHEN json_valid(json) THEN json_extract(json, {_FACTS}) END AS facts
    FROM event WHERE type IN ('visit', 'action', 'suppressed') AND wall >= :since AND visit_id IN (
        SELECT id FROM visit WHERE kind = 'threat' OR actions > 0 UNION SELECT value FROM json_each(:said))
    ORDER BY place"""  # noqa: S608 - no input
_TESTS = """SELECT wall FROM event WHERE type = 'test_fire' AND wall >= ? AND json_valid(json)
    AND NOT json_extract(json, '$.replayed') AND json_extract(json, '$.action.result') IN ('on', 'silent')"""
_SAID = "SELECT visit_id, picture_id, label FROM label ORDER BY id"


@dataclass(frozen=True, slots=True)
class Pulse:
    """A deterrent was on, `at_s` seconds after the stay began, `lag_s` after the frame that decided was taken."""

    at_s: float
    deterrent: str
    lag_s: float = 0.0


@dataclass(frozen=True, slots=True)
class Stay:
    """One threat at one camera, from when it came until it was gone: one visit, or several that follow on each other.

    `began`, `ended`: seconds since 1970, when it was first and last seen; `left`: it had left then, or within `blind_s`
    more, in which a deterrent spoilt the picture; not `left`: it was there at `ended` at least.
    `let_be_s`: where nothing fired, the moment it would have, in seconds after `began`; `why`: the reason. `corrected`:
    the label is the owner's.
    """

    label: str
    camera: str
    visits: tuple[str, ...]
    began: float
    ended: float
    blind_s: float
    left: bool
    pulses: tuple[Pulse, ...]
    let_be_s: float | None
    why: str | None
    corrected: bool


@dataclass(frozen=True, slots=True)
class Season:
    """All stays of threats, by camera and label and in the order they came. `left_out`: visits not used, by why;
    `newest`: how far the journal reaches, seconds since 1970."""

    stays: tuple[Stay, ...] = ()
    left_out: Counter[str] = field(default_factory=Counter)
    newest: float = 0.0


@dataclass(slots=True)
class _Seen:
    """One visit as its events tell it; `pulses` and `held` at media times."""

    id: str
    pulses: list[tuple[float, str, float]] = field(default_factory=list)
    held: list[tuple[float, str]] = field(default_factory=list)
    failed_at: float | None = None
    unsure: bool = False  # an order was not answered: it may have fired
    damaged: bool = False
    end: Sequence[Any] | None = None  # camera, media time, label, kind, started, ended, left, blind_s


@dataclass(frozen=True, slots=True)
class _Visit:
    """One whole visit of a threat; `pulses` and `held` in seconds after it began, `held` with its reason."""

    id: str
    label: str
    camera: str
    began: float
    ended: float
    blind_s: float
    left: bool
    pulses: tuple[Pulse, ...]
    held: tuple[tuple[float, str], ...]
    unsure: bool
    corrected: bool


class Names:
    """Which labels are threats: by the owner's globs, and by what the models called one."""

    def __init__(self, threats: Iterable[str], others: Iterable[str], globs: Mapping[Kind, Sequence[str]]) -> None:
        self._kinds = dict.fromkeys([*others, *NOBODY], Kind.OTHER) | dict.fromkeys(threats, Kind.THREAT)
        self._by_name = {name: label for label in self._kinds for name in (_plain(label), label.casefold())}
        self._globs = globs

    def find(self, word: str) -> tuple[str, Kind | None]:
        """The label the owner means by a word, and its kind; None where nobody can know it."""
        label = word if word in self._kinds else self._by_name.get(word.casefold(), word)
        for kind, patterns in self._globs.items():
            if any(fnmatchcase(label, pattern) for pattern in patterns):
                return label, kind
        return label, self._kinds.get(label)


def read(
    state: Path, since: datetime | None, globs: Mapping[Kind, Sequence[str]], gap_s: float = 3.0, cap_s: float = 120.0
) -> Season:
    """All stays since a moment. Raises `StateError` where there is no journal that can be read.

    `gap_s`: who is back within that had not left; `cap_s`: how long a visit could last at most, for journals that do
    not say how one ended; `globs`: the configured labels of threats, residents and people, in this order.
    """
    with reader(state / OWNER) as owner:
        words = owner.execute(_SAID).fetchall()
    begin = iso(since) if since else ""
    with reader(state / EVENTS) as events:
        said = _said(words, events)
        known = events.execute("SELECT DISTINCT label, kind = 'threat' FROM visit WHERE label IS NOT NULL").fetchall()
        rows = events.execute(_ABOUT, {"since": begin, "said": json.dumps(list(said))})
        left_out: Counter[str] = Counter()
        seen = _collect(rows, left_out)
        tests = [_epoch(row[0]) for row in events.execute(_TESTS, (begin,))]
        last = events.execute("SELECT wall FROM event ORDER BY place DESC LIMIT 1").fetchone()
    names = Names((row[0] for row in known if row[1]), (row[0] for row in known if not row[1]), globs)
    visits = _visits(seen, said, names, cap_s, left_out)
    stays = _stays(visits, gap_s, sorted(tests), left_out)
    return Season(stays, left_out, _epoch(last[0]) if last else 0.0)


def _said(words: Sequence[sqlite3.Row], events: sqlite3.Connection) -> dict[str, str]:
    """The owner's latest word on each visit, also where it was said of a picture of it."""
    said = {}
    for row in words:
        visit_id = row["visit_id"]
        if not visit_id and row["picture_id"]:
            found = events.execute("SELECT visit_id FROM picture WHERE id = ?", (row["picture_id"],)).fetchone()
            visit_id = found and found[0]
        if visit_id:
            said[str(visit_id)] = str(row["label"])
    return said


def _collect(rows: Iterable[sqlite3.Row], left_out: Counter[str]) -> Iterable[_Seen]:
    seen: dict[str, _Seen] = {}
    replayed = set()
    for type_, visit_id, again, facts in rows:
        if again:
            replayed.add(visit_id)
            continue
        visit = seen.setdefault(visit_id, _Seen(visit_id))
        try:
            camera, media_time, *about, deterrent, result, pin_ms, reason = json.loads(facts)
            at = float(media_time)
            if type_ == "visit":
                label, kind, started, ended, left, blind_s = about
                visit.end = (str(camera), at, label, kind, _epoch(started), _epoch(ended), left, float(blind_s or 0.0))
            elif type_ == "suppressed":
                visit.held.append((at, str(reason)))
            elif result == "on":
                lag_s = float(pin_ms or 0.0) / 1000
                visit.pulses.append((at + lag_s, str(deterrent), lag_s))
            else:
                visit.unsure |= result == "silent"
                visit.failed_at = at if visit.failed_at is None else visit.failed_at
        except (TypeError, ValueError):
            visit.damaged = True
    left_out["replayed"] += len(replayed)
    return seen.values()


def _visits(
    seen: Iterable[_Seen], said: dict[str, str], names: Names, cap_s: float, left_out: Counter[str]
) -> list[_Visit]:
    """The visits of threats that are told whole."""
    visits = []
    for one in seen:
        if one.damaged or one.end is None:
            left_out["damaged" if one.damaged else "without an end"] += 1
            continue
        camera, last_at, label, kind, began, ended, left, blind_s = one.end
        if word := said.get(one.id):
            label, known = names.find(word)
            if known is None:
                left_out[f"called {word} by you, which is no label of [labels]"] += 1
            elif known is not Kind.THREAT:
                left_out["not a threat, by your label"] += 1
            if known is not Kind.THREAT:
                continue
        elif kind != Kind.THREAT.value or not label:
            continue  # who was taken for a threat for a moment only
        first_at = last_at - (ended - began)
        if left is None:  # written before that was kept
            left = ended - began < cap_s - 0.5
        pulses = tuple(Pulse(max(at - first_at, 0.0), deterrent, lag_s) for at, deterrent, lag_s in one.pulses)
        held = [(at - first_at, reason) for at, reason in one.held if reason not in _UNDECIDED]
        held += [(one.failed_at - first_at, FAILED)] if one.failed_at is not None else []
        facts = (pulses, tuple(sorted(held)), one.unsure, bool(word))
        visits.append(_Visit(one.id, str(label), camera, began, ended, blind_s, bool(left), *facts))
    return visits


def _stays(visits: list[_Visit], gap_s: float, tests: list[float], left_out: Counter[str]) -> tuple[Stay, ...]:
    """Join what follows on each other, and leave out what cannot be told apart from something else."""
    visits.sort(key=lambda visit: (visit.camera, visit.label, visit.began))
    groups: list[list[_Visit]] = []
    until = 0.0
    for visit in visits:
        last = groups[-1][-1] if groups else None
        if last and (last.camera, last.label) == (visit.camera, visit.label) and visit.began <= until + gap_s:
            groups[-1].append(visit)
            until = max(until, visit.ended + visit.blind_s)
        else:
            groups.append([visit])
            until = visit.ended + visit.blind_s
    fired = sorted(visit.began + pulse.at_s for visit in visits for pulse in visit.pulses)
    stays = []
    for group in groups:
        stay = _stay(group)
        if any(visit.unsure for visit in group):
            left_out["with an order that was not answered"] += len(group)
        elif _any_within(tests, stay):
            left_out["with a test fire"] += len(group)
        elif not stay.pulses and _any_within(fired, stay):
            left_out["beside an action on another"] += len(group)
        else:
            stays.append(stay)
    return tuple(stays)


def _stay(group: list[_Visit]) -> Stay:
    began, last = group[0].began, max(group, key=lambda visit: visit.ended)
    pulses = [replace(p, at_s=visit.began - began + p.at_s) for visit in group for p in visit.pulses]
    held = sorted((visit.began - began + at_s, why) for visit in group for at_s, why in visit.held)
    alone = not pulses and bool(held) and all(why in _LET_BE or why == FAILED for _, why in held)
    return Stay(
        label=group[0].label,
        camera=group[0].camera,
        visits=tuple(visit.id for visit in group),
        began=began,
        ended=last.ended,
        blind_s=last.blind_s if last.left else 0.0,
        left=last.left,
        pulses=tuple(sorted(pulses, key=lambda pulse: pulse.at_s)),
        let_be_s=max(held[0][0], 0.0) if alone else None,
        why=held[0][1] if held and not pulses else None,
        corrected=any(visit.corrected for visit in group),
    )


def _any_within(moments: list[float], stay: Stay) -> bool:
    at = bisect_left(moments, stay.began)
    return at < len(moments) and moments[at] <= stay.ended


def _plain(label: str) -> str:
    return feed.who({"visit": {"label": label}}).casefold()


def _epoch(wall: Any) -> float:
    return datetime.fromisoformat(wall).timestamp()
