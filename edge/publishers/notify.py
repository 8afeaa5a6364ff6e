"""Poster: a phone, a chat, a mailbox, whatever Apprise knows. Apprise runs in a process of its own, for each post."""

from __future__ import annotations

import base64
import hashlib
import json
import logging
import os
import re
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

from edge.config_feed import NotifyConfig
from edge.errors import ConfigError
from edge.publishers import Later, Post, secret

log = logging.getLogger(__name__)

_DEADLINE_S = 60.0  # of one sending, to all addresses
_PATIENCE_S = 600.0
_START_S = 60.0  # beyond, for the process to start: it takes seconds on a small computer
_NICE = 10  # posts can wait for what watches
_MOST_FILE = 65_536
_MOST_ADDRESSES = 16
_MOST_TEXT, _LEAST_TEXT = 1500, 280  # characters; Bluesky takes the fewest
_MOST_PICTURE = 900_000  # Bluesky takes a million bytes, ntfy.sh two, the others more
_REMEMBERED = 8  # posts that only some addresses have taken

_SILENCE = "no answer in time"
_SCHEME = re.compile(r"([a-z][a-z0-9]{1,19})://", re.I)
_ERROR = re.compile(rb"^(?:\w+\.)*(\w+(?:Error|Exception))\b", re.M)

Answers = dict[int, dict[str, Any]]
"""What became of the addresses, by the lines they stand in."""


class Notify:
    """All addresses of one file. One that has a post is not asked again while others have not.

    That is remembered while this lives: after a restart in between, an address may get the same post again. An address
    that is out of order for longer than `patience_s` holds up the others no more: it misses what they get.
    """

    def __init__(
        self,
        config: NotifyConfig,
        deadline_s: float = _DEADLINE_S,
        start_s: float = _START_S,
        patience_s: float = _PATIENCE_S,
    ) -> None:
        """Raises `ConfigError` where the file, or an address in it, cannot be used."""
        self.name, self._deadline_s, self._start_s, self._patience_s = config.name, deadline_s, start_s, patience_s
        self._where = f"{config.name}: urls_file {config.urls_file}"
        self._closed = threading.Event()
        self._process: subprocess.Popen[bytes] | None = None
        self._taken: dict[str, set[int]] = {}  # the lines that have a post which others have not
        self._failing: dict[int, float] = {}  # since when, in monotonic seconds
        self._addresses = self._read(Path(config.urls_file))
        known = self._look().values()
        self.most_text = min(_MOST_TEXT, *(fact["most_text"] for fact in known)) if known else _LEAST_TEXT
        self.most_picture = _MOST_PICTURE if any(fact["pictures"] for fact in known) or not known else 0

    def price(self, post: Post) -> float:
        return 0.0

    def send(self, post: Post) -> str:
        """Raises `Later` when it must be tried again; then only those addresses are asked that have not taken it."""
        key = hashlib.sha256(repr(post).encode()).hexdigest()
        taken = self._taken.pop(key, set())
        left = {line: url for line, url in self._addresses.items() if line not in taken}
        answers, why = self._run(left, post)
        for line, answer in answers.items():
            if answer["taken"]:
                taken.add(line)
                self._failing.pop(line, None)
                if answer["why"]:
                    log.info("%s: %s got it without the picture: %s", self.name, self._say(line), answer["why"])
        now = time.monotonic()
        whys = {line: answers[line]["why"] if line in answers else why for line in left if line not in taken}
        patient = [now - self._failing.setdefault(line, now) < self._patience_s for line in whys]
        if whys and (not taken or any(patient)):
            self._taken[key] = taken
            if len(self._taken) > _REMEMBERED:
                del self._taken[next(iter(self._taken))]
            said = "; ".join(f"{self._say(line)}: {whys[line]}" for line in whys)
            raise Later(f"{len(whys)} of {len(self._addresses)} addresses did not take it: {said}")
        for line in whys:
            log.warning("%s: %s misses a post that the others have: %s", self.name, self._say(line), whys[line])
        return ""

    def close(self) -> None:
        """End what is under way."""
        self._closed.set()
        if process := self._process:
            process.kill()

    def _read(self, path: Path) -> dict[int, str]:
        data = secret.read(f"{self.name}: urls_file", path, _MOST_FILE + 1)
        try:
            lines = data.decode("utf-8-sig").split("\n")
        except UnicodeDecodeError:
            raise ConfigError(f"{self._where}: is no text; it holds one of Apprise's addresses a line") from None
        stripped = ((number, line.strip()) for number, line in enumerate(lines, 1))
        addresses = {number: line for number, line in stripped if line and not line.startswith("#")}
        if len(data) > _MOST_FILE or len(addresses) > _MOST_ADDRESSES:
            raise ConfigError(f"{self._where}: is too long; at most {_MOST_ADDRESSES} addresses")
        if not addresses:
            raise ConfigError(f"{self._where}: holds no address; write one a line, such as ntfys://TOPIC")
        return addresses

    def _look(self) -> Answers:
        """What Apprise knows of the addresses; nothing where there is no answer now: that is no reason to give up."""
        known, why = self._run(self._addresses, None)
        for line in self._addresses:
            if line not in known and why != _SILENCE:
                raise ConfigError(f"{self._where}: line {line}: cannot be looked at: {why}")
            if line in known and not known[line]["known"]:
                raise ConfigError(f"{self._where}: {self._say(line)}: no address that Apprise understands")
        return known

    def _say(self, line: int) -> str:
        """Of an address, what is no secret."""
        scheme = _SCHEME.match(self._addresses[line])
        return f"line {line} ({scheme[1].lower() if scheme else 'no scheme'})"

    def _run(self, addresses: dict[int, str], post: Post | None) -> tuple[Answers, str]:
        """Have the other process send a post, or look at the addresses. Returns also why an address has no answer."""
        job = {
            "addresses": list(addresses.items()),
            "title": post.title if post else "",
            "text": post.text if post else None,
            "alt": post.alt if post else "",
            "picture": base64.b64encode(post.picture).decode() if post and post.picture else "",
            "seconds": self._deadline_s,
        }
        command, pipe = [sys.executable, "-m", "edge.publishers.notify_worker"], subprocess.PIPE
        # In a session of its own: Ctrl-C is for this process, which ends the other when it is time.
        process = subprocess.Popen(command, stdin=pipe, stdout=pipe, stderr=pipe, start_new_session=True)
        os.setpriority(os.PRIO_PROCESS, process.pid, _NICE)
        self._process = process
        try:
            if self._closed.is_set():
                process.kill()
            said, wailed = process.communicate(json.dumps(job).encode(), self._deadline_s + self._start_s)
        except subprocess.TimeoutExpired:
            process.kill()
            said, wailed = process.communicate()
        finally:
            process.kill()
            process.wait()
            self._process = None
        why = "told to end" if self._closed.is_set() else _SILENCE
        if process.returncode > 0:  # only the error's name: its text may hold a token
            names = _ERROR.findall(wailed)
            why = f"Apprise ended with {names[-1].decode() if names else 'no word'}"
        answers = (json.loads(line) for line in said.splitlines(keepends=True) if line.endswith(b"\n"))
        return {answer["line"]: answer for answer in answers}, why
