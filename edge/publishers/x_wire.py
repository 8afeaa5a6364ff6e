"""One request to X and its answer: within a deadline in all, of bounded size, to be cut off from any thread."""

from __future__ import annotations

import contextlib
import socket
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any
from urllib.parse import urlsplit

import requests
from requests.adapters import HTTPAdapter
from urllib3.connectionpool import HTTPConnectionPool, HTTPSConnectionPool

from edge.errors import GanderError

_MOST_BYTES = 256 * 1024  # of an answer; X's have a few hundred
_CHUNK = 8192
_AFTER_S = 5.0  # past the deadline, what cannot be cut off gives up by itself


class NoAnswer(GanderError):
    """Nothing usable came back; whether X did as it was asked is not known."""


@dataclass(frozen=True, slots=True)
class Answer:
    """What X said; names of headers in small letters. Tweepy takes it for an answer of `requests`.

    `whole`: the body came to its end.
    """

    status_code: int
    headers: Mapping[str, str] = field(default_factory=dict)
    content: bytes = b""
    whole: bool = False
    reason: str = ""

    def __enter__(self) -> Answer:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        """Nothing is held."""


class NotTaken(GanderError):
    """X answered with anything but success."""

    def __init__(self, answer: Answer) -> None:
        super().__init__(str(answer.status_code))
        self.answer = answer


class Wire:
    """Requests to one address. `request` is called by one thread, `close` by any."""

    def __init__(self, api: str, deadline_s: float) -> None:
        self._api, self._deadline_s = api.rstrip("/"), deadline_s
        self._lock, self._closed = threading.Lock(), False
        self._call: _Call | None = None

    def request(self, method: str, url: str, more_s: float = 0.0, **what: Any) -> Answer:
        """What tweepy calls a session for; of `url` only the path counts. Raises `NotTaken`, `NoAnswer`.

        `more_s`: beyond the deadline, for what takes long to go up.
        """
        call = _Call(method, self._api + urlsplit(url).path, what, self._deadline_s + more_s)
        with self._lock:
            if self._closed:
                raise NoAnswer("closed")
            self._call = call
        answer = call.wait()
        if not 200 <= answer.status_code < 300:
            raise NotTaken(answer)
        return answer

    def close(self) -> None:
        """End what is under way, and all that would come."""
        with self._lock:
            self._closed = True
            if self._call:
                self._call.cut()


class _Call:
    """One request, in a thread of its own: neither looking up a name nor reading headers can be given an end in all."""

    def __init__(self, method: str, url: str, what: dict[str, Any], deadline_s: float) -> None:
        self._method, self._url, self._what, self._deadline_s = method, url, what, deadline_s
        self._lock, self._done, self._ended = threading.Lock(), threading.Event(), False
        self._socket: socket.socket | None = None
        self._answer: Answer | None = None
        self._error: Exception | None = None

    def wait(self) -> Answer:
        """Raises `NoAnswer`. As soon as there is a status, there is an answer."""
        threading.Thread(target=self._run, name="x-call", daemon=True).start()
        self._done.wait(self._deadline_s)
        with self._lock:  # as it was before this ends it
            answer, error, ended = self._answer, self._error, self._ended
        self.cut()
        if answer:
            return answer
        if ended:
            raise NoAnswer("cut off")
        raise NoAnswer(f"the connection fails: {_why(error)}" if error else f"no answer within {self._deadline_s:g} s")

    def cut(self) -> None:
        with self._lock:
            self._ended = True
            if self._socket:
                with contextlib.suppress(OSError):  # of the plain socket: TLS has a reader in the other thread
                    socket.socket.shutdown(self._socket, socket.SHUT_RDWR)
        self._done.set()

    def _hold(self, connection: socket.socket) -> None:
        with self._lock:
            if self._ended:
                raise OSError("too late")
            self._socket = connection

    def _run(self) -> None:
        session = requests.Session()
        # What the environment says of proxies, certificates and .netrc must not lead the keys elsewhere.
        session.trust_env = False
        session.headers["Accept-Encoding"] = "identity"
        for scheme in ("http://", "https://"):
            session.mount(scheme, _Adapter(self._hold))
        try:
            with (
                session,
                session.request(
                    self._method,
                    self._url,
                    stream=True,
                    allow_redirects=False,  # the signature is for X alone
                    timeout=self._deadline_s + _AFTER_S,
                    **self._what,
                ) as response,
            ):
                headers = {name.lower(): value for name, value in response.headers.items()}
                self._answer = Answer(response.status_code, headers, reason=str(response.reason))
                self._read(response, headers)
        except (OSError, ValueError) as error:  # all of requests' errors are one or the other
            self._error = error
        finally:
            self._done.set()

    def _read(self, response: requests.Response, headers: dict[str, str]) -> None:
        body = b""
        for chunk in response.iter_content(_CHUNK):
            body += chunk
            if len(body) > _MOST_BYTES:
                return
        self._answer = Answer(response.status_code, headers, body, True, str(response.reason))


class _Adapter(HTTPAdapter):
    """Hands over the socket of each connection as soon as there is one."""

    def __init__(self, hold: Callable[[socket.socket], None]) -> None:
        self._hold = hold
        super().__init__()

    def init_poolmanager(self, *args: Any, **options: Any) -> None:
        super().init_poolmanager(*args, **options)
        self.poolmanager.pool_classes_by_scheme = {
            "http": _pool(HTTPConnectionPool, self._hold),
            "https": _pool(HTTPSConnectionPool, self._hold),
        }


def _pool(base: Any, hold: Callable[[socket.socket], None]) -> Any:
    class Connection(base.ConnectionCls):  # type: ignore[misc]
        def connect(self) -> None:
            super().connect()
            hold(self.sock)

    return type("Pool", (base,), {"ConnectionCls": Connection})


def _why(error: BaseException) -> str:
    """What is at the bottom of an error of requests, without the address and without any header."""
    while error.__context__:
        error = error.__context__
    return str(getattr(error, "strerror", None) or type(error).__name__)[:120]
