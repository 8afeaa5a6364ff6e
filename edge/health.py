"""Checks of health as values: what is wrong, and what to do about it."""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

_ZONES = Path("/sys/class/thermal")
_SENSORS = Path("/sys/class/hwmon")
SUPPLY = "use the supply made for this model, with its own cable"
_HOT_C = 80.0  # a Raspberry Pi slows down from here on
_FULL = 0.05  # of the disk
_MANY_STARTS = 5
_WAITING = 500  # records
_LATE_S = 600.0  # for what is published
_SILENT_S = 5.0  # without a picture: one that is back has them more often
_LOST_S = 3600.0  # so long it is told that records were lost


@dataclass(frozen=True, slots=True)
class Problem:
    """What is wrong, and what to do about it. Up to ": " `what` names it; figures and reasons, which move, follow."""

    what: str
    advice: str


Level = Literal["ok", "advice", "problem"]


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing looked at. `advice` says what to do; empty where nothing is to be done."""

    level: Level
    what: str
    says: str
    advice: str = ""


def problems(status: Mapping[str, Any]) -> list[Problem]:
    """What is wrong with an appliance of this status (`app.Appliance.status`). Pure."""
    parts = (_cameras, _models, _pin, _keeping, _publishing, _machine)
    return [problem for part in parts for problem in part(status)]


def _cameras(status: Mapping[str, Any]) -> Iterator[Problem]:
    due = status.get("ladder", {}).get("due", {})
    for camera in status["cameras"]:
        if camera["trouble"] or (camera["id"] in due and camera["silent_s"] > _SILENT_S):
            why = camera["trouble"] or f"nothing for {camera['silent_s']:.0f} s"
            yield Problem(
                f"camera {camera['id']} gives no picture: {why}",
                f"look at its power, cable and network; it is opened again and again by itself{_next(due, camera)}",
            )
        for problem in camera.get("lens", {}).get("problems", ()):
            yield Problem(problem["what"], problem["advice"])


def _next(due: Mapping[str, Any], camera: Mapping[str, Any]) -> str:
    """The rung above, in words."""
    if camera["id"] not in due:
        return ""
    step = {"restart": "Gander restarts itself", "reboot": "the machine is restarted"}[due[camera["id"]]["step"]]
    minutes = due[camera["id"]]["in_s"] / 60
    return f"; if that does not help, {step} in {minutes:.0f} minutes"


def _models(status: Mapping[str, Any]) -> Iterator[Problem]:
    models = status["models"]
    missing = [model for model in models if not model["ready"]]
    if models and len(missing) == len(models) and status["uptime_s"] > 60:
        yield Problem("no model answers, so nothing will fire", "see the log; `gander doctor` tries the models out")
        return
    for model in missing:
        why = model.get("trouble", "")
        if status["uptime_s"] > 60:
            yield Problem(
                f"the {model['role']} {model['name']} is not loaded{': ' * bool(why) + why}",
                "see the log; it is started again by itself",
            )
    for model in models:
        if model["starts"] > _MANY_STARTS:
            yield Problem(
                f"the {model['role']} {model['name']} keeps ending",
                "is memory short? `gander doctor`; or go back: `gander bundle rollback`",
            )


def _pin(status: Mapping[str, Any]) -> Iterator[Problem]:
    if status["mode"] != "observe" and not status["controller_ready"]:
        trouble, _, advice = (status["controller_facts"].get("trouble") or "it does not answer").partition("; ")
        yield Problem(
            f"the deterrent's controller is not ready: {trouble}",
            f"nothing fires until it is; {advice or '`gander doctor` looks closer'}",
        )
    for what, advice in status["controller_facts"].get("complaints", ()):
        yield Problem(what, advice)
    quiet = [d["id"] for d in status["deterrents"] if d["enabled"] and d["quiet"]]
    if quiet and not status["clock_known"]:
        yield Problem(
            f"the clock is not set, so {', '.join(quiet)} holds for quiet hours",
            "connect to a network once, or fit a clock (RTC): `timedatectl` says whether it is synchronised",
        )


def _keeping(status: Mapping[str, Any]) -> Iterator[Problem]:
    journal, pictures = status["journal"], status["pictures"]
    if journal["dropped"] and journal["dropped_s"] < _LOST_S:
        yield Problem(
            f"records could not be kept: {journal['dropped']} since the start",
            "is the card full or dying? `gander doctor --full` reads all of it",
        )
    elif journal["waiting"] > _WAITING:
        yield Problem(
            f"records wait to be written: {journal['waiting']}", "the card is slow, full or read-only: `gander doctor`"
        )
    if pictures.get("problem"):
        yield Problem("pictures are not kept", pictures["problem"])


def _publishing(status: Mapping[str, Any]) -> Iterator[Problem]:
    for name, queue in status.get("publishers", {}).items():
        if (queue["oldest_s"] or 0.0) > _LATE_S and not queue["why"]:
            why = queue["trouble"] or "`gander publish` does not run, or rests"
            minutes = queue["oldest_s"] / 60
            yield Problem(
                f"{name}: {queue['waiting']} wait to be told, the oldest for {minutes:.0f} minutes: {why}",
                f"nothing is lost; `gander publish --test {name} --send` tries it",
            )


def _machine(status: Mapping[str, Any]) -> Iterator[Problem]:
    disk, temperature = status["disk"], status["temperature"]
    if disk["free"] < _FULL * disk["total"]:
        yield Problem(
            f"the disk is nearly full: {disk['free'] / 1e6:.0f} MB free",
            "`gander prune` deletes pictures that are due; labelled ones stay: move them with `gander export`",
        )
    if temperature is not None and temperature >= _HOT_C:
        yield Problem(f"the processor is hot and slows down: {temperature:.0f} °C", "give it air, shade or a heat sink")
    if status["undervoltage"]:
        yield Problem("the supply gives too little voltage", SUPPLY)


def disk(state: Path) -> dict[str, int]:
    """Bytes free and in all where the state directory is."""
    usage = shutil.disk_usage(state)
    return {"free": usage.free, "total": usage.total}


def temperature() -> float | None:
    """The hottest zone's degrees Celsius, where the machine tells."""
    found = []
    for zone in _ZONES.glob("thermal_zone*/temp"):
        try:
            found.append(int(zone.read_text()) / 1000)
        except (OSError, ValueError):
            continue
    return max(found, default=None)


def undervoltage(sensors: Path = _SENSORS) -> bool | None:
    """Whether a Raspberry Pi has too little voltage right now, as its firmware says; None on other machines."""
    for sensor in sensors.glob("hwmon*"):
        try:
            if (sensor / "name").read_text().strip() == "rpi_volt":
                return (sensor / "in0_lcrit_alarm").read_text().strip() == "1"
        except OSError:
            continue
    return None
