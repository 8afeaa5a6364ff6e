"""The emulated Raspberry Pi 3: QEMU, its console, its monitor, and the record of its pins."""

from __future__ import annotations

import contextlib
import json
import re
import socket
import subprocess
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.lab.pi3.levels import GPIO, REGISTERS, Level, Trace, read_registers
from tests.lab.pi3.parts import Parts

PIN = 17
_SAMPLE_S = 0.02
_COMMAND_LINE = "console=ttyS1,115200 rdinit=/init quiet"
# systemd writes to its journal only, and starts no login on the console: that is the lab's.
_SYSTEMD = "systemd.show_status=0 systemd.log_target=journal systemd.getty_auto=0 systemd.condition-needs-update=0"


@dataclass
class Machine:
    """A running one. Times are the host's clock, seconds since the epoch, as QEMU writes them."""

    process: subprocess.Popen[bytes]
    trace: Trace
    console: socket.socket
    monitor: socket.socket
    log: Path
    samples: list[tuple[float, float, Level]] = field(default_factory=list)  # asked, answered, level
    _said: bytes = b""

    def wait(self, event: str, timeout: float) -> dict[str, Any]:
        """What the guest says of `event`, with `heard`: when it came. What it says before is dropped."""
        until = time.monotonic() + timeout
        while (left := until - time.monotonic()) > 0:
            line, found, self._said = self._said.partition(b"\n")
            if not found:
                self._said = line
                self.console.settimeout(left)
                with contextlib.suppress(TimeoutError):
                    self._listen()
                continue
            if not (match := re.search(rb"@@ (\{.*\})", line)):
                continue
            told: dict[str, Any] = {**json.loads(match[1]), "heard": time.time()}
            assert told["event"] != "agent ended", self.log.read_text(errors="replace")[-3000:]
            if told["event"] == event:
                return told
        raise AssertionError(f"the guest did not say {event!r} in {timeout:g} s:\n{self.log.read_text()[-3000:]}")

    def _listen(self) -> None:
        data = self.console.recv(4096)
        assert data, "QEMU has ended"
        self._said += data
        with self.log.open("ab") as log:
            log.write(data)

    def wish(self, name: str, **facts: Any) -> None:
        """Ask the guest for a scenario. A UART has a short memory: in small pieces."""
        line = json.dumps({"name": name, **facts}).encode() + b"\n"
        for start in range(0, len(line), 8):
            self.console.sendall(line[start : start + 8])
            time.sleep(0.01)

    def sample(self, stop: threading.Event) -> None:
        """Read the pin by the monitor, again and again: a second witness beside the record."""
        while not stop.wait(_SAMPLE_S):
            asked = time.time()
            try:
                words = self._registers()
            except OSError:
                return
            self.samples.append((asked, time.time(), read_registers(words, PIN)))

    def _registers(self) -> list[int]:
        self.monitor.sendall(f"xp /{REGISTERS}xw {GPIO:#x}\n".encode())
        answer = b""
        while answer.count(b"(qemu)") < 1:
            data = self.monitor.recv(4096)
            if not data:
                raise ConnectionResetError
            answer += data
        rows = re.findall(rb"[0-9a-f]{16}: ((?:0x[0-9a-f]{8} ?)+)", answer)
        return [int(word, 16) for row in rows for word in row.split()]


@contextlib.contextmanager
def started(
    parts: Parts, initramfs: Path, folder: Path, *, persist: bool, card: Path | None = None
) -> Iterator[Machine]:
    """Power on. `persist`: released outputs stay driven, as with Raspberry Pi's own kernels.

    `card`: an SD card's image, which keeps what is written for as long as this machine lives, and is not changed.
    """
    console, monitor, trace = folder / "console", folder / "monitor", folder / "trace"
    line = f"{_COMMAND_LINE} {_SYSTEMD} pinctrl_bcm2835.persist_gpio_outputs={int(persist)}"
    command: list[str | Path] = [
        *("qemu-system-aarch64", "-M", "raspi3b", "-display", "none", "-S"),
        *("-kernel", parts.kernel, "-dtb", parts.tree, "-initrd", initramfs, "-append", line),
        *("-serial", "null", "-serial", f"unix:{console},server=on,wait=off"),
        *("-monitor", f"unix:{monitor},server=on,wait=off"),
        *(("-drive", f"file={card},if=sd,format=raw,snapshot=on") if card else ()),
        *("-msg", "timestamp=on", "-d", "trace:memory_region_ops_write", "-D", trace),
    ]
    with contextlib.ExitStack() as stack:
        errors = stack.enter_context((folder / "errors").open("wb"))
        process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=errors, stderr=errors)
        stack.callback(process.wait)
        stack.callback(process.kill)
        talk = stack.enter_context(_connected(console, process, folder / "errors"))
        asking = stack.enter_context(_connected(monitor, process, folder / "errors"))
        machine = Machine(process, Trace(trace), talk, asking, folder / "log")
        _until_prompt(machine.monitor)
        machine.monitor.sendall(b"cont\n")  # power: only now, when everybody watches
        _until_prompt(machine.monitor)
        stop = threading.Event()
        sampler = threading.Thread(target=machine.sample, args=(stop,))
        sampler.start()
        stack.callback(sampler.join)
        stack.callback(stop.set)
        yield machine


def _connected(path: Path, process: subprocess.Popen[bytes], errors: Path) -> socket.socket:
    until = time.monotonic() + 30
    stream = socket.socket(socket.AF_UNIX)
    while True:
        try:
            stream.connect(str(path))
        except OSError:
            assert process.poll() is None, errors.read_text()
            assert time.monotonic() < until, "QEMU does not open its sockets"
            time.sleep(0.05)
        else:
            return stream


def _until_prompt(monitor: socket.socket) -> None:
    monitor.settimeout(60.0)
    said = b""
    while b"(qemu)" not in said:
        said += monitor.recv(4096)
