"""Looks a Pico over: its port, its firmware, its limits, and whether they fit this Gander and its configuration."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from edge.actuators.greeting import Greeting, check_fit, complaints, read_greeting
from edge.actuators.serial import find
from edge.config import Config
from edge.control import ask
from edge.errors import ControllerError, GanderError
from edge.health import Finding
from firmware.wire import PROTOCOL

_ANSWER_S = 10.0


def findings(config: Config, state: Path) -> Iterator[Finding]:
    """One finding on where the Pico is and what runs on it, and what else is to be said of it; none without a Pico.

    A running daemon has the port and is asked; else the port is opened, which turns the controller off.
    """
    if config.controller.kind != "serial":
        return
    facts = _daemons(state)
    try:
        if facts is None:
            where, greeting = _meet(config)
            enabled = [d for d in config.deterrent if d.enabled]
            check_fit(greeting, enabled)
            facts = greeting.facts() | {"where": where, "complaints": complaints(greeting, enabled)}
        elif facts.get("trouble"):
            raise ControllerError(facts["trouble"])
    except ControllerError as error:
        says, _, advice = str(error).partition("; ")
        yield Finding("problem", "controller", says, advice or "plug it out and in again; `deploy/flash.sh` renews it")
        return
    yield _good(facts)
    for what, advice in facts["complaints"]:
        yield Finding("problem", "controller", what, advice)


def _daemons(state: Path) -> dict[str, Any] | None:
    """What a running daemon knows of its controller; None where none runs, or none of ours."""
    try:
        status = ask(state, "status", timeout_s=_ANSWER_S)
        return dict(status["controller_facts"]) if status["controller"] == "serial" else None
    except (GanderError, KeyError):
        return None


def _meet(config: Config) -> tuple[str, Greeting]:
    """Where it is, and its greeting. Raises `ControllerError`."""
    wire = find(config.controller.port, config.controller.baud)
    try:
        return wire.name, read_greeting(wire.greeting())
    finally:
        wire.close()


def _good(facts: dict[str, Any]) -> Finding:
    limits = "; ".join(
        f"channel {channel} at most {one['max_on_ms'] / 1000:g} s at once, {one['hour_ms'] / 1000:g} s in an hour, "
        f"rest {one['rest_ms'] / 1000:g} s"
        for channel, one in facts["limits"].items()
    )
    says = f"{facts['where']}: firmware {facts['firmware']}, protocol {facts.get('protocol', PROTOCOL)}; {limits}"
    return Finding("ok", "controller", says)
