"""Notices what is wrong with a camera's sight, slowly: covered, out of focus, exposure stuck, frozen, moved."""

from __future__ import annotations

import json
import logging
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC
from pathlib import Path
from typing import Any

from edge.atomic import write_atomically
from edge.config import CameraConfig
from edge.lens_past import LEARN_S, State, Usual
from edge.lens_view import Gaze, View, shift
from edge.values import Frame

log = logging.getLogger(__name__)

FILE = "lens.json"
PERIOD_S = 10.0
LONGEST_S = 60.0  # a longer silence between two pictures says nothing
_SAVE_S = 6 * 3600.0
_GREY, _COLOUR = 2.5, 5.0  # less colour than this: an infrared view; more: by day again
_LIT = 40.0  # brightness from which detail is judged
_DARK, _DAYLIGHT = 16.0, 50.0
_SOFT = 0.14  # the sharpness of what has no fine detail at all: blur of any scene comes to this
_MOVED, _SURE = 0.04, 0.45  # a shift; two views with nothing in common come to 0.4 at most, other light to less
_STEADY = 0.01  # an exposure that changes less is the same


@dataclass(frozen=True, slots=True)
class Trouble:
    """One thing that can be wrong, for how long before it is told, in words (after "camera NAME "), with advice."""

    name: str
    after_s: float
    says: str
    advice: str


TROUBLES = (
    Trouble(
        *("dark", 600.0, "sees nothing but dark, though by its past days it is light now"),
        "is the lens covered, or a lamp off? else its exposure is stuck: pull its plug once",
    ),
    Trouble(
        *("covered", 900.0, "sees next to nothing: it is covered, fogged or iced over"),
        "uncover and wipe the lens; it goes by itself where it was fog",
    ),
    Trouble(
        *("blurred", 900.0, "is less sharp than it was: dirt or dew on the lens, or its focus is lost"),
        "wipe the lens; then turn its focus until `gander status` has it sharp again",
    ),
    Trouble(
        *("white", 300.0, "sees nothing but white: its exposure is stuck, or a lamp shines into it"),
        "pull its plug once; turn it away from the lamp",
    ),
    Trouble(
        *("exposure", 600.0, "does not follow the light: its exposure is stuck"),
        "pull its plug once; is its exposure set by hand?",
    ),
    Trouble(
        *("frozen", 300.0, "shows the very same picture again and again: it hangs, or something repeats it"),
        "pull its plug once; a recorder in between may do it too",
    ),
    Trouble(
        *("grey", 1800.0, "shows no colour, though by its past days it is day: its infrared switch hangs"),
        "is it in the shade, or dirty? else it wants repair; models see hens better in colour",
    ),
    Trouble(
        *("moved", 900.0, "looks elsewhere than it did"),
        "turn it back; or draw its zones and masks anew: after a day this view is the usual one",
    ),
)


@dataclass(slots=True)
class Evidence:
    """Grows while something is so, falls twice as fast while it is not; told when full, until half is gone."""

    after_s: float
    score_s: float = 0.0
    told: bool = False

    def weigh(self, is_so: bool, since_s: float) -> None:
        self.score_s = min(max(self.score_s + since_s * (1.0 if is_so else -2.0), 0.0), self.after_s)
        if self.score_s >= self.after_s:
            self.told = True
        elif self.score_s <= self.after_s / 2:
            self.told = False


@dataclass(slots=True)
class Lens:
    """One camera's sight. Pure: time, hour and pictures are passed in."""

    camera: CameraConfig
    usual: Usual = field(default_factory=Usual)
    evidence: dict[str, Evidence] = field(
        default_factory=lambda: {trouble.name: Evidence(trouble.after_s) for trouble in TROUBLES}
    )
    state: State = "colour"
    view: View | None = None
    _gaze: Gaze | None = None
    _at_s: float | None = None

    def look(self, frame: Frame, hour: int | None) -> None:
        """Judge a frame some seconds after the one before (`media_time`), then learn from it.

        `hour`: of the day (UTC), None while the clock is not known.
        """
        since_s = LONGEST_S if self._at_s is None else frame.media_time - self._at_s
        self._at_s = frame.media_time
        if self._gaze is None or self._gaze.size != frame.luma.shape:
            self._gaze = Gaze(frame.luma.shape, self.camera.masks)
        since_s = min(max(since_s, 0.0), LONGEST_S)
        view = self._gaze.look(frame.luma, frame.image, since_s)
        if frame.exposure_ms is not None:
            view = replace(view, light=frame.exposure_ms * (frame.gain or 1.0))
        before, self.view = self.view, view
        if _shows_colour(view):
            self.state = "grey" if view.colour < (_GREY if self.state == "colour" else _COLOUR) else "colour"
        found = self._wrong(view, before, hour)
        for name, evidence in self.evidence.items():
            evidence.weigh(name in found, since_s)
        self.usual.learn(view, self.state, _is_lit(view), hour, since_s)

    def _wrong(self, view: View, before: View | None, hour: int | None) -> set[str]:
        """Which troubles this picture speaks for."""
        usual, state = self.usual, self.state
        around = usual.around(hour)
        found = set()
        if self._is_stuck(view, before):
            found.add("exposure")
        elif view.brightness < _DARK and around and all(one.brightness > _DAYLIGHT for one in around):
            found.add("dark")
        elif view.white > 0.9:
            found.add("white")
        if not view.alive and view.contrast > 0.2:
            found.add("frozen")
        if state == "grey" and _shows_colour(view) and around and all(one.colour > 0.95 for one in around):
            found.add("grey")
        if not _is_lit(view):
            return found
        detail, sharpness = usual.detail[state], usual.sharpness[state]
        if detail.known and view.detail < 0.2 * detail.value:
            found.add("covered")
        elif sharpness.known and view.contrast > 1.0 and view.sharpness - _SOFT < 0.4 * (sharpness.value - _SOFT):
            found.add("blurred")
        elif usual.edges_s >= LEARN_S:
            moved, sure = shift(usual.edges, view.edges)
            if moved > _MOVED and sure > _SURE:
                found.add("moved")
        return found

    def _is_stuck(self, view: View, before: View | None) -> bool:
        """Far too dark or bright, and the exposure, which could go further, stays what it is."""
        if view.light is None or before is None or before.light is None:
            return False
        steady = abs(view.light - before.light) <= _STEADY * before.light
        least, most = self.usual.light
        too_dark, too_bright = view.brightness < 30.0, view.brightness > 225.0
        return steady and ((too_dark and view.light < most / 2) or (too_bright and view.light > least * 2))

    def problems(self) -> Iterator[dict[str, str]]:
        for trouble in TROUBLES:
            if self.evidence[trouble.name].told:
                yield {"what": f"camera {self.camera.id} {trouble.says}", "advice": trouble.advice}

    def status(self) -> dict[str, Any]:
        """For `gander status`. `sharpness`: 1 is the usual; None: not known yet, or too dark to tell."""
        view, usual = self.view, self.usual.sharpness[self.state]
        sharp = view.sharpness / usual.value if view and _is_lit(view) and usual.known and usual.value else None
        return {
            "sees": self.state,
            "brightness": None if view is None else round(view.brightness),
            "sharpness": None if sharp is None else round(sharp, 2),
            "problems": list(self.problems()),
        }


def _shows_colour(view: View) -> bool:
    """Whether there would be colour to be seen."""
    return view.brightness >= _DARK and view.white < 0.5


def _is_lit(view: View) -> bool:
    """Whether there is light to judge detail by."""
    return view.brightness >= _LIT and view.white < 0.5


class Lenses:
    """The sight of all live cameras; for one thread, `status` for any. What is usual is kept in the state directory."""

    def __init__(self, cameras: Sequence[CameraConfig], state: Path) -> None:
        self._path = state / FILE
        kept = _kept(self._path)
        self._lenses = {camera.id: _lens(camera, kept.get(camera.id)) for camera in cameras}
        self._looked_s = -math.inf
        self._saved: tuple[float, list[str]] | None = None

    def look(self, newest: Mapping[str, Frame | None], now_s: float, clock_known: bool) -> None:
        """`newest`: each camera's last frame; one seen before adds nothing. At most every few seconds."""
        if now_s - self._looked_s < PERIOD_S:
            return
        self._looked_s = now_s
        for name, lens in self._lenses.items():
            frame = newest.get(name)
            if frame is not None:
                lens.look(frame, frame.wall.astimezone(UTC).hour if clock_known else None)
        self._keep(now_s)

    def status(self, camera: str) -> dict[str, Any]:
        lens = self._lenses.get(camera)
        return lens.status() if lens else {}

    def _keep(self, now_s: float) -> None:
        told = [problem["what"] for lens in self._lenses.values() for problem in lens.problems()]
        self._saved = self._saved or (now_s, told)
        if now_s - self._saved[0] >= _SAVE_S or told != self._saved[1]:
            self._saved = now_s, told
            self.save()

    def save(self) -> None:
        """Write down what is usual. What cannot be written is learnt anew, some day."""
        if not any(lens.view for lens in self._lenses.values()):
            return
        kept = {name: _json(lens) for name, lens in self._lenses.items()}
        try:
            write_atomically(self._path, json.dumps(kept).encode(), 0o640)
        except OSError as error:
            log.warning("%s: %s", self._path, error)


def _json(lens: Lens) -> dict[str, Any]:
    told = [name for name, evidence in lens.evidence.items() if evidence.told]
    return {"of": _of(lens.camera), "usual": lens.usual.json(), "told": told}


def _of(camera: CameraConfig) -> str:
    """Another camera, another view of it, or another limit of its exposure, has other habits."""
    return f"{camera.shown} {camera.size} {camera.rotate} {camera.fps}"


def _lens(camera: CameraConfig, kept: Any) -> Lens:
    lens = Lens(camera)
    if not isinstance(kept, dict) or kept.get("of") != _of(camera):
        return lens
    try:
        lens.usual = Usual.of(kept["usual"])
        told = {str(name) for name in kept["told"]}
    except (ValueError, TypeError, KeyError) as error:
        log.warning("camera %s: what is usual for it cannot be read (%s): it is learnt anew", camera.id, error)
        return Lens(camera)
    for name in told & lens.evidence.keys():
        lens.evidence[name] = Evidence(lens.evidence[name].after_s, lens.evidence[name].after_s, told=True)
    return lens


def _kept(path: Path) -> dict[str, Any]:
    try:
        found = json.loads(path.read_text())
    except FileNotFoundError:
        return {}
    except (OSError, ValueError) as error:
        log.warning("%s cannot be read (%s): what is usual is learnt anew", path, error)
        return {}
    return found if isinstance(found, dict) else {}
