"""The loop of a sink that people read: takes up what they want to hear, and posts it when the editor says so."""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from functools import partial
from pathlib import Path

from edge import editor, feed
from edge.config_feed import PostsConfig
from edge.deliveries import WHY
from edge.editor import Event
from edge.postcard import postcard
from edge.publishers import Later, Post, Poster, Refused
from edge.reading import Reading
from edge.sender import Sender

log = logging.getLogger(__name__)

_BATCH = 500
_POOR_S = 600.0  # no money left: looked again after so long
_MOST_ERRORS = 5  # a post at which a sink fails so often in a row in an unforeseen way is poison
_PICTURES = 5  # visits whose picture is looked for
_UNLIKE = (KeyError, TypeError, ValueError, IndexError, AttributeError)  # from an event unlike any known here
_HEALTH, _DIGEST = "health", "digest"  # what is remembered: what was told last of each


@dataclass(frozen=True, slots=True)
class Setting:
    """How posts are made, beside the sink's own rules. `budget`: dollars in a month; `place`: latitude, longitude."""

    people: bool = False
    place: tuple[float, float] | None = None
    budget: float = math.inf


@dataclass(frozen=True, slots=True)
class _Draft:
    """A post, the events it tells, what to remember once it is told, and which `dropped` ones it mentions."""

    post: Post
    events: tuple[Event, ...]
    memo: tuple[str, str] | None = None
    dropped: str = ""


class Posting(Sender):
    """One poster's loop. What waits is kept in `deliveries.db`: a kill loses nothing, and posts twice at the worst."""

    def __init__(
        self,
        state: Path,
        poster: Poster,
        config: PostsConfig,
        setting: Setting,
        first_wait_s: float = 1.0,
        look_s: float = 1.0,
    ) -> None:
        """`look_s`: between two looks at what is to do. Raises `StateError` when `deliveries.db` cannot be used."""
        super().__init__(state, poster.name, first_wait_s)
        self._poster, self._config, self._setting, self._look_s = poster, config, setting, look_s
        self._held: dict[str, Event] = {}
        self._sent: list[tuple[datetime, float]] = []
        self._place, self._opened, self._behind = 0, -1, True
        self._last = self._kept = ""  # the last event taken up; the one up to which that is kept
        self._not_before = -math.inf
        self._tries, self._why = 0, ""
        self._errors = 0  # in a row, unforeseen
        self._known = feed.WELL  # of the appliance's health
        self._problems: list[datetime] = []  # when posts told of that, since the start
        self._again: _Draft | None = None
        self._again_until = 0.0
        self.start()

    def follow(self, reading: Reading) -> None:
        self._begin(reading)
        while not self.ending:
            self._take_up(reading)
            if time.monotonic() < self._not_before or not self._advance(reading):
                self.rest(0.0 if self._behind else self._look_s)
        if self._last != self._kept:
            self.insist(lambda: self.pages.keep(self._last))

    def _begin(self, reading: Reading) -> None:
        self.insist(lambda: self.pages.remember(WHY, ""))
        self.insist(lambda: self.pages.away(""))
        place = self.insist(self.pages.place)
        kept = place or ""
        if place is None:  # a new one begins with now
            kept = self.insist(reading.last_id) or ""
            due = editor.due(datetime.now(UTC), self._config)
            self.insist(partial(self.pages.keep, kept))
            self.insist(partial(self.pages.remember, _DIGEST, due.isoformat() if due else ""))
        self._last = self._kept = kept
        self._sent = self.insist(self.pages.sent) or []
        known = self.insist(partial(self.pages.memo, _HEALTH))
        self._known = known or feed.WELL
        gone, now = [], datetime.now(UTC)
        for id_ in self.insist(self.pages.held) or []:
            event = self.insist(partial(reading.event, id_))
            if event and editor.is_sound(event, now, self._config):
                self._held[id_] = event
            else:
                gone.append(id_)
        self.insist(lambda: self.pages.release(gone, "gone from the journal, or damaged"))

    def _take_up(self, reading: Reading) -> None:
        """Keep what people will want to hear. An event nobody wants costs the card nothing."""
        if not self.insist(reading.news) and not self._behind:
            return
        if self._opened != reading.opened:
            self._place = self.insist(lambda: reading.place_of(self._last)) or 0
            self._opened = reading.opened
        owed = self.insist(lambda: reading.after(self._place, _BATCH)) or []
        self._behind = len(owed) == _BATCH
        if not owed:
            return
        self._place, self._last = owed[-1][0], owed[-1][1]["id"]
        now = datetime.now(UTC)
        sound = [event for _, event in owed if editor.is_sound(event, now, self._config)]
        chosen = {event["id"]: event for event in sound if editor.wanted(event, self._config)}
        if chosen or self._behind:
            self.insist(lambda: self.pages.hold(chosen, self._last))
            self._kept = self._last
            self._held |= chosen

    def _advance(self, reading: Reading) -> bool:
        """Do the next thing, if there is one to do."""
        now = datetime.now(UTC)
        held = list(self._held.values())
        plan = editor.plan(held, self._sent, now, self._config, self._setting.place, self._known, self._problems)
        if plan.expired or plan.overtaken:
            self._release(plan.expired, plan.why)
            self._release(plan.overtaken, "")
            return True
        if plan.why != self._why:  # for `gander status`
            self._why = plan.why
            self.insist(lambda: self.pages.remember(WHY, plan.why))
        try:
            draft = self._next(plan.tell, reading, now)
        except _UNLIKE as error:
            due = None if plan.tell else editor.due(now, self._config)
            memo = (_DIGEST, due.isoformat()) if due else None  # else it would be made again at once, for ever
            return self._refused(self._poison(plan.tell, reading, now), f"not understood: {error!r}", memo)
        return draft is not None and self._post(draft, now)

    def _poison(self, events: tuple[Event, ...], reading: Reading, now: datetime) -> list[str]:
        """Ids of those that cannot be told, not even alone; where it is none of them, of all."""
        found = []
        for event in events:
            try:
                self._draft((event,), reading, now)
            except _UNLIKE:
                found.append(event["id"])
        return found or [event["id"] for event in events]

    def _next(self, events: tuple[Event, ...], reading: Reading, now: datetime) -> _Draft | None:
        """What to post. One that failed is tried again as it was: X knows it by its words, where it did arrive."""
        if self._again and time.monotonic() < self._again_until:
            return None if editor.closed(self._sent, now, self._config, self._setting.place) else self._again
        self._again = None
        draft = self._draft(events, reading, now) if events else self._digest(reading, now)
        dropped = self.insist(self.pages.dropped) if draft else None
        if draft and dropped:
            return replace(draft, post=feed.with_missing(draft.post, dropped.count), dropped=dropped.id)
        return draft

    def _release(self, events: Sequence[Event], why: str) -> None:
        ids = [event["id"] for event in events]
        self.insist(lambda: self.pages.release(ids, why))
        for id_ in ids:
            del self._held[id_]
        self._again, self._errors = None, 0
        if why and ids:
            log.warning("%s: %d visits are not told: %s", self.name, len(ids), why)

    def _draft(self, events: tuple[Event, ...], reading: Reading, now: datetime) -> _Draft:
        first = events[0]
        if first["type"] == "health":
            return _Draft(feed.problem_post(first), events, (_HEALTH, first["what"]))
        picture, shown = self._picture(events, reading)
        told = feed.visit_post(first, now) if len(events) == 1 else feed.digest(events, now)
        return _Draft(replace(told, picture=picture, alt=feed.alt(shown)), events)

    def _digest(self, reading: Reading, now: datetime) -> _Draft | None:
        """The day's or the week's, when it is due and was not told."""
        due = editor.due(now, self._config)
        if due is None or editor.closed(self._sent, now, self._config, self._setting.place):
            return None
        told = self.insist(lambda: self.pages.memo(_DIGEST))
        if told and datetime.fromisoformat(told) >= due:
            return None
        begin = editor.begin(due, self._config)
        visits = self.insist(lambda: reading.visits(begin, due)) or []
        picture, shown = self._picture([v for v in visits if editor.wanted(v, self._config)], reading)
        post = replace(feed.season(visits, begin, due), picture=picture, alt=feed.alt(shown))
        return _Draft(post, (), (_DIGEST, due.isoformat()))

    def _picture(self, events: Sequence[Event], reading: Reading) -> tuple[bytes | None, Event | None]:
        """The picture of the last visit that was answered, else of the last; and which visit it shows."""
        if not self._config.picture:
            return None, None
        newest_first = events[::-1]
        for event in sorted(newest_first, key=lambda event: not event["visit"]["actions"])[:_PICTURES]:
            data = self.insist(partial(reading.picture, event["picture"] or "", self._setting.people))
            if data and (small := postcard(data, self._poster.most_picture)):
                return small, event
        return None, None

    def _post(self, draft: _Draft, now: datetime) -> bool:
        price, ids = self._poster.price(draft.post), [event["id"] for event in draft.events]
        key = ids[-1] if ids else _DIGEST
        if editor.spent(self._sent, now) + price > self._setting.budget:
            self.stumble(key, 1, f"this month's ${self._setting.budget:.2f} are spent; the next post waits", _POOR_S)
            self._not_before = time.monotonic() + _POOR_S
            return False
        try:
            name = self._poster.send(draft.post)
        except Later as error:
            self._errors = 0  # an outage says nothing about the post
            return self._failed(draft, key, str(error), error.after_s)
        except Refused as error:
            return self._refused(ids, str(error), draft.memo)
        except Exception as error:  # noqa: BLE001 - whatever a sink's library throws is a reason to try again
            self._errors += 1
            if self._errors >= _MOST_ERRORS:
                return self._refused(ids, f"{type(error).__name__}: {error}", draft.memo)
            return self._failed(draft, key, f"{type(error).__name__}: {error}", 0.0)
        log.info("%s: posted%s%s", self.name, f" {name}" if name else "", f" for ${price:.3f}" if price else "")
        self._done(ids)
        self.insist(lambda: self.pages.told(ids, price, draft.dropped, draft.memo))
        self._sent.append((now, price))
        if draft.memo and draft.memo[0] == _HEALTH:
            self._known = draft.memo[1]
            self._problems.append(now)
        self.breaker.went_well()
        return True

    def _failed(self, draft: _Draft, key: str, why: str, after_s: float) -> bool:
        self._tries += 1
        if self._again is None:
            self._again, self._again_until = draft, time.monotonic() + editor.NEWS_S
        self._not_before = time.monotonic() + self.stumble(key, self._tries, why, after_s)
        return False

    def _refused(self, ids: list[str], why: str, memo: tuple[str, str] | None = None) -> bool:
        log.warning("%s: a post is set aside: %s", self.name, why)
        self._done(ids)
        self.insist(lambda: self.pages.refuse(ids, why))
        if memo:
            self.insist(partial(self.pages.remember, *memo))
        return True

    def _done(self, ids: list[str]) -> None:
        self._tries, self._errors, self._again = 0, 0, None
        for id_ in ids:
            del self._held[id_]
