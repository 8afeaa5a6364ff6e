"""Follows each moving thing from box to box, and holds the evidence about it."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from edge.clock import Ids
from edge.config import EvidenceConfig, VisitConfig
from edge.evidence import Evidence, Kinds
from edge.values import Box, Frame, Kind, Motion, Visit

REACH = 1.5  # how far a thing may be from where it is expected, in its own sizes
REACH_NEW = 3.0  # the same for one just come, whose speed is not known yet: a bird that lands
ALIKE = 0.15  # and how much smaller it may have become: a jay is no sparrow that grew
SMALL, BLINK_S = 0.004, 0.2  # what is smaller than this part of the picture must be seen for so long to be somebody
SHARED = 0.5  # a box that lies this much in another is a part of the same thing
PART = 0.3  # a box this much smaller than its near neighbour is a part of it: a tail, a shadow, a foot
PART_GAP = 0.5  # near: within this part of its own size
COAST_S = 0.4  # a thing out of sight is expected to go on for this long; a first box not confirmed by then was a blink
COVERED_S = 2.0  # a thing behind another is believed there for this long
STEADY = 0.5  # while a deterrent acts a box must be as large as this part of somebody to be him, and no larger
REACH_BLIND = 5.0  # and who was out of sight then may have gone this far
WARY_S = 1.0  # for so long after a pulse also what is large must be seen for `BLINK_S`: figures come back in pieces
STRANGE = 2  # so many answers in a row of the other kind, and it was another who was found there


class _Track:
    """One moving thing. It is a visitor (`known`) once a second frame has shown it, a small one a little later."""

    def __init__(self, visit: Visit, frame: Frame, evidence: Evidence) -> None:
        self.visit = visit
        self.evidence = evidence
        self.box = visit.box
        self.velocity = (0.0, 0.0)  # of the centre, per second
        self.frames = 1
        self.known = False
        self.wary = False  # it came right after a pulse
        self.lost = False  # out of sight since a deterrent acts
        self.before: Visit | None = None  # as it was then, until who was found afterwards is recognised
        self.strange = 0  # answers that speak against that
        self.threat = self.person = False  # once so, always so
        self.suspect = False  # one more frame that speaks for a threat, and it is one
        self.seen_seq = frame.seq
        self.seen_at = self.alive_at = frame.media_time
        self.asked_at: float | None = None
        self.weighed_seq: int | None = None

    def may_be(self, box: Box, expected: Box, frame: Frame) -> bool:
        """Whether this box can be the same thing at all."""
        if frame.disturbed or self.lost:
            reach = REACH if frame.disturbed else REACH_BLIND
            return alike(box, expected) > STEADY and distance(expected, box) < reach
        if expected.iou(box) > ALIKE:
            return True
        just_come = self.frames < 3 and frame.media_time - self.seen_at < COAST_S
        return alike(box, expected) > ALIKE and distance(expected, box) < (REACH_NEW if just_come else REACH)

    def expected(self, media_time: float) -> Box:
        ahead = min(max(media_time - self.seen_at, 0.0), COAST_S)
        x, y = self.velocity
        return replace(self.box, x=self.box.x + x * ahead, y=self.box.y + y * ahead)

    def see(self, box: Box, frame: Frame) -> None:
        elapsed = frame.media_time - self.seen_at
        if elapsed > 0.0:
            (x, y), (old_x, old_y) = box.centre, self.box.centre
            speed = ((x - old_x) / elapsed, (y - old_y) / elapsed)
            # Half old, half new: a box's edge jitters with every leg that moves.
            self.velocity = (0.5 * (self.velocity[0] + speed[0]), 0.5 * (self.velocity[1] + speed[1]))
        self.box = box
        self.frames += 1
        lasted = frame.media_time - self.visit.first_seen
        self.known = self.known or (box.area >= SMALL and not self.wary) or lasted >= BLINK_S
        if self.lost:
            self.before, self.strange, self.lost = self.visit, 0, False
        self.seen_seq = frame.seq
        self.seen_at = self.alive_at = frame.media_time
        self.visit = replace(self.visit, last_seen=frame.media_time, box=box, boxes=self.visit.boxes + 1, blind_s=0.0)


class Visits:
    """The visitors of one camera. Times are media seconds. `discarded` counts boxes there was no room to follow."""

    def __init__(
        self,
        config: VisitConfig,
        evidence: EvidenceConfig,
        kinds: Kinds,
        ids: Ids,
        camera: str,
        confirm: bool = True,
    ) -> None:
        """`confirm`: a box must be seen again to be somebody. Without it (no motion detector) it is at once."""
        self._confirm = confirm
        self._config = config
        self._evidence = evidence
        self._kinds = kinds
        self._ids = ids
        self._camera = camera
        self._tracks: list[_Track] = []
        self._at: float | None = None
        self._elapsed = 0.0  # between the last two frames
        self._silent_s = 0.0  # without a look at who is here, by `lapse`
        self._favoured = False  # the last question was for a suspect
        self._disturbed = False  # the last frame was
        self._disturbed_at = -math.inf  # media time
        self._parted: list[Visit] = []  # ended, and not yet told
        self.discarded = 0

    @property
    def open(self) -> tuple[Visit, ...]:
        """Everybody who is here now, oldest first."""
        return tuple(track.visit for track in self._tracks if track.known)

    def follow(self, motion: Motion) -> list[Visit]:
        """Carry every visit on to this frame's boxes. Returns the visits that ended: unseen too long, or at the cap."""
        frame = motion.frame
        self._elapsed = 0.0 if self._at is None else max(frame.media_time - self._at, 0.0)
        self._at = frame.media_time
        ended, self._parted = self._parted, []
        if self._disturbed and not frame.disturbed:
            self._look_anew()
        self._disturbed = frame.disturbed
        if frame.disturbed:
            self._disturbed_at, self._silent_s = frame.media_time, 0.0
            self._hold(() if motion.recalibrating else motion.boxes, frame)
            return ended
        if motion.recalibrating:
            for track in self._tracks:
                track.alive_at = frame.media_time
            return ended
        self._silent_s = 0.0
        boxes = join(motion.boxes)
        left = self._assign(boxes, frame)
        self._cover(boxes, frame)
        ended += self._end(frame.media_time) + self._renew(frame)
        for box in left:
            ended += self._begin(box, frame)
        return ended

    def _hold(self, boxes: Iterable[Box], frame: Frame) -> None:
        """While a deterrent acts nobody new is believed, a strobe and a jet look like it, and nobody has left for not
        being seen. Who is plainly there is seen: a lamp changes no texture, between two flashes all is as it was."""
        self._tracks = [track for track in self._tracks if track.known]
        self._assign(join(boxes), frame)
        for track in self._tracks:
            if track.seen_seq == frame.seq:
                continue
            track.lost = True
            track.velocity = (0.0, 0.0)
            track.alive_at = frame.media_time
            track.visit = replace(track.visit, blind_s=frame.media_time - track.visit.last_seen)

    def _look_anew(self) -> None:
        """After a pulse another may stand where one stood: who is to be acted on again must be recognised again."""
        for track in self._tracks:
            track.evidence.renew()
            track.suspect = False

    def question(self, frame: Frame) -> Visit | None:
        """Whom to ask about, of those seen in this frame: newest not asked yet, else who has waited longest.

        But every second question is for a suspect, if there is one: a jay among moths must not wait for all of them
        before a second frame of it is looked at.
        """
        here = [track for track in self._tracks if track.known and track.seen_seq == frame.seq]
        if not here:
            return None
        new = [track for track in here if track.asked_at is None]
        suspects = [] if self._favoured else [track for track in here if track.suspect]
        self._favoured = bool(suspects)
        if new and not suspects:
            chosen = max(new, key=lambda track: track.visit.first_seen)
        else:
            chosen = min(suspects or here, key=lambda track: track.asked_at or 0.0)
        chosen.asked_at = frame.media_time
        return chosen.visit

    def weigh(self, visit_id: str, frame: Frame, label_p: NDArray[np.float32]) -> Visit:
        """Add one answer about this frame, float32[K] summing to 1; a second one about the same frame changes nothing.

        Its kind: a threat once there was enough evidence to act on, else a person once one was seen, else the
        likeliest so far. Raises KeyError for a visit not open.
        """
        track = self._find(visit_id)
        if track.weighed_seq == frame.seq:
            return track.visit
        track.weighed_seq = frame.seq
        own = track.evidence.add(label_p, frame.media_time)
        if track.before and self._is_another(track, track.before, own):
            self._parted.append(replace(track.before, actions=track.visit.actions))
            self._begin_again(track, frame)
            own = track.evidence.add(label_p, frame.media_time)
        evidence = track.evidence
        track.suspect = evidence.suspect and not track.visit.actions
        kind_p, top = evidence.kind_p(), evidence.top()
        track.threat = track.threat or evidence.threat
        track.person = track.person or own[Kind.PERSON] >= self._evidence.person_p
        if track.threat:
            kind = Kind.THREAT
        elif track.person:
            kind = Kind.PERSON
        else:
            kind = max(Kind, key=lambda k: kind_p[k.value])
        # Who is judged a threat is named as one, also when a sparrow is a little likelier than each single crow.
        label, p = evidence.likeliest(kind) if kind in (Kind.THREAT, Kind.PERSON) else top[0]
        track.visit = replace(
            track.visit,
            log_odds=evidence.log_odds,
            kind=kind,
            kind_p=kind_p,
            label=label,
            label_p=p,
            top=top,
            answers=evidence.answers,
            clear=evidence.clear,
        )
        return track.visit

    def acted(self, visit_id: str) -> Visit:
        """Count one action against this visit. Raises KeyError for a visit not open."""
        track = self._find(visit_id)
        track.visit = replace(track.visit, actions=track.visit.actions + 1)
        track.suspect = False
        return track.visit

    def lapse(self, waited_s: float, patience_s: float) -> list[Visit]:
        """Now and then, `waited_s` apart, whether frames come or not. Returns the visits that end for want of them.

        That is after `patience_s` without any, and never before two slow ones in a row, or the gap, are missed. A
        frame from which only the background is learnt shows nobody.
        """
        self._silent_s += waited_s
        slow_s = min(2.0 * self._elapsed, self._config.cap_s)
        return self.close() if self._silent_s > max(patience_s, self._config.gap_s, slow_s) else []

    def close(self) -> list[Visit]:
        """End every visit: the source has ended or gives nothing any more, or the daemon stops."""
        ended = [*self._parted, *(replace(visit, left=False) for visit in self.open)]
        self._tracks.clear()
        self._parted.clear()
        return ended

    def _find(self, visit_id: str) -> _Track:
        for track in self._tracks:
            if track.visit.id == visit_id:
                return track
        raise KeyError(f"visit {visit_id}: not open")

    def _assign(self, boxes: list[Box], frame: Frame) -> list[Box]:
        """Give each track its likeliest box, best pair first. Returns the boxes of nobody known."""
        expected = [track.expected(frame.media_time) for track in self._tracks]
        pairs = sorted(
            (
                (likeness(where, box), t, b)
                for t, where in enumerate(expected)
                for b, box in enumerate(boxes)
                if self._tracks[t].may_be(box, where, frame)
            ),
            key=lambda pair: (-pair[0], pair[1], pair[2]),
        )
        tracked: set[int] = set()
        used: set[int] = set()
        for _, t, b in pairs:
            if t not in tracked and b not in used:
                tracked.add(t)
                used.add(b)
                self._tracks[t].see(boxes[b], frame)
        left = [box for b, box in enumerate(boxes) if b not in used]
        # A piece that broke off inside a track's own place is that thing still.
        return [box for box in left if not any(where.overlap(box) > SHARED * box.area for where in expected)]

    def _cover(self, boxes: list[Box], frame: Frame) -> None:
        """Whom a larger box hides is still here, for a while: two hens crossing are two hens."""
        for track in self._tracks:
            if track.known and track.seen_seq != frame.seq and frame.media_time - track.seen_at < COVERED_S:
                where = track.box
                if any(where.overlap(box) > SHARED * where.area for box in boxes):
                    track.alive_at = frame.media_time

    def _end(self, media_time: float) -> list[Visit]:
        """Let go of those unseen too long. Slow pictures are no absence: two in a row must be missed."""
        gap, blink = max(self._config.gap_s, 2.0 * self._elapsed), max(COAST_S, 2.0 * self._elapsed)
        gone = [t for t in self._tracks if media_time - t.alive_at > (gap if t.known else blink)]
        self._tracks = [t for t in self._tracks if t not in gone]
        return [track.visit for track in gone if track.known]

    def _renew(self, frame: Frame) -> list[Visit]:
        """End visits at the cap; who is still here begins a new one, with nothing held against him."""
        ended = []
        for track in self._tracks:
            if track.known and frame.media_time - track.visit.first_seen >= self._config.cap_s:
                ended.append(replace(track.visit, left=False))
                self._begin_again(track, frame)
                track.asked_at = None
        return ended

    def _begin_again(self, track: _Track, frame: Frame) -> None:
        track.visit = self._visit(track.box, frame)
        track.evidence = Evidence(self._evidence, self._kinds)
        track.threat = track.person = track.suspect = False
        track.before = None

    def _is_another(self, track: _Track, before: Visit, own: dict[Kind, float]) -> bool:
        """Whether a hen stands where a jay was before a deterrent acted, or the other way round."""
        kinds = {before.kind, max(own, key=lambda kind: own[kind])}
        track.strange = track.strange + 1 if kinds == {Kind.THREAT, Kind.RESIDENT} else 0
        if not track.strange:
            track.before = None
        return track.strange >= STRANGE

    def _begin(self, box: Box, frame: Frame) -> list[Visit]:
        """Follow a newcomer. Where there is no room, who is longest out of sight makes it, and has then left."""
        ended = []
        if len(self._tracks) >= self._config.max_open:
            oldest = min(self._tracks, key=lambda track: track.seen_at)
            if oldest.seen_seq == frame.seq:
                self.discarded += 1
                return []
            self._tracks.remove(oldest)
            ended = [replace(oldest.visit, left=False)] if oldest.known else []
        track = _Track(self._visit(box, frame), frame, Evidence(self._evidence, self._kinds))
        track.known = not self._confirm
        track.wary = 0.0 <= frame.media_time - self._disturbed_at < WARY_S
        self._tracks.append(track)
        return ended

    def _visit(self, box: Box, frame: Frame) -> Visit:
        return Visit(
            id=self._ids.new(frame.wall),
            camera=self._camera,
            first_seen=frame.media_time,
            last_seen=frame.media_time,
            first_wall=frame.wall,
            box=box,
        )


def join(boxes: Iterable[Box]) -> list[Box]:
    """Boxes with the parts of one thing made one: those that overlap much, and small ones close to a large one."""
    joined: list[Box] = []
    for box in sorted(boxes, key=lambda b: b.area, reverse=True):
        whole = box
        while (other := next((b for b in joined if _belong(b, whole)), None)) is not None:
            joined.remove(other)
            whole = other.union(whole)
        joined.append(whole)
    return joined


def _belong(a: Box, b: Box) -> bool:
    large, small = (a, b) if a.area >= b.area else (b, a)
    if large.overlap(small) > SHARED * small.area:
        return True
    across = max(large.x - small.x - small.w, small.x - large.x - large.w, 0.0)
    down = max(large.y - small.y - small.h, small.y - large.y - large.h, 0.0)
    return small.area < PART * large.area and across <= PART_GAP * small.w and down <= PART_GAP * small.h


def distance(a: Box, b: Box) -> float:
    """Between the centres, in mean sizes of the two."""
    (ax, ay), (bx, by) = a.centre, b.centre
    return math.hypot(2.0 * (ax - bx) / (a.w + b.w), 2.0 * (ay - by) / (a.h + b.h))


def alike(a: Box, b: Box) -> float:
    """How alike in size, 0 to 1."""
    return min(a.area, b.area) / max(a.area, b.area)


def likeness(a: Box, b: Box) -> float:
    """How likely two boxes are of one thing: they overlap, they are near, they are as large."""
    return a.iou(b) + math.sqrt(alike(a, b)) / (1.0 + distance(a, b))
