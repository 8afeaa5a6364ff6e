"""Sinks on loopback that people could read, as their documentation says they answer; and bad ones."""

from __future__ import annotations

import email
import email.policy
import json
import socket
import socketserver
import struct
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from email.message import EmailMessage
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlsplit

HTML = b"<html><head><title>Oh</title></head><body><h1>nginx says no</h1></body></html>"


@dataclass(frozen=True)
class Request:
    """What came, as it came."""

    method: str
    path: str
    query: dict[str, str]
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)

    @property
    def form(self) -> dict[str, tuple[str | None, bytes]]:
        """Of a multipart body: file name and content by field."""
        head = f"Content-Type: {self.headers['content-type']}\r\n\r\n".encode()
        parts = email.message_from_bytes(head + self.body, policy=email.policy.HTTP).iter_parts()  # type: ignore[attr-defined]
        return {
            str(part.get_param("name", header="content-disposition")): (
                part.get_filename(),
                part.get_payload(decode=True),
            )
            for part in parts
        }


Answer = tuple[int, bytes]
Behaviour = Callable[[Request], "Answer | str"]
"""An answer, or one of `reset`, `slow`, `mute`, `flood`: what a bad server does instead."""


@dataclass
class Web:
    """An HTTP server that keeps what came. `behave` may be changed at any time."""

    behave: Behaviour
    port: int = 0
    requests: list[Request] = field(default_factory=list)
    busy: threading.Event = field(default_factory=threading.Event)
    """Set when somebody is kept waiting."""
    over: threading.Event = field(default_factory=threading.Event)

    def to(self, path: str) -> list[Request]:
        return [request for request in self.requests if request.path == path]


class _Server(ThreadingHTTPServer):
    daemon_threads = True

    def __init__(self, kept: Web) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.kept = kept
        kept.port = self.server_address[1]

    def handle_error(self, request: object, client_address: object) -> None:
        return  # a client that was killed


class _Handler(BaseHTTPRequestHandler):
    server: _Server

    def handle_any(self) -> None:
        parts, kept = urlsplit(self.path), self.server.kept
        query = {name: values[0] for name, values in parse_qs(parts.query).items()}
        headers = {name.lower(): value for name, value in self.headers.items()}
        body = self.rfile.read(int(headers.get("content-length", "0")))
        request = Request(self.command, parts.path, query, headers, body)
        kept.requests.append(request)
        answer = kept.behave(request)
        if isinstance(answer, str):
            self.close_connection = True
            self.misbehave(answer, kept)
            return
        status, content = answer
        self.send_response(status)
        if 300 <= status < 400:
            self.send_header("Location", "/elsewhere")
        self.send_header("Content-Type", "text/html" if content == HTML else "application/json")
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def misbehave(self, how: str, kept: Web) -> None:
        if how == "reset":
            self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            self.connection.close()
            return
        kept.busy.set()
        # A byte now and then keeps every time-out of a socket from ever being reached.
        pause, more = {"mute": (0.1, b""), "slow": (0.1, b" "), "flood": (0.0, bytes(1 << 20))}[how]
        try:
            if more:
                self.wfile.write(b"HTTP/1.1 200 OK\r\n\r\n")
            while not kept.over.wait(pause):
                self.wfile.write(more)
        except OSError:
            return

    do_GET = do_POST = do_PUT = handle_any

    def log_message(self, format: str, *args: object) -> None:
        return


@contextmanager
def web(behave: Behaviour) -> Iterator[Web]:
    kept = Web(behave)
    with _Server(kept) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True)
        thread.start()
        try:
            yield kept
        finally:
            kept.over.set()
            server.shutdown()
            thread.join()


def ntfy(token: str = "", attachments: int = 15_000_000) -> Behaviour:
    """A server of ntfy: JSON at its root, or a file at its topic; so many bytes a file; errors as documented."""

    def error(http: int, code: int, text: str) -> Answer:
        said = {"code": code, "http": http, "error": text, "link": "https://ntfy.sh/docs/publish/"}
        return http, json.dumps(said).encode()

    def behave(request: Request) -> Answer:
        if token and request.headers.get("authorization") != f"Bearer {token}":
            return error(401, 40101, "unauthorized")
        message: dict[str, Any] = {"id": "hwQ2YpKdmg", "time": 1635528741, "event": "message"}
        if request.path == "/":
            return 200, json.dumps(message | request.json).encode()
        if not attachments:
            return error(400, 40014, "invalid request: attachments not allowed")
        if len(request.body) > attachments:
            return error(413, 41301, "attachment too large, or bandwidth limit reached")
        message |= {"topic": request.path[1:], "message": request.query.get("message", "You received a file")}
        message["attachment"] = {"name": request.query["filename"], "type": "image/jpeg", "size": len(request.body)}
        return 200, json.dumps(message).encode()

    return behave


@dataclass
class Mailbox:
    port: int = 0
    mails: list[EmailMessage] = field(default_factory=list)


@contextmanager
def smtp() -> Iterator[Mailbox]:
    """A mail server for whoever comes."""
    box = Mailbox()

    class Handler(socketserver.StreamRequestHandler):
        def handle(self) -> None:
            self.say("220 mail.test ready")
            while line := self.rfile.readline():
                verb = line.decode().strip().upper()
                if verb == "DATA":
                    self.say("354 go on")
                    self.take()
                elif verb == "QUIT":
                    return self.say("221 bye")
                elif verb.startswith("EHLO"):
                    self.say("250-mail.test")
                    self.say("250 8BITMIME")
                else:
                    self.say("250 fine")
            return None

        def take(self) -> None:
            lines = []
            while (line := self.rfile.readline()) not in (b".\r\n", b""):
                lines.append(line.removeprefix(b".") if line.startswith(b"..") else line)
            box.mails.append(email.message_from_bytes(b"".join(lines), policy=email.policy.default))  # type: ignore[arg-type]
            self.say("250 kept")

        def say(self, line: str) -> None:
            self.wfile.write(f"{line}\r\n".encode())

    class Server(socketserver.ThreadingTCPServer):
        daemon_threads = allow_reuse_address = True

    with Server(("127.0.0.1", 0), Handler) as server:
        box.port = server.server_address[1]
        thread = threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True)
        thread.start()
        try:
            yield box
        finally:
            server.shutdown()
            thread.join()
