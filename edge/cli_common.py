"""What the verbs share: options, how a configuration is found, how a command is sent, how things are printed."""

from __future__ import annotations

import json
import logging
import os
import re
import sys
import threading
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NoReturn

import typer
from rich.console import Console

from edge.control import ask, me
from edge.errors import CameraStuck, GanderError, NotRunning, Refused

if TYPE_CHECKING:  # it takes a while to import, and a verb may have to give way first
    from edge.config import Config

ETC, STATE = Path("/etc/gander/gander.toml"), Path("/var/lib/gander")

_PIPED = None if sys.stdout.isatty() else 160  # a file or a pager is no 80 columns wide
out = Console(highlight=False, markup=False, emoji=False, width=_PIPED)
err = Console(stderr=True, highlight=False, markup=False, emoji=False)

ConfigOption = Annotated[Path | None, typer.Option("--config", help=f"Configuration; {ETC} where that exists.")]
StateOption = Annotated[
    Path | None,
    typer.Option("--state", envvar="GANDER_STATE", help="State directory; default from the configuration."),
]
SetOption = Annotated[list[str] | None, typer.Option("--set", metavar="K=V", help="Override one configured value.")]
MqttOption = Annotated[str | None, typer.Option("--mqtt", metavar="HOST:PORT", help="The MQTT broker to publish to.")]
SourceOption = Annotated[
    str | None, typer.Option("--source", help="A camera, a clip, a folder of pictures, or synthetic:SCENE.")
]
ForOption = Annotated[
    float | None, typer.Option("--for", metavar="SECONDS", min=0.1, max=1e8, help="Stop after so long.")
]
JsonOption = Annotated[bool, typer.Option("--json", help="Print one JSON object per line.")]


def settings(config: Path | None, overrides: Iterable[str] | None = None) -> Config:
    """The configuration a verb works with."""
    from edge.config_file import load

    return load(in_use(config), list(overrides or ()))


def in_use(config: Path | None) -> Path | None:
    """The configuration's file; None where there is none, and the defaults hold."""
    return config or (ETC if ETC.exists() else None)


def home(config: Path | None, state: Path | None, overrides: Iterable[str] | None = None) -> tuple[Config, Path]:
    """The configuration, and the state directory it means."""
    from edge.config_file import state_directory

    chosen = settings(config, overrides)
    return chosen, state_directory(chosen, state, service_state(in_use(config)))


def service_state(config: Path | None) -> Path | None:
    """The state directory that the unit of an installed configuration gives with it; None for any other."""
    if config is None or config.absolute().parent != ETC.parent:
        return None
    return STATE if config.name == ETC.name else STATE.with_name(f"{STATE.name}-watch-{config.stem}")


def with_mqtt(overrides: Iterable[str] | None, broker: str | None) -> list[str]:
    """The overrides, and what `--mqtt HOST:PORT` means. Raises `Refused`."""
    changes = list(overrides or ())
    if broker is not None:
        found = re.fullmatch(r"(\[[0-9A-Fa-f:.]+\]|[^:\s/]+)(?::(\d{1,5}))?", broker)
        if not found:
            raise Refused(f"--mqtt {broker}: write HOST:PORT")
        changes.append(f"mqtt.host={json.dumps(found[1].strip('[]'))}")
        changes += [f"mqtt.port={int(found[2])}"] if found[2] else []
    return changes


def with_source(overrides: Iterable[str] | None, source: str | None) -> list[str]:
    """The overrides, and what `--source` means."""
    return [*(overrides or ()), *([f"camera.0.source={json.dumps(source)}"] if source else [])]


def command(config: Config, state: Path, verb: str, /, **arguments: Any) -> str:
    """Have a command carried out: by the daemon, or without one by the same code under the same lock."""
    try:
        return str(ask(state, verb, **arguments))
    except NotRunning:
        from edge.app import offline  # a verb that only tells others needs none of what this brings: cameras, models

        with offline(config, state) as handlers:
            return str(handlers[verb](me(), **arguments))


def give_way() -> None:
    """Let a running watch go first. Not to the very last: this work must also end beside one that is always busy."""
    os.nice(10)


def enter(app: typer.Typer) -> None:
    """Run a command line. Exit status: 0 done, 1 failed, 2 refused input, 75 start me again; and why, in one line."""
    logging.basicConfig(level=logging.WARNING, format="%(levelname)s %(name)s: %(message)s", stream=sys.stderr)
    try:
        app()
    except Refused as error:
        err.print(f"gander: {error}", markup=False, soft_wrap=True)
        _leave(2)
    except CameraStuck as error:
        err.print(f"gander: {error}", markup=False, soft_wrap=True)
        _leave(CameraStuck.STATUS)
    except GanderError as error:
        err.print(f"gander: {error}", markup=False, soft_wrap=True)
        _leave(1)
    except SystemExit as end:
        if not isinstance(end.code, int | None):
            raise
        _leave(end.code or 0)


def _leave(status: int) -> NoReturn:
    """End with this status, also beside a thread that is stuck in a camera's read.

    OpenCV aborts the process when such a read returns while the interpreter is being taken down.
    """
    sys.stdout.flush()
    sys.stderr.flush()
    if any(thread.name.startswith("capture-") for thread in threading.enumerate()):
        logging.shutdown()
        os._exit(status)  # everything of ours is closed by now: the appliance's ExitStack has ended
    sys.exit(status)


def print_json(value: Mapping[str, Any]) -> None:
    """One object on one line, for programs."""
    print(json.dumps(value, ensure_ascii=False), flush=True)  # noqa: T201


def say(text: str) -> None:
    """One line for people, as it is: no markup, no wrapping."""
    out.print(text, markup=False, soft_wrap=True)
