"""The frozen values that flow down the line, from a frame to an event."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import TYPE_CHECKING, Any, TypeAlias

if TYPE_CHECKING:  # who only reads what happened needs no arrays
    import numpy as np
    from numpy.typing import NDArray

Image: TypeAlias = "NDArray[np.uint8]"
"""uint8[H, W, 3], RGB."""
Luma: TypeAlias = "NDArray[np.uint8]"
"""uint8[h, w], brightness."""


class Kind(StrEnum):
    """What a visitor is to the owner."""

    THREAT = "threat"
    RESIDENT = "resident"
    PERSON = "person"
    OTHER = "other"


class Role(StrEnum):
    """What a model is to the rendezvous; champion before standby is the order of trust."""

    CHAMPION = "champion"
    STANDBY = "standby"
    CHALLENGER = "challenger"
    CANARY = "canary"


class Fate(StrEnum):
    """What became of one question to one model."""

    ANSWERED = "answered"
    LATE = "late"  # an answer came, after the deadline
    BUSY = "busy"  # still at an earlier question: not asked
    FAILED = "failed"  # the model raised, or its process is gone
    EXPIRED = "expired"  # the deadline had passed before the model began


class Reason(StrEnum):
    """Why a decision is what it is. Every decision has exactly one."""

    THREAT = "threat"
    WEAK_EVIDENCE = "weak_evidence"
    OBSERVE = "observe"
    PAUSED = "paused"
    MAINTENANCE = "maintenance"
    QUIET_HOURS = "quiet_hours"
    CLOCK_UNKNOWN = "clock_unknown"
    COOLDOWN = "cooldown"
    QUOTA = "quota"
    PERSON_VETO = "person_veto"
    NEAR_RESIDENTS = "near_residents"
    NO_VERDICT = "no_verdict"
    NO_CONTROLLER = "no_controller"
    DEMO_MODEL = "demo_model"


class Mode(StrEnum):
    """The owner's one switch; kept in `owner.db`."""

    OBSERVE = "observe"
    ARMED = "armed"
    MAINTENANCE = "maintenance"


@dataclass(frozen=True, slots=True)
class Frame:
    """One picture from one camera.

    `taken_at_ns` is `time.monotonic_ns` at the start of the exposure; `media_time` is seconds since the
    source began; `wall` is aware UTC. `disturbed` is set while a deterrent acts and settles. `exposure_ms` and `gain`
    (1: none) are the camera's own, where it tells.
    """

    camera: str
    seq: int
    taken_at_ns: int
    media_time: float
    wall: datetime
    image: Image
    luma: Luma
    disturbed: bool = False
    exposure_ms: float | None = None
    gain: float | None = None


@dataclass(frozen=True, slots=True)
class Box:
    """A rectangle in fractions (0..1) of the large image; `x`, `y` is its upper left corner."""

    x: float
    y: float
    w: float
    h: float

    @property
    def area(self) -> float:
        return self.w * self.h

    @property
    def centre(self) -> tuple[float, float]:
        return self.x + self.w / 2, self.y + self.h / 2

    def union(self, other: Box) -> Box:
        x, y = min(self.x, other.x), min(self.y, other.y)
        right, bottom = max(self.x + self.w, other.x + other.w), max(self.y + self.h, other.y + other.h)
        return Box(x, y, right - x, bottom - y)

    def overlap(self, other: Box) -> float:
        """Area of the intersection, in fractions of the image."""
        w = min(self.x + self.w, other.x + other.w) - max(self.x, other.x)
        h = min(self.y + self.h, other.y + other.h) - max(self.y, other.y)
        return max(w, 0.0) * max(h, 0.0)

    def iou(self, other: Box) -> float:
        shared = self.overlap(other)
        return shared / (self.area + other.area - shared) if shared else 0.0


WHOLE = Box(0.0, 0.0, 1.0, 1.0)


@dataclass(frozen=True, slots=True)
class Motion:
    """Where something moves in one frame. `recalibrating`: the whole picture changed, so nothing is trusted."""

    frame: Frame
    boxes: tuple[Box, ...]
    recalibrating: bool = False


@dataclass(frozen=True, slots=True)
class Prediction:
    """One model's part in one question. `label_p` is float32[K], normalised to 1; empty unless answered."""

    model: str
    role: Role
    fate: Fate
    label_p: NDArray[np.float32]
    asked_at_ns: int
    answered_at_ns: int
    invoke_ms: float
    embedding: NDArray[np.float32] | None = None


@dataclass(frozen=True, slots=True)
class Verdict:
    """The most trusted answer that arrived in time, or none. `number` tells later which question it was."""

    chosen: Prediction | None
    predictions: tuple[Prediction, ...]
    deadline_ns: int
    decided_at_ns: int
    number: int = 0


@dataclass(frozen=True, slots=True)
class Visit:
    """One visitor from first to last sight, as known now.

    Times are media seconds. `log_odds` is the accumulated evidence for a threat (natural log). `kind_p` and
    `label_p` hold averages over the answered questions. `clear` counts the distinct frames since the last pulse that
    spoke for a threat: whose own p was above the prior. `left` of an ended one: it went out of sight; False: it may
    have been there still (cap, end of the source, no room, a camera gone silent). `blind_s`: so long after `last_seen`
    a deterrent spoilt the picture: it left between the two.
    """

    id: str
    camera: str
    first_seen: float
    last_seen: float
    first_wall: datetime
    box: Box
    boxes: int = 1
    log_odds: float | None = None
    kind: Kind = Kind.OTHER
    kind_p: dict[str, float] = field(default_factory=dict)
    label: str | None = None
    label_p: float = 0.0
    top: tuple[tuple[str, float], ...] = ()
    answers: int = 0
    clear: int = 0
    actions: int = 0
    left: bool = True
    blind_s: float = 0.0


@dataclass(frozen=True, slots=True)
class Decision:
    """Act or not, and why. `expires_ns` (monotonic) bounds how long the order may be carried out.

    With the reason `observe`, `deterrent` is the one that would have fired. `eligible`: every deterrent that nothing
    spoke against, `deterrent` among them: from these chance may one day choose, or withhold. `held`: what spoke against
    the others that answer this camera.
    """

    act: bool
    reason: Reason
    deterrent: str | None = None
    expires_ns: int = 0
    eligible: tuple[str, ...] = ()
    held: tuple[tuple[str, Reason], ...] = ()


@dataclass(frozen=True, slots=True)
class Order:
    """A bounded pulse on one deterrent: `count` times `on_ms` on and `off_ms` off."""

    id: str
    deterrent: str
    channel: int
    on_ms: int
    off_ms: int
    count: int
    expires_ns: int

    @property
    def pattern(self) -> str:
        return f"{self.count}x{self.on_ms}/{self.off_ms}"

    @property
    def length_ms(self) -> int:
        return self.count * self.on_ms + (self.count - 1) * self.off_ms


@dataclass(frozen=True, slots=True)
class Action:
    """What became of one order. `acknowledged_at_ns` is when the controller said the pin is on, 0 if it never did."""

    id: str
    deterrent: str
    pattern: str
    ordered_at_ns: int
    acknowledged_at_ns: int
    on_ms: int
    result: str  # "on"; else "expired", "silent", "no controller", "refused: …"


@dataclass(frozen=True, slots=True)
class Event:
    """One line of the journal; `body` is the version 1 event JSON of which `id` and `type` are part."""

    id: str
    type: str
    body: dict[str, Any]
