"""The units: each directive has its reason, what they start exists, systemd finds no fault, and little is exposed."""

from __future__ import annotations

import importlib
import ipaddress
import json
import os
import re
import shlex
import shutil
import subprocess
import sys
from difflib import ndiff
from pathlib import Path
from typing import Any

import pytest
from typer.main import get_command

from edge.pin_guard import _EXAMPLE

UNITS = Path(__file__).resolve().parents[2] / "systemd"
FILES = sorted(UNITS.iterdir())
SERVICES = [path for path in FILES if path.suffix == ".service"]
PYTHON = "/opt/gander/current/bin/python"
PLAIN = ("Description=", "WantedBy=")  # these say themselves what they are for
LARGEST_EXPOSURE = 2.5


def named(path: Path) -> str:
    return path.name


def directives(path: Path) -> list[tuple[str, str]]:
    """Key and value, in their order; an empty value too."""
    text = path.read_text().replace("\\\n", " ")
    lines = [line for line in text.splitlines() if line and not line.startswith(("#", "["))]
    return [(key.strip(), value.strip()) for key, _, value in (line.partition("=") for line in lines)]


def values(path: Path, key: str) -> list[str]:
    return [value for name, value in directives(path) if name == key]


@pytest.mark.parametrize("path", FILES, ids=named)
def test_each_directive_has_its_reason(path: Path) -> None:
    explains, continued = 0, False  # how many directives the last comment may still explain
    for number, line in enumerate(path.read_text().splitlines(), 1):
        assert len(line) <= 120
        if line.startswith("#"):
            explains = 5
        elif not line or line.startswith("["):
            explains = 0
        elif not continued and not line.startswith(PLAIN):
            assert explains, f"{path.name}:{number}: {line}: why?"
            explains -= 1
        continued = line.endswith("\\")


@pytest.mark.parametrize("path", SERVICES, ids=named)
def test_what_is_started_exists(path: Path, tmp_path: Path) -> None:
    (tmp_path / "gander").mkdir()
    (tmp_path / "gander" / "pins.json").write_text(json.dumps([_EXAMPLE]))
    (tmp_path / "gander" / "reboot-wanted").write_text("a test\n")
    for key, line in directives(path):
        if not key.startswith("Exec"):
            continue
        command = shlex.split(line.lstrip("-+!@:"))
        if command[0] != PYTHON:
            assert command[0] in ("/bin/sh", "/usr/bin/sleep", "/usr/bin/test"), line
            continue
        assert command[1] == "-m"
        arguments = command[3:]
        if command[2] in ("edge.cli", "edge.cli_feed"):
            verb: Any = get_command(importlib.import_module(command[2]).app)
            if command[2] == "edge.cli":
                verb = verb.get_command(None, arguments.pop(0))
            known = {option for parameter in verb.params for option in parameter.opts}
            assert {argument for argument in arguments if argument.startswith("-")} <= known, line
        else:
            # Nothing of an appliance that this machine may be: other files, and pins that only remember.
            given = [
                re.sub(r"/run/gander(-watch-%i)?(?=[/*])", f"{tmp_path}/gander", argument) for argument in arguments
            ]
            given += [f"--kept={tmp_path}/reboots.jsonl"] if command[2] == "edge.reboot" else []
            assert not [argument for argument in given if argument.lstrip("@").startswith(("/run", "/var"))]
            done = subprocess.run(
                [sys.executable, "-m", command[2], *given],
                env={**os.environ, "GPIOZERO_PIN_FACTORY": "mock"},
                stdin=subprocess.DEVNULL,
                capture_output=True,
                text=True,
                check=False,
            )
            assert done.returncode == 0, f"{line}: {done.stderr}"


def test_units_that_units_name_are_there() -> None:
    systemds = {
        "modprobe@cdc_acm.service",
        "modprobe@usbserial.service",
        "modprobe@videodev.service",
        "shutdown.target",
        "multi-user.target",
        "network.target",
        "nss-lookup.target",
    }
    keys = ("Wants", "After", "PartOf", "OnFailure", "OnSuccess", "WantedBy", "Unit", "Before", "Conflicts")
    there = {path.name for path in FILES} | systemds
    for path in FILES:
        for key, value in directives(path):
            for unit in value.split() if key in keys and path.suffix != ".conf" else ():
                assert re.sub(r"@%\w\.", "@.", unit) in there or unit == "%i.service", f"{path.name}: {key}={unit}"


def test_a_further_daemon_differs_only_in_its_places() -> None:
    first, further = ((UNITS / name).read_text() for name in ("gander-watch.service", "gander-watch@.service"))
    added = [line[2:] for line in ndiff(first.splitlines(), further.splitlines()) if line.startswith("+ ")]
    own = [line for line in added if "%i" not in line]
    assert own == ["# By this it is heard when it asks for a reboot."]
    assert not re.search(r"gander-%i", further)
    assert "/var/lib/gander-watch-%i" in further, "one that is called reboot keeps away from /var/lib/gander-reboot"
    assert not re.search(r"/(var/lib|run)/gander/|/(var/lib|run)/gander$", further, re.M), "nothing of the first's"


def test_watch_reaches_the_home_network_only_and_publish_no_device() -> None:
    watch, publish = UNITS / "gander-watch.service", UNITS / "gander-publish.service"
    assert values(watch, "IPAddressDeny") == ["any"]
    networks = [word for line in values(watch, "IPAddressAllow") for word in line.split()]
    assert {word for word in networks if word.isalpha() or "-" in word} == {"localhost", "link-local"}
    assert all(ipaddress.ip_network(word).is_private for word in networks if "/" in word)
    assert values(watch, "DevicePolicy") == ["closed"]
    assert values(publish, "PrivateDevices") == ["yes"]
    assert values(publish, "DeviceAllow") == []
    wants = [
        unit for path in FILES if path.suffix != ".conf" for key in ("Wants", "Requires") for unit in values(path, key)
    ]
    assert not [unit for unit in wants if "network" in unit or "time" in unit], "it starts without both"


def test_a_driver_is_loaded_before_its_devices_are_counted() -> None:
    modules = {"video4linux": "videodev", "media": "videodev", "ttyACM": "cdc_acm", "ttyUSB": "usbserial"}
    built_in = {"dma_heap", "gpiochip", "ttyAMA", "ttyS"}
    for name in ("gander-watch.service", "gander-watch@.service"):
        groups = {value.split()[0] for value in values(UNITS / name, "DeviceAllow") if value.startswith("char-")}
        assert {group.removeprefix("char-") for group in groups} == set(modules) | built_in
        for key in ("Wants", "After"):
            there = " ".join(values(UNITS / name, key)).split()
            assert {f"modprobe@{module}.service" for module in modules.values()} <= set(there), key


def test_each_process_has_a_user_of_its_own() -> None:
    users = {path.name: values(path, "User") for path in SERVICES}
    assert users["gander-watch.service"] == ["gander-watch"]
    assert users["gander-publish.service"] == ["gander-publish"]
    assert users["gander-reboot.service"] == ["gander-reboot"]
    for path in SERVICES:
        if values(path, "User"):
            assert values(path, "Group") == ["gander"], path.name


def test_what_lies_in_the_shared_state_is_nobodys_home() -> None:
    for path in SERVICES:
        if any(PYTHON in value for value in values(path, "ExecStart")):
            set_to = " ".join(values(path, "Environment")).split()
            assert {"HOME=/nonexistent", "PYTHONNOUSERSITE=1"} <= set(set_to), path.name


@pytest.mark.parametrize(
    ("unit", "ended", "starts"),
    [
        ("gander-watch", "0 start-limit-hit 0 by-hand", ["gander-watch"]),  # started by hand too often
        ("gander-watch", "0 start-limit-hit 7", ["gander-watch"]),
        ("gander-watch", "9 signal 1", ["gander-watch"]),  # so it was, and then crashed once
        ("gander-publish", "1 exit-code 4", ["gander-publish"]),
        ("gander-watch", "0 timeout 3", ["gander-watch"]),
        ("gander-watch", "9 signal 5", ["gander-reboot", "gander-again@gander-watch"]),
        ("gander-watch@second", "1 exit-code 13", ["gander-reboot", "gander-again@gander-watch@second"]),
        ("gander-watch", "6 watchdog 5", ["gander-reboot", "gander-again@gander-watch"]),
        ("gander-watch", "0 timeout 5", ["gander-reboot", "gander-again@gander-watch"]),  # it never began to see
        ("gander-watch", "2 exit-code 0 by-hand", ["gander-again@gander-watch"]),  # settings: nobody starts it again
        ("gander-watch", "2 exit-code 5 by-hand", ["gander-again@gander-watch"]),
        ("gander-watch", "243 exit-code 5", ["gander-again@gander-watch"]),  # credentials
        ("gander-publish", "9 signal 5", ["gander-again@gander-publish"]),
        ("gander-watch", "9 timeout 0 by-hand", []),  # stopped, which took too long
        ("gander-watch", "9 timeout 12 by-hand", []),  # so it was, after crashes of months
        ("gander-publish", "1 exit-code 0 by-hand", []),
    ],
)
def test_what_has_given_up_is_tried_again_and_only_crashes_reboot(
    tmp_path: Path, unit: str, ended: str, starts: list[str]
) -> None:
    status, result, restarts, *stopped = ended.split()
    told = {"ExecMainStatus": status, "Result": result, "NRestarts": restarts}
    told |= {"ExecMainExitTimestampMonotonic": "5000000000"}
    told |= {"InactiveExitTimestampMonotonic": "3000000000" if stopped else "5000200000"}
    answers = "\n".join(f"*={name}\\ *) echo {value} ;;" for name, value in told.items())
    manager = tmp_path / "systemctl"
    manager.write_text(f'#!/bin/sh\necho "$*" >>{tmp_path}/asked\ncase "$*" in\n{answers}\nesac\n')
    manager.chmod(0o755)
    line = values(UNITS / "gander-gave-up@.service", "ExecStart")[0]
    script = line.replace("%i", unit).replace("$$", "$").replace("/run/gander-gave-up", str(tmp_path))
    subprocess.run(shlex.split(script), env={"PATH": f"{tmp_path}:{os.environ['PATH']}"}, check=True)
    asked = (tmp_path / "asked").read_text().splitlines()
    assert f"reset-failed {unit}.service" in asked, "a start by hand is never refused"
    assert [words.split()[-1].removesuffix(".service") for words in asked if " start " in words] == starts
    assert (tmp_path / "reboot-wanted").exists() == ("gander-reboot" in starts)


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The units as installed, with a Python that is there."""
    if not shutil.which("systemd-analyze"):
        pytest.skip("systemd-analyze is not here: apt-get install systemd")
    folder = tmp_path_factory.mktemp("units")
    for path in FILES:
        if path.suffix != ".conf":
            (folder / path.name).write_text(path.read_text().replace(PYTHON, sys.executable))
    return folder


def test_systemd_finds_no_fault(installed: Path) -> None:
    for path in sorted(installed.iterdir()):
        command = ["systemd-analyze", "verify", "--man=no", str(path)]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        assert (done.returncode, done.stderr) == (0, ""), path.name


@pytest.mark.parametrize("name", [path.name for path in SERVICES])
def test_little_is_exposed(installed: Path, name: str) -> None:
    command = ["systemd-analyze", "security", "--offline=true", "--no-pager", str(installed / name)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    found = re.search(r"Overall exposure level for \S+: ([\d.]+)", done.stdout)
    assert found, done.stderr
    assert float(found[1]) <= LARGEST_EXPOSURE
