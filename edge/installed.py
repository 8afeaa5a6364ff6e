"""What systemd says of an installed appliance, and whether its daemon may open what the configuration names."""

from __future__ import annotations

import os
import pwd
import re
import signal
import stat
import subprocess
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

from edge.actuators.serial import to_open
from edge.config import Config
from edge.health import Finding
from edge.unit import WATCH, there

UNITS = (WATCH, "gander.target", "gander-publish.service", "gander-prune.timer", "gander-reboot.path")
_ASKED = ("ActiveState", "ExecMainCode", "ExecMainStatus", "UnitFileState", "MemoryCurrent", "User")
_KILLED = str(os.CLD_KILLED)
_TOLD_TO_END = [str(number.value) for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGPIPE)]
_NONE = ("", "0", "infinity", "[not set]", str(2**64 - 1))  # as systemd of various ages writes that there is none


def findings(config: Config) -> Iterator[Finding]:
    """Units, hardware watchdog, memory limit, rights; nothing where Gander is not installed as a service."""
    if not there():
        return
    units = {name: shows(name, *_ASKED) for name in UNITS}
    yield from services(units)
    yield _watchdog(shows("", "RuntimeWatchdogUSec"))
    yield from rights(config, units[WATCH]["User"])
    yield from rendered(config)


def shows(unit: str, *names: str) -> dict[str, str]:
    """Properties of a unit, or of systemd itself; empty ones where it does not say. Raises `OSError`."""
    command = ["systemctl", "show", f"--property={','.join(names)}", *([unit] if unit else [])]
    said = subprocess.run(command, capture_output=True, text=True, check=False, timeout=30).stdout
    told = dict(line.partition("=")[::2] for line in said.splitlines())
    return {name: told.get(name, "") for name in names}


def services(units: Mapping[str, Mapping[str, str]]) -> Iterator[Finding]:
    """Whether all run, now and after the next boot. Pure."""
    failed = [name for name, unit in units.items() if _failed(unit)]
    off = [name for name, unit in units.items() if unit["UnitFileState"] not in ("enabled", "enabled-runtime")]
    if failed:
        yield Finding(
            "problem", "service", f"{', '.join(failed)}: failed",
            f"`journalctl -u {failed[0]}` says why; when that is mended: `sudo systemctl restart gander.target`",
        )  # fmt: skip
    if off:
        yield Finding(
            "problem",
            "service",
            f"{', '.join(off)}: does not start at boot",
            f"`sudo systemctl enable {' '.join(off)}`",
        )
    if not failed and not off:
        yield Finding("ok", "service", "everything starts at boot, nothing failed")
    if units[WATCH]["ActiveState"] == "active" and units[WATCH]["MemoryCurrent"] in _NONE:
        yield Finding(
            "advice", "memory limit", "memory is not counted, so that a leak would end the machine, not the daemon",
            "add cgroup_enable=memory to /boot/firmware/cmdline.txt, in its one line, and reboot",
        )  # fmt: skip


def _failed(unit: Mapping[str, str]) -> bool:
    """Also what has given up: it counts as inactive, so that no start is refused (systemd/gander-gave-up@.service)."""
    if unit["ExecMainCode"] == _KILLED and unit["ExecMainStatus"] in _TOLD_TO_END:
        return unit["ActiveState"] == "failed"  # stopped while it was still loading
    ended_badly = unit["ActiveState"] == "inactive" and unit["ExecMainStatus"] not in ("", "0")
    return ended_badly or unit["ActiveState"] == "failed"


def _watchdog(manager: Mapping[str, str]) -> Finding:
    set_to = manager["RuntimeWatchdogUSec"]
    if set_to in _NONE or not Path("/dev/watchdog0").exists():
        return Finding(
            "advice", "hardware watchdog", "none: a machine whose kernel hangs stays so until somebody comes",
            "a Raspberry Pi has one (dtparam=watchdog=on in /boot/firmware/config.txt, unless it is there by itself)",
        )  # fmt: skip
    return Finding("ok", "hardware watchdog", f"resets a machine that hangs for {set_to}")


def rights(config: Config, user: str) -> Iterator[Finding]:
    """Whether this user, as which the daemon runs, may open the devices that the configuration needs."""
    for what, group, devices in needed(config):
        if closed := [device for device in devices if not may_open(device, user)]:
            advice = f"`sudo usermod -aG {group} {user}`, then `sudo systemctl restart gander.target`"
            if group == "dialout":
                person = pwd.getpwnam(user)
                advice = to_open(person.pw_uid, os.getgrouplist(user, person.pw_gid))
            yield Finding(
                "problem", what, f"{user}, as which the daemon runs, may not open {', '.join(map(str, closed))}", advice
            )


def rendered(config: Config) -> Iterator[Finding]:
    """Cameras that are none: what an installation that found no camera begins with."""
    for camera in config.camera:
        if camera.source.startswith("synthetic:"):
            yield Finding(
                "advice", f"camera {camera.id}", "is a rendered yard: nothing real is watched",
                "name yours as camera.source in the configuration: picamera, /dev/video0, rtsp://…",
            )  # fmt: skip


def needed(config: Config) -> Iterator[tuple[str, str, Iterable[Path]]]:
    """What for, the group that is usual for it, and the devices that are there."""
    sources = [camera.source for camera in config.camera]
    if any(re.fullmatch(r"picamera(:\d+)?", source) for source in sources):
        yield "picamera", "video", _devices("media*", "video*", "dma_heap/*")
    for source in sources:
        if re.fullmatch(r"/dev/\S+|\d+", source):
            yield source, "video", _devices(source.removeprefix("/dev/") if "/" in source else f"video{source}")
    if config.controller.kind == "guard":
        yield "pins", "gpio", _devices("gpiochip*")
    if config.controller.kind == "serial":
        port = config.controller.port
        yield "controller", "dialout", _devices(port.removeprefix("/dev/") if port.startswith("/dev/") else "ttyACM*")


def _devices(*patterns: str) -> list[Path]:
    return sorted(path for pattern in patterns for path in Path("/dev").glob(pattern))


def may_open(device: Path, user: str) -> bool:
    """By owner, group and mode."""
    told, person = device.stat(), pwd.getpwnam(user)
    if told.st_uid == person.pw_uid:
        return bool(told.st_mode & stat.S_IRUSR and told.st_mode & stat.S_IWUSR)
    if told.st_gid in os.getgrouplist(user, person.pw_gid):
        return bool(told.st_mode & stat.S_IRGRP and told.st_mode & stat.S_IWGRP)
    return bool(told.st_mode & stat.S_IROTH and told.st_mode & stat.S_IWOTH)
