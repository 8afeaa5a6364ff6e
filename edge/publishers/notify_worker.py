"""Apprise in a process of its own, for one post: nothing it does can hold up, leak into the log, or keep memory.

Reads one `Job` as JSON from its input; writes a JSON line as soon as it knows what became of an address.
"""

from __future__ import annotations

import base64
import json
import logging
import os
import re
import resource
import signal
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor, as_completed
from typing import Any, TextIO, TypedDict

import apprise
from apprise.attachment.file import AttachFile

_CONNECT_S, _ANSWER_S = 10.0, 20.0  # a garden's uplink is slow; Apprise's own 4 s are not for a picture
_MOST_MEMORY, _STACK = 256 << 20, 1 << 20  # bytes: a sink whose answer never ends must not take those that watch along
_PAUSE_S = 1.0  # between two requests: with and without a picture; how often is posted, others decide
_SHARE = 0.6  # of the time, for the try with the picture; the rest is for the text alone
_SAYS_ALT = re.compile(r"(mastodon|toot)s?$|bsky$|bluesky$")  # there the attachment's name is its description
_STATUS = re.compile(r"\berror\s?[=:]\s?(\d{3,5})\b", re.I)
_ARRIVED = re.compile(r"Sent (?!.*attachment)", re.I)


class Job(TypedDict):
    """What is to be done."""

    addresses: list[tuple[int, str]]
    """Each with its line in the file."""
    title: str
    text: str | None
    """None: the addresses are only looked at."""
    alt: str
    picture: str
    """JPEG as base64, "" for none."""
    seconds: float
    """For all of the sending."""


class _Address:
    """One address as Apprise knows it."""

    def __init__(self, line: int, url: str) -> None:
        self.line, self._schema = line, url.partition(":")[0].lower()
        asset = apprise.AppriseAsset(
            storage_mode=apprise.PersistentStoreMode.MEMORY,
            app_id="Gander",
            app_desc="Gander",
            app_url="",
            image_url_mask="",  # no logo that a phone would fetch from elsewhere
            image_url_logo="",
            http_redirects=False,  # a redirected POST becomes a GET, whose 200 looks like success
        )
        self._service = apprise.Apprise.instantiate(url, asset=asset)
        if service := self._service:
            service.socket_connect_timeout = max(service.socket_connect_timeout, _CONNECT_S)
            service.socket_read_timeout = max(service.socket_read_timeout, _ANSWER_S)
            service.request_rate_per_sec = min(service.request_rate_per_sec, _PAUSE_S)
            if service.overflow_mode == apprise.OverflowMode.UPSTREAM:
                service.overflow_mode = apprise.OverflowMode.TRUNCATE

    def facts(self) -> dict[str, Any]:
        if self._service is None:
            return {"line": self.line, "known": False}
        most, pictures = int(self._service.body_maxlen), bool(self._service.attachment_support)
        return {"line": self.line, "known": True, "most_text": most, "pictures": pictures}

    def send(self, job: Job, picture: str, end_at: float) -> dict[str, Any]:
        """With the picture where the sink takes one; when that fails, the text alone. `end_at`: monotonic seconds."""
        without = ""
        if picture and self._service and self._service.attachment_support:
            name = " ".join(job["alt"].split()) if _SAYS_ALT.match(self._schema) else ""
            name = name or "picture.jpg"
            attachment = AttachFile(picture, name=name, mimetype="image/jpeg")  # type: ignore[no-untyped-call]
            taken, without, arrived = self._try(job, attachment, (end_at - time.monotonic()) * _SHARE)
            if taken or (arrived and len(self._service) == 1):  # of several targets, another may have nothing yet
                return {"line": self.line, "taken": True, "why": without}
        taken, why, _ = self._try(job, None, end_at - time.monotonic())
        return {"line": self.line, "taken": taken, "why": without if taken else why}

    def _try(self, job: Job, attachment: AttachFile | None, seconds: float) -> tuple[bool, str, bool]:
        """Whether it was taken; why not; whether the text has arrived all the same."""
        if self._service is None:
            return False, "unknown to Apprise", False
        said: list[str] = []
        result = apprise.Apprise(self._service).notify(
            body=job["text"] or "",
            title=job["title"] if self._service.title_maxlen else "",  # no room for one: the text says all
            body_format=apprise.NotifyFormat.TEXT,
            attach=attachment,
            timeout=max(seconds, 0.1),
            log_callback=lambda entry, _: said.append(entry.message),
            log_level=logging.INFO,
        )
        return (True, "", True) if result else (False, _why(result, said), any(map(_ARRIVED.match, said)))


def _why(result: apprise.AppriseResult, said: list[str]) -> str:
    """In words of our own: what Apprise says may hold tokens."""
    for line in reversed(said):
        if status := _STATUS.search(line):
            return f"HTTP {status[1]}" if len(status[1]) == 3 else f"error {status[1]}"  # ntfy has longer ones
    if result.status == apprise.AppriseResultStatus.TIMEOUT:
        return "no answer in time"
    return "no connection, or it broke off" if any("onnection" in line for line in said) else "not taken"


def _tell(out: TextIO, answer: dict[str, Any]) -> None:
    out.write(json.dumps(answer) + "\n")
    out.flush()


def _deliver(job: Job, addresses: list[_Address], out: TextIO) -> None:
    """To all at the same time, so that none waits for another."""
    end_at, picture = time.monotonic() + job["seconds"], ""
    if job["picture"]:  # in memory, but with a path: some of Apprise's plugins open one
        file = os.memfd_create("picture")
        os.write(file, base64.b64decode(job["picture"]))
        picture = f"/proc/self/fd/{file}"
    pool = ThreadPoolExecutor(len(addresses))
    sendings = {pool.submit(address.send, job, picture, end_at): address.line for address in addresses}
    try:
        for sending in as_completed(sendings, job["seconds"]):
            if error := sending.exception():
                _tell(out, {"line": sendings[sending], "taken": False, "why": f"Apprise: {type(error).__name__}"})
            else:
                _tell(out, sending.result())
    except TimeoutError:
        return


def main() -> None:
    """Standard input: a `Job`; standard output: a line for each address of which something is known."""
    out = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)  # should a plugin print
    job: Job = json.load(sys.stdin)
    signal.alarm(int(job["seconds"]) + 60)  # also when nobody is left to end it
    threading.stack_size(_STACK)
    resource.setrlimit(resource.RLIMIT_DATA, (_MOST_MEMORY, _MOST_MEMORY))
    apprise.logger.setLevel(logging.INFO)  # to hear of what was sent; it is written nowhere
    addresses = [_Address(line, url) for line, url in job["addresses"]]
    if job["text"] is None:
        for address in addresses:
            _tell(out, address.facts())
    else:
        _deliver(job, addresses, out)
    os._exit(0)  # threads that still wait for a sink are not waited for


if __name__ == "__main__":
    main()
