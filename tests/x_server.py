"""X as its documentation has it, on loopback: it checks signatures, counts, takes money, and fails when told."""

from __future__ import annotations

import base64
import contextlib
import hashlib
import hmac
import json
import re
import socket
import ssl
import struct
import threading
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from email.parser import BytesParser
from email.policy import HTTP
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qsl, quote, unquote, urlsplit

KEYS = {
    "consumer_key": "cOnSuMeRkEy0123456789",
    "consumer_secret": "cOnSuMeRsEcReT0123456789abcdefghijklmnopqrstuvwxyz",
    "access_token": "1234567890-AcCeSsToKeN0123456789",
    "access_token_secret": "aCcEsSsEcReT0123456789abcdefghijklmnop",
}
DUPLICATE = "You are not allowed to create a Tweet with duplicate content."
CREDITS = "Your enrolled account [1] does not have any credits to fulfill this request."
PERMISSIONS = "Your client app is not configured with the appropriate oauth1 app permissions for this endpoint."
Fault = Callable[["Request"], None]
"""What is done to one request instead of answering it."""


@dataclass
class Account:
    """What X keeps."""

    posts: list[dict[str, Any]] = field(default_factory=list)
    media: dict[str, bytes] = field(default_factory=dict)
    alts: dict[str, str] = field(default_factory=dict)
    dollars: float = 10.0
    left: int = 100
    reset_s: int = 900
    clock_s: float = 0.0
    nonces: set[str] = field(default_factory=set)


class XServer:
    """One account's X on `url`. `faults`: by path, what befalls the next requests. `seen`: the paths asked for."""

    def __init__(self, tls: ssl.SSLContext | None = None) -> None:
        self.account = Account()
        self.faults: dict[str, deque[Fault]] = {path: deque() for path in ANSWERS}
        self.seen: list[str] = []
        self.problems: list[str] = []
        self.released = threading.Event()  # faults that hold on let go
        server = self

        class Handler(Request):
            x = server

        self._http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._http.daemon_threads = True
        if tls:
            self._http.socket = tls.wrap_socket(self._http.socket, server_side=True)
        self.url = f"http{'s' if tls else ''}://127.0.0.1:{self._http.server_port}"
        self._thread = threading.Thread(target=self._http.serve_forever, args=(0.02,), daemon=True)
        self._thread.start()

    def fail(self, path: str, *faults: Fault) -> None:
        self.faults[path].extend(faults)

    def close(self) -> None:
        self.released.set()
        self._http.shutdown()
        self._http.server_close()
        self._thread.join()


class Request(BaseHTTPRequestHandler):
    """One request: signature, then what its path says."""

    x: XServer
    protocol_version = "HTTP/1.1"

    def do_POST(self) -> None:
        self.close_connection = True
        self.body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        path = urlsplit(self.path).path
        self.x.seen.append(path)
        with contextlib.suppress(OSError):  # whoever asked has gone
            if path not in ANSWERS:
                self.problem(404, "Not Found", "Not Found")
            elif self.x.faults[path]:
                self.x.faults[path].popleft()(self)
            elif why := unsigned(self):
                self.x.problems.append(why)
                self.problem(401, "Unauthorized", "Unauthorized")
            else:
                ANSWERS[path](self)

    def do_GET(self) -> None:
        self.x.seen.append("GET " + self.path)
        self.answer(200, {})

    def answer(self, status: int, body: dict[str, Any] | bytes, kind: str = "application/json", **more: str) -> None:
        """`more`: headers, with _ for -."""
        content = body if isinstance(body, bytes) else json.dumps(body).encode()
        self.send_response(status)
        headers = {"Content-Type": kind, "Content-Length": str(len(content)), "Connection": "close", **more}
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), value)
        self.end_headers()
        self.wfile.write(content)

    def problem(self, status: int, title: str, detail: str, kind: str = "about:blank", **more: str) -> None:
        self.answer(status, {"title": title, "detail": detail, "type": kind, "status": status}, **more)

    def date_time_string(self, timestamp: float | None = None) -> str:
        return super().date_time_string(timestamp or self.now())

    def now(self) -> float:
        return time.time() + self.x.account.clock_s

    def log_message(self, format: str, *args: Any) -> None:
        """Nothing."""


def upload(request: Request) -> None:
    """POST /2/media/upload: one shot, multipart, `media`, `media_category`, `media_type`."""
    head = f"Content-Type: {request.headers['Content-Type']}\r\n\r\n".encode()
    message = BytesParser(policy=HTTP).parsebytes(head + request.body)
    parts = {part.get_param("name", header="content-disposition"): part for part in message.iter_parts()}
    picture = parts["media"].get_payload(decode=True) if "media" in parts else b""
    category = parts["media_category"].get_content().strip() if "media_category" in parts else ""
    if category not in ("tweet_image", "dm_image", "subtitles") or not picture.startswith(b"\xff\xd8"):
        return request.problem(
            400, "Invalid Request", "media: is no picture", "https://api.x.com/2/problems/invalid-request"
        )
    if parts["media_type"].get_content().strip() != "image/jpeg" or parts["media"].get_content_type() != "image/jpeg":
        return request.problem(400, "Invalid Request", "media_type: $.media_type: is not what was sent")
    if len(picture) > 5_000_000:
        return request.problem(413, "Payload Too Large", "File size exceeds 5242880 bytes.")
    name = str(1900000000000000000 + len(request.x.account.media))
    request.x.account.media[name] = picture
    data = {"id": name, "media_key": f"3_{name}", "size": len(picture), "expires_after_secs": 86400}
    return request.answer(200, {"data": data})


def describe(request: Request) -> None:
    """POST /2/media/metadata: words on a picture."""
    asked = json.loads(request.body)
    text = asked["metadata"]["alt_text"]["text"]
    if asked["id"] not in request.x.account.media or not 0 < len(text) <= 1000:
        return request.problem(400, "Invalid Request", "metadata")
    request.x.account.alts[asked["id"]] = text
    request.x.account.dollars -= 0.005
    return request.answer(200, {"data": {"id": asked["id"], "associated_metadata": {"alt_text": {"text": text}}}})


def create(request: Request) -> None:
    """POST /2/tweets."""
    account = request.x.account
    asked = json.loads(request.body)
    text, media = asked.get("text", ""), asked.get("media", {}).get("media_ids", [])
    limits = {
        "x_rate_limit_limit": "100",
        "x_rate_limit_remaining": str(max(0, account.left - 1)),
        "x_rate_limit_reset": str(int(request.now()) + account.reset_s),
    }
    price = 0.2 if re.search(r"\w\.(com|org|net|de|fr)\b", text) else 0.015
    if account.left <= 0:
        return request.problem(429, "Too Many Requests", "Too Many Requests", **limits)
    account.left -= 1
    if account.dollars < price:
        return request.problem(402, "CreditsDepleted", CREDITS, "https://api.twitter.com/2/problems/credits")
    if not text or weight(text) > 280:
        return request.problem(403, "Forbidden", "Your Tweet text is too long.", **limits)
    if any(name not in account.media for name in media):
        return request.problem(400, "Invalid Request", "Your media IDs are invalid.", **limits)
    if any(post["text"] == text for post in account.posts):
        return request.problem(403, "Forbidden", DUPLICATE, **limits)
    account.dollars -= price
    post = {"id": str(1800000000000000000 + len(account.posts)), "text": text}
    account.posts.append({**post, "media": media})
    return request.answer(201, {"data": {**post, "edit_history_tweet_ids": [post["id"]]}}, **limits)


ANSWERS: dict[str, Callable[[Request], None]] = {
    "/2/media/upload": upload,
    "/2/media/metadata": describe,
    "/2/tweets": create,
}


def weight(text: str) -> int:
    """X's count, but for emoji of several signs and links."""
    ranges = ((0, 4351), (8192, 8205), (8208, 8223), (8242, 8247))
    return sum(1 if any(a <= ord(sign) <= b for a, b in ranges) else 2 for sign in text)


def unsigned(request: Request) -> str:
    """Why a request is not by the account's owner (RFC 5849, HMAC-SHA1), "" where it is."""
    scheme, _, rest = request.headers.get("Authorization", "").partition(" ")
    said = dict(re.findall(r'(\w+)="([^"]*)"', rest))
    said = {unquote(name): unquote(value) for name, value in said.items()}
    if scheme != "OAuth" or said.get("oauth_signature_method") != "HMAC-SHA1":
        return "no signature"
    if (said["oauth_consumer_key"], said["oauth_token"]) != (KEYS["consumer_key"], KEYS["access_token"]):
        return "unknown keys"
    if abs(int(said["oauth_timestamp"]) - request.now()) > 300:
        return "timestamp out of bounds"
    if said["oauth_nonce"] in request.x.account.nonces:
        return "nonce used before"
    request.x.account.nonces.add(said["oauth_nonce"])
    address = urlsplit(request.x.url + request.path)
    signed = [*parse_qsl(address.query), *((n, v) for n, v in said.items() if n not in ("oauth_signature", "realm"))]
    if request.headers.get("Content-Type") == "application/x-www-form-urlencoded":
        signed += parse_qsl(request.body.decode())
    pairs = "&".join(f"{a}={b}" for a, b in sorted((quote(n, safe="~"), quote(v, safe="~")) for n, v in signed))
    where = f"{address.scheme}://{request.headers['Host'].lower()}{address.path}"
    base = "&".join(quote(part, safe="~") for part in (request.command, where, pairs))
    key = f"{quote(KEYS['consumer_secret'], safe='~')}&{quote(KEYS['access_token_secret'], safe='~')}"
    right = base64.b64encode(hmac.new(key.encode(), base.encode(), hashlib.sha1).digest()).decode()
    return "" if hmac.compare_digest(right, said["oauth_signature"]) else "wrong signature"


def says(status: int, title: str, detail: str, kind: str = "about:blank", **headers: str) -> Fault:
    """A problem in JSON."""
    return lambda request: request.problem(status, title, detail, kind, **headers)


def html(status: int, size: int = 2000) -> Fault:
    page = b"<!DOCTYPE html><title>Over capacity</title>" + b"<p>Something is technically wrong.</p>" * (size // 40)
    return lambda request: request.answer(status, page, "text/html")


def raw(content: bytes, status: int = 201) -> Fault:
    """Whatever body."""
    return lambda request: request.answer(status, content)


def done_then(fault: Fault) -> Fault:
    """X does as it is asked, but its answer does not get through: the fault does."""

    def fail(request: Request) -> None:
        answer = request.answer
        request.answer = lambda *args, **more: None  # type: ignore[method-assign]
        create(request)
        request.answer = answer  # type: ignore[method-assign]
        fault(request)

    return fail


def silent(request: Request) -> None:
    """Nothing comes."""
    request.x.released.wait(60)


def slow_headers(request: Request) -> None:
    """A byte at a time, for ever."""
    request.wfile.write(b"HTTP/1.1 201 Created\r\nX-Slow: ")
    _trickle(request, b"x")


def slow_body(status: int) -> Fault:
    def fail(request: Request) -> None:
        request.wfile.write(f"HTTP/1.1 {status} Slow\r\nContent-Length: 100000\r\n\r\n".encode())
        _trickle(request, b" ")

    return fail


def endless(status: int) -> Fault:
    """As much as the line takes, for ever."""

    def fail(request: Request) -> None:
        request.wfile.write(f"HTTP/1.1 {status} Endless\r\n\r\n".encode())
        while not request.x.released.is_set():
            request.wfile.write(b"{" * 65536)

    return fail


def cut_short(content: bytes) -> Fault:
    """The connection ends after these bytes."""

    def fail(request: Request) -> None:
        request.wfile.write(content)

    return fail


def truncated(status: int) -> Fault:
    """Fewer bytes than were announced."""
    return cut_short(f'HTTP/1.1 {status} Cut\r\nContent-Length: 500\r\n\r\n{{"data": {{"id'.encode())


def reset(head: bytes = b"") -> Fault:
    """The connection is torn down, after `head`."""

    def fail(request: Request) -> None:
        request.wfile.write(head)
        request.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        request.connection.close()

    return fail


def elsewhere(url: str) -> Fault:
    """A redirect."""
    return lambda request: request.answer(307, b"", Location=url)


def _trickle(request: Request, byte: bytes) -> None:
    while not request.x.released.wait(0.02):
        request.wfile.write(byte)
