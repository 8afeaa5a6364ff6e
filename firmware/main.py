"""The controller's program: bytes in, the rules, outputs out. `deploy/flash.sh` makes it the Pico's `main.py`."""

import sys

if sys.implementation.name == "micropython":
    from firmware import pins  # first of all, since it drives every output off

import binascii
import os

from firmware.check import limits
from firmware.deterrent import Deterrent, ticks_diff
from firmware.wire import Lines, seal, unseal

TURN_MS = 5
"""The longest sleep of the loop: so late is the arm switch seen, and so late a pulse may end."""
AWAY_MS = 2000
"""A host that has said nothing for so long is shown as gone."""
LEAVE = seal("0 LEAVE")[:-1]
"""Everything off, and no controller until the next start: how `deploy/flash.sh` gets in."""

LISTENING, SWITCHED_OFF, DISARMED = 1, 2, 3
"""Short flashes of the status LED in each two seconds."""


def run(board: "Board") -> None:  # type: ignore[name-defined]  # noqa: F821 - firmware.pins', or that of a desk
    """Obey the host until it says LEAVE. The pins move before the line that says so is sent."""
    deterrent = Deterrent(limits(board.channels), session(), board.now())
    lines = Lines()
    heard = board.now() - AWAY_MS
    board.write(deterrent.greeting(board.now()))
    while True:
        now = board.now()
        closed = board.armed_switch()
        _tell(board, deterrent, deterrent.switch(closed, now))  # which does what is due
        for line in lines.feed(board.read()):
            now = board.now()
            if line == LEAVE:
                _tell(board, deterrent, deterrent.off(now))
                return
            _tell(board, deterrent, deterrent.handle(line, now))
            if line and unseal(line):
                heard = now
        if ticks_diff(now, heard) >= AWAY_MS:
            heard = now - AWAY_MS  # or it would come back when the ticks have gone round
        board.led(shines(now, deterrent, closed, ticks_diff(now, heard) < AWAY_MS))
        board.feed()
        due = deterrent.due(board.now())
        board.wait(TURN_MS if due < 0 else min(due, TURN_MS))


def _tell(board: "Board", deterrent: Deterrent, answers: "list[bytes]") -> None:  # type: ignore[name-defined]  # noqa: F821
    board.show(deterrent.outputs())
    for answer in answers:
        board.write(answer)


def session() -> str:
    """A word that no other start had."""
    return binascii.hexlify(os.urandom(4)).decode()


def shines(now: int, deterrent: Deterrent, closed: bool, heard: bool) -> bool:
    """Whether the status LED is on: flicker in a pulse, on with a short gap when armed, else short flashes."""
    if any(on for _, on in deterrent.outputs()):
        return now % 128 < 64
    if deterrent.armed:
        return now % 2048 >= 128
    flashes = LISTENING if not heard else SWITCHED_OFF if not closed else DISARMED
    return now % 2048 < flashes * 256 and now % 256 < 96


def main() -> None:
    """A Pico's life. An error ends in everything off, its text on USB, and the watchdog's reset."""
    board = pins.Board()
    if board.asked_to_stay():
        return
    try:
        run(board)
    except KeyboardInterrupt:
        pass  # Ctrl-C on USB, which is nobody's link when the host is on the UART
    finally:
        board.off()
    board.leave()


if __name__ == "__main__":
    main()
