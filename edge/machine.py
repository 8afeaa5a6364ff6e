"""What kind of machine this is, and what to do about it: asked of the kernel, nothing is touched."""

from __future__ import annotations

import importlib.metadata
import importlib.util
import os
import platform
import re
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path

import cv2
import numpy as np

from edge.clock import LiveClock
from edge.config import Config
from edge.errors import GanderError
from edge.health import SUPPLY, Finding, disk, temperature, undervoltage
from edge.runtimes import tflite

_MODEL = Path("/proc/device-tree/model")
_CONFIG = (Path("/boot/firmware/config.txt"), Path("/boot/config.txt"))
_MODULES = Path("/sys/module")
_RP1 = re.compile(r"Raspberry Pi (5|500|Compute Module 5)\b")  # their pins hang on this chip
_LITTLE_MB = 500


def raspberry() -> str:
    """The Raspberry Pi's model; empty where this is none."""
    try:
        model = _MODEL.read_text().rstrip("\0\n ")
    except OSError:
        return ""
    return model if "Raspberry Pi" in model else ""


def container() -> bool:
    """Whether this is a container, which shares the host's kernel, clock and devices."""
    if Path("/.dockerenv").exists() or Path("/run/.containerenv").exists() or Path("/run/systemd/container").exists():
        return True
    try:
        return b"container=" in Path("/proc/1/environ").read_bytes()
    except OSError:
        return False


def wide() -> bool:
    """Whether system and Python are 64-bit."""
    return platform.machine() in ("aarch64", "arm64", "x86_64", "AMD64") and platform.architecture()[0] == "64bit"


def memory_mb() -> int:
    """Megabytes of memory that are free for use; 0 where the kernel does not tell."""
    try:
        found = re.search(r"MemAvailable:\s+(\d+)", Path("/proc/meminfo").read_text())
    except OSError:
        return 0
    return int(found[1]) // 1024 if found else 0


def strict_gpiod() -> bool | None:
    """Whether released outputs go back to inputs, by `config.txt`; None where there is no such file."""
    for path in _CONFIG:
        try:
            lines = path.read_text().splitlines()
        except OSError:
            continue
        return any(re.match(r"\s*dtparam\s*=\s*(\S+,)?strict_gpiod\b", line) for line in lines)
    return None


def outputs_stay(model: str, modules: Path = _MODULES) -> bool | None:
    """Whether the kernel keeps released outputs driven, by the driver that this model's pins have; None: unknown."""
    driver = "pinctrl_rp1" if _RP1.match(model) else "pinctrl_bcm2835"  # Raspberry Pi's kernel has both, on any model
    try:
        return (modules / driver / "parameters" / "persist_gpio_outputs").read_text().strip() == "Y"
    except OSError:
        return None


def findings(config: Config, state: Path) -> Iterator[Finding]:
    """Software, hardware, clock and disk."""
    yield from _software()
    yield from _hardware()
    yield from _clock(config)
    yield from _disk(config, state)


def _software() -> Iterator[Finding]:
    versions = f"Python {platform.python_version()}, numpy {np.__version__}, OpenCV {cv2.__version__}"
    try:
        runtime, version = tflite.name(), tflite.version()
    except (GanderError, importlib.metadata.PackageNotFoundError) as error:
        yield Finding("problem", "runtime", f"no model can run: {error}", "install it, then run this again")
        return
    if runtime == "tflite-runtime":
        if not np.__version__.startswith("1."):
            yield Finding(
                "problem", "runtime", f"tflite-runtime {version} with {versions}: it needs numpy 1",
                "make an environment with `pip install -c deploy/tflite-runtime.txt '.[tflite-runtime]'`",
            )  # fmt: skip
            return
        yield Finding(
            "advice", "runtime", f"tflite-runtime {version}, {versions}: slow, and old models only",
            "where there are wheels for it, LiteRT is several times as fast: `pip install '.[litert]'`",
        )  # fmt: skip
        return
    yield Finding("ok", "runtime", f"{runtime} {version}, {versions}")


def _hardware() -> Iterator[Finding]:
    kind = raspberry() or ("a container" if container() else "a desk machine, no Raspberry Pi")
    cores, memory = len(os.sched_getaffinity(0)), memory_mb()
    if not wide():
        yield Finding(
            "problem", "machine", f"{kind}, 32-bit", "install the 64-bit Raspberry Pi OS: no runtime exists for this"
        )
    elif memory and memory < _LITTLE_MB:
        yield Finding(
            "advice", "machine", f"{kind}, {cores} cores, {memory} MB free: little",
            "two models want about 350 MB: leave models.standby empty, or end other programs",
        )  # fmt: skip
    else:
        yield Finding("ok", "machine", f"{kind}, {cores} cores, {memory} MB free")
    if undervoltage():
        yield Finding("problem", "power", "the supply gives too little voltage", SUPPLY)
    degrees = temperature()
    if degrees is not None:
        hot = degrees >= 80
        advice = "give it air, shade or a heat sink" if hot else ""
        yield Finding("problem" if hot else "ok", "temperature", f"{degrees:.0f} °C", advice)


def _clock(config: Config) -> Iterator[Finding]:
    zone = datetime.now().astimezone().tzname()
    if LiveClock().known():
        yield Finding("ok", "clock", f"set, time zone {zone}")
        return
    quiet = ", ".join(d.id for d in config.deterrent if d.enabled and d.quiet)
    held = f"; {quiet} holds until it is" if quiet else ""
    advice = "connect to a network, or fit a clock (RTC); `timedatectl` says more"
    if container():
        advice = "a container cannot tell; the host's `timedatectl` can"
    yield Finding("advice", "clock", f"nobody says that it is set, time zone {zone}{held}", advice)


def _disk(config: Config, state: Path) -> Iterator[Finding]:
    there = next(path for path in (state, *state.absolute().parents) if path.exists())
    if not os.access(there, os.W_OK):
        yield Finding("problem", "state", f"{there} cannot be written by you", "`sudo` this, or name another --state")
        return
    if there == state and state.stat().st_mode & 0o007:
        yield Finding(
            "advice", "state", f"{state} is open to everybody here", f"`chmod o= {state}`: pictures are private"
        )
    else:
        yield Finding("ok", "state", str(state))
    space = disk(there)
    share, wanted = space["free"] / space["total"], config.media.min_free
    says = f"{space['free'] / 1e9:.1f} GB free, {share:.0%}"
    if share < wanted:
        yield Finding(
            "problem", "disk", f"{says}: below {wanted:.0%} no picture is kept (media.min_free)",
            "free some: `gander prune`, or move labelled pictures away with `gander export`",
        )  # fmt: skip
    elif space["free"] - wanted * space["total"] < config.media.max_mb * 1e6:
        most = f"{config.media.max_mb} MB (media.max_mb)"
        yield Finding("advice", "disk", f"{says}: pictures will not reach their {most}", "fine, if you do not mind")
    else:
        yield Finding("ok", "disk", says)


def pins(names: str, rights: bool = True) -> Iterator[Finding]:
    """Whether this machine's own pins can be driven, and let go. `rights`: by who runs this."""
    factory = os.environ.get("GPIOZERO_PIN_FACTORY", "")
    chips = sorted(Path("/dev").glob("gpiochip*"))
    if factory == "mock":
        yield Finding(
            "advice", "deterrent", f"{names}: recording pins, nothing moves", "unset GPIOZERO_PIN_FACTORY on a Pi"
        )
    elif not chips:
        yield Finding("problem", "deterrent", f"{names}: this machine has no GPIO", 'controller.kind = "dry" on a desk')
    elif rights and not any(os.access(chip, os.R_OK | os.W_OK) for chip in chips):
        yield Finding(
            "problem", "deterrent", f"{names}: no right to {chips[0]}", "`sudo usermod -aG gpio $USER`, log in again"
        )
    elif importlib.util.find_spec("lgpio") is None or _stub():
        yield Finding("problem", "deterrent", f"{names}: no working lgpio", "`sudo apt install python3-lgpio`")
    else:
        yield Finding("ok", "deterrent", names)
    if model := raspberry():
        yield from released(outputs_stay(model), strict_gpiod())


def released(stays: bool | None, configured: bool | None) -> Iterator[Finding]:
    """What becomes of the pin of a guard that is killed: as the kernel says, and as `config.txt` asks. Pure."""
    if stays or (stays is None and not configured):
        yield Finding(
            "problem", "deterrent", "this kernel keeps a released output driven: a killed guard would leave it on",
            "reboot once: config.txt has what is needed, this kernel was started before"
            if configured else "add dtparam=strict_gpiod to /boot/firmware/config.txt and reboot",
        )  # fmt: skip


def _stub() -> bool:
    """PyPI's lgpio 0.0.0.2 installs and does nothing."""
    try:
        return importlib.metadata.version("lgpio").startswith("0.0.")
    except importlib.metadata.PackageNotFoundError:
        return False
