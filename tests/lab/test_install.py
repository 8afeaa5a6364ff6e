"""deploy/install.sh as a newcomer runs it: Debian Bookworm, real systemd as PID 1, no network. One machine for all.

The tests follow each other as days of one appliance do: installed, looked at, broken, upgraded, taken back, removed.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.edge.test_deploy import shellcheck
from tests.lab.container.machine import Machine
from tests.lab.container.tree import REPOSITORY, NotHere, built

pytestmark = pytest.mark.lab

WATCH, PUBLISH = "gander-watch.service", "gander-publish.service"
CONFIG = "/etc/gander/gander.toml"
SYNTHETIC = 'source = "synthetic:day"'
# What an installation writes, and what it must not touch when there is nothing to do. Not what the daemon writes.
WATCHED = "/etc /opt /usr /boot /home /var/lib/gander/device.key /var/lib/systemd/deb-systemd-helper-enabled"


@pytest.fixture(scope="module")
def coop(cache: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Machine]:
    """A fresh machine with a checkout in the owner's home."""
    try:
        machine = Machine(built(cache), tmp_path_factory.mktemp("coop"))
    except NotHere as reason:
        pytest.skip(str(reason))
    try:
        plant(machine.root / "home" / "pi" / "gander")
        subprocess.run(["chroot", machine.root, "chown", "-R", "pi:pi", "/home/pi"], check=True)
        # No network: pip finds the packages here, so that the README's lines stay as they are.
        (machine.root / "etc" / "pip.conf").write_text("[global]\nno-index = true\nfind-links = /wheels\n")
        (machine.root / "boot" / "firmware").mkdir()
        (machine.root / "boot" / "firmware" / "config.txt").write_text("dtparam=audio=on\n[cm5]\notg_mode=1\n")
        machine.boot()
        yield machine
    except NotHere as reason:
        pytest.skip(str(reason))
    finally:
        machine.close()


def plant(folder: Path) -> None:
    """What git has or would have of this checkout."""
    listed = ["git", "-C", str(REPOSITORY), "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    for name in subprocess.run(listed, capture_output=True, text=True, check=True).stdout.split("\0"):
        if name and (REPOSITORY / name).is_file():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(REPOSITORY / name, folder / name)


def as_typed() -> list[str]:
    """The commands of the README's section."""
    section = (REPOSITORY / "README.md").read_text().partition("## Installing it\n")[2].partition("\n## ")[0]
    lines = re.findall(r"^    (\S.*)$", section, re.M)
    assert lines[0] == "sudo sh deploy/install.sh"
    return lines


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


def configure(coop: Machine, old: str, new: str) -> None:
    path = coop.root / CONFIG.lstrip("/")
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new))


def test_shellcheck_finds_nothing() -> None:
    if shutil.which("shellcheck") is None and shutil.which("apt-get"):
        subprocess.run(["apt-get", "install", "-y", "-qq", "shellcheck"], capture_output=True, check=False)
    if shutil.which("shellcheck") is None:
        pytest.skip("shellcheck is not installed, and cannot be: apt-get install shellcheck")
    shellcheck()


def test_a_dry_run_says_every_step_and_changes_nothing(coop: Machine) -> None:
    before = snapshot(coop)
    said = coop.types("cd gander && sh deploy/install.sh --dry-run").stdout
    for step in ("make user gander-watch", "install the Python packages", "write /etc/gander/gander.toml",
                 "enable gander.target", "strict_gpiod", "start gander.target"):  # fmt: skip
        assert re.search(f"^would: .*{re.escape(step)}", said, re.M), said
    assert snapshot(coop) == before


def test_the_readme_as_typed(coop: Machine) -> None:
    said = []
    for line in as_typed():
        said.append(coop.types(f"cd gander && {line}").stdout)
        watching(coop)
    assert "nothing is broken" in said[0]
    assert "Next:\n  1. " in said[0]
    assert "And reboot once" in said[0]
    assert "observe" in said[1]
    boot = coop.root / "boot" / "firmware"
    assert (boot / "config.txt").read_text().endswith("[all]\n# Gander: a program that ends lets go of its pins.\n"
                                                      "dtparam=strict_gpiod\n")  # fmt: skip
    assert "strict" not in (boot / "config.txt.before-gander").read_text()


def test_nothing_failed_and_every_unit_is_shut_in(coop: Machine) -> None:
    assert coop.sh("systemctl --failed --no-legend --plain") == ""
    for unit in sorted(path.name for path in (REPOSITORY / "systemd").iterdir()):
        if unit.endswith(".conf"):
            continue
        name = unit.replace("@.", "@other.")
        checked = coop.run("systemd-analyze", "verify", f"/etc/systemd/system/{unit}", check=False)
        assert (checked.returncode, checked.stderr) == (0, ""), unit
        if unit.endswith(".service"):
            judged = coop.sh(f"systemd-analyze --no-pager security --threshold=25 {name}", check=False)
            assert float(re.findall(r"level for \S+: ([\d.]+)", judged)[0]) <= 2.5, judged
    for unit, user in ((WATCH, "gander-watch"), (PUBLISH, "gander-publish")):
        assert (coop.shows(unit, "User"), coop.shows(unit, "Group")) == (user, "gander")
    assert coop.sh("systemctl is-enabled gander.target gander-watch gander-publish gander-prune.timer").split() == (
        ["enabled"] * 4
    )


def test_the_log_spares_the_card(coop: Machine) -> None:
    told = coop.sh("systemd-analyze cat-config systemd/journald.conf")
    assert "Storage=volatile" in told
    assert coop.sh("ls /run/log/journal")
    coop.run("logger", "after the installation")
    coop.until(lambda: "after the installation" in coop.sh("journalctl -q --no-pager"), "the log is not kept at all")
    assert "after the installation" not in coop.sh("journalctl -q --no-pager --directory=/var/log/journal"), (
        "on the card"
    )


def test_a_second_run_changes_nothing(coop: Machine) -> None:
    before, process = snapshot(coop), coop.shows(WATCH, "MainPID")
    said = coop.types("cd gander && sudo sh deploy/install.sh").stdout
    assert "nothing to change" in said
    assert snapshot(coop) == before
    assert coop.shows(WATCH, "MainPID") == process, "nothing was restarted"


def test_the_owner_gives_commands_as_himself(coop: Machine) -> None:
    assert "nothing fires until" in coop.types("gander pause 1m").stdout
    coop.until(lambda: any("pi" in json.dumps(event) for event in events(coop, "command")), "the owner is not named")
    assert "gander" in coop.run("gander", "--version").stdout, "root, too"
    coop.types("gander backup b.tar && test -r b.tar && tar -tf b.tar | grep -q device.key")
    assert coop.types("cat /var/lib/gander/device.key", check=False).returncode, "only through what is meant for it"
    stranger = coop.run("setpriv", "--reuid=nobody", "--clear-groups", "--regid=nogroup", "ls", "/var/lib/gander",
                        check=False)  # fmt: skip
    assert stranger.returncode, "pictures are private"


def test_a_backup_is_brought_back(coop: Machine) -> None:
    kept = {event["id"] for event in events(coop)}
    coop.types("gander backup c.tar")
    assert coop.types("gander restore --force c.tar", check=False).returncode, "not while it runs"
    coop.run("systemctl", "stop", "gander.target", WATCH)
    coop.types("gander restore --force c.tar")
    assert coop.sh("find /var/lib/gander ! -user gander-watch -o ! -group gander") == ""
    coop.run("systemctl", "start", "gander.target")
    watching(coop)
    assert kept <= {event["id"] for event in events(coop)}
    coop.sh("rm -r /var/lib/gander.before-*")


def test_a_model_from_the_owners_home_is_installed_by_the_daemon(coop: Machine) -> None:
    python = "/opt/gander/current/bin/python"
    key = f"{python} -P -c 'from pathlib import Path; from edge.keys import generate; generate(Path(\"laptop.key\"))'"
    coop.types(f"rm -f laptop.key*; {key}")
    assert "are accepted" in coop.types("gander bundle trust laptop.key.pub").stdout
    answer = coop.types("printf nonsense > n.gander; gander bundle install n.gander", check=False)
    assert answer.returncode == 2
    assert "n.gander" in answer.stderr
    assert coop.sh("ls -d /var/lib/gander/given-* 2>/dev/null || true") == ""


def test_a_frozen_daemon_is_killed_and_started_again(coop: Machine) -> None:
    restarts, process = coop.shows(WATCH, "NRestarts"), coop.shows(WATCH, "MainPID")
    coop.run("kill", "-STOP", process)
    coop.until(lambda: coop.shows(WATCH, "NRestarts") != restarts, "the watchdog did not bite")
    watching(coop)
    assert int(coop.shows(WATCH, "NRestarts")) == int(restarts) + 1
    assert coop.shows(WATCH, "MainPID") != process
    assert "watchdog" in log(coop).lower()


def test_state_and_mode_survive_restart_and_reboot_and_nothing_fires(coop: Machine) -> None:
    coop.types("gander mode maintenance")
    coop.run("systemctl", "restart", "gander.target")
    watching(coop)
    assert status(coop)["mode"] == "maintenance"
    before, actions = {event["id"] for event in events(coop)}, len(events(coop, "action"))
    process = coop.leader
    coop.reboot()
    assert coop.leader != process
    watching(coop)
    assert status(coop)["mode"] == "maintenance"
    assert before <= {event["id"] for event in events(coop)}
    assert len(events(coop, "action")) == actions
    coop.types("gander disarm")


def test_a_missing_camera_is_said_and_waited_for(coop: Machine) -> None:
    configure(coop, SYNTHETIC, 'source = "/dev/video9"')
    coop.run("systemctl", "--no-block", "restart", "gander.target")
    coop.until(lambda: "/dev/video9" in json.dumps(status(coop).get("problems", "")), "nothing says so")
    assert coop.shows(WATCH, "ActiveState") == "activating", "ready means: the first picture is there"
    doctor = coop.types("gander doctor", check=False)
    assert doctor.returncode == 1
    assert "/dev/video9" in doctor.stdout
    configure(coop, 'source = "/dev/video9"', SYNTHETIC)
    coop.run("systemctl", "--no-block", "restart", "gander.target")
    watching(coop)


def test_publish_reads_the_journal_as_its_own_user(coop: Machine) -> None:
    feed = coop.root / "var" / "log" / "gander" / "events.jsonl"
    configure(coop, "[policy]", '[jsonl]\npath = "/var/log/gander/events.jsonl"\n\n[policy]')
    coop.run("systemctl", "restart", PUBLISH)
    coop.until(lambda: feed.exists() and feed.stat().st_size, f"nothing was told: {log(coop)}")
    assert json.loads(feed.read_text().splitlines()[0])["v"] == 1
    assert coop.sh("stat -c %U /var/log/gander/events.jsonl /var/lib/gander/deliveries.db").split() == (
        ["gander-publish"] * 2
    )
    seen = (
        f"nsenter -t {coop.shows(PUBLISH, 'MainPID')} -m setpriv --reuid gander-publish --regid gander --clear-groups"
    )
    assert coop.run("sh", "-c", f"{seen} cat /var/lib/gander/events.db >/dev/null").returncode == 0
    assert coop.run("sh", "-c", f"{seen} cat /var/lib/gander/device.key", check=False).returncode


@pytest.fixture(scope="module")
def laptop(coop: Machine, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A clone on the host, and an ssh of its own that reaches the appliance without a network."""
    folder = tmp_path_factory.mktemp("laptop")
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
    commit(folder / "gander", "as it is")
    return folder


def commit(checkout: Path, subject: str) -> None:
    git = ["git", "-C", str(checkout), "-c", "user.name=lab", "-c", "user.email=lab@localhost"]
    for words in (["init", "-q"], ["add", "-A"], ["commit", "-q", "-m", subject]):
        subprocess.run([*git, *words], check=True)


def typed_on(laptop: Path, *words: str) -> subprocess.CompletedProcess[str]:
    env = {**os.environ, "SSH": f"ssh -F {laptop}/config"}
    command = ["sh", str(laptop / "gander" / "deploy" / words[0]), *words[1:]]
    return subprocess.run(
        command, env=env, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False, timeout=600
    )


def version(coop: Machine) -> str:
    return coop.types("gander --version").stdout.split()[-1]


def test_two_releases_from_a_laptop_upgrade_and_back(coop: Machine, laptop: Path) -> None:
    old, kept = version(coop), {event["id"] for event in events(coop)}
    init = laptop / "gander" / "edge" / "__init__.py"
    init.write_text(init.read_text().replace(f'"{old}"', '"99.0.0"'))
    commit(laptop / "gander", "newer")
    for name in ("0.0.1-older", "0.0.2-old"):  # two that were made long ago
        coop.sh(f"mkdir /opt/gander/releases/{name}; touch -d 2020-01-0{name[4]} /opt/gander/releases/{name}/complete")
    done = typed_on(laptop, "push.sh", "coop", "--wheels", "/wheels")
    assert done.returncode == 0, done.stdout + done.stderr
    watching(coop)
    assert version(coop) == "99.0.0"
    assert kept <= {event["id"] for event in events(coop)}, "the journal is the same"
    releases = coop.sh("ls /opt/gander/releases").split()
    assert len(releases) == 3
    assert "0.0.2-old" in releases
    assert coop.sh("ls -d /var/tmp/gander.* 2>/dev/null || true") == ""
    back = typed_on(laptop, "rollback.sh", "coop")
    assert back.returncode == 0, back.stdout + back.stderr
    watching(coop)
    assert version(coop) == old
    assert "no champion before" in typed_on(laptop, "rollback.sh", "coop", "--model").stderr


def test_an_installation_that_fails_changes_nothing(coop: Machine) -> None:
    current, process = coop.sh("readlink /opt/gander/current"), coop.shows(WATCH, "MainPID")
    coop.sh("echo astral==0.0.0 >>/home/pi/gander/requirements.txt")
    done = coop.types("cd gander && sudo sh deploy/install.sh", check=False)
    assert done.returncode == 1
    assert "install the Python packages of requirements.txt: failed" in done.stderr
    assert coop.sh("readlink /opt/gander/current") == current
    assert coop.shows(WATCH, "MainPID") == process


def test_uninstall_keeps_what_is_the_owners_and_purge_asks(coop: Machine) -> None:
    said = coop.types("cd gander && sudo sh deploy/install.sh --uninstall").stdout
    assert "kept: /var/lib/gander" in said
    assert coop.sh("ls /etc/systemd/system | grep gander || true") == ""
    assert coop.sh("ls -d /opt/gander /usr/local/bin/gander 2>/dev/null || true") == ""
    assert coop.sh("pgrep -u gander-watch,gander-publish || true") == ""
    assert coop.sh("stat -c %U /var/lib/gander/events.db /var/lib/gander/device.key").split() == ["gander-watch"] * 2
    assert SYNTHETIC in (coop.root / CONFIG.lstrip("/")).read_text()
    refused = coop.run("sh", "/home/pi/gander/deploy/install.sh", "--purge", check=False, given="no\n")
    assert refused.returncode == 2
    assert coop.sh("ls /var/lib/gander/events.db")
    coop.run("sh", "/home/pi/gander/deploy/install.sh", "--purge", given="yes\n")
    assert coop.sh("ls -d /var/lib/gander* /etc/gander 2>/dev/null || true") == ""
    assert coop.sh("grep gander /etc/passwd || true") == ""
    assert coop.sh("grep ^gander /etc/group || true") == ""
