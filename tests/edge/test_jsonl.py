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
from edge.trial import by_the_service


def lines(path: Path) -> list[str]:
    return [json.loads(line)["id"] for line in path.read_text().splitlines()]


def body(number: int) -> dict[str, Any]:
    return {"id": f"{number:06d}", "text": "größer" * 100}


@pytest.mark.parametrize("left", [b'{"id":"torn', bytes(512) + b'hole"}\n{"id":"000002"}\n', bytes(4096)])
def test_what_a_power_cut_left_of_a_batch_is_written_anew(tmp_path: Path, left: bytes) -> None:
    path = tmp_path / "events.jsonl"
    path.write_bytes(json.dumps(body(0)).encode() + b"\n" + json.dumps(body(1)).encode()[:300] + left)
    sink = Jsonl(JsonlConfig(path=str(path)))
    sink.send([body(1), body(2)])
    sink.close()
    assert lines(path) == ["000000", "000001", "000002"]


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


@pytest.mark.parametrize(
    ("path", "may"),
    [
        ("/var/log/gander/events.jsonl", True),
        ("/state/feed/e.jsonl", True),
        ("/home/pi/events.jsonl", False),
        ("/var/log/gander.jsonl", False),
    ],
)
def test_where_the_service_cannot_write_the_trial_says_so(path: str, may: bool) -> None:
    if may:
        assert path in by_the_service(Path(path), Path("/state"))
    else:
        with pytest.raises(ConfigError, match=r"only; set it to /var/log/gander/events.jsonl"):
            by_the_service(Path(path), Path("/state"))
