"""The controller's protocol, version 1: sealed lines of ASCII, both ways. Pure; CPython and MicroPython alike.

A line is words with single spaces between, closed by a checksum: `12 PING *9C1F`.

To the controller:   `<seq> PULSE session tick channel on_ms off_ms count`, `<seq> OFF`, `<seq> ARM 0|1`, `<seq> PING`,
                     `<seq> STATE` (asks for the greeting again)
From the controller: `HELLO protocol firmware session tick seq channel:max_on_ms:hour_ms:rest_ms...` (greeting; `seq`:
                     the last one used up; then what each channel allows, see `firmware.deterrent.Limits`),
                     `OK seq tick armed pulsing` (bit N of `pulsing`: channel N carries out a pulse),
                     `NO seq reason`, `ON channel tick`, `DONE channel on_ms`
"""

PROTOCOL = 1
LINE_MAX = 256
"""Most bytes of a line, without its end."""
NUMBER_MAX = (1 << 30) - 1
"""Largest number: MicroPython's small integers end here, above it every number would be allocated."""

_NIBBLES = (
    0x0000, 0x1021, 0x2042, 0x3063, 0x4084, 0x50A5, 0x60C6, 0x70E7,
    0x8108, 0x9129, 0xA14A, 0xB16B, 0xC18C, 0xD1AD, 0xE1CE, 0xF1EF,
)  # fmt: skip


def crc16(data: bytes) -> int:
    """CRC-16/CCITT-FALSE (polynomial 0x1021, begins at 0xFFFF). By halves of a byte: small table, no allocation."""
    crc = 0xFFFF
    for byte in data:
        crc = ((crc << 4) & 0xFFFF) ^ _NIBBLES[(crc >> 12) ^ (byte >> 4)]
        crc = ((crc << 4) & 0xFFFF) ^ _NIBBLES[(crc >> 12) ^ (byte & 15)]
    return crc


def seal(text: str) -> bytes:
    """Words as a whole line, with checksum and end."""
    body = text.encode()
    return body + (" *%04X\n" % crc16(body)).encode()


def unseal(line: bytes) -> "list[str] | None":
    """The words of a line (without its end), or None when it is cut, altered, too long or not ASCII."""
    if not 7 <= len(line) <= LINE_MAX or line[-6:-4] != b" *":
        return None
    body = line[:-6]
    if line[-4:] != ("%04X" % crc16(body)).encode():
        return None
    for byte in body:
        if not 32 <= byte < 127:
            return None
    return body.decode().split(" ")


def number(word: str) -> int:
    """A decimal number 0 to NUMBER_MAX; -1 for anything else. `int` alone would take signs, spaces and underscores."""
    if not 1 <= len(word) <= 10:
        return -1
    for letter in word:
        if not "0" <= letter <= "9":
            return -1
    value = int(word)
    return value if value <= NUMBER_MAX else -1


class Lines:
    """Cuts a stream of bytes into lines, keeping at most one unfinished line."""

    def __init__(self) -> None:
        self._part = b""
        self._skipping = False  # inside a line that is already known to be too long

    def feed(self, data: bytes) -> "list[bytes | None]":
        """The lines that `data` completes, without their ends. None stands for LINE_MAX bytes that are no line."""
        lines: "list[bytes | None]" = []
        while data:
            end = data.find(b"\n")
            piece, data = (data, b"") if end < 0 else (data[:end], data[end + 1 :])
            part = self._part + piece
            while len(part) > LINE_MAX + 1:  # a line end may be two bytes
                lines.append(None)
                self._skipping = True
                part = part[LINE_MAX:]
            self._part = part
            if end >= 0:
                self._end(lines)
        return lines

    def _end(self, lines: "list[bytes | None]") -> None:
        line = self._part[:-1] if self._part.endswith(b"\r") else self._part
        if self._skipping:
            lines.append(None)  # what is left of it: never taken for a line of its own
        elif line:
            lines.append(line)
        self._part = b""
        self._skipping = False
