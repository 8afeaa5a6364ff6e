"""A hundred power cuts: whatever was acknowledged is there afterwards, and nothing is damaged. `-s` prints the row.

The real daemon and publisher live, are killed in mid-write, and live on from what one of the cuts left. Their writes
are recorded (`cut.c`), and the state directory is made again as a cut at any moment would have left it (`power.py`).
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import random
import shutil
import signal
import sqlite3
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from edge import decoy
from edge.bundle import verify
from edge.config import ModelsConfig
from edge.control import ask
from edge.database import DELIVERIES, EVENTS, OWNER, prepare
from edge.errors import GanderError
from edge.journal import Journal, reader
from edge.model_store import ModelStore
from edge.retention import FOLDER
from tests.lab import power
from tests.lab.memory import quick_folder
from tests.stage import bundle, command, environment

pytestmark = [pytest.mark.lab, pytest.mark.timeout(1700)]
LIVES, CUTS = 4, 25
LIFE_S = 6.0  # of which the writes are taken from any moment
LONG_S = 400.0
IMAGE_MB = 100  # of one cut
SETTINGS = (
    *("labels.threat=['*']", "policy.initial_mode=armed", "policy.escalate_after_s=1", "policy.per_hour=1000"),
    *("deterrent.0.cooldown_s=1", "media.min_free=0", "media.per_visit=20", "journal.days=400"),
)


@dataclass
class Acknowledged:
    """What was said to be kept, each with the place in the record by which it had been said."""

    events: dict[str, int] = field(default_factory=dict)
    labels: dict[tuple[str, str], int] = field(default_factory=dict)
    modes: list[tuple[int, str]] = field(default_factory=list)
    models: dict[str, int] = field(default_factory=dict)


@dataclass
class Living:
    """A daemon and a publisher whose every write is recorded."""

    state: Path
    log: Path
    library: Path
    model: Path
    acknowledged: Acknowledged = field(default_factory=Acknowledged)

    @property
    def recorded(self) -> int:
        return self.log.stat().st_size

    def live(self, rng: random.Random, seed: int) -> None:
        """Until the kill."""
        more = environment(self.state, **power.recording(self.library, self.state, self.log))
        source = f"synthetic:drizzle?seed={seed}"
        settings = [part for setting in SETTINGS for part in ("--set", setting)]
        quiet: dict[str, Any] = {"env": more, "stderr": subprocess.DEVNULL}
        with (
            subprocess.Popen(command("watch", "--source", source, *settings), **quiet) as watch,
            subprocess.Popen(feed(self.state), **quiet) as publish,
        ):
            try:
                self._use(rng)
                time.sleep(rng.uniform(0.0, 0.3))
            finally:
                for process in (watch, publish):
                    process.send_signal(signal.SIGKILL)

    def _use(self, rng: random.Random) -> None:
        """Look at events as they come, say who some were, change the mode, install a model."""
        end, last, said = time.monotonic() + LONG_S, None, 0
        while last is None or time.monotonic() < last:
            assert time.monotonic() < end, "nobody came, or nothing could be said"
            time.sleep(0.05)
            with contextlib.suppress(GanderError):  # not begun yet, or it asks for a visit whose row is on its way
                self._see()
                if visits := self._visits()[said:]:
                    self._say(visits[0], rng, said)
                    said += 1
                    last = time.monotonic() + LIFE_S if said == 2 else last

    def _see(self) -> None:
        with reader(self.state / EVENTS) as events:
            ids = [row[0] for row in events.execute("SELECT id FROM event")]
        for id_ in ids:
            self.acknowledged.events.setdefault(id_, self.recorded)

    def _visits(self) -> list[str]:
        with reader(self.state / EVENTS) as events:
            return [
                row[0] for row in events.execute("SELECT DISTINCT visit_id FROM event WHERE type = 'visit_started'")
            ]

    def _say(self, visit: str, rng: random.Random, number: int) -> None:
        label = f"jay {rng.random()}"
        ask(self.state, "label", visit=visit, label=label)
        self.acknowledged.labels[visit, label] = self.recorded
        mode = rng.choice(("observe", "armed", "maintenance"))
        ask(self.state, "mode", mode=mode)
        self.acknowledged.modes.append((self.recorded, mode))
        if number == 1:
            ask(self.state, "install", path=str(self.model), timeout_s=LONG_S)
            self.acknowledged.models[self.model.stem] = self.recorded


@dataclass
class Found:
    """What a hundred cuts came to."""

    cuts: int = 0
    events: int = 0
    labels: int = 0
    pictures: int = 0
    lost: Counter[str] = field(default_factory=Counter)
    words: list[str] = field(default_factory=list)

    def row(self) -> str:
        sound = not +self.lost
        parts = [f"{self.lost['events']} of {self.events} committed events lost"]
        parts += [f"{self.lost['labels']} of {self.labels} labels", f"{self.lost['databases']} databases corrupt"]
        parts += [f"{self.lost['torn']} of {self.pictures} pictures torn, {self.lost['absent']} named but absent"]
        return f"| {self.cuts} power cuts | {', '.join(parts)}{'' if sound else ' (!)'} |"


def examine(state: Path, held: Acknowledged, upto: int, found: Found, order: Sequence[str]) -> None:
    """Open what a cut left with the product's own code, and count what is missing or damaged."""
    found.cuts += 1
    for name in (EVENTS, OWNER, DELIVERIES):
        if name != DELIVERIES or (state / name).exists():
            prepare(state / name)
            with contextlib.closing(sqlite3.connect(state / name)) as connection:
                said = connection.execute("PRAGMA integrity_check").fetchone()[0]
            found.lost["databases"] += said != "ok"
    Journal(state).close()
    with reader(state / EVENTS) as events, reader(state / OWNER) as owner:
        kept = [row[0] for row in events.execute("SELECT id FROM event ORDER BY place")]
        labels = {(row[0], row[1]) for row in owner.execute("SELECT visit_id, label FROM label")}
        mode = owner.execute("SELECT value FROM setting WHERE name = 'mode'").fetchone()
        rows = events.execute("SELECT path, sha256 FROM picture").fetchall()
    committed = {id_ for id_, at in held.events.items() if at <= upto}
    found.events += len(committed)
    if missing := committed - set(kept):
        found.lost["events"] += len(missing)
        found.words.append(f"cut {found.cuts}, at byte {upto} of the record: {len(missing)} of {len(committed)} events")
    assert kept == order[: len(kept)], "no gap, and in order"
    said = {words for words, at in held.labels.items() if at <= upto}
    found.labels += len(said)
    found.lost["labels"] += len(said - labels)
    settled = [mode_ for at, mode_ in held.modes if at <= upto][-1:]
    later = [mode_ for at, mode_ in held.modes if at > upto][:1]
    found.lost["modes"] += bool(settled) and (mode is None or mode[0] not in settled + later)
    store = ModelStore(state, ModelsConfig())
    whole = {verify(bundle.path, store.trusted(), False).name for bundle in store.installed()}
    found.lost["models"] += len({name for name, at in held.models.items() if at <= upto} - whole)
    found.pictures += len(rows)
    for path, sha256 in rows:
        file = state / FOLDER / path
        found.lost["absent"] += not file.exists()
        found.lost["torn"] += file.exists() and hashlib.sha256(file.read_bytes()).hexdigest() != sha256
    for file in (state / FOLDER).rglob("*.jpg"):
        data = file.read_bytes()
        found.lost["torn"] += not (data.startswith(b"\xff\xd8") and data.endswith(b"\xff\xd9"))
    for file in (state / decoy.FOLDER).glob("??/[!.]*.png"):
        decoy.load(state, file.stem)


def feed(state: Path) -> list[str]:
    """What publishes into a file."""
    out = f"jsonl.path={json.dumps(str(state / 'out.jsonl'))}"
    return [sys.executable, "-m", "edge.cli_feed", "--set", out]


def told(state: Path) -> list[str]:
    """What had been published once the publisher was started again: ids of whole lines, by first arrival."""
    with reader(state / EVENTS) as events:
        last = events.execute("SELECT id FROM event ORDER BY place DESC LIMIT 1").fetchone()[0]
    with subprocess.Popen(feed(state), env=environment(state), stderr=subprocess.DEVNULL) as publish:
        try:
            end, found = time.monotonic() + LONG_S, list[str]()
            while not found or found[-1] != last:
                assert time.monotonic() < end, found[-1:]
                time.sleep(0.1)
                with contextlib.suppress(ValueError):  # what the cut left half written, until the publisher mends it
                    found = [json.loads(line)["id"] for line in _lines(state)]
        finally:
            publish.terminate()
    return list(dict.fromkeys(found))


def _lines(state: Path) -> list[str]:
    out = state / "out.jsonl"
    return out.read_text(errors="replace").split("\n")[:-1] if out.exists() else []


def test_a_hundred_power_cuts(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    library = power.compile_recorder(tmp_path)
    if library is None:
        pytest.skip("no C compiler: apt-get install gcc")
    rng, found, before = random.Random(7), Found(), tmp_path / "first"
    state, figures = tmp_path / "state", Counter[str]()
    models = [bundle(before, tmp_path / "models", f"colours{life}") for life in range(LIVES)]
    for life, model in enumerate(models):
        shutil.copytree(before, state)
        living = Living(state, tmp_path / f"log{life}", library, model)
        if life:
            with reader(state / EVENTS) as events:
                living.acknowledged.events |= {row[0]: 0 for row in events.execute("SELECT id FROM event")}
        living.live(rng, life)
        ops = power.read(living.log)
        with reader(state / EVENTS) as events:
            order = [row[0] for row in events.execute("SELECT id FROM event ORDER BY place")]
        moments = [rng.randrange(len(ops)) + 1 for _ in range(CUTS)]
        chosen = rng.randrange(CUTS // 2, CUTS)
        with quick_folder(IMAGE_MB) as folder:
            for number, (moment, image) in enumerate(power.images(state, before, ops, moments, folder, rng)):
                if number == chosen:
                    spare = Path(shutil.copytree(image, tmp_path / f"next{life}"))
                examine(image, living.acknowledged, ops[moment - 1].end, found, order)
                shutil.rmtree(image)
        figures["changes"] += len(ops)
        before = spare
        shutil.rmtree(state)
    with capsys.disabled():
        sys.stdout.write(f"\n{found.row()}\n({figures['changes']} changes of files recorded)\n")
    assert found.cuts == LIVES * CUTS
    assert found.events > 500
    assert found.labels > 50
    assert not +found.lost, "\n".join(found.words)
    with reader(before / EVENTS) as events:
        order = [row[0] for row in events.execute("SELECT id FROM event ORDER BY place")]
    assert told(before) == order, "what was cut short is published all the same, in order"


def test_the_number_of_a_file_that_is_gone_may_be_that_of_another(tmp_path: Path) -> None:
    """Of one that a reader made, which nobody records: SQLite's log, empty."""
    half, log = tmp_path / "state" / ".half", tmp_path / "state" / "events.db-wal"

    def op(kind: int, path: Path, data: bytes = b"") -> power.Op:
        return power.Op(kind, 5, 0, str(path), "", data, 0)

    card = power.Card(tmp_path / "state", None)
    for one in (
        *(op(power.CREATE, half), op(power.UNLINK, half)),
        *(op(power.WRITE, log, b"an event"), op(power.SYNC, log)),
    ):
        card.apply(one)
    card.apply(power.Op(power.SYNC, 0, 1, str(tmp_path / "state"), "", b"", 0))
    card.cut(tmp_path / "later", random.Random(1))
    assert (tmp_path / "later" / log.name).read_bytes() == b"an event"
