"""The documented payloads, taken at their word: a field that no schema tells of is a fault."""

from __future__ import annotations

import json
import re
from functools import cache
from pathlib import Path
from typing import Any

from jsonschema import Draft202012Validator, FormatChecker
from jsonschema.exceptions import best_match

from edge import publishers
from edge.payloads import COMMANDS

FOLDER = Path(publishers.__file__).parent / "schemas"
_ROW = re.compile(r"^\| `([\w/]+)` \| `([\w-]+\.json)` \| (\w+) \|", re.M)


@cache
def documented() -> dict[str, tuple[str, bool]]:
    """What the page lists: by topic (`count/LABEL`), its schema's file, and whether it is retained."""
    rows = _ROW.findall((FOLDER / "README.md").read_text())
    return {topic: (file, retained == "yes") for topic, file, retained in rows}


def schema(file: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((FOLDER / file).read_text())
    return found


@cache
def reader(file: str) -> Draft202012Validator:
    """As published: what is not documented is nobody's business."""
    return Draft202012Validator(schema(file))


@cache
def validator(file: str) -> Draft202012Validator:
    """As for a reader, but nothing may be there that is not documented."""
    return Draft202012Validator(_strict(schema(file)), format_checker=FormatChecker())


def _strict(part: Any) -> Any:
    if isinstance(part, list):
        return [_strict(item) for item in part]
    if not isinstance(part, dict):
        return part
    found = {name: _strict(item) for name, item in part.items()}
    if (
        part.get("type") == "object"
        and not {"properties", "$ref"}.isdisjoint(part)
        and "additionalProperties" not in part
    ):
        found["unevaluatedProperties"] = False
    return found


def name(topic: str) -> str:
    """A topic below the node's as the page has it."""
    return "count/LABEL" if topic.startswith("count/") else topic


def opened(payload: bytes) -> Any:
    """A payload as its schema takes it."""
    text = payload.decode()
    return json.loads(text) if text.startswith("{") else text


def wrong(topic: str, payload: bytes, retained: bool = False) -> str:
    """What of a message that the appliance sent is not as documented; "": nothing. `retained`: it was kept before."""
    if name(topic) not in documented():
        return f"{topic}: not documented"
    file, keeps = documented()[name(topic)]
    if retained and not keeps:
        return f"{topic}: retained"
    if topic == "image/last":
        return "" if payload[:2] in (b"", b"\xff\xd8") else "image/last: no JPEG"
    error = best_match(validator(file).iter_errors(opened(payload)))
    return f"{topic}: {error.json_path}: {error.message}"[:500] if error else ""


def faults(heard: Any, node: str = "yard") -> list[str]:
    """Of all an `Ear` heard from an appliance; commands, which are others' words, left out."""
    told = [(m.topic.removeprefix(f"{node}/"), m) for m in list(heard) if m.topic.startswith(f"{node}/")]
    found = [wrong(topic, m.payload, m.retain) for topic, m in told if topic not in COMMANDS]
    return [fault for fault in found if fault]
