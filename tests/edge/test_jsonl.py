"""The file with an event a line: whole lines, turned over, refused where it cannot be written."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from edge.config_feed import JsonlConfig
from edge.errors import ConfigError
from edge.publishers import Later
from edge.publishers.jsonl import Jsonl


def lines(path: Path) -> list[str]:
    return [json.loads(line)["id"] for line in path.read_text().splitlines()]


def body(number: int) -> dict[str, Any]:
    return {"id": f"{number:06d}", "text": "größer" * 100}


def test_jsonl_is_cut_to_whole_lines_and_turned_over(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "events.jsonl"
    sink = Jsonl(JsonlConfig(path=str(path), max_mb=1))
    sink.send([body(n) for n in range(3)])
    sink.close()
    with path.open("ab") as file:
        file.write(b'{"id":"torn')
    sink = Jsonl(JsonlConfig(path=str(path), max_mb=1))
    sink.send([body(3)])
    assert lines(path) == [f"{n:06d}" for n in range(4)]
    for start in range(4, 1404, 100):
        sink.send([body(n) for n in range(start, start + 100)])
    kept = path.with_name("events.jsonl.1")
    assert kept.stat().st_size <= 1_000_000
    assert lines(kept) + lines(path) == [f"{n:06d}" for n in range(1404)]
    path.unlink()  # as a tool that turns logs over would
    sink.send([body(0)])
    assert lines(path) == ["000000"]
    sink.close()


def test_jsonl_that_cannot_be_written(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="cannot be written"):
        Jsonl(JsonlConfig(path=str(tmp_path)))
    with pytest.raises(Later, match="No space left"):
        Jsonl(JsonlConfig(path="/dev/full")).send([body(1)])
