"""Posts by Apprise, at wire level: what arrives, what fails alone, what ends in time, and what nobody gets to know."""

from __future__ import annotations

import base64
import json
import logging
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import apprise
import pytest
from typer.testing import CliRunner

from edge.cli_feed import app
from edge.config_feed import NotifyConfig
from edge.errors import ConfigError
from edge.publishers import Later, Post, Poster
from edge.publishers.notify import Notify
from tests.sinks import HTML, Answer, Request, ntfy, smtp, web

SECRET = "tk_s3cr3t0f0urs0123456789abcdefg"
PICTURE = b"\xff\xd8\xff\xe0" + bytes(range(256)) * 8 + b"\xff\xd9"
POST = Post(
    "Jay at nest 2", "A jay came to nest 2 at 07:41 & left <2 s after the light.", PICTURE, "A jay\n on the rim, café"
)

Open = Callable[..., Notify]


@pytest.fixture
def open_notify(tmp_path: Path) -> Iterator[Open]:
    opened: list[Notify] = []

    def open_(*lines: str, **more: float) -> Notify:
        path = tmp_path / "urls"
        path.write_text("\n".join(lines) + "\n")
        path.chmod(0o600)
        opened.append(Notify(NotifyConfig(name="phone", urls_file=str(path)), **more))
        return opened[-1]

    yield open_
    for notify in opened:
        notify.close()


@pytest.fixture(autouse=True)
def _nobody_gets_to_know(
    caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str], request: pytest.FixtureRequest
) -> Iterator[None]:
    """No secret in any log, at its most talkative, nor on the terminal."""
    if "indiscreet" in request.node.name:
        yield
        return
    with caplog.at_level(logging.NOTSET):
        yield
    said = capfd.readouterr()
    for text in (said.out, said.err, *(record.getMessage() for record in caplog.get_records("call"))):
        assert SECRET not in text


def fails(notify: Notify, post: Post = POST) -> str:
    with pytest.raises(Later) as caught:
        notify.send(post)
    assert SECRET not in str(caught.value)
    return str(caught.value)


def test_text_and_picture_arrive_everywhere(open_notify: Open) -> None:
    def behave(request: Request) -> Answer:
        known = {"/api/v1/media": b'{"id": "22"}', "/api/v1/statuses": b'{"id": "9"}', "/v2/send": b"{}"}
        return (201 if request.path == "/v2/send" else 200), known.get(request.path, b"{}")

    with web(behave) as server, smtp() as mail:
        at = f"localhost:{server.port}"
        notify: Poster = open_notify(
            "# for everybody",
            f"json://user:{SECRET}@{at}/json",
            "",
            f"  form://{at}/form?{SECRET}=x",
            f"apprise://{at}/{SECRET}",
            f"mastodon://{SECRET}@{at}?visibility=public",
            f"signal://{at}/+15550001111/+15550002222",
            f"mailto://localhost:{mail.port}?from=gander@example.org&to=owner@example.org",
        )
        assert (notify.name, notify.most_text, notify.price(POST)) == ("phone", 500, 0.0), "Mastodon's is the shortest"
        assert 200_000 < notify.most_picture < 1_000_000
        assert notify.send(POST) == ""
        found = {request.path: request for request in server.requests}
        assert len(server.requests) == 6
    told = found["/json"].json
    assert (told["title"], told["message"]) == (POST.title, POST.text)
    assert base64.b64decode(told["attachments"][0]["base64"]) == PICTURE
    assert found["/json"].headers["user-agent"] == "Gander"
    form = found["/form"].form
    assert form["message"][1].decode() == POST.text
    assert ("picture.jpg", PICTURE) in form.values()
    assert ("picture.jpg", PICTURE) in found["/notify"].form.values()
    assert found["/notify"].headers["x-apprise-config-id"] == SECRET
    media = found["/api/v1/media"].form
    assert media["description"][1].decode() == "A jay on the rim, café", "those who cannot see it are told"
    assert media["file"][1] == PICTURE
    status = found["/api/v1/statuses"].json
    assert status["media_ids"] == ["22"]
    assert status["status"] == POST.text, "where there is no room for a title, the text says it all"
    signal = found["/v2/send"].json
    assert signal["message"] == POST.text
    assert base64.b64decode(signal["base64_attachments"][0].rpartition(",")[2]) == PICTURE
    (letter,) = mail.mails
    assert (letter["subject"], letter["to"]) == (POST.title, "owner@example.org")
    body = letter.get_body(("plain",))
    assert body is not None
    assert POST.text in body.get_content()
    assert PICTURE in [part.get_payload(decode=True) for part in letter.iter_attachments()]


def test_ntfy_as_documented(open_notify: Open) -> None:
    with web(ntfy(SECRET)) as server:
        notify = open_notify(f"ntfy://{SECRET}@localhost:{server.port}/henhouse")
        notify.send(POST)
        notify.send(Post("Quiet week", "Nobody came.", None))
        with_picture, without = server.requests
    assert with_picture.path == "/henhouse"
    assert with_picture.query == {"title": POST.title, "message": POST.text, "filename": "picture.jpg"}
    assert with_picture.body == PICTURE
    assert not {"x-icon", "icon"} & set(with_picture.headers), "no logo from elsewhere"
    assert without.path == "/"
    assert without.json == {"topic": "henhouse", "title": "Quiet week", "message": "Nobody came."}


def test_a_trial_says_that_it_is_not_counted(tmp_path: Path) -> None:
    urls, config = tmp_path / "urls", tmp_path / "gander.toml"
    config.write_text(f"[[notify]]\nname = 'phone'\nurls_file = '{urls}'\n")
    urls.touch(0o600)
    with web(ntfy()) as server:
        urls.write_text(f"ntfy://localhost:{server.port}/henhouse\n")
        verb = ["--config", str(config), "--state", str(tmp_path), "--test", "phone", "--send"]
        done = CliRunner().invoke(app, verb)
    assert (done.exit_code, len(server.requests)) == (0, 1)
    assert "A test is counted neither for per_hour" in done.output


def test_the_text_goes_where_the_picture_does_not(open_notify: Open, caplog: pytest.LogCaptureFixture) -> None:
    with web(ntfy(attachments=0)) as none, web(ntfy(attachments=1000)) as small:
        notify = open_notify(*(f"ntfy://localhost:{server.port}/{SECRET}" for server in (none, small)))
        notify.send(POST)
        for server in (none, small):
            assert [request.path for request in server.requests] == [f"/{SECRET}", "/"]
            assert server.requests[1].json["message"] == POST.text
    assert "phone: line 1 (ntfy) got it without the picture: error 40014" in caplog.text
    assert "phone: line 2 (ntfy) got it without the picture: error 41301" in caplog.text


def test_a_text_that_went_before_its_picture_failed_does_not_go_twice(
    open_notify: Open, caplog: pytest.LogCaptureFixture
) -> None:
    def behave(request: Request) -> Answer:
        return (413, HTML) if request.path.endswith("upload-files") else (200, b'{"id": 5}')

    with web(behave) as server:
        open_notify(f"humhub://{SECRET}@localhost:{server.port}/1").send(POST)
        asked = [request.path for request in server.requests]
    assert asked == ["/api/v1/post/container/1", "/api/v1/post/5/upload-files"]
    assert "phone: line 1 (humhub) got it without the picture: HTTP 413" in caplog.text


def refused_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


def test_each_fails_alone_and_only_those_are_tried_again(open_notify: Open) -> None:
    ill: dict[str, Answer | str] = {
        "/good": (200, b"{}"),
        "/wrong": (401, b'{"error": "token %s is wrong"}' % SECRET.encode()),
        "/forbidden": (403, HTML),
        "/often": (429, b""),
        "/broken": (500, HTML),
        "/moved": (302, HTML),  # a client that follows it asks for it, and takes that for success
        "/reset": "reset",
        "/slow": "slow",
        "/mute": "mute",
    }
    with web(lambda request: ill.get(request.path, (200, b"{}"))) as server:
        addresses = [f"json://{SECRET}:x@localhost:{server.port}{path}" for path in ill]
        notify = open_notify(*addresses, f"ntfys://{SECRET}@localhost:{refused_port()}/x", deadline_s=10.0)
        post = Post(POST.title, POST.text)
        why = fails(notify, post)
        first = [request.path for request in server.requests]
        assert sorted(first) == sorted(ill), "each was asked once"
        assert why.startswith("9 of 10 addresses did not take it: line 2 (json): HTTP 401; line 3 (json): HTTP 403; ")
        for said in ("4 (json): HTTP 429", "5 (json): HTTP 500", "6 (json): HTTP 302", "7 (json): no connection"):
            assert f"line {said}" in why
        assert "line 8 (json): no answer in time; line 9 (json): no answer in time; line 10 (ntfys): no con" in why
        ill.clear()
        why = fails(notify, post)
        assert why.startswith("1 of 10 addresses did not take it: line 10 (ntfys): no connection")
        again = [request.path for request in server.requests[len(first) :]]
        assert sorted(again) == sorted(set(first) - {"/good"}), "who has it is not asked again"
        fails(notify, Post("Another", "That one goes to all."))
        assert "/good" in [request.path for request in server.requests[len(first) + len(again) :]]


def test_who_is_out_of_order_for_long_holds_up_nobody(open_notify: Open, caplog: pytest.LogCaptureFixture) -> None:
    ill = {"/ill": (500, HTML)}
    with web(lambda request: ill.get(request.path, (200, b"{}"))) as server:
        addresses = [f"json://localhost:{server.port}/{path}?{SECRET}=x" for path in ("well", "ill")]
        notify = open_notify(*addresses, patience_s=0.0)
        notify.send(Post("", "First."))
        assert "phone: line 2 (json) misses a post that the others have: HTTP 500" in caplog.text
        ill["/well"] = (503, HTML)
        assert fails(notify, Post("", "Second.")).startswith("2 of 2"), "somebody must have it"
        ill.clear()
        notify.send(Post("", "Second."))
        assert [request.json["message"] for request in server.to("/ill")] == ["First.", "Second.", "Second."]
        assert [request.json["message"] for request in server.to("/well")] == ["First.", "Second.", "Second."]


def test_an_answer_that_never_ends_takes_no_more_than_its_share(open_notify: Open) -> None:
    with web(lambda request: "flood" if request.path == "/flood" else (200, b"{}")) as server:
        notify = open_notify(*(f"json://localhost:{server.port}/{path}" for path in ("flood", "good")))
        why = fails(notify, Post("", POST.text))
        assert why == "1 of 2 addresses did not take it: line 1 (json): not taken", "long before its time was over"


def test_a_closed_one_lets_go_at_once(open_notify: Open) -> None:
    with web(lambda request: "mute") as server:
        notify = open_notify(f"json://localhost:{server.port}/{SECRET}", deadline_s=600.0)
        caught: list[str] = []
        sending = threading.Thread(target=lambda: caught.append(fails(notify)))
        sending.start()
        assert server.busy.wait(60)
        notify.close()
        sending.join(60)
        assert caught == ["1 of 1 addresses did not take it: line 1 (json): told to end"]
        assert "told to end" in fails(notify), "nothing is sent any more"
        assert len(server.requests) == 1


def test_who_never_starts_is_given_up_for_now(open_notify: Open) -> None:
    notify = open_notify(f"json://localhost/{SECRET}", deadline_s=0.0, start_s=0.0)
    assert notify.most_text == 280, "what every sink takes"
    assert "line 1 (json): no answer in time" in fails(notify)


def test_a_broken_apprise_is_named_without_its_words(
    open_notify: Open, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "apprise.py").write_text(f"raise ImportError('{SECRET}')\n")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    with pytest.raises(ConfigError, match="Apprise ended with ImportError") as caught:
        open_notify(f"json://localhost/{SECRET}")
    assert SECRET not in str(caught.value)


def test_known_addresses_and_which_take_pictures() -> None:
    token = "8a4b9f0123456789abcdef0123456789abcdef01"
    known = {
        "ntfys://henhouse": (7800, True),
        "ntfys://tk_0123456789abcdefghijklmnopqrs@ntfy.example.org/henhouse": (7800, True),
        "tgram://123456789:AAbcdefGHIJklmnoPQRstuvWXYZ012345678/-1001234567890": (4096, True),
        f"mastodons://{token}@mastodon.example/?visibility=public": (500, True),
        "bsky://henhouse:abcd-efgh-ijkl-mnop@bsky.social": (280, True),
        f"discord://123456789012345678/{token}": (2000, True),
        "mailtos://user:password@gmail.com": (32768, True),
        "mailtos://mail.example.org?user=me&pass=secret&from=me@example.org&to=you@example.org": (32768, True),
        "gotifys://gotify.example.org/A1b2C3d4E5f6G7h": (32768, False),
        "nonsense://x": None,
        "tgram://not-a-token/": None,
    }
    job = {"addresses": list(enumerate(known)), "title": "", "text": None, "alt": "", "picture": "", "seconds": 60}
    command = [sys.executable, "-m", "edge.publishers.notify_worker"]
    done = subprocess.run(command, input=json.dumps(job), capture_output=True, text=True, check=True)
    found = [json.loads(line) for line in done.stdout.splitlines()]
    told = [(fact["most_text"], fact["pictures"]) if fact["known"] else None for fact in found]
    assert dict(zip(known, told, strict=True)) == known


@pytest.mark.parametrize(
    ("content", "mode", "said"),
    [
        (None, 0, "cannot be read: No such file"),
        ("ntfys://x", 0o604, "everybody may read it; do `chmod o= "),
        ("", 0o600, "holds no address"),
        ("# ntfys://x\n\n  \n", 0o600, "holds no address"),
        ("\udcff\udcfe", 0o600, "is no text"),
        ("ntfys://x\n" * 17, 0o600, "is too long; at most 16 addresses"),
        ("#" * 70_000 + "\nntfys://x", 0o600, "is too long"),
        (f"ntfys://x\n\nntfy.sh/{SECRET}", 0o600, "line 3 (no scheme): no address that Apprise understands"),
        (f"tgram://{SECRET}", 0o640, "line 1 (tgram): no address that Apprise understands"),
    ],
)
def test_a_file_that_is_unfit_is_said_in_a_line(tmp_path: Path, content: str | None, mode: int, said: str) -> None:
    path = tmp_path / "urls"
    if content is not None:
        path.write_text(content, errors="surrogateescape")
        path.chmod(mode)
    with pytest.raises(ConfigError) as caught:
        Notify(NotifyConfig(name="phone", urls_file=str(path)))
    text = str(caught.value)
    assert text.startswith(f"phone: urls_file {path}: ")
    assert said in text
    assert SECRET not in text
    assert "\n" not in text


def test_this_process_never_loads_apprise() -> None:
    script = "import sys, edge.publishers.notify; print('apprise' in sys.modules, 'requests' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["False", "False"]


def test_apprise_itself_would_be_indiscreet(caplog: pytest.LogCaptureFixture) -> None:
    """Why it has a process of its own: else the tests above would fail."""
    with web(ntfy(SECRET)) as server, caplog.at_level(logging.DEBUG):
        service = apprise.Apprise.instantiate(f"ntfy://{SECRET}@localhost:{server.port}/henhouse")
        assert service is not None
        assert apprise.Apprise(service).notify("text")
    assert SECRET in caplog.text
