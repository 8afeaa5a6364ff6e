"""The controller's lines: what was sealed comes out, what was altered does not."""

import ast
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import firmware
from firmware.deterrent import HOUR_MS, LONGEST_MS, MASK, Deterrent, Limits
from firmware.wire import LINE_MAX, NUMBER_MAX, Lines, crc16, number, seal, unseal

word = st.text(st.characters(min_codepoint=33, max_codepoint=126), min_size=1, max_size=8)
words = st.lists(word, min_size=1, max_size=10)


def test_checksum_is_the_published_one() -> None:
    assert crc16(b"123456789") == 0x29B1  # CRC-16/CCITT-FALSE's check value


@settings(deadline=None)
@given(words)
def test_sealed_words_come_out(sent: list[str]) -> None:
    line = seal(" ".join(sent))
    assert line.endswith(b"\n")
    assert unseal(line[:-1]) == sent


@settings(deadline=None)
@given(words, st.data())
def test_one_altered_byte_is_seen(sent: list[str], data: st.DataObject) -> None:
    line = bytearray(seal(" ".join(sent))[:-1])
    at = data.draw(st.integers(0, len(line) - 1))
    line[at] ^= data.draw(st.integers(1, 255))
    assert unseal(bytes(line)) is None


@settings(deadline=None)
@given(words, st.integers(1, 40))
def test_a_cut_line_is_seen(sent: list[str], cut: int) -> None:
    line = seal(" ".join(sent))[:-1]
    assert unseal(line[:-cut]) is None
    assert unseal(line[cut:]) is None


def test_right_checksum_over_wrong_bytes_is_refused() -> None:
    for body in (b"1 PING\xff", b"1 PING\x00", b"1\tPING"):
        assert unseal(body + b" *%04X" % crc16(body)) is None


@settings(deadline=None)
@given(st.lists(words, max_size=8), st.data())
def test_lines_are_cut_the_same_however_they_arrive(sent: list[list[str]], data: st.DataObject) -> None:
    stream = b"".join(seal(" ".join(line)) for line in sent)
    cuts = sorted(data.draw(st.lists(st.integers(0, len(stream)), max_size=12)))
    lines, got = Lines(), []
    for begin, end in zip([0, *cuts], [*cuts, len(stream)], strict=True):
        got += lines.feed(stream[begin:end])
    assert [unseal(line) for line in got if line] == sent


@settings(deadline=None)
@given(st.lists(st.binary(max_size=400), max_size=20))
def test_noise_is_bounded_and_the_next_line_is_understood(noise: list[bytes]) -> None:
    lines = Lines()
    for piece in noise:
        for line in lines.feed(piece):
            assert line is None or len(line) <= LINE_MAX + 1
        assert len(lines._part) <= LINE_MAX + 1
    lines.feed(b"\n")
    assert lines.feed(seal("7 PING")) == [seal("7 PING")[:-1]]


def test_an_endless_line_is_told_again_and_again_and_its_tail_is_no_line() -> None:
    lines = Lines()
    assert lines.feed(b"x" * (3 * LINE_MAX + 5)) == [None] * 3
    assert lines.feed(seal("7 PING")) == [None]
    assert lines.feed(seal("8 PING")[:-1] + b"\r\n") == [seal("8 PING")[:-1]]


@settings(deadline=None)
@given(st.integers(0, NUMBER_MAX))
def test_numbers(value: int) -> None:
    assert number(str(value)) == value


def test_what_is_no_number() -> None:
    for text in ("", "-1", "+1", " 1", "1_0", "1.0", "0x1", "٣", str(NUMBER_MAX + 1), "9" * 50):
        assert number(text) == -1


def test_the_longest_lines_fit() -> None:
    full = Deterrent(dict.fromkeys(range(8), Limits(LONGEST_MS, HOUR_MS, HOUR_MS)), "ffffffff", 0)
    full._seq = NUMBER_MAX
    assert unseal(full.greeting(MASK)[:-1]) is not None
    assert unseal(seal(f"{NUMBER_MAX} PULSE ffffffff {MASK} 7 60000 60000 60000")[:-1]) is not None


BESIDES = {
    # file: what it may import beside the firmware's own
    "main.py": {"binascii", "os", "sys"},
    "check.py": {"sys"},
    "pins.py": {"os", "select", "sys", "time", "machine", "micropython"},
}


@pytest.mark.parametrize("path", sorted(Path(firmware.__path__[0]).glob("*.py")), ids=lambda path: path.name)
def test_what_a_microcontroller_lacks_is_not_used(path: Path) -> None:
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        assert not isinstance(node, ast.Match | ast.AsyncFunctionDef | ast.NamedExpr)
        if isinstance(node, ast.Tuple | ast.List) and isinstance(node.ctx, ast.Load):
            assert not any(isinstance(part, ast.Starred) for part in node.elts), "MicroPython has no (*a, b)"
        if isinstance(node, ast.Import):
            assert {alias.name for alias in node.names} <= BESIDES.get(path.name, set())
        if isinstance(node, ast.ImportFrom):
            assert (node.module or "").partition(".")[0] == "firmware"
