"""An emulated Pico with this repository's firmware: its pins seen from outside, its time its own."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from firmware import settings
from firmware.wire import seal, unseal
from tests.lab.pico.parts import Parts

ROOT = Path(__file__).resolve().parents[3]
EMULATOR = Path(__file__).with_name("emulator.mjs")
FLASH_BYTES = 2 * 1024 * 1024
FILES_BYTES = 1408 * 1024  # of the flash, at its end: where MicroPython keeps files on a Pico
BLOCK_BYTES = 4096
PINS = {number: int(about["pin"]) for number, about in settings.CHANNELS.items()}  # type: ignore[call-overload]


def flash(parts: Parts, to: Path, files: Mapping[str, str]) -> Path:
    """MicroPython and the firmware as `deploy/flash.sh` lays it out, with `files` in place of or beside it."""
    sys.path.insert(0, str(parts.python))
    try:
        from littlefs import LittleFS  # type: ignore[import-not-found,import-untyped,unused-ignore]
    finally:
        sys.path.remove(str(parts.python))
    system = LittleFS(block_size=BLOCK_BYTES, block_count=FILES_BYTES // BLOCK_BYTES, prog_size=256)
    system.mkdir("/firmware")
    sources = {f"/firmware/{path.name}": path.read_text() for path in (ROOT / "firmware").glob("*.py")}
    sources["/main.py"] = sources.pop("/firmware/main.py")
    for name, text in {**sources, **files}.items():
        with system.open(name, "wb") as file:
            file.write(text.encode())
    system.unmount()
    image = bytearray(b"\xff" * FLASH_BYTES)
    micropython = parts.micropython.read_bytes()
    image[: len(micropython)] = micropython
    image[-FILES_BYTES:] = bytes(system.context.buffer)
    to.write_bytes(image)
    return to


@dataclass
class Pico:
    """One Pico. Times are its own milliseconds since power came, and only `run` and `hear` let them pass."""

    process: subprocess.Popen[str]
    now: float = 0.0
    said: str = ""
    levels: list[tuple[float, int, str]] = field(default_factory=list)  # (ms, GPIO, high|low|released)
    resets: list[tuple[float, str]] = field(default_factory=list)
    peeked: int = 0
    seq: int = 0
    session: str = ""
    tick: tuple[float, int] = (0.0, 0)  # its clock at a moment of ours

    @classmethod
    def start(cls, parts: Parts, image: Path, urgent: bool = False) -> Pico:
        """Power comes. A firmware that does not come up says nothing. `urgent`: before others on this machine."""
        command = ["node", str(EMULATOR), str(parts.emulator), str(image), str(parts.bootrom)]
        if urgent and os.geteuid() == 0:
            command = ["nice", "-n", "-10", *command]
        return cls(subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True))

    def close(self) -> None:
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.close()
        self.process.wait(10)
        self.process.stdout.close()

    def order(self, **what: Any) -> str:
        """One order to the emulator; returns what the Pico said meanwhile."""
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.write(json.dumps(what) + "\n")
        self.process.stdin.flush()
        answer = json.loads(self.process.stdout.readline())
        said = ""
        self.peeked = answer.get("peek") or 0
        for at, kind, *rest in answer["events"]:
            if kind == "said":
                said += rest[0]
            elif kind == "pin":
                self.levels.append((at, rest[0], rest[1]))
            elif kind == "reset":
                self.resets.append((at, rest[0]))
        self.now = answer["now"]
        self.said += said
        return said

    def run(self, ms: float) -> str:
        """Let time pass."""
        return self.order(run=ms)

    def hear(self, what: str, within: float = 100.0) -> str:
        """Let time pass until it says that (with the rest of the line); what it said until then."""
        said = self.order(run=within, until=what)
        assert what in said, f"no {what!r} in {within} ms, but {said!r}"
        return said

    def drive(self, pin: int, high: bool) -> None:
        """What is wired to an input: it stays so through resets."""
        self.order(pin=[pin, high])

    def peek(self, address: int) -> int:
        """The word at an address."""
        self.order(peek=address)
        return self.peeked

    def forget(self) -> None:
        """Let go of what the pins did."""
        self.levels.clear()
        self.resets.clear()

    def greet(self, within: float = 3000.0) -> list[str]:
        """Wait for the greeting, asked for by STATE; begins a session. Returns the words after HELLO."""
        until = self.now + within
        said = ""
        while "HELLO" not in said and self.now < until:
            self.send("0 STATE")
            said = self.order(run=100, until="HELLO")
        while more := self.run(30):  # asked more than once, it answers more than once
            said += more
        words = [words for words in lines(said) if words[0] == "HELLO"][-1][1:]
        self.session, self.seq, self.tick = words[2], int(words[4]), (self.now, int(words[3]))
        return words

    def send(self, text: str) -> None:
        self.raw(seal(text))

    def raw(self, data: bytes) -> None:
        self.order(send=data.decode("latin1"))

    def ask(self, verb: str) -> list[list[str]]:
        """Give an order; the lines up to its answer, as words."""
        self.seq += 1
        self.send(f"{self.seq} {verb}")
        answers = lines(self._answer(str(self.seq), "ON" if verb.startswith("PULSE") else "OK"))
        for words in answers:
            if words[:2] == ["OK", str(self.seq)]:
                self.tick = (self.now, int(words[2]))
        return answers

    def pulse(self, channel: int, on_ms: int, off_ms: int = 0, count: int = 1, age: int = 0) -> list[list[str]]:
        if self.now - self.tick[0] > 200:
            self.ask("PING")  # for its clock
        return self.ask(f"PULSE {self.session} {self.ticks() - age} {channel} {on_ms} {off_ms} {count}")

    def keep(self, ms: float) -> None:
        """Let time pass with a host that pings."""
        until = self.now + ms
        while self.now < until:
            self.ask("PING")
            self.run(min(200.0, max(until - self.now, 0.01)))

    def ticks(self) -> int:
        """What its clock said last, as a host knows it."""
        return self.tick[1]

    def high(self, channel: int, since: float = 0.0) -> list[tuple[float, float]]:
        """(start, end) of each time that the channel's pin was driven high, up to now."""
        spans: list[tuple[float, float]] = []
        began = None
        for at, pin, level in self.levels:
            if pin != PINS[channel]:
                continue
            if level == "high" and began is None:
                began = at
            elif level != "high" and began is not None:
                spans.append((began, at))
                began = None
        if began is not None:
            spans.append((began, self.now))
        return [(start, end) for start, end in spans if end > since]

    def _answer(self, seq: str, last: str) -> str:
        """What it says until the order `seq` is refused, or answered and `last` said."""
        said = ""
        until = self.now + 200
        while self.now < until:
            said += self.run(2)
            heads = [words[:2] for words in lines(said)]
            if ["NO", seq] in heads or (["OK", seq] in heads and any(words[0] == last for words in heads)):
                return said
        raise AssertionError(f"no answer to {seq}, but {said!r}")


def lines(said: str) -> list[list[str]]:
    """The sealed lines in what was said, as words; what is none is left out."""
    found = (unseal(line.rstrip("\r").encode("latin1")) for line in said.split("\n"))
    return [words for words in found if words]
