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
from edge.lens_past import LEARN_S, Evidence, State, Usual, number
from edge.lens_view import DARK, Gaze, View, shift
from edge.values import Frame

log = logging.getLogger(__name__)

FILE = "lens.json"
PERIOD_S = 10.0
LONGEST_S = 60.0  # a longer silence between two pictures says nothing
DAY_S = 24 * 3600.0
_SAVE_S = 6 * 3600.0
_GREY, _COLOUR = 2.5, 5.0  # less colour than this: an infrared view; more: by day again
_COLOURED = 0.8  # an hour that shows colour so often; one grey day in a week leaves it so
_DAYLIGHT = 50.0
_SOFT = 0.14  # the sharpness of what has no fine detail at all: blur of any scene comes to this
_SOFTER = 0.05  # what is usually not even so much above that cannot well be less sharp
_MOVED, _SURE = 0.04, 0.45  # a shift; two views with nothing in common come to 0.4 at most, other light to less
_STEADY = 0.01  # an exposure that changes less is the same


@dataclass(frozen=True, slots=True)
class Trouble:
    """One thing that can be wrong, for how long before it is told, in words (after "camera NAME "), with advice.

    `usual_s`: told for so long, it is how this camera sees (and sooner, where little was known of it before).
    """

    name: str
    after_s: float
    says: str
    advice: str
    usual_s: float = math.inf


_WEEKS_S = 21 * DAY_S
_FORGET = "delete `lens.json` in the state directory"
_STAYS = f"; meant to be so? {_FORGET}, or wait three weeks"

TROUBLES = (
    Trouble(
        name="dark",
        after_s=600.0,
        says="sees nothing but dark, though by its past days it is light now",
        advice=f"is the lens covered, or a lamp off? else its exposure is stuck: pull its plug once{_STAYS}",
        usual_s=_WEEKS_S,
    ),
    Trouble(
        name="covered",
        after_s=900.0,
        says="sees next to nothing: it is covered, fogged or iced over",
        advice=f"uncover and wipe the lens; it goes by itself where it was fog{_STAYS}",
        usual_s=_WEEKS_S,
    ),
    Trouble(
        name="blurred",
        after_s=900.0,
        says="is less sharp than it was: dirt or dew on the lens, or its focus is lost",
        advice=f"wipe the lens; then turn its focus until `gander status` has it sharp again{_STAYS}",
        usual_s=_WEEKS_S,
    ),
    Trouble(
        name="white",
        after_s=300.0,
        says="sees nothing but white: its exposure is stuck, or a lamp shines into it",
        advice="pull its plug once; turn it away from the lamp",
    ),
    Trouble(
        name="exposure",
        after_s=600.0,
        says="does not follow the light: its exposure is stuck",
        advice=f"pull its plug once; is its exposure set by hand? then {_FORGET}",
    ),
    Trouble(
        name="frozen",
        after_s=300.0,
        says="shows the very same picture again and again: it hangs, or something repeats it",
        advice="pull its plug once; a recorder in between may do it too",
    ),
    Trouble(
        name="grey",
        after_s=1800.0,
        says="shows no colour, though by its past days it is day: its infrared switch hangs",
        advice=f"is it in the shade, or dirty? else it wants repair; models see hens better in colour{_STAYS}",
        usual_s=_WEEKS_S,
    ),
    Trouble(
        name="moved",
        after_s=900.0,
        says="looks elsewhere than it did",
        advice="turn it back; or draw its zones and masks anew: after a day this view is the usual one",
        usual_s=DAY_S,
    ),
)
_NEVER_USUAL = {trouble.name for trouble in TROUBLES if trouble.usual_s == math.inf}


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
    _stuck_light: float | None = None

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
        if view.shows_colour:
            self.state = "grey" if view.colour < (_GREY if self.state == "colour" else _COLOUR) else "colour"
        says = self._says(view, before, hour)
        for name, evidence in self.evidence.items():
            evidence.weigh(says.get(name), since_s)
        self._accept()
        told = {name for name, evidence in self.evidence.items() if evidence.told}
        if not told & _NEVER_USUAL:  # what is told must not become the measure; but a lamp may leave an hour
            self.usual.learn_light(view, self.state, hour, since_s)
        if not told:
            self.usual.learn_sight(view, self.state, since_s)

    def _accept(self) -> None:
        """Learn all anew when each trouble was told for its weeks, or thrice as long as the lens had looked before."""
        most_s = max(3.0 * self.usual.watched_s, DAY_S)
        told = [one for one in TROUBLES if one.name not in _NEVER_USUAL and self.evidence[one.name].told]
        if told and all(self.evidence[one.name].told_s >= min(one.usual_s, most_s) for one in told):
            self.usual = Usual()
            for one in told:
                self.evidence[one.name] = Evidence(one.after_s)

    def _says(self, view: View, before: View | None, hour: int | None) -> dict[str, bool | None]:
        """Which troubles this picture speaks for (True) and against (False); of the others it cannot tell."""
        frozen = False if view.alive else True if view.contrast > 0.2 else None
        if frozen and self.evidence["frozen"].told:
            return {"frozen": True}
        around = self.usual.around(hour)
        says = self._of_detail(view) if view.lit else {}
        says["frozen"] = frozen
        says["exposure"] = stuck = self._is_stuck(view, before)
        if not stuck:
            says["white"] = view.white > 0.9
        if view.lit and not says.get("covered"):
            says["dark"] = False
        elif view.brightness < DARK and not stuck and around and all(one.brightness > _DAYLIGHT for one in around):
            says["dark"] = True
        if view.shows_colour and self.state == "colour":
            says["grey"] = False
        elif view.shows_colour and around and all(one.colour > _COLOURED for one in around):
            says["grey"] = True
        return says

    def _of_detail(self, view: View) -> dict[str, bool | None]:
        """The same, of what takes light to judge; in what is worse the rest cannot be seen."""
        says: dict[str, bool | None] = {}
        detail, sharpness = self.usual.detail[self.state], self.usual.sharpness[self.state]
        if detail.known:
            says["covered"] = _exceeds(-view.detail, -0.2 * detail.value, -0.4 * detail.value)
        usual = sharpness.value - _SOFT
        if sharpness.known and usual > _SOFTER and view.contrast > 1.0 and not says.get("covered"):
            says["blurred"] = _exceeds(_SOFT - view.sharpness, -0.4 * usual, -0.6 * usual)
        if self.usual.edges_s >= LEARN_S and not says.get("covered") and not says.get("blurred"):
            moved, sure = shift(self.usual.edges, view.edges)
            says["moved"] = moved > _MOVED if sure > _SURE else None
        return says

    def _is_stuck(self, view: View, before: View | None) -> bool | None:
        """Whether it is far too dark or bright, and the exposure, which could go further, stays what it is.

        None where the light fits what it is stuck at.
        """
        if view.light is None or before is None or before.light is None:
            return None
        least, most = self.usual.light
        too_dark, too_bright = view.brightness < 30.0, view.brightness > 225.0
        steady = abs(view.light - before.light) <= _STEADY * before.light
        if steady and ((too_dark and view.light < most / 2) or (too_bright and view.light > least * 2)):
            self._stuck_light = view.light
            return True
        stuck = self._stuck_light
        return None if stuck is not None and abs(view.light - stuck) <= _STEADY * stuck else False

    def problems(self) -> Iterator[dict[str, str]]:
        for trouble in TROUBLES:
            if self.evidence[trouble.name].told:
                yield {"what": f"camera {self.camera.id} {trouble.says}", "advice": trouble.advice}

    def status(self) -> dict[str, Any]:
        """For `gander status`. `sharpness`: 1 is the usual; None: not known yet, or too dark to tell."""
        view, usual = self.view, self.usual.sharpness[self.state]
        sharp = view.sharpness / usual.value if view and view.lit and usual.known and usual.value else None
        return {
            "sees": self.state,
            "brightness": None if view is None else round(view.brightness),
            "sharpness": None if sharp is None else round(sharp, 2),
            "problems": list(self.problems()),
        }


def _exceeds(value: float, wrong: float, right: float) -> bool | None:
    """None where it is between what is wrong and what is right."""
    return True if value > wrong else False if value < right else None


class Lenses:
    """The sight of all live cameras; for one thread, `status` for any. What is usual is kept in the state directory.

    Whoever deletes the file there has it learnt anew, as it runs.
    """

    def __init__(self, cameras: Sequence[CameraConfig], state: Path) -> None:
        self._path, self._cameras = state / FILE, cameras
        kept = _kept(self._path)
        self._lenses = {camera.id: _lens(camera, kept.get(camera.id)) for camera in cameras}
        self._looked_s = -math.inf
        self._saved: tuple[float, list[str]] | None = None
        self._is_kept = bool(kept)

    def look(self, newest: Mapping[str, Frame | None], now_s: float, clock_known: bool) -> None:
        """`newest`: each camera's last frame; one seen before adds nothing. At most every few seconds."""
        if now_s - self._looked_s < PERIOD_S:
            return
        self._looked_s = now_s
        self._obey()
        for name, lens in self._lenses.items():
            frame = newest.get(name)
            if frame is not None:
                lens.look(frame, frame.wall.astimezone(UTC).hour if clock_known else None)
        self._keep(now_s)

    def _obey(self) -> None:
        """Forget what the owner has deleted."""
        try:
            self._path.stat()
        except FileNotFoundError:
            if self._is_kept:
                log.warning("%s was deleted: what is usual is learnt anew", self._path)
                self._lenses = {camera.id: Lens(camera) for camera in self._cameras}
                self._is_kept = False
        except OSError as error:  # a dying card is no owner
            log.debug("%s: %s", self._path, error)

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
        self._obey()
        if not any(lens.view for lens in self._lenses.values()):
            return
        kept = {name: _json(lens) for name, lens in self._lenses.items()}
        try:
            write_atomically(self._path, json.dumps(kept).encode(), 0o640)
            self._is_kept = True
        except OSError as error:
            log.warning("%s: %s", self._path, error)


def _json(lens: Lens) -> dict[str, Any]:
    told = {name: round(evidence.told_s) for name, evidence in lens.evidence.items() if evidence.told}
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
        for name in kept["told"].keys() & lens.evidence.keys():
            after_s = lens.evidence[name].after_s
            lens.evidence[name] = Evidence(after_s, after_s, told=True, told_s=number(kept["told"][name]))
    except (ValueError, TypeError, KeyError, AttributeError, OverflowError) as error:
        log.warning("camera %s: what is usual for it cannot be read (%s): it is learnt anew", camera.id, error)
        return Lens(camera)
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
