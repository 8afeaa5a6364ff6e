"""A season of visits told by the product's own record to its own journal, with an effect that is known."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np

from edge.bundle import read
from edge.clock import Ids, ReplayClock
from edge.config import Config, MediaConfig
from edge.journal import Journal
from edge.latency import Latencies
from edge.lineup import Lineup
from edge.media import Media
from edge.record import Record, Step
from edge.values import Action, Box, Decision, Fate, Frame, Kind, Prediction, Reason, Role, Verdict, Visit

START = datetime(2026, 4, 6, 6, tzinfo=UTC)  # a Monday
JAY, CROW, HEN = "Aphelocoma californica (Scrub Jay)", "Corvus brachyrhynchos (Crow)", "Gallus gallus (Hen)"
PIN_MS = 180.0
_BOX = Box(0.4, 0.5, 0.08, 0.1)
_IMAGE = np.zeros((8, 8, 3), np.uint8)
_STARTER = Path(__file__).resolve().parent.parent / "edge" / "starter" / "starter.gander"


@dataclass(frozen=True, slots=True)
class Fired:
    """An order `at_s` seconds after the visit began, and what became of it."""

    at_s: float
    deterrent: str = "light"
    result: str = "on"
    on_ms: int | None = 900


@dataclass(frozen=True, slots=True)
class Came:
    """One visit as it is to be told. `held`: seconds after it began, with the reason nothing fired."""

    wall: datetime
    seconds: float
    fired: Sequence[Fired] = ()
    held: Sequence[tuple[float, Reason]] = ()
    label: str = JAY
    kind: Kind = Kind.THREAT
    camera: str = "coop"
    left: bool = True
    blind_s: float = 0.0
    whole: bool = True


@dataclass(slots=True)
class Teller:
    """Tells visits one by one."""

    journal: Journal
    record: Record
    events: list[dict[str, Any]]
    ids: Ids = field(default_factory=lambda: Ids("visits"))
    orders: Ids = field(default_factory=lambda: Ids("orders"))

    def tell(self, came: Came) -> str:
        """The visit's id."""
        at, id_ = (came.wall - START).total_seconds() % 86400.0 + 50.0, self.ids.new(came.wall)
        visit = Visit(id_, came.camera, at, at, came.wall, _BOX, 9, 0.5, came.kind, {}, came.label, 0.9, answers=4)
        moments = [(one.at_s, one) for one in came.fired] + list(came.held)
        actions = 0
        for at_s, what in sorted(moments, key=lambda moment: moment[0]):
            action = self._action(what) if isinstance(what, Fired) else None
            actions += action is not None and action.result == "on"
            reason = Reason.THREAT if isinstance(what, Fired) else what
            self._step(came, self._seen(visit, came, at_s, actions), at_s, _decision(reason, what), action)
            if isinstance(what, Fired) and action and what.on_ms is not None:
                self.record.finished([(action.id, what.on_ms)])
        if not moments:
            self._step(came, self._seen(visit, came, 2.0, 0), 2.0, Decision(False, Reason.WEAK_EVIDENCE), None)
        if came.whole:
            self.record.ended(self._seen(visit, came, came.seconds, actions))
        return id_

    def _action(self, fired: Fired) -> Action:
        acknowledged = 1_000_000 if fired.result == "on" else 0
        return Action(self.orders.new(START), fired.deterrent, "1x1000/0", 500_000, acknowledged, 1000, fired.result)

    def _seen(self, visit: Visit, came: Came, seconds: float, actions: int) -> Visit:
        first = visit.first_seen
        facts = (visit.box, visit.boxes, visit.log_odds, visit.kind, {}, visit.label, 0.9, (), 4, 4, actions, came.left)
        seen = Visit(visit.id, visit.camera, first, first + seconds, visit.first_wall, *facts)
        return replace(seen, blind_s=came.blind_s)

    def _step(self, came: Came, visit: Visit, at_s: float, decision: Decision, action: Action | None) -> None:
        wall = came.wall + timedelta(seconds=at_s)
        frame = Frame(came.camera, round(at_s * 15), 0, visit.first_seen + at_s, wall, _IMAGE, _IMAGE[:, :, 0])
        label_p = np.full(2, 0.5, np.float32)
        chosen = Prediction("m", Role.CHAMPION, Fate.ANSWERED, label_p, 0, 1, 1.0)
        timings = {"motion": 1.0, "pin": PIN_MS} if action and action.acknowledged_at_ns else {"motion": 1.0}
        self.record.step(Step(frame, _IMAGE, visit, Verdict(chosen, (), 0, 0), decision, action, timings))


def _decision(reason: Reason, what: Fired | Reason) -> Decision:
    if isinstance(what, Fired):
        return Decision(True, reason, what.deterrent, 0, ("light", "siren"))
    return Decision(False, reason)


@contextmanager
def season(state: Path, replayed: bool = False) -> Iterator[Teller]:
    """A journal in `state` and who tells it; all is written on the way out."""
    config = Config()
    with ExitStack() as stack:
        journal = Journal(state, patient=True)
        stack.callback(lambda: journal.close(60.0))
        clock, told = ReplayClock(START), []
        media = Media(state, MediaConfig(per_visit=0, decoy_mb=0, min_free=0.0), journal, Ids("m"), True, clock=clock)
        stack.callback(media.close)
        lineup = Lineup(config, [read(_STARTER)])
        ids = Ids("e")
        record = Record(
            "node", lineup, journal, media, Latencies(), clock, ids, replayed, lambda event: told.append(event.body)
        )
        yield Teller(journal, record, told)


def jays(
    rng: np.random.Generator,
    n: int,
    weeks: float,
    leave_s: float,
    *,
    acted: bool,
    slower: float = 0.0,
    back: float = 0.0,
    label: str = JAY,
    begin: datetime = START,
    deterrent: str = "light",
) -> list[Came]:
    """`n` visits that follow no visit, some followed by one more that nobody decides upon, within ten minutes.

    They leave `leave_s` (median) after the pin, log-normal with a spread of 0.7; `slower`: more by this much of a
    logarithm each week, `leave_s` holding in the middle; `back`: share of those that come back.
    """
    came = []
    for number in range(n):
        week = (number + rng.uniform(0.2, 0.8)) * weeks / n
        stay_s = float(leave_s * np.exp(slower * (week - weeks / 2) + rng.normal(0.0, 0.7)))
        onset = float(rng.uniform(0.3, 1.0))
        wall, until = begin + timedelta(weeks=week), onset + PIN_MS / 1000 + stay_s
        fired = [Fired(onset, deterrent)] if acted else []
        held = [] if acted else [(onset, Reason.OBSERVE)]
        came.append(Came(wall, until, fired, held, label))
        if rng.uniform() < back:
            again = wall + timedelta(seconds=until + float(rng.uniform(5.0, 590.0)))
            came.append(Came(again, 4.0, label=label))
    return came
