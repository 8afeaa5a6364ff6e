"""Looks the whole installation over, and says of each thing how it is and what to do."""

from __future__ import annotations

import logging
import sqlite3
import threading
from collections.abc import Iterable, Iterator, Mapping
from contextlib import closing
from pathlib import Path
from typing import Any

from edge import card, controller_check, feed_check, installed, machine, state_check, unit
from edge.config import CameraConfig, Config
from edge.control import ask
from edge.errors import GanderError, NotRunning
from edge.frames import FrameSource, open_source
from edge.health import Finding
from edge.lineup import TRUSTED, Lineup, threads, trusted
from edge.model_store import ModelStore
from edge.self_test import self_test
from edge.values import Kind

_PICTURE_S = 20.0  # a camera may take so long to begin
_ANSWER_S = 10.0  # a healthy daemon answers in milliseconds, a busy one in a second


def examine(config: Config, state: Path, full: bool) -> Iterator[Finding]:
    """Everything there is to say, as it is found. `full`: also what takes minutes. Writes nothing, moves nothing."""
    if shut := state_check.closed(state):
        yield shut
        return
    yield from _done("machine", machine.findings(config, state))
    yield from _done("service", installed.findings(config))
    yield from _done("secrets", state_check.secrets(config, state))
    yield from _done("model", _models(config, state))
    yield from _done("installed models", state_check.bundles(config, state, full))
    yield from _done("daemon", _daemon(config, state))
    yield from _done("deterrent", _deterrents(config))
    yield from _done("controller", controller_check.findings(config, state))
    yield from _done("feed", feed_check.findings(config))
    yield from _done("journal", state_check.databases(state, full))
    if full:
        yield from _done("pictures", state_check.pictures(state))


def _done(what: str, check: Iterable[Finding]) -> Iterator[Finding]:
    """A check that cannot be carried through is a finding too."""
    try:
        yield from check
    except (GanderError, OSError, sqlite3.Error, ValueError) as error:
        says, _, advice = str(error).partition("; ")
        yield Finding("problem", what, f"cannot be looked over: {says}", advice or "mend that, then run this again")


def _daemon(config: Config, state: Path) -> Iterator[Finding]:
    """The running daemon; else what it would work with. The cameras are opened only where no daemon can have them."""
    try:
        status: Mapping[str, Any] = ask(state, "status", timeout_s=_ANSWER_S)
    except NotRunning:
        if state_check.taken(state):
            yield Finding(
                "advice", "daemon", "is starting, or ending", "run this again in a minute; still so: restart it"
            )
            return
    except GanderError as error:
        yield Finding("problem", "daemon", f"runs, but does not answer: {error}", "restart it; its log says more")
        return
    else:
        try:
            yield from _running(status)
        except KeyError as error:
            yield Finding("problem", "daemon", f"is of another version: it does not tell {error}", "restart it")
        return
    for camera in config.camera:
        yield from _camera(camera)
    yield Finding("advice", "daemon", "is not running", unit.to_start())
    yield state_check.mode(config.policy, state)


def _models(config: Config, state: Path) -> Iterator[Finding]:
    try:
        bundles = trusted(config, ModelStore(state, config.models))
        lineup = Lineup(config, bundles)
    except GanderError as error:
        yield Finding("problem", "model", str(error), "`gander bundle list` shows what is installed")
        return
    for role, bundle, count in zip(TRUSTED, bundles, threads(config.models), strict=False):
        name = f"{bundle.name} {bundle.version}"
        try:
            test = self_test(bundle, count)
        except GanderError as error:
            yield Finding("problem", role, str(error), "install another: `gander bundle install FILE`")
            continue
        took = f"{test.invoke_ms:.{0 if test.invoke_ms >= 10 else 1}f} ms"
        says, deadline = f"{name}: {took} on {test.runtime}", config.models.deadline_ms
        if test.invoke_ms > deadline:
            yield Finding(
                "problem", role, f"{says}, the deadline is {deadline} ms", "take a smaller model or a later deadline"
            )
        elif test.invoke_ms > deadline / 2:
            yield Finding(
                "advice", role, f"{says} of {deadline} ms: tight", "set a standby, which answers when it is late"
            )
        else:
            yield Finding("ok", role, f"{says}, the deadline is {deadline} ms")
    if lineup.demo:
        yield Finding(
            "advice", "model", "is a demonstration: it knows rendered jays and drives no real pin",
            "`gander bundle fetch inat-birds` knows 964 birds; or train your own",
        )  # fmt: skip
    yield from _labels(lineup)


def _labels(lineup: Lineup) -> Iterator[Finding]:
    kinds = lineup.kinds
    if not kinds.has(Kind.THREAT):
        yield Finding("problem", "labels", "none is a threat: nothing will ever fire", "name some in [labels] threat")
    if not lineup.sees_people:
        yield Finding(
            "advice", "labels", "no label is a person, so people do not hold the deterrent back",
            "siren and water hold for that; keep to a light, or train with people",
        )  # fmt: skip
    if kinds.has(Kind.THREAT):
        told = []
        for kind in (Kind.THREAT, Kind.RESIDENT, Kind.PERSON):
            names = [label for label, of in zip(kinds.labels, kinds.of_label, strict=True) if of is kind]
            more = f" and {len(names) - 3} more" if len(names) > 3 else ""
            told.append(f"{kind}: {', '.join(names[:3])}{more}" if names else f"no {kind}")
        yield Finding("ok", "labels", "; ".join(told))


def _camera(camera: CameraConfig) -> Iterator[Finding]:
    name = f"camera {camera.id}"
    try:
        source = open_source(camera)
        shape = _first_picture(source)
    except GanderError as error:
        yield Finding("problem", name, str(error), "mend camera.source in the configuration")
        return
    if shape is None:
        yield Finding(
            "problem", name, f"{camera.shown}: {source.trouble or f'no picture within {_PICTURE_S:.0f} s'}",
            "look at its power, cable, address and credentials",
        )  # fmt: skip
    else:
        yield Finding("ok", name, f"{camera.shown}: a picture of {shape[1]}x{shape[0]}")


def _first_picture(source: FrameSource) -> tuple[int, ...] | None:
    """The shape of a source's first picture; None where none comes in time. Raises what the source does."""
    found: list[tuple[int, ...] | GanderError] = []

    def read() -> None:
        try:
            with closing(source.shots()) as shots:
                found.extend(shot.image.shape for shot in [next(shots)])
        except GanderError as error:
            found.append(error)

    logging.getLogger("edge.frames").setLevel(logging.ERROR)  # what it says is the finding
    reader_ = threading.Thread(target=read, daemon=True)  # a driver may hang for ever
    reader_.start()
    reader_.join(_PICTURE_S)
    if found and isinstance(found[0], GanderError):
        raise found[0]
    return found[0] if found and isinstance(found[0], tuple) else None


def _running(status: Mapping[str, Any]) -> Iterator[Finding]:
    minutes = status["uptime_s"] / 60
    long = f"{minutes:.0f} min" if minutes < 120 else f"{minutes / 60:.0f} h"
    yield Finding("ok", "daemon", f"has run for {long}, mode {status['mode']}")
    for problem in status["problems"]:
        yield Finding("problem", "daemon", problem["what"], problem["advice"])
    for camera in status["cameras"]:
        if not camera["trouble"]:
            yield Finding("ok", f"camera {camera['id']}", f"{camera['source']}: {camera['frames']} pictures")
    yield from card.findings(status["card"])
    yield state_check.mode_found(status["mode"])


def _deterrents(config: Config) -> Iterator[Finding]:
    enabled = [d for d in config.deterrent if d.enabled]
    if not enabled:
        yield Finding("advice", "deterrent", "none is enabled: nothing will ever fire", "enable one in [[deterrent]]")
        return
    serial = config.controller.kind == "serial"
    names = ", ".join(f"{d.id} ({d.kind}, {f'channel {d.channel}' if serial else f'GPIO {d.pin}'})" for d in enabled)
    if serial:
        yield Finding("ok", "deterrent", f"{names}, on a controller of its own")
        return
    if config.controller.kind == "dry":
        yield Finding(
            "advice", "deterrent", f"{names}: dry, no pin moves", 'when it is wired: controller.kind = "guard"'
        )
    if config.controller.kind == "guard" or machine.raspberry():  # with dry: whether they could be driven
        yield from machine.pins(names, rights=not unit.there())
    if config.controller.kind == "guard" and (harmful := [d.id for d in enabled if d.harms]):
        yield Finding(
            "advice", "deterrent", f"{', '.join(harmful)} on this Pi's own pins stays on where guard and kernel die",
            "give water and siren a Pico, which has a watchdog: `firmware/README.md`",
        )  # fmt: skip
