"""An appliance, over ssh: one command at a time, its words as ours."""

from __future__ import annotations

import re
import shlex
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from edge.errors import GanderError, Refused

_HOST = re.compile(r"([A-Za-z0-9_][A-Za-z0-9_.-]*@)?[A-Za-z0-9][A-Za-z0-9.:-]*")
_NOT_REACHED = 255  # ssh's own failure
_NOT_FOUND = 127


@dataclass(frozen=True, slots=True)
class Appliance:
    """`host` as ssh knows it (`[user@]name`); `gander`: the command there; `options`: more for ssh, such as -p 2222."""

    host: str
    gander: str = "gander"
    options: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if not _HOST.fullmatch(self.host):
            raise Refused(f"{self.host!r}: not a host; write name or user@name")

    def run(self, script: str, given: IO[bytes] | None = None, out: IO[bytes] | None = None) -> str:
        """Run a shell script there; returns the last line of what it says for people.

        `given` becomes its standard input, its standard output goes to `out`. Raises `GanderError`.
        """
        command = ["ssh", "-o", "BatchMode=yes", "-o", "ConnectTimeout=20", *self.options, "--", self.host, script]
        try:
            done = subprocess.run(
                command, stdin=given or subprocess.DEVNULL, stdout=out, stderr=subprocess.PIPE, check=False
            )
        except FileNotFoundError:
            raise GanderError("ssh is not installed here; `sudo apt install openssh-client`") from None
        words = [line for line in done.stderr.decode(errors="replace").splitlines() if line.strip()]
        last = words[-1].removeprefix("gander: ") if words else f"status {done.returncode}"
        if done.returncode == _NOT_REACHED:
            raise GanderError(f"{self.host}: {last}; try `ssh {self.host}` first: it must go without a password")
        if done.returncode == _NOT_FOUND:
            raise GanderError(f"{self.host}: {last}; give its path there with --gander")
        if done.returncode:
            raise GanderError(f"{self.host}: {last}")
        return last if words else ""

    def verb(self, *arguments: str) -> str:
        """`gander` with arguments, quoted for the shell there."""
        return " ".join([self.gander, *map(shlex.quote, arguments)])


def apart(script: str) -> str:
    """The script in a folder of its own there, `$d`, which goes when it ends."""
    return f'd=$(mktemp -d) && trap \'rm -rf "$d"\' EXIT && chmod 755 "$d" && {script}'


def read(path: Path) -> IO[bytes]:
    """A file to send. Raises `Refused`."""
    try:
        return path.open("rb")
    except OSError as error:
        raise Refused(f"{path}: {error.strerror}") from None
