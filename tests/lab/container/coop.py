"""What a test asks of an appliance in a machine, and the laptop that reaches it."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

from tests.lab.container.machine import Machine
from tests.lab.container.tree import REPOSITORY

WATCH, PUBLISH = "gander-watch.service", "gander-publish.service"
CONFIG = "/etc/gander/gander.toml"
SYNTHETIC = 'source = "synthetic:day"'
# What an installation writes, and what it must not touch when there is nothing to do. Not what the daemon writes.
WATCHED = "/etc /opt /usr /boot /home /var/lib/gander/device.key /var/lib/systemd/deb-systemd-helper-enabled"


def furnish(root: Path) -> None:
    """A checkout in the owner's home, packages without a network, boot settings as a Pi has them."""
    plant(root / "home" / "pi" / "gander")
    subprocess.run(["chroot", root, "chown", "-R", "pi:pi", "/home/pi"], check=True)
    # No network: pip finds the packages here, so that the README's lines stay as they are.
    (root / "etc" / "pip.conf").write_text("[global]\nno-index = true\nfind-links = /wheels\n")
    # Root must not run what lies there.
    (root / "home" / "pi" / "gander" / "venv.py").write_text("raise SystemExit('not this one')")
    (root / "boot" / "firmware").mkdir()
    (root / "boot" / "firmware" / "config.txt").write_text("dtparam=audio=on\n[cm5]\notg_mode=1\n")


def plant(folder: Path) -> None:
    """What git has or would have of this checkout."""
    listed = ["git", "-C", str(REPOSITORY), "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    for name in subprocess.run(listed, capture_output=True, text=True, check=True).stdout.split("\0"):
        if name and (REPOSITORY / name).is_file():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(REPOSITORY / name, folder / name)


def status(coop: Machine) -> dict[str, Any]:
    said = coop.types("gander status --json", check=False).stdout
    answer: dict[str, Any] = json.loads(said.splitlines()[-1])["summary"] if said else {}
    return answer


def watching(coop: Machine) -> None:
    """Until systemd was told that the first picture is there, and the daemon answers."""
    coop.until(lambda: coop.shows(WATCH, "ActiveState") == "active", f"no picture: {log(coop)}")
    coop.until(lambda: status(coop).get("frames"), "no frames")


def log(coop: Machine) -> str:
    return coop.sh("journalctl --quiet --no-pager --lines=60 --unit='gander*'", check=False)


def snapshot(coop: Machine) -> str:
    """Names, owners, modes and times of all that an installation may write."""
    return coop.sh(f"find {WATCHED} -printf '%p %u:%g %m %T@ %l\\n' 2>/dev/null | sort; cat /etc/passwd /etc/group")


def events(coop: Machine, kind: str = "") -> list[dict[str, Any]]:
    found = [json.loads(line) for line in coop.types("gander events -n 100000 --json").stdout.splitlines()]
    return [event for event in found if "id" in event and kind in ("", event["type"])]


def reboots(coop: Machine) -> list[str]:
    """Why, of those that were let through."""
    lines = coop.sh("cat /var/lib/gander-reboot/reboots.jsonl 2>/dev/null", check=False).splitlines()
    return [json.loads(line)["why"] for line in lines]


def doctor(coop: Machine, command: str = "gander doctor") -> list[dict[str, str]]:
    """What it finds."""
    said = coop.types(f"{command} --json", check=False).stdout
    return [json.loads(line) for line in said.splitlines()[:-1]]


def configure(coop: Machine, old: str, new: str) -> None:
    path = coop.root / CONFIG.lstrip("/")
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new))


def version(coop: Machine) -> str:
    return coop.types("gander --version").stdout.split()[-1]


def as_typed() -> list[str]:
    """The commands of the README's section."""
    section = (REPOSITORY / "README.md").read_text().partition("## Installing it\n")[2].partition("\n## ")[0]
    lines = re.findall(r"^    (\S.*)$", section, re.M)
    assert lines[0] == "sudo sh deploy/install.sh"
    return lines


def clone(coop: Machine, folder: Path) -> Path:
    """`gander` on the host, committed, and an ssh of its own that reaches the appliance without a network."""
    plant(folder / "gander")
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", folder / "key"], check=True)
    ssh = coop.root / "home" / "pi" / ".ssh"
    ssh.mkdir(mode=0o700)
    shutil.copy(folder / "key.pub", ssh / "authorized_keys")
    coop.run("chown", "-R", "pi:pi", "/home/pi/.ssh")
    coop.run("mkdir", "-p", "/run/sshd")
    proxy = f"nsenter -t {coop.leader} -a /usr/sbin/sshd -i"
    (folder / "config").write_text(
        f"Host coop\n User pi\n ProxyCommand {proxy}\n IdentityFile {folder}/key\n IdentitiesOnly yes\n BatchMode yes\n"
        f" StrictHostKeyChecking accept-new\n UserKnownHostsFile {folder}/known\n LogLevel ERROR\n"
    )
    (folder / "bin").mkdir()
    program(folder / "bin" / "ssh", f'exec {shutil.which("ssh")} -F {folder}/config "$@"')
    program(folder / "bin" / "gander-train", f'PYTHONPATH={REPOSITORY} exec {sys.executable} -m training.cli "$@"')
    commit(folder / "gander", "as it is")
    return folder


def program(path: Path, text: str) -> None:
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(0o755)


def commit(checkout: Path, subject: str) -> None:
    git = ["git", "-C", str(checkout), "-c", "user.name=lab", "-c", "user.email=lab@localhost"]
    for words in (["init", "-q"], ["add", "-A"], ["commit", "-q", "-m", subject]):
        subprocess.run([*git, *words], check=True)


def typed_on(laptop: Path, *words: str) -> subprocess.CompletedProcess[str]:
    env = {**os.environ, "PATH": f"{laptop}/bin:{os.environ['PATH']}"}
    command = ["sh", str(laptop / "gander" / "deploy" / words[0]), *words[1:]]
    return subprocess.run(
        command, env=env, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False, timeout=600
    )
