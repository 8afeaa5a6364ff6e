"""deploy/install.sh as a newcomer runs it, with real systemd as PID 1 and no network. One machine for all.

The tests follow each other as days of one appliance do: installed, looked at, broken, upgraded, taken back, removed.
"""

from __future__ import annotations

import json
import re
import shutil
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.edge.test_deploy import shellcheck
from tests.lab import apt
from tests.lab.container import stubs
from tests.lab.container.coop import (
    CONFIG,
    PUBLISH,
    SYNTHETIC,
    WATCH,
    as_typed,
    clone,
    commit,
    configure,
    doctor,
    events,
    furnish,
    log,
    reboots,
    snapshot,
    status,
    typed_on,
    version,
    watching,
)
from tests.lab.container.machine import Machine
from tests.lab.container.mishaps import gave_up, other_apt, plant_code
from tests.lab.container.tree import REPOSITORY, NotHere, built
from tests.stage import bundle

pytestmark = pytest.mark.lab


@pytest.fixture(scope="module")
def coop(cache: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Machine]:
    """A fresh machine with a checkout in the owner's home."""
    try:
        parts = built(cache)
        machine = Machine(parts.tree, tmp_path_factory.mktemp("coop"), {"/wheels": parts.wheels})
    except NotHere as reason:
        pytest.skip(str(reason))
    try:
        furnish(machine.root)
        machine.boot()
        yield machine
    except NotHere as reason:
        pytest.skip(str(reason))
    finally:
        machine.close()


def test_shellcheck_finds_nothing() -> None:
    if shutil.which("shellcheck") is None and (why := apt.install("shellcheck")):
        pytest.skip(f"shellcheck: {why}")
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
    assert "nothing is broken" in said[0], said[0]
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


def test_what_apt_brings_later_is_taken_in(coop: Machine) -> None:
    stubs.archive(coop.root)
    (coop.root / "etc" / "rpi-issue").touch()
    before = coop.sh("readlink /opt/gander/current")
    other_apt(coop)
    coop.sh("chmod 2770 /var/lib/gander/keys; chown root /etc/gander")
    plant_code(coop)
    said = coop.types("cd gander && sudo sh deploy/install.sh").stdout
    assert "install Debian packages: python3-picamera2 python3-lgpio\nanother program is at the packages" in said
    assert coop.sh("stat -c '%U:%G %a' /var/lib/gander/keys /etc/gander").splitlines() == [
        "gander-watch:gander 2750",
        "root:gander 750",
    ]
    assert coop.sh("readlink /opt/gander/current") != before
    assert "include-system-site-packages = true" in coop.sh("cat /opt/gander/current/pyvenv.cfg")
    assert "numpy<3" in coop.sh("cat /opt/gander/current/constraints.txt")
    watching(coop)
    assert coop.sh("ls /var/lib/gander/ran 2>&1", check=False).endswith("No such file or directory\n"), "publish's code"
    coop.sh("rm -r /var/lib/gander/.local")


def test_doctor_looks_at_the_units_and_knows_what_is_closed_to_the_owner(coop: Machine) -> None:
    assert "everything starts at boot" in json.dumps(doctor(coop, "gander doctor --full"))
    coop.run("systemctl", "disable", PUBLISH)
    (off,) = (found for found in doctor(coop) if found["level"] == "problem")
    assert off["advice"] == "`sudo systemctl enable gander-publish.service`"
    coop.run("systemctl", "enable", PUBLISH)
    secret = "/etc/gander/secrets/publish/phone.urls"
    coop.sh(f"umask 077; echo ntfys://gander-lab >{secret}")
    configure(coop, "[policy]", f'[[notify]]\nname = "phone"\nurls_file = "{secret}"\n\n[policy]')
    for_owner = [found for found in doctor(coop) if "phone" in found["what"]]
    assert {found["level"] for found in for_owner} == {"advice"}, for_owner
    assert "`sudo gander doctor`" in for_owner[0]["advice"]
    for_root = [found for found in doctor(coop, "sudo gander doctor") if "phone" in found["what"]]
    assert {found["level"] for found in for_root} == {"ok"}, for_root
    configure(coop, f'[[notify]]\nname = "phone"\nurls_file = "{secret}"\n\n', "")
    coop.sh(f"rm {secret}")


def test_the_owner_gives_commands_as_himself(coop: Machine) -> None:
    assert "nothing fires until" in coop.types("gander pause 1m").stdout
    coop.until(lambda: any("pi" in json.dumps(event) for event in events(coop, "command")), "the owner is not named")
    assert "gander" in coop.run("gander", "--version").stdout, "root, too"
    coop.types("gander backup b.tar && test -r b.tar && tar -tf b.tar | grep -q device.key")
    coop.sh("mkdir -m 755 /mnt/stick")
    coop.types(
        "sudo gander backup /mnt/stick/b.tar && sudo gander export /mnt/stick/pictures.zip && test -O /mnt/stick/b.tar"
    )
    assert coop.types("cat /var/lib/gander/device.key", check=False).returncode, "only through what is meant for it"
    stranger = coop.run("setpriv", "--reuid=nobody", "--clear-groups", "--regid=nogroup", "ls", "/var/lib/gander",
                        check=False)  # fmt: skip
    assert stranger.returncode, "pictures are private"


def test_the_owner_says_whose_models_are_accepted_and_publish_does_not(coop: Machine) -> None:
    python = "/opt/gander/current/bin/python"
    key = f"{python} -P -c 'from pathlib import Path; from edge.keys import generate; generate(Path(\"laptop.key\"))'"
    coop.types(f"{key} && cp laptop.key.pub /tmp")
    assert "are accepted" in coop.types("gander bundle trust laptop.key.pub").stdout
    assert "are accepted" in coop.sh("gander bundle trust /tmp/laptop.key.pub")
    coop.run("systemctl", "stop", WATCH)
    assert "are accepted" in coop.types("sudo gander bundle trust laptop.key.pub").stdout, "with nobody to ask"
    coop.run("systemctl", "start", WATCH)
    watching(coop)
    publish = "setpriv --reuid gander-publish --regid gander --clear-groups"
    assert coop.run("sh", "-c", f"{publish} touch /var/lib/gander/keys/evil.pub", check=False).returncode


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


def test_a_model_from_the_owners_home_is_installed_by_the_daemon(coop: Machine) -> None:
    answer = coop.types("printf nonsense > n.gander; gander bundle install n.gander", check=False)
    assert answer.returncode == 2
    assert "n.gander" in answer.stderr
    assert coop.sh("ls -d /var/lib/gander/given-* 2>/dev/null || true") == ""


def test_a_frozen_daemon_is_killed_and_started_again(coop: Machine) -> None:
    restarts, process = coop.shows(WATCH, "NRestarts"), coop.shows(WATCH, "MainPID")
    coop.run("kill", "-STOP", process)
    since = time.monotonic()
    coop.until(lambda: coop.shows(WATCH, "MainPID") not in ("0", process), "the watchdog did not bite")
    took_s = time.monotonic() - since
    print(f"frozen, killed and started again: {took_s:.0f} s")
    assert took_s < 200, "WatchdogSec= is 30 s"
    watching(coop)
    assert int(coop.shows(WATCH, "NRestarts")) == int(restarts) + 1
    told = coop.sh(f"journalctl -q --no-pager --lines=1000 --unit={WATCH}")
    assert "watchdog" in told.lower()
    assert "most recent call first" in told, "where each thread was"


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


def test_a_mistake_in_the_settings_waits_for_its_owner_and_goes_with_it(coop: Machine) -> None:
    configure(coop, "[policy]", "[polizy]")
    for _ in range(6):  # more starts than are free
        tried = coop.shows(WATCH, "ExecMainPID")
        coop.types("sudo systemctl restart gander.target")
        coop.until(lambda: coop.shows(WATCH, "ExecMainPID") != tried, f"refused: {log(coop)}")  # noqa: B023
        coop.until(lambda: coop.shows(WATCH, "ActiveState") == "inactive", "tried again and again")
        coop.until(lambda: coop.shows("gander-gave-up@gander-watch", "ActiveState") == "inactive", "it has not ended")
    coop.until(lambda: coop.shows("gander-again@gander-watch", "ActiveState") == "active", "left for dead")
    assert coop.shows(WATCH, "ExecMainStatus") == "2"
    assert "polizy" in coop.types("gander check", check=False).stderr
    configure(coop, "[polizy]", "[policy]")
    coop.types("sudo systemctl restart gander.target")
    watching(coop)
    coop.until(lambda: coop.shows(PUBLISH, "ExecMainStatus") == "0", "publish has nothing to tell, and no mistake")
    assert reboots(coop) == []


def test_restarts_by_hand_are_no_failures(coop: Machine) -> None:
    for _ in range(6):
        process = coop.shows(WATCH, "MainPID")
        coop.run("systemctl", "--no-block", "restart", WATCH)
        coop.until(lambda: coop.shows(WATCH, "MainPID") not in ("0", process), log(coop))  # noqa: B023
    watching(coop)
    assert "start-limit-hit" in coop.sh(f"journalctl -q --no-pager --unit={WATCH}"), "it came to that"
    assert reboots(coop) == []


def test_what_is_stopped_by_hand_stays_stopped_though_it_had_to_be_killed(coop: Machine) -> None:
    told = gave_up(coop, WATCH, "TimeoutStopSec=1ms", "stop")
    assert "Failed with result 'timeout'" in told, told
    assert coop.shows("gander-again@gander-watch", "ActiveState") == "inactive"
    advice = "sudo systemctl start gander.target"
    assert f"`{advice}`" in coop.types("gander status", check=False).stderr
    coop.types(advice)
    watching(coop)


def test_what_never_comes_to_its_start_is_tried_again_later(coop: Machine) -> None:
    told = gave_up(coop, PUBLISH, "TimeoutStartSec=1ms\\nRestartSec=1ms", "restart")
    assert "Failed with result 'timeout'" in told, told
    coop.until(lambda: coop.shows("gander-again@gander-publish", "ActiveState") == "active", log(coop))
    coop.run("systemctl", "stop", "gander-again@gander-publish")
    coop.run("systemctl", "start", PUBLISH)


def test_a_further_daemon_and_the_daily_sweep(coop: Machine) -> None:
    second, state = "/etc/gander/second.toml", "/var/lib/gander-watch-second"
    coop.sh(f"cp -p {CONFIG} {second}")
    coop.run("systemctl", "start", "gander-watch@second")
    assert coop.types(f"gander status --json --config {second}").returncode == 0
    assert coop.types(f"gander mode maintenance --config {second}").returncode == 0
    assert coop.types(f"gander status --config {second}").stdout.count("maintenance")
    assert "maintenance" not in coop.types("gander status").stdout, "the first is not meant"
    assert coop.shows("gander-reboot@second.path", "ActiveState") == "active"
    assert coop.sh("stat -c '%U %a' /run/gander-watch-second").split() == ["gander-watch", "750"]
    coop.sh(f"systemctl stop gander-watch@second gander-reboot@second.path; rm -r {second} {state}")
    coop.run("systemctl", "start", "gander-prune")
    assert coop.shows("gander-prune", "Result") == "success"


def test_a_daemon_that_crashes_again_and_again_has_the_machine_rebooted_once(coop: Machine) -> None:
    coop.run("systemctl", "reset-failed", WATCH)  # as after a good while
    coop.run("systemctl", "restart", WATCH)
    process = "0"
    for _ in range(5):
        coop.until(lambda: coop.shows(WATCH, "MainPID") not in ("0", process), log(coop))  # noqa: B023
        process = coop.shows(WATCH, "MainPID")
        coop.run("kill", "-KILL", process)
    coop.rebooted()
    watching(coop)
    assert reboots(coop) == ["gander-watch fails again and again"]
    coop.until(lambda: "fails again and again" in json.dumps(events(coop, "health")), "no event tells of it")
    coop.sh("echo the camera sticks >/run/gander/reboot-wanted")
    decided = "no reboot: wanted, because the camera sticks; but "
    coop.until(lambda: decided in coop.sh("journalctl -q --no-pager -u gander-reboot"), "nobody decided")
    assert len(reboots(coop)) == 1


def test_publish_reads_the_journal_as_its_own_user(coop: Machine) -> None:
    feed = coop.root / "var" / "log" / "gander" / "events.jsonl"
    configure(coop, "[policy]", '[jsonl]\npath = "/var/log/gander/events.jsonl"\n\n[policy]')
    tried = coop.types("gander publish --test jsonl --send --set 'jsonl.path=\"/home/pi/e.jsonl\"'", check=False)
    assert (tried.returncode, "set it to /var/log/gander/events.jsonl" in tried.stderr) == (2, True), tried.stderr
    assert "the service may write" in coop.types("gander publish --test jsonl --send").stdout
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
    return clone(coop, tmp_path_factory.mktemp("laptop"))


def test_two_releases_from_a_laptop_upgrade_and_back(coop: Machine, laptop: Path) -> None:
    old, kept = version(coop), {event["id"] for event in events(coop)}
    init = laptop / "gander" / "edge" / "__init__.py"
    init.write_text(init.read_text().replace(f'"{old}"', '"99.0.0"'))
    with (laptop / "gander" / "deploy" / "gander").open("a") as command:
        command.write("# newer\n")
    commit(laptop / "gander", "newer")
    coop.sh("cd /opt/gander/releases; mkdir 0.0.1-old; touch -d 2020-01-01 0.0.1-old/complete")
    process = coop.shows(WATCH, "MainPID")
    # Cut short when all is in place and nothing is started.
    coop.sh("cd /boot/firmware; mv config.txt whole; cp config.txt.before-gander config.txt; mkdir config.txt.new")
    cut = typed_on(laptop, "push.sh", "coop", "--wheels", "/wheels")
    assert (cut.returncode, "strict_gpiod" in cut.stderr) == (1, True), cut.stderr
    coop.sh("cd /boot/firmware; rmdir config.txt.new; mv whole config.txt")
    assert version(coop) == "99.0.0"
    assert coop.shows(WATCH, "MainPID") == process, "it runs on, with the old code"
    done = typed_on(laptop, "push.sh", "coop", "--wheels", "/wheels")
    assert done.returncode == 0, done.stdout + done.stderr
    assert coop.shows(WATCH, "MainPID") != process
    watching(coop)
    assert version(coop) == "99.0.0"
    assert "newer" in (coop.root / "usr" / "local" / "bin" / "gander").read_text()
    assert kept <= {event["id"] for event in events(coop)}, "the journal is the same"
    releases = coop.sh("ls /opt/gander/releases").split()
    assert len(releases) == 3, "now, before, and one more"
    assert "0.0.1-old" not in releases
    assert coop.sh("ls -d /var/tmp/gander.* 2>/dev/null || true") == ""
    process = coop.shows(WATCH, "MainPID")
    coop.sh("mkdir /usr/local/bin/gander.new")
    cut = typed_on(laptop, "rollback.sh", "coop")
    assert (cut.returncode, "write /usr/local/bin/gander: failed" in cut.stderr) == (1, True), cut.stderr
    coop.sh("rmdir /usr/local/bin/gander.new")
    back = typed_on(laptop, "rollback.sh", "coop")
    assert back.returncode == 0, back.stdout + back.stderr
    assert coop.shows(WATCH, "MainPID") != process
    watching(coop)
    assert version(coop) == old, "and not forth again"
    assert "newer" not in (coop.root / "usr" / "local" / "bin" / "gander").read_text()


def test_models_from_a_laptop_and_back(coop: Machine, laptop: Path) -> None:
    def champion() -> str:
        return re.findall(r"champion: (\S+)", coop.types("gander bundle list").stdout)[0]

    assert "no champion before" in typed_on(laptop, "rollback.sh", "coop", "--model").stderr
    for name in ("first", "second"):
        made = bundle(laptop / "keys", laptop / "two words", name)
        key = f"--key={laptop / 'keys' / 'device.key'}"
        done = typed_on(laptop, "push.sh", "coop", str(made), key, "--trust", "--promote")
        assert done.returncode == 0, done.stdout + done.stderr
        assert champion() == name
    back = typed_on(laptop, "rollback.sh", "coop", "--model")
    assert back.returncode == 0, back.stdout + back.stderr
    assert champion() == "first"


def test_what_could_not_start_here_is_not_switched_to(coop: Machine, laptop: Path) -> None:
    current, code = coop.sh("readlink /opt/gander/current"), laptop / "gander" / "edge"
    check = (code / "check.py").read_text()
    (code / "check.py").write_text(
        check.replace("    bundles = ", "    raise ValueError('no such camera any more')\n    bundles = ")
    )
    commit(laptop / "gander", "knows a setting no more")
    refused = typed_on(laptop, "push.sh", "coop", "--wheels", "/wheels")
    assert (refused.returncode, refused.stderr.count("\n")) == (2, 1), refused.stderr
    assert "cannot start here" in refused.stderr
    assert "no such camera any more" in refused.stderr
    assert coop.sh("readlink /opt/gander/current") == current
    (code / "check.py").write_text(check)
    tables = (code / "database.py").read_text()
    more = '_SCRIPTS[OWNER] += ("CREATE TABLE later (x INTEGER)",)\n'
    (code / "database.py").write_text(tables.replace("VERSIONS = ", f"{more}VERSIONS = ", 1))
    commit(laptop / "gander", "another schema")
    done = typed_on(laptop, "push.sh", "coop", "--wheels", "/wheels")
    assert done.returncode == 0, done.stdout + done.stderr
    watching(coop)
    back = typed_on(laptop, "rollback.sh", "coop")
    assert (back.returncode, back.stderr.count("\n")) == (2, 1), back.stderr
    assert "written by a newer gander" in back.stderr
    assert version(coop) == "99.0.0"


def test_an_installation_that_fails_changes_nothing(coop: Machine) -> None:
    seen = "readlink /opt/gander/current; ls /opt/gander/releases"
    before, process = coop.sh(seen), coop.shows(WATCH, "MainPID")
    coop.sh("echo astral==0.0.0 >>/home/pi/gander/requirements.txt")
    done = coop.types("cd gander && sudo sh deploy/install.sh", check=False)
    assert done.returncode == 1
    assert "install the Python packages of requirements.txt: failed" in done.stderr
    assert coop.sh(seen) == before, "nothing of it is left"
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
