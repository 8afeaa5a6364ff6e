"""Reads `gander.toml` and `--set` overrides into a `Config`, and prints the documented example."""

from __future__ import annotations

import json
import os
import tomllib
from itertools import pairwise
from pathlib import Path
from typing import Any, get_args

from pydantic import ValidationError

from edge.config import Config
from edge.config_base import Section
from edge.errors import ConfigError


def load(path: Path | None, overrides: list[str] | tuple[str, ...] = ()) -> Config:
    """Read `path` (none: the defaults), apply `K=V` overrides, check everything. Raises `ConfigError`."""
    raw: dict[str, Any] = {}
    if path is not None:
        try:
            raw = tomllib.loads(path.read_text(encoding="utf-8"))
        except FileNotFoundError:
            raise ConfigError(f"{path}: no such file; `gander config --example` prints one to start from") from None
        except (OSError, UnicodeDecodeError) as error:
            raise ConfigError(f"{path}: cannot be read as text: {error}") from None
        except (tomllib.TOMLDecodeError, RecursionError) as error:
            raise ConfigError(f"{path}: not TOML: {error}") from None
    where = str(path) if path else "defaults"
    for override in overrides:
        _override(raw, override)
    try:
        return Config.model_validate(raw)
    except ValidationError as error:
        raise ConfigError(f"{where}: {first_problem(error)}") from None


def state_directory(config: Config, chosen: Path | None, of_service: Path | None = None) -> Path:
    """Where this appliance keeps what it knows: as told, as configured, as its service has it, else in the user's home.

    Raises `ConfigError` where that is not as its service has it: a daemon that was told would not hear this verb.
    """
    configured = config.node.state
    if not chosen and of_service and configured and Path(configured) != of_service:
        raise ConfigError(f"node.state: its service keeps it in {of_service}, got {configured}; leave it out")
    if told := chosen or configured or of_service:
        return Path(told)
    base = os.environ.get("XDG_STATE_HOME") or Path.home() / ".local" / "state"
    return Path(base) / "gander"


def _override(raw: dict[str, Any], text: str) -> None:
    """Apply `section.key=value`; `section.0.key=value` for a list of tables. The value is TOML, or a bare word."""
    path, equals, value = text.partition("=")
    keys = path.strip().split(".")
    if not equals or not all(keys):
        raise ConfigError(f"--set {text}: write it as section.key=value")
    try:
        parsed = tomllib.loads(f"v = {value}")["v"]
    except tomllib.TOMLDecodeError:
        parsed = value
    except RecursionError:
        raise ConfigError(f"--set {text[:40]}…: nested too deeply") from None
    here: Any = raw
    for key, following in pairwise(keys):
        fresh: Any = [] if following.isdigit() else {}
        if isinstance(here, list):
            if key == str(len(here)):
                here.append(fresh)
            if not key.isdigit() or int(key) >= len(here):
                raise ConfigError(f"--set {text}: no entry {key} in that list, it has {len(here)}")
            here = here[int(key)]
        else:
            here = here.setdefault(key, fresh)
        if not isinstance(here, dict | list):
            raise ConfigError(f"--set {text}: {key} is a value, not a section")
    last = keys[-1]
    if isinstance(here, list):
        raise ConfigError(f"--set {text}: name a key inside entry {last}")
    here[last] = parsed


def first_problem(error: ValidationError) -> str:
    """The first thing to mend, in one line."""
    problems = error.errors()
    first = problems[0]
    where = ".".join(str(part) for part in first["loc"]) or "file"
    what = "unknown key" if first["type"] == "extra_forbidden" else first["msg"].removeprefix("Value error, ")
    # Never what may hold a password: a key we do not know, an address with a user in it. Nor where somebody lives.
    secret = (
        where.endswith("itude")
        or first["type"] == "extra_forbidden"
        or isinstance(first["input"], dict | Section)
        or "@" in str(first["input"])
    )
    got = "" if secret else f", got {json.dumps(first['input'], default=str)}"
    more = f" (and {len(problems) - 1} more)" if len(problems) > 1 else ""
    return f"{where}: {what}{got}{more}"


def example() -> str:
    """The documented default configuration as TOML, generated from the models."""
    lines = ["# Gander's configuration. Every value shown is the default; delete what you do not change.", ""]
    for name, info in Config.model_fields.items():
        value = info.get_default(call_default_factory=True)
        many = isinstance(value, list)
        section: Any = type((value[0] if value else None) if many else value)
        if many and not value:  # none by default: how one would look
            section = get_args(info.annotation)[0]
        off = "# " if many and not value else ""
        lines.append(f"{off}[[{name}]]" if many else f"[{name}]")
        for key, field in section.model_fields.items():
            lines.append(f"# {field.description}{_bounds(field.metadata)}")
            current = field.get_default(call_default_factory=True)
            lines.append(f"# {key} = …" if current is None else f"{off}{key} = {_toml(current)}")
        lines.append("")
    return "\n".join(lines)


def _bounds(metadata: list[Any]) -> str:
    parts = []
    for constraint in metadata:
        for attribute, sign in (("ge", "≥"), ("gt", ">"), ("le", "≤"), ("lt", "<")):
            if hasattr(constraint, attribute):
                parts.append(f"{sign} {getattr(constraint, attribute):g}")
    return f" ({', '.join(parts)})" if parts else ""


def _toml(value: Any) -> str:
    if isinstance(value, tuple):
        value = list(value)
    return json.dumps(value, ensure_ascii=False)
