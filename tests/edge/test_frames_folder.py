"""Single pictures, whatever they hold, and tables of sequences."""

from __future__ import annotations

import base64
import struct
import zlib
from itertools import pairwise
from pathlib import Path

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from edge.errors import SourceError
from edge.frames.folder import FolderSource, natural, pictures, sequences
from edge.frames.luma import luma_of
from edge.frames.picture import read_picture, said_size

# 16 x 16, one red, in four inks, as print shops keep it: OpenCV reads such a JPEG but cannot write one.
CMYK = (
    "/9j/7gAOQWRvYmUAZAAAAAAA/9sAQwAGBAUGBQQGBgUGBwcGCAoQCgoJCQoUDg8MEBcUGBgXFBYWGh0lHxobIxwWFiAsICMmJykqKRkfLTAtKDAl"
    "KCko/8AAFAgAEAAQBEMRAE0RAFkRAEsRAP/EAB8AAAEFAQEBAQEBAAAAAAAAAAABAgMEBQYHCAkKC//EALUQAAIBAwMCBAMFBQQEAAABfQECAwAE"
    "EQUSITFBBhNRYQcicRQygZGhCCNCscEVUtHwJDNicoIJChYXGBkaJSYnKCkqNDU2Nzg5OkNERUZHSElKU1RVVldYWVpjZGVmZ2hpanN0dXZ3eHl6"
    "g4SFhoeIiYqSk5SVlpeYmZqio6Slpqeoqaqys7S1tre4ubrCw8TFxsfIycrS09TV1tfY2drh4uPk5ebn6Onq8fLz9PX29/j5+v/aAA4EQwBNAFkA"
    "SwAAPwD6pr5Ur5Ur6poooooooooooor/2Q=="
)


def ramp(height: int = 40, width: int = 60) -> NDArray[np.uint8]:
    """RGB: redder to the right, greener downwards, 200 blue."""
    y, x = np.mgrid[:height, :width]
    return np.dstack([x * 255 // width, y * 255 // height, np.full_like(x, 200)]).astype(np.uint8)


def save(path: Path, rgb: NDArray[np.generic]) -> Path:
    pixels = rgb if rgb.ndim == 2 else np.dstack([rgb[..., 2::-1], rgb[..., 3:]])
    assert cv2.imwrite(str(path), np.ascontiguousarray(pixels))
    return path


def png_chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def png(width: int, height: int, colour_type: int, rows: bytes, palette: bytes = b"") -> bytes:
    head = png_chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, colour_type, 0, 0, 0))
    table = png_chunk(b"PLTE", palette) if palette else b""
    return b"\x89PNG\r\n\x1a\n" + head + table + png_chunk(b"IDAT", zlib.compress(rows)) + png_chunk(b"IEND", b"")


def test_colours_come_out_in_the_order_red_green_blue(tmp_path: Path) -> None:
    assert np.array_equal(read_picture(save(tmp_path / "a.png", ramp())), ramp())


def test_sixteen_bits_become_eight(tmp_path: Path) -> None:
    image = read_picture(save(tmp_path / "a.png", ramp().astype(np.uint16) * 257))
    assert np.abs(image.astype(int) - ramp()).max() <= 1


def test_grey_becomes_three_equal_channels(tmp_path: Path) -> None:
    grey = ramp()[..., 0]
    image = read_picture(save(tmp_path / "a.png", grey))
    assert np.array_equal(image, np.dstack([grey] * 3))


def test_transparency_is_left_out(tmp_path: Path) -> None:
    image = read_picture(save(tmp_path / "a.png", np.dstack([ramp(), np.full((40, 60), 128, np.uint8)])))
    assert np.array_equal(image, ramp())


def test_a_palette_is_looked_up(tmp_path: Path) -> None:
    path = tmp_path / "a.png"
    path.write_bytes(png(2, 1, 3, b"\0\0\1", palette=bytes([250, 10, 20, 1, 2, 240])))
    assert read_picture(path).tolist() == [[[250, 10, 20], [1, 2, 240]]]


def test_four_inks_become_red(tmp_path: Path) -> None:
    path = tmp_path / "a.jpg"
    path.write_bytes(base64.b64decode(CMYK))
    red, green, blue = read_picture(path).reshape(-1, 3).mean(0)
    assert red > 240
    assert green < 15
    assert blue < 15


def test_a_picture_taken_with_the_camera_on_its_side_is_upright(tmp_path: Path) -> None:
    path = save(tmp_path / "a.jpg", ramp())
    data = path.read_bytes()
    exif = b"Exif\0\0MM\0*\0\0\0\x08" + struct.pack(">HHHIHHI", 1, 0x0112, 3, 1, 6, 0, 0)  # orientation 6: turn right
    path.write_bytes(data[:2] + b"\xff\xe1" + struct.pack(">H", len(exif) + 2) + exif + data[2:])
    image = read_picture(path)
    assert image.shape == (60, 40, 3)
    expected = np.rot90(ramp(), -1)
    assert np.abs(image.astype(int) - expected).mean() < 6


def test_one_pixel_is_a_picture(tmp_path: Path) -> None:
    path = save(tmp_path / "a.png", ramp()[:1, :1])
    assert read_picture(path).shape == (1, 1, 3)
    (shot,) = FolderSource([path]).shots()
    assert shot.luma.shape == (1, 1)


@pytest.mark.parametrize(("width", "height", "expected"), [(7680, 4320, (2304, 4096, 3)), (9000, 100, (46, 4096, 3))])
def test_huge_pictures_are_made_smaller(tmp_path: Path, width: int, height: int, expected: tuple[int, ...]) -> None:
    path = save(tmp_path / "a.jpg", np.full((height, width), 90, np.uint8))
    image = read_picture(path)
    assert image.shape == expected
    assert abs(int(image.mean()) - 90) <= 2


@pytest.mark.parametrize(
    ("name", "data", "why"),
    [
        ("a.jpg", b"", "empty"),
        ("a.jpg", b"these are not the pixels you are looking for", "not a picture"),
        ("a.jpg", b"\xff\xd8\xff\xe1", "not a picture"),
        ("a.png", png(8, 8, 2, b"\0" * 20), "not a picture"),
        ("a.png", png(60000, 60000, 2, b"\0" * 20), "too many"),
    ],
)
def test_what_is_no_picture_is_refused_in_one_line(tmp_path: Path, name: str, data: bytes, why: str) -> None:
    path = tmp_path / name
    path.write_bytes(data)
    with pytest.raises(SourceError, match=why) as error:
        read_picture(path)
    assert str(path) in str(error.value)
    assert "\n" not in str(error.value)


@given(st.binary(max_size=200))
def test_reading_a_header_never_fails(data: bytes) -> None:
    for start in (b"", b"\xff\xd8", b"\xff\xd8\xff\xe0", b"\x89PNG\r\n\x1a\n"):
        width, height = said_size(start + data)
        assert width >= 0
        assert height >= 0


def test_said_size_agrees_with_the_picture(tmp_path: Path) -> None:
    for name in ("a.jpg", "a.png"):
        assert said_size(save(tmp_path / name, ramp()).read_bytes()) == (60, 40)


def test_bad_pictures_are_counted_and_keep_their_place_in_time(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    paths = [save(tmp_path / f"{index}.png", ramp()) for index in range(4)]
    paths[1].write_bytes(b"")
    paths[2] = tmp_path / "gone.png"
    source = FolderSource(paths, fps=10.0)
    assert [shot.media_time for shot in source.shots()] == pytest.approx([0.0, 0.3])
    assert source.skipped == 2
    assert [shot.media_time for shot in source.shots()] == pytest.approx([0.0, 0.3])
    assert caplog.text.count("1.png") == 1


def test_unwanted_pictures_are_not_read(tmp_path: Path) -> None:
    paths = [save(tmp_path / f"{index}.png", ramp()) for index in range(3)]
    paths[1].write_bytes(b"")
    source = FolderSource(paths, fps=10.0)
    assert len(list(source.shots(lambda media_time: media_time != 0.1))) == 2
    assert source.skipped == 0


def test_pictures_come_in_the_order_people_count(tmp_path: Path) -> None:
    for name in ("image_10.jpg", "image_2.jpg", "Image_3.JPG", "image_1.jpg"):
        save(tmp_path / name, ramp())
    (tmp_path / "notes.txt").write_text("not a picture")
    (tmp_path / "more").mkdir()
    names = [path.name for path in pictures(tmp_path)]
    assert names == ["Image_3.JPG", "image_1.jpg", "image_2.jpg", "image_10.jpg"]


@given(st.lists(st.text(st.characters(codec="utf-8", exclude_characters="/\0"), min_size=1), min_size=2))
def test_any_names_can_be_ordered(names: list[str]) -> None:
    paths = sorted((Path("folder") / name for name in names), key=natural)
    assert all(natural(first) <= natural(second) for first, second in pairwise(paths))


def test_a_folder_without_pictures_is_refused(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match="no picture"):
        pictures(tmp_path)
    with pytest.raises(SourceError, match="No such file"):
        pictures(tmp_path / "gone")
    with pytest.raises(SourceError, match="no picture"):
        FolderSource([])


def test_a_table_groups_its_pictures(tmp_path: Path) -> None:
    for name in ("a_10.png", "a_9.png", "b.png"):
        save(tmp_path / name, ramp())
    table = tmp_path / "labels.csv"
    absolute = tmp_path / "b.png"
    table.write_text(f"source,path,label,seq_id\nx,{absolute},hen,2\nx,a_10.png,crow,1\nx,a_9.png,crow,1\n")
    found = sequences(table)
    assert [(s.label, s.seq_id, [p.name for p in s.paths]) for s in found] == [
        ("hen", "2", ["b.png"]),
        ("crow", "1", ["a_9.png", "a_10.png"]),
    ]


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("path,label\na.png,hen\n", "row 1: no column seq_id"),
        ("", "row 1: no column path or label or seq_id"),
        ("path,label,seq_id\n", "no row below"),
        ("path,label,seq_id\na.png,hen,1\nb.png,hen,1\n", "row 3: no file 'b.png'"),
        ("path,label,seq_id\n,hen,1\n", "row 2: no file ''"),
        ("path,label,seq_id\na.png,,1\n", "row 2: label and seq_id"),
        ("path,label,seq_id\na.png,hen\n", "row 2: label and seq_id"),
    ],
)
def test_a_table_that_cannot_be_used_says_which_row(tmp_path: Path, text: str, why: str) -> None:
    save(tmp_path / "a.png", ramp())
    table = tmp_path / "labels.csv"
    table.write_text(text)
    with pytest.raises(SourceError, match=why) as error:
        sequences(table)
    assert "\n" not in str(error.value)


def test_a_table_that_is_none_is_refused(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match="No such file"):
        sequences(tmp_path / "gone.csv")
    table = tmp_path / "labels.csv"
    table.write_bytes(b"\xff\xfe\x00\x00path")
    with pytest.raises(SourceError, match="UTF-8"):
        sequences(table)


@pytest.mark.parametrize(
    ("shape", "expected"),
    [((720, 1280), (360, 640)), ((1080, 1920), (360, 640)), ((480, 640), (480, 640)), ((240, 320), (240, 320)),
     ((1280, 720), (480, 270)), ((1, 5000), (1, 640))],
)  # fmt: skip
def test_luma_keeps_the_aspect_and_is_never_enlarged(shape: tuple[int, int], expected: tuple[int, int]) -> None:
    image = np.full((*shape, 3), (255, 0, 0), np.uint8)
    luma = luma_of(image)
    assert luma.shape == expected
    assert luma.dtype == np.uint8
    assert abs(int(luma.mean()) - 76) <= 1  # red is 0.299 of the brightness


def test_the_real_table_of_pictures_is_read(shared_data: Path) -> None:
    found = sequences(shared_data / "images" / "labels.csv")
    assert sum(len(s.paths) for s in found) == 3318
    crows = [s for s in found if "crowcam" in str(s.paths[0]) and s.label == "crow"]
    source = FolderSource(crows[0].paths)
    assert len(list(source.shots())) == len(crows[0].paths)
