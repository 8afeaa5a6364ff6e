"""Pictures for the world: nothing but pixels leaves, upright, small enough; nothing that is fed in harms."""

from __future__ import annotations

import struct

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edge.postcard import postcard
from edge.values import Image

HOME = b"Rue du Poulailler 7"


def scene(width: int = 640, height: int = 400) -> Image:
    """Soft noise, its upper left quarter red: which way is up can be told. BGR."""
    noise = np.random.default_rng(5).integers(60, 180, (height // 8, width // 8, 3), np.uint8)
    image = cv2.resize(noise, (width, height), interpolation=cv2.INTER_CUBIC)
    image[: height // 2, : width // 2] = (0, 0, 230)
    return image


def encode(image: Image, *options: int) -> bytes:
    return cv2.imencode(".jpg", image, options)[1].tobytes()


def decode(jpeg: bytes) -> Image:
    image: Image = cv2.imdecode(np.frombuffer(jpeg, np.uint8), cv2.IMREAD_COLOR | cv2.IMREAD_IGNORE_ORIENTATION)
    return image


def segment(marker: int, content: bytes) -> bytes:
    return struct.pack(">BBH", 0xFF, marker, len(content) + 2) + content


def entry(tag: int, kind: int, count: int, value: bytes) -> bytes:
    return struct.pack("<HHI", tag, kind, count) + value.ljust(4, b"\0")


def exif(orientation: int, thumbnail: bytes = b"") -> bytes:
    """An APP1 segment with an orientation, the place where the house is, an owner, and a thumbnail."""
    first, gps, second, heap = 8, 50, 116, 146
    where = struct.pack("<6I", 48, 1, 51, 1, 30, 1)
    place = b"".join(
        (
            entry(1, 2, 2, b"N\0"),
            entry(2, 5, 3, struct.pack("<I", heap)),
            entry(3, 2, 2, b"E\0"),
            entry(4, 5, 3, struct.pack("<I", heap)),
            entry(29, 2, 4, b"2026"),
        )
    )
    owner = heap + len(where)
    tiff = b"II*\0" + struct.pack("<I", first)
    tiff += struct.pack("<H", 3) + entry(0x0112, 3, 1, struct.pack("<H", orientation))
    tiff += entry(0x013B, 2, len(HOME), struct.pack("<I", owner)) + entry(0x8825, 4, 1, struct.pack("<I", gps))
    tiff += struct.pack("<I", second)
    tiff += struct.pack("<H", 5) + place + struct.pack("<I", 0)
    assert len(tiff) == second
    tiff += struct.pack("<H", 2) + entry(0x0201, 4, 1, struct.pack("<I", owner + len(HOME)))
    tiff += entry(0x0202, 4, 1, struct.pack("<I", len(thumbnail))) + struct.pack("<I", 0)
    assert len(tiff) == heap
    return segment(0xE1, b"Exif\0\0" + tiff + where + HOME + thumbnail)


def dressed(image: Image, orientation: int = 1) -> bytes:
    """A JPEG with all that could tell where it was taken."""
    plain = encode(image)
    gossip = exif(orientation, encode(scene(64, 40))) + segment(0xFE, b"taken at " + HOME)
    gossip += segment(0xE1, b"http://ns.adobe.com/xap/1.0/\0<x:xmpmeta>" + HOME) + segment(0xED, b"Photoshop" + HOME)
    return plain[:2] + gossip + plain[2:] + HOME + encode(scene(64, 40))


def markers(jpeg: bytes) -> list[int]:
    """Of every segment up to the scan."""
    found, at = [], 2
    while jpeg[at + 1] != 0xDA:
        found.append(jpeg[at + 1])
        at += 2 + int(struct.unpack_from(">H", jpeg, at + 2)[0])
    return found


def test_nothing_but_pixels_leaves() -> None:
    jpeg = dressed(scene())
    assert HOME in jpeg
    assert b"Exif" in jpeg
    card = postcard(jpeg, 10**6)
    assert card is not None
    assert HOME not in card
    assert b"Exif" not in card
    assert set(markers(card)) <= {0xE0, 0xDB, 0xC0, 0xC4}, "JFIF, tables and the frame: no EXIF, no comment"
    assert card.count(b"\xff\xd8\xff") == 1, "no thumbnail"
    assert card.index(b"\xff\xd9") == len(card) - 2, "nothing behind the end"
    assert np.abs(decode(card).astype(int) - scene()).mean() < 6, "it is the same picture"


@pytest.mark.parametrize(
    ("orientation", "shape", "red"),
    [(1, (400, 640), (0, 0)), (3, (400, 640), (1, 1)), (6, (640, 400), (0, 1)), (8, (640, 400), (1, 0))],
)
def test_it_is_turned_upright(orientation: int, shape: tuple[int, int], red: tuple[int, int]) -> None:
    card = postcard(dressed(scene(), orientation), 10**6)
    assert card is not None
    image = decode(card)
    assert image.shape[:2] == shape
    height, width = shape
    quarter = image[height // 4 + red[0] * height // 2, width // 4 + red[1] * width // 2]
    assert quarter[2] > 200
    assert quarter[0] < 40


@pytest.mark.parametrize("most", [400_000, 60_000, 20_000, 5_000])
def test_it_is_made_to_fit(most: int) -> None:
    card = postcard(encode(scene(2000, 1500), cv2.IMWRITE_JPEG_QUALITY, 98), most)
    assert card is not None
    assert len(card) <= most
    height, width, _ = decode(card).shape
    assert 160 <= max(height, width) <= 1280
    assert abs(width / height - 4 / 3) < 0.02


@pytest.mark.parametrize(("side", "longest"), [(400, 400), (1280, 1280), (5000, 2000)])
def test_never_larger_than_it_was_nor_than_asked(side: int, longest: int) -> None:
    card = postcard(encode(scene(2000, 1200)), 10**7, side)
    assert card is not None
    assert max(decode(card).shape) == longest


@pytest.mark.parametrize("shape", [(1, 1), (1, 9000), (3000, 2), (50, 70)])
def test_odd_shapes(shape: tuple[int, int]) -> None:
    card = postcard(encode(np.full((*shape, 3), 90, np.uint8)), 10**6)
    assert card is not None
    assert max(decode(card).shape) == min(max(*shape, 3), 1280)


def test_grey_and_progressive() -> None:
    grey = encode(cv2.cvtColor(scene(), cv2.COLOR_BGR2GRAY))
    progressive = encode(scene(), cv2.IMWRITE_JPEG_PROGRESSIVE, 1)
    for jpeg in (grey, progressive):
        card = postcard(jpeg, 10**6)
        assert card is not None
        assert decode(card).shape == (400, 640, 3)


def promising(jpeg: bytes, width: int, height: int) -> bytes:
    """The same, its frame header telling another size."""
    at = jpeg.index(b"\xff\xc0") + 5
    return jpeg[:at] + struct.pack(">HH", height, width) + jpeg[at + 4 :]


def test_what_is_no_picture_is_none() -> None:
    jpeg = encode(scene())
    png = cv2.imencode(".png", scene())[1].tobytes()
    for other in (b"", b"\xff", b"\xff\xd8\xff", b"\xff\xd8\xff\xd9", png, b"GIF89a" + bytes(99), b"<html>", jpeg[1:]):
        assert postcard(other, 10**6) is None
    for broken in (jpeg[: len(jpeg) // 2], jpeg[:-2], dressed(scene())[:2500], promising(jpeg, 0, 400)):
        assert postcard(broken, 10**6) is None
    for most in (1500, 0, -1):
        assert postcard(jpeg, most) is None, "it cannot be made to fit"


def test_a_bomb_is_not_opened(caplog: pytest.LogCaptureFixture) -> None:
    jpeg = encode(scene())
    hidden = jpeg[:2] + b"\xff\x01\x00\x17\xff\xff" + promising(jpeg, 60000, 60000)[2:]
    large = encode(np.full((5001, 5000, 3), 90, np.uint8))  # a real one: 25 million pixels in few bytes
    bombs = [promising(jpeg, *size) for size in ((65535, 65535), (65500, 400), (5001, 5000))]
    with caplog.at_level("DEBUG", "edge.postcard"):
        for bomb in (*bombs, hidden, large):
            caplog.clear()
            assert postcard(bomb, 10**6) is None
            assert "its header says" in caplog.text


SMALL = encode(scene(96, 64))
DRESSED = dressed(scene(96, 64), 6)


@settings(max_examples=300, deadline=None)
@given(st.data())
def test_mutated_pictures_do_no_harm(data: st.DataObject) -> None:
    jpeg = bytearray(data.draw(st.sampled_from([SMALL, DRESSED])))
    for at, value in data.draw(st.lists(st.tuples(st.integers(0, 1200), st.integers(0, 255)), max_size=8)):
        jpeg[at % len(jpeg)] = value
    cut = data.draw(st.one_of(st.none(), st.integers(0, len(jpeg))))
    extra = data.draw(st.binary(max_size=20))
    card = postcard(bytes(jpeg[:cut]) + extra, 30_000, 80)
    if card is not None:
        assert len(card) <= 30_000
        assert max(decode(card).shape) <= 80
        assert HOME not in card
        assert set(markers(card)) <= {0xE0, 0xDB, 0xC0, 0xC4}


@settings(max_examples=200, deadline=None)
@given(st.binary(max_size=400))
def test_any_bytes_do_no_harm(junk: bytes) -> None:
    postcard(junk, 10_000)
    postcard(b"\xff\xd8\xff" + junk + SMALL[2:], 10_000)
