"""Posting to X, against a server that behaves as its documentation says, and one that misbehaves."""

from __future__ import annotations

import datetime
import ipaddress
import logging
import ssl
import threading
import time
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from edge.errors import ConfigError
from edge.publishers import Later, Post, Refused
from edge.publishers.x_text import fit, has_link
from edge.publishers.x_wire import NoAnswer, Wire
from tests import x_server
from tests.edge.x_account import (
    PICTURED,
    POST,
    TWEETS,
    UPLOAD,
    Make,
    calls,
    key_file,
    keys,
    make,
    server,
    until,
)
from tests.x_server import KEYS, XServer, cut_short, done_then, endless, html, raw, reset, says, slow_body, truncated

__all__ = ["keys", "make", "server"]


def test_a_post_is_signed_and_stands_there(server: XServer, make: Make) -> None:
    x = make()
    assert x.send(POST) == "1800000000000000000"
    assert server.account.posts == [{"id": "1800000000000000000", "text": POST.text, "media": []}]
    assert server.problems == []
    assert server.account.dollars == pytest.approx(10 - x.price(POST))


def test_the_server_tells_a_forged_signature(server: XServer, tmp_path: Path, make: Make) -> None:
    wrong = "".join(f'{name} = "{key}"\n' for name, key in {**KEYS, "access_token_secret": "another" * 4}.items())
    file = key_file(tmp_path / "wrong.toml", wrong)
    with pytest.raises(Later, match=r"401 Unauthorized: the keys in .*wrong\.toml are not taken") as told:
        make(credentials=str(file)).send(POST)
    assert told.value.after_s == 3600
    assert server.problems == ["wrong signature"]
    assert server.account.posts == []


def test_a_wrong_clock_is_not_taken_for_wrong_keys(server: XServer, make: Make) -> None:
    server.account.clock_s = 5000
    with pytest.raises(Later, match=r"this machine's clock is wrong by \d{4} s"):
        make().send(POST)
    assert server.problems == ["timestamp out of bounds"]


PERMISSION = "https://api.twitter.com/2/problems/oauth1-permissions"
CAPPED = says(429, "UsageCapExceeded", "Usage cap exceeded: Monthly", "https://api.twitter.com/2/problems/usage-capped")


@pytest.mark.parametrize(
    ("fault", "error", "after_s", "words"),
    [
        (says(402, "CreditsDepleted", x_server.CREDITS), Later, 6 * 3600, "no credits left; buy some"),
        (says(403, "Forbidden", "Your account has hit its spending limit"), Later, 6 * 3600, "no credits left"),
        (says(403, "Forbidden", x_server.PERMISSIONS, PERMISSION), Later, 6 * 3600, "permission to read and write"),
        (says(403, "Unsupported Authentication", "", "x/unsupported-authentication"), Later, 6 * 3600, "permission"),
        (says(403, "Client Forbidden", "…", "x/client-forbidden"), Later, 6 * 3600, "permission"),
        (says(403, "Forbidden", "You are not permitted to perform this action."), Refused, 0, "not permitted"),
        (says(400, "Invalid Request", "One or more parameters"), Refused, 0, "One or more parameters"),
        (says(429, "Too Many Requests", "Too Many Requests"), Later, 900, "429"),
        (CAPPED, Later, 6 * 3600, "Usage cap"),
        (html(500), Later, 0, "status 500$"),
        (html(502, 100_000), Later, 0, "status 502$"),
        (html(503), Later, 0, "status 503$"),
        (html(504), Later, 0, "status 504$"),
        (html(403), Refused, 0, "status 403$"),
        (html(200), Later, 0, "200, but no post"),
        (raw(b"[" * 100_000, 503), Later, 0, "503"),
        (raw(b'["detail"]', 400), Refused, 0, "400"),
        (raw(b'{"detail": {"a": 1}, "errors": null}', 400), Refused, 0, "400"),
        (says(404, "Not Found", "Not Found"), Later, 3600, "404"),
        (says(418, "I'm a teapot", ""), Later, 3600, "418"),
        (reset(), Later, 0, "reset by peer"),
        (reset(b"HTTP/1.1 20"), Later, 0, "reset by peer"),
        (cut_short(b"HTTP/1.1 20"), Later, 0, "x: "),
        (cut_short(b""), Later, 0, "x: "),
        (reset(b"nonsense\r\n\r\n"), Later, 0, "x: "),
        (truncated(403), Later, 0, "403"),
        (truncated(400), Later, 0, "400"),
        (endless(500), Later, 0, "500"),
        (endless(403), Later, 0, "403"),
    ],
)
def test_what_x_says_decides(
    server: XServer, make: Make, fault: x_server.Fault, error: type[Exception], after_s: float, words: str
) -> None:
    server.fail(TWEETS, fault)
    x = make()
    with pytest.raises(error, match=words) as told:
        x.send(POST)
    assert "\n" not in str(told.value)
    assert getattr(told.value, "after_s", 0) == after_s
    assert server.account.posts == []
    assert x.send(POST), "the next one goes through"


def test_a_duplicate_counts_as_delivered(server: XServer, make: Make) -> None:
    x = make()
    first = x.send(POST)
    assert x.send(POST) == ""
    assert [post["id"] for post in server.account.posts] == [first]


@pytest.mark.parametrize("fault", [reset(), reset(b"HTTP/1.1 201 Crea"), html(504), html(200)])
def test_an_answer_that_is_lost_makes_no_second_post(server: XServer, make: Make, fault: x_server.Fault) -> None:
    server.fail(TWEETS, done_then(fault))
    x = make()
    with pytest.raises(Later):
        x.send(POST)
    assert x.send(POST) == ""
    assert len(server.account.posts) == 1


@pytest.mark.parametrize(
    "fault",
    [
        raw(b"<html>Created, in a way"),
        raw(b""),
        raw(b"null"),
        raw(b'{"data": null}'),
        truncated(201),
        cut_short(b"HTTP/1.1 201 Created\r\nX-Cut"),
        reset(b'HTTP/1.1 201 Created\r\nContent-Length: 90\r\n\r\n{"data"'),
        endless(201),
    ],
)
def test_created_is_delivered_even_if_what_follows_is_no_json(
    server: XServer, make: Make, fault: x_server.Fault
) -> None:
    server.fail(TWEETS, done_then(fault))
    assert make().send(POST) == ""
    assert server.seen == [TWEETS]


def test_created_is_delivered_even_if_the_rest_never_comes(server: XServer, make: Make) -> None:
    server.fail(TWEETS, done_then(slow_body(201)))
    assert make(deadline_s=6).send(POST) == ""


@pytest.mark.parametrize("fault", [x_server.silent, x_server.slow_headers, slow_body(500), slow_body(403)])
def test_every_call_has_an_end(server: XServer, make: Make, fault: x_server.Fault) -> None:
    server.fail(TWEETS, fault)
    began = time.monotonic()
    with pytest.raises(Later):
        make(deadline_s=0.4).send(POST)
    assert time.monotonic() - began < 20
    until(lambda: not calls())


def test_a_deadline_ends_tls_too(tmp_path: Path) -> None:
    authority, context = certificate(tmp_path)
    server = XServer(context)
    try:
        server.fail(TWEETS, x_server.slow_headers)
        with pytest.raises(NoAnswer, match=r"no answer within 4 s"):
            Wire(server.url, 4).request("POST", TWEETS, verify=str(authority))
        until(lambda: not calls())
        assert server.seen == [TWEETS]
    finally:
        server.close()


def test_who_cannot_prove_to_be_x_gets_nothing(tmp_path: Path, make: Make) -> None:
    _, context = certificate(tmp_path)
    server = XServer(context)
    try:
        with pytest.raises(Later, match=r"(?i)certificate"):
            make(api=server.url).send(POST)
        assert server.seen == []
    finally:
        server.close()


@pytest.mark.parametrize("api", ["http://127.0.0.1:1", "http://x.invalid", "http://[::1", "https://127.0.0.1:1"])
def test_no_way_to_x(make: Make, api: str) -> None:
    with pytest.raises(Later) as told:
        make(api=api, deadline_s=20).send(POST)
    assert told.value.after_s == 0


def test_no_redirect_is_followed(server: XServer, make: Make) -> None:
    other = XServer()
    try:
        for path in (TWEETS, UPLOAD):
            server.fail(path, x_server.elsewhere(other.url + path))
            with pytest.raises(Later):
                make().send(PICTURED)
        assert other.seen == []
    finally:
        other.close()


def test_what_the_environment_says_does_not_lead_the_keys_elsewhere(
    server: XServer, make: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = XServer()
    try:
        for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY"):
            monkeypatch.setenv(name, other.url)
        monkeypatch.setenv("NO_PROXY", "")
        monkeypatch.setenv("no_proxy", "")
        make().send(POST)
        assert other.seen == []
        assert len(server.account.posts) == 1
    finally:
        other.close()


def test_a_limit_that_is_used_up_holds_the_next_post(server: XServer, make: Make) -> None:
    server.account.left, server.account.reset_s = 1, 700
    now_s = 50.0
    x = make(clock=lambda: now_s)
    x.send(POST)
    for passed_s in (0, 600):
        now_s = 50.0 + passed_s
        with pytest.raises(Later, match="limit") as told:
            x.send(PICTURED)
        assert told.value.after_s == pytest.approx(700 - passed_s, abs=5)
    assert server.seen == [TWEETS], "nothing is asked for meanwhile"
    now_s, server.account.left = 760.0, 5
    assert x.send(PICTURED)


@pytest.mark.parametrize(
    ("headers", "after_s"),
    [
        ({"x_rate_limit_remaining": "0", "x_rate_limit_reset": 300}, 300),
        ({"x_rate_limit_remaining": "0", "x_rate_limit_reset": -300}, 1),
        ({"x_rate_limit_remaining": "0", "x_rate_limit_reset": 10**9}, 24 * 3600),
        ({"x_rate_limit_reset": 300}, 300),
        ({"x_rate_limit_remaining": "0", "x_rate_limit_reset": "soon"}, 900),
        ({"x_rate_limit_remaining": "12", "x_rate_limit_reset": 300, "x_app_limit_24hour_remaining": "0",
          "x_app_limit_24hour_reset": 40000}, 40000),
        ({"x_user_limit_24hour_remaining": "0", "x_user_limit_24hour_reset": 50000, "x_rate_limit_remaining": "0",
          "x_rate_limit_reset": 300}, 50000),
    ],
)  # fmt: skip
def test_too_many_requests_wait_as_long_as_x_says(
    server: XServer, make: Make, headers: dict[str, object], after_s: float
) -> None:
    server.account.clock_s = -200  # ends are in X's time, not in ours
    now = int(time.time()) - 200
    said = {name: str(now + value if isinstance(value, int) else value) for name, value in headers.items()}
    server.fail(TWEETS, says(429, "Too Many Requests", "Too Many Requests", **said))
    with pytest.raises(Later) as told:
        make().send(POST)
    assert told.value.after_s == pytest.approx(after_s, abs=30 if after_s > 1 else 0)


def test_closing_ends_what_is_under_way(server: XServer, make: Make) -> None:
    server.fail(TWEETS, x_server.silent)
    x = make()
    threading.Thread(target=lambda: (until(lambda: server.seen), x.close())).start()
    with pytest.raises(Later, match="cut off"):
        x.send(POST)
    assert not server.released.is_set()
    until(lambda: not calls())
    with pytest.raises(Later, match="closed"):
        x.send(POST)
    assert server.seen == [TWEETS]


def test_no_key_is_told(
    server: XServer, make: Make, caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]
) -> None:
    caplog.set_level(logging.DEBUG)
    x = make()
    told = [repr(x), str(vars(x))]
    echo = " ".join(KEYS.values())
    server.fail(UPLOAD, html(413))
    faults = [says(401, "Unauthorized", echo), says(403, "Forbidden", echo), reset(), html(502)]
    for fault in faults:
        server.fail(TWEETS, fault)
        with pytest.raises((Later, Refused)) as error:
            x.send(POST)
        told += [repr(error.value), str(error.value), str(error.value.__cause__)]
    x.send(PICTURED)
    told += [caplog.text, *capfd.readouterr()]
    assert "posted without its picture" in caplog.text
    for name, key in KEYS.items():
        assert not any(key in text for text in told), name
    assert "oauth_signature" not in caplog.text


def test_a_file_of_keys_that_cannot_be_used(keys: Path, make: Make) -> None:
    good = keys.read_text()
    lines = good.splitlines(keepends=True)
    number, blank, odd = f'"{KEYS["consumer_key"]}"', KEYS["access_token"], KEYS["consumer_secret"]
    cases = {
        "cannot be read: No such file": keys.parent / "none.toml",
        "cannot be read: Is a directory": keys.parent,
        "everybody may read it; do `chmod o= ": key_file(keys.parent / "open", good, 0o604),
        "lacks access_token_secret$": key_file(keys.parent / "few", "".join(lines[:3])),
        "lacks consumer_key, consumer_secret, access_token, access_token_secret$": key_file(keys.parent / "empty", ""),
        "holds more than": key_file(keys.parent / "more", good + 's3cret_name = "s3cret"\n'),
        "not TOML; it takes four lines": key_file(keys.parent / "text", "consumer_key: s3cret\n"),
        "not TOML; ": key_file(keys.parent / "binary", b"\xff\xfe" + good.encode("utf-16")),
        "consumer_key is none; copy it anew": key_file(keys.parent / "number", good.replace(number, "5")),
        "access_token is none": key_file(keys.parent / "blank", good.replace(blank, " ")),
        "consumer_secret is none": key_file(keys.parent / "odd", good.replace(odd, "s3crét\\n" * 3)),
    }  # fmt: skip
    for words, file in cases.items():
        with pytest.raises(ConfigError, match=words) as told:
            make(credentials=str(file))
        assert str(file) in str(told.value)
        assert "\n" not in str(told.value)
        assert not any(secret in repr(told.value) for secret in (*KEYS.values(), "s3cr"))
        assert told.value.__cause__ is None
    make(credentials=str(key_file(keys.parent / "group", good, 0o640)))


@pytest.mark.parametrize(
    ("text", "posted", "link"),
    [
        (POST.text, POST.text, False),
        ("It left at 7 a.m., i.e. soon… e.g. 1.9 s", "It left at 7 a.m., i.e. soon… e.g. 1.9 s", False),
        ("See https://gander.example/x?y=1 for more", "See for more", True),
        ("HTTPS://A.DE", "", True),
        ("Nest 2.Jay at example.com", "Nest 2. Jay at example. com", True),
        ("www.example.org it is", "it is", True),
        (
            "ｅｘ．com, münchen.de/x, t.co/a.b and 例え.みんな",
            "ｅｘ. com, münchen. de/x, t. co/a.b and 例え. みんな",
            True,
        ),
        ("ex\u200bample.\u200bcom\r\n\tand\x00 \ud800 more", "example. com\nand more", True),
        ("user@mail.example.net", "user@mail. example. net", True),
        ("🐦.com", "🐦. com", True),
        ("  two\n\nlines  here ", "two\n\nlines here", False),
    ],
)
def test_what_x_would_link_is_taken_out(make: Make, text: str, posted: str, link: bool) -> None:
    x, free = make(), make(urls=True)
    post = Post("", text)
    assert x.words(post) == posted
    assert x.price(post) == 0.015
    assert free.price(post) == (0.2 if link else 0.015)
    assert has_link(fit(text, urls=True)) == link


def test_nothing_left_is_not_posted(server: XServer, make: Make) -> None:
    x = make()
    assert x.words(Post("A jay", "https://example.com")) == "A jay"
    for text in ("https://example.com", "", " \n", "…", "\ud800"):
        with pytest.raises(Refused):
            x.send(Post("", text))
    assert server.seen == []


def certificate(folder: Path) -> tuple[Path, ssl.SSLContext]:
    """Of an authority nobody knows, for this machine: its file, and a server's context."""
    key, now = ec.generate_private_key(ec.SECP256R1()), datetime.datetime.now(datetime.UTC)
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "127.0.0.1")])
    here = x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))])
    made = (
        x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=1))
        .add_extension(here, critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    secret = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    public, private = folder / "authority.pem", folder / "key.pem"
    public.write_bytes(made.public_bytes(serialization.Encoding.PEM))
    private.write_bytes(secret)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(public, private)
    return public, context
