"""An appliance, over ssh: one command at a time, its words as ours."""

from __future__ import annotations

import re
import shlex
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from edge.errors import GanderError, Refused

# A name or an address that ssh cannot take for an option, and perhaps a state directory, as scp writes them.
_NAME = r"[A-Za-z0-9](?:[A-Za-z0-9._-]*[A-Za-z0-9])?|[0-9A-Fa-f]*:[0-9A-Fa-f:.]*:[0-9A-Fa-f.]*(?:%[A-Za-z0-9._-]+)?"
_WHERE = re.compile(rf"((?:[A-Za-z0-9_][A-Za-z0-9_.-]*@)?(?:{_NAME}))(?::(/[^\x00-\x1f]*))?")
_NOT_REACHED, _NOT_FOUND, _REFUSED = 255, 127, 2  # ssh's own failure; the shell's; gander's
# A link that dies is noticed within a minute, and nothing is ever asked: there may be nobody to answer.
_SSH = ("ssh", "-T", "-oBatchMode=yes", "-oConnectTimeout=20", "-oServerAliveInterval=15", "-oServerAliveCountMax=3")
_ADVICE = (
    ("HOST IDENTIFICATION HAS CHANGED", "if it was set up anew: `ssh-keygen -R {name}`, else somebody is in between"),
    ("Host key verification failed", "`ssh {host}` once, and compare what it shows with the appliance"),
    ("Permission denied", "`ssh-copy-id {host}` once: it must go without a password"),
    ("Could not resolve", "is the name right?"),
    ("", "is it on, and does sshd run there?"),
)
_CHUNK = 1 << 16


@dataclass(frozen=True, slots=True)
class Appliance:
    """`where` as scp knows it: `[user@]name`, or with its state directory `[user@]name:/var/lib/gander`.

    `gander`: the command there, for its shell; `options`: more words for ssh, such as -p2222. Raises `Refused`.
    """

    where: str
    gander: str = "gander"
    options: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if not _WHERE.fullmatch(self.where):
            raise Refused(f"{self.where!r}: not a host; write name, user@name or user@name:/state/directory")

    @property
    def host(self) -> str:
        return self._parts[0] or ""

    @property
    def _parts(self) -> tuple[str | None, ...]:
        found = _WHERE.fullmatch(self.where)
        assert found
        return found.groups()

    def verb(self, *arguments: str) -> str:
        """`gander` with arguments, quoted for the shell there."""
        state = self._parts[1]
        return " ".join([self.gander, *map(shlex.quote, (*arguments, *(("--state", state) if state else ())))])

    def run(self, script: str, given: IO[bytes] | None = None, sent: Callable[[int], None] = lambda _: None) -> str:
        """Run a shell script there; returns the last line of what it says for people, on its standard error.

        `given` becomes its standard input; `sent` hears how many bytes have left. Raises `GanderError`, or `Refused`
        where gander there refuses.
        """
        with tempfile.TemporaryFile() as words:
            with self._started(script, subprocess.PIPE, subprocess.DEVNULL, words) as process:
                assert process.stdin
                with suppress(BrokenPipeError), process.stdin as there:  # its words will say why
                    while given and (chunk := given.read(_CHUNK)):
                        there.write(chunk)
                        sent(given.tell())
            return self._ended(process.returncode, words)

    @contextmanager
    def answer(self, script: str, given: IO[bytes]) -> Iterator[IO[bytes]]:
        """The standard output of a script there, to be read. Raises as `run` does, when all has been read."""
        with tempfile.TemporaryFile() as words:
            with self._started(script, given, subprocess.PIPE, words) as process:
                assert process.stdout
                yield process.stdout
                while process.stdout.read(_CHUNK):
                    pass
            self._ended(process.returncode, words)

    @contextmanager
    def _started(
        self, script: str, given: IO[bytes] | int, out: IO[bytes] | int, words: IO[bytes]
    ) -> Iterator[subprocess.Popen[bytes]]:
        # The shell there may be any, so a plain one is asked for.
        command = [*_SSH, *self.options, "--", self.host, f"exec sh -c {shlex.quote(script)}"]
        try:
            process = subprocess.Popen(command, stdin=given, stdout=out, stderr=words)
        except FileNotFoundError:
            raise GanderError("ssh is not installed here; `sudo apt install openssh-client`") from None
        with process:
            try:
                yield process
            except BaseException:
                process.kill()
                raise

    def _ended(self, status: int, words: IO[bytes]) -> str:
        words.seek(0)
        text = words.read().decode(errors="replace")
        lines = [line.strip(" │") for line in text.splitlines() if re.search(r"\w", line)]
        last = lines[-1].removeprefix("gander: ") if lines else f"status {status}"
        if status == _NOT_REACHED:
            advice = next(advice for sign, advice in _ADVICE if sign in text)
            raise GanderError(f"{self.host}: {last}; " + advice.format(host=self.host, name=self.host.split("@")[-1]))
        if status == _NOT_FOUND:
            raise GanderError(f"{self.host}: {last}; give gander's path there with --gander")
        if status:
            raise (Refused if status == _REFUSED else GanderError)(f"{self.host}: {last}")
        return last if lines else ""


def apart(script: str, shared: bool = False) -> str:
    """The script in a folder of its own there, `$d`, on the disk; it goes when the script ends, however it ends.

    `shared`: the daemon, who may be another user, can read what is in it.
    """
    private, folder = ("umask 022; ", 'chmod 755 "$d" && ') if shared else ("umask 077; ", "")
    made = "d=$(mktemp -d /var/tmp/gander.XXXXXXXXXX) && trap 'rm -rf \"$d\"' EXIT && trap 'exit 1' HUP INT TERM && "
    return private + made + folder + script


def read(path: Path) -> IO[bytes]:
    """A file to send. Raises `Refused`."""
    try:
        return path.open("rb")
    except OSError as error:
        raise Refused(f"{path}: {error.strerror}") from None
