"""A picture that goes along with a post to X, and what becomes of the post where the picture cannot."""

from __future__ import annotations

import time

import pytest

from edge.publishers import Later, Post
from tests import x_server
from tests.edge.x_account import JPEG, METADATA, PICTURED, TWEETS, UPLOAD, Make, keys, make, server
from tests.x_server import XServer, html, reset, says, truncated

__all__ = ["keys", "make", "server"]


def test_a_picture_goes_along_byte_for_byte_with_words_on_it(server: XServer, make: Make) -> None:
    x = make()
    x.send(PICTURED)
    (name,) = server.account.posts[0]["media"]
    assert server.account.media == {name: JPEG}
    assert server.account.alts == {name: "A jay beside two eggs"}
    assert server.seen == [UPLOAD, METADATA, TWEETS]
    assert x.price(PICTURED) == pytest.approx(0.02)
    assert server.account.dollars == pytest.approx(10 - x.price(PICTURED))


@pytest.mark.parametrize(
    "fault",
    [html(413), says(400, "Invalid Request", "media"), says(403, "Forbidden", "no pictures"), html(415), html(404)],
)
def test_a_picture_x_does_not_want_costs_no_post(server: XServer, make: Make, fault: x_server.Fault) -> None:
    server.fail(UPLOAD, fault)
    assert make().send(PICTURED)
    assert server.account.posts[0]["media"] == []


def test_pictures_that_cannot_be(server: XServer, make: Make) -> None:
    x = make()
    x.send(Post("", "too large", b"\xff\xd8" + bytes(x.most_picture)))
    x.send(Post("", "no picture", b"GIF89a", "a hen"))
    assert [post["media"] for post in server.account.posts] == [[], []]
    assert server.seen == [TWEETS, UPLOAD, TWEETS]


@pytest.mark.parametrize("fault", [html(503), reset(), says(429, "Too Many Requests", ""), truncated(200), html(401)])
def test_a_picture_that_cannot_be_taken_now_holds_the_post(server: XServer, make: Make, fault: x_server.Fault) -> None:
    server.fail(UPLOAD, fault)
    x = make()
    with pytest.raises(Later):
        x.send(PICTURED)
    assert server.account.posts == []
    x.send(PICTURED)
    assert len(server.account.posts[0]["media"]) == 1


def test_a_large_picture_has_longer_to_go_up(server: XServer, make: Make) -> None:
    server.fail(UPLOAD, x_server.silent)
    began = time.monotonic()
    with pytest.raises(Later, match=r"picture: no answer within 1\.2 s"):
        make(deadline_s=0.2).send(Post("", "A jay", b"\xff\xd8" + bytes(15998)))
    assert time.monotonic() - began >= 1.2
    assert server.account.posts == []


def test_a_picture_goes_up_once_however_often_the_post_is_tried(server: XServer, make: Make) -> None:
    server.fail(TWEETS, html(503), html(500))
    x = make()
    for _ in range(2):
        with pytest.raises(Later):
            x.send(PICTURED)
    x.send(PICTURED)
    assert server.seen == [UPLOAD, METADATA, TWEETS, TWEETS, TWEETS]
    x.send(Post("", "another", JPEG + b"!", "A jay"))
    assert server.seen[5:] == [UPLOAD, METADATA, TWEETS]


@pytest.mark.parametrize("fault", [html(500), html(400), reset(), truncated(200)])
def test_words_on_a_picture_are_no_reason_to_lose_a_post(server: XServer, make: Make, fault: x_server.Fault) -> None:
    server.fail(METADATA, fault)
    make().send(PICTURED)
    assert len(server.account.posts[0]["media"]) == 1


def test_a_post_goes_without_the_picture_that_x_forgot(server: XServer, make: Make) -> None:
    x = make()
    server.fail(TWEETS, html(503))
    with pytest.raises(Later):
        x.send(PICTURED)
    server.account.media.clear()
    assert x.send(PICTURED)
    assert server.account.posts[0]["media"] == []
