"""The loop with the laptop over a real sshd on loopback: harvest, push, promote, and what an appliance refuses."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from edge.errors import GanderError, Refused
from tests import stage
from tests.edge.test_export import Shelf
from tests.lab import apt
from tests.mqtt import until
from tests.ports import free_port
from tests.stage import gander
from training.appliance import Appliance
from training.harvest import LABELLED, from_appliance
from training.push import push

pytestmark = pytest.mark.lab


def sshd() -> str:
    """The server's path; installed where that is possible."""
    if not shutil.which("sshd", path="/usr/sbin") and (why := apt.install("openssh-server", "openssh-client")):
        pytest.skip(f"sshd: {why}")
    return str(shutil.which("sshd", path="/usr/sbin"))


@pytest.fixture
def appliance(tmp_path: Path) -> Iterator[Appliance]:
    """An appliance whose state directory is `tmp_path/state`, reached by ssh with a key."""
    server, folder = sshd(), tmp_path / "ssh"
    folder.mkdir(mode=0o700)
    for name in ("host", "laptop", "stranger"):
        subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", folder / name], check=True)
    if os.access("/run", os.W_OK):
        Path("/run/sshd").mkdir(exist_ok=True)
    port = free_port()
    (folder / "config").write_text(
        f"Port {port}\nListenAddress 127.0.0.1\nHostKey {folder}/host\nAuthorizedKeysFile {folder}/laptop.pub\n"
        f"PidFile {folder}/pid\nUsePAM no\nStrictModes no\nPasswordAuthentication no\n"
        "KbdInteractiveAuthentication no\nPermitRootLogin prohibit-password\n"
    )
    known = (folder / "host.pub").read_text()
    (folder / "known").write_text(f"[127.0.0.1]:{port} {known}")
    options = ("-F", "none", "-p", str(port), "-i", str(folder / "laptop"), "-o", "IdentitiesOnly=yes")
    options = (*options, "-o", f"UserKnownHostsFile={folder}/known", "-o", "StrictHostKeyChecking=yes")
    command = f"env PYTHONPATH={Path(__file__).parents[2]} {sys.executable} -m edge.cli"
    process = subprocess.Popen([server, "-D", "-e", "-f", folder / "config"], stderr=subprocess.DEVNULL)
    try:
        wait(port)
        yield Appliance(f"127.0.0.1:{tmp_path}/state", command, options)
    finally:
        process.terminate()
        process.wait(10)


def wait(port: int) -> None:
    end = time.monotonic() + 20
    while time.monotonic() < end:
        with socket.socket() as client:
            if client.connect_ex(("127.0.0.1", port)) == 0:
                return
        time.sleep(0.05)
    pytest.fail("sshd did not start")


@pytest.fixture
def bundle(tmp_path: Path) -> Path:
    """Signed by the laptop, whose key is `tmp_path/laptop/device.key`."""
    return stage.bundle(tmp_path / "laptop", tmp_path / "made")


def left() -> list[Path]:
    return list(Path("/var/tmp").glob("gander.*"))


def test_harvest_over_ssh_sends_each_picture_once(appliance: Appliance, tmp_path: Path) -> None:
    shelf, out, before = Shelf(tmp_path / "state"), tmp_path / "pictures", left()
    shelf.said("fox", visit=shelf.visit(1)["visit"])
    done = from_appliance(appliance, out, None, lambda *_: None)
    assert (done.labelled, done.new) == (1, 1)
    assert "fox" in (out / LABELLED).read_text()
    (picture,) = out.rglob("*.jpg")
    jay = shelf.visit(2)
    told: list[tuple[str, int, int]] = []
    done = from_appliance(appliance, out, None, lambda *words: told.append(words))
    assert (done.labelled, done.unlabelled, done.new) == (1, 1, 1)
    assert [of for what, n, of in told if what == "fetching pictures" and n == of] == [1], "the first is here already"
    picture.unlink()
    assert from_appliance(appliance, out, None, lambda *_: None).new == 1, "what is gone here comes again"
    assert picture.read_text().startswith("crop of ")
    assert jay["visit"] in (out / "unlabelled.csv").read_text()
    until(lambda: set(left()) <= set(before), 10)  # nothing stays there


def test_what_the_appliance_refuses_is_said_in_its_words(appliance: Appliance, tmp_path: Path) -> None:
    shelf, before = Shelf(tmp_path / "state"), left()
    shelf.visit(1)
    for nonsense in ("nonsense", f"2h; touch {tmp_path}/owned", "$(reboot)"):
        with pytest.raises(Refused, match=r"--since .* no moment"):
            from_appliance(appliance, tmp_path / "pictures", nonsense, lambda *_: None)
    assert not (tmp_path / "owned").exists()
    elsewhere = replace(appliance, where=f"127.0.0.1:{tmp_path}/no where'; echo")
    with pytest.raises(GanderError, match="no journal there yet"):
        from_appliance(elsewhere, tmp_path / "pictures", None, lambda *_: None)
    old = replace(appliance, gander=f"{appliance.gander} --no-such-option")
    with pytest.raises(GanderError, match="No such option"):
        from_appliance(old, tmp_path / "pictures", None, lambda *_: None)
    assert [path.name for path in (tmp_path / "pictures").iterdir()] == []
    until(lambda: set(left()) <= set(before), 10)  # nothing stays there


def test_push_install_and_promote(appliance: Appliance, bundle: Path, tmp_path: Path) -> None:
    key, before = tmp_path / "laptop" / "device.key", left()
    with pytest.raises(Refused, match=r"gander-train push .*colours.gander 127.0.0.1:.*/state --trust"):
        list(push(bundle, key, appliance))
    sent: list[tuple[str, int, int]] = []
    said = list(push(bundle, key, appliance, True, True, lambda *words: sent.append(words)))
    assert len(said) == 3
    assert "champion: colours" in gander("bundle", "list", state=tmp_path / "state").out
    assert [done == of for what, done, of in sent if what.startswith("sending")][-1:] == [True]
    assert list(push(bundle, key, appliance)), "once trusted, always trusted"
    until(lambda: set(left()) <= set(before), 10)  # nothing stays there


def test_who_cannot_be_reached_is_said(appliance: Appliance, bundle: Path, tmp_path: Path) -> None:
    key, options = tmp_path / "laptop" / "device.key", appliance.options
    port = options.index("-p") + 1
    cases = {
        "Connection refused; is it on": replace(appliance, options=(*options[:port], "9", *options[port + 1 :])),
        "Permission denied .*; `ssh-copy-id 127.0.0.1` once": replace(
            appliance, options=tuple(word.replace("ssh/laptop", "ssh/stranger") for word in options)
        ),
        "verification failed.; `ssh 127.0.0.1` once": replace(
            appliance, options=tuple(word.replace("ssh/known", "ssh/nobody") for word in options)
        ),
        "Could not resolve .*; is the name right": replace(appliance, where="gander.invalid"),
        "not found; give gander's path there": replace(appliance, gander="/opt/nowhere/gander"),
    }
    for words, one in cases.items():
        with pytest.raises(GanderError, match=words):
            list(push(bundle, key, one))
    (tmp_path / "ssh" / "known").write_text(
        (tmp_path / "ssh" / "known").read_text().split()[0] + " " + (tmp_path / "ssh" / "stranger.pub").read_text()
    )
    with pytest.raises(GanderError, match=r"ssh-keygen -R 127\.0\.0\.1"):
        list(push(bundle, key, appliance))


def test_a_full_disk_there_is_said(appliance: Appliance, bundle: Path, tmp_path: Path) -> None:
    state = tmp_path / "state"
    list(push(bundle, tmp_path / "laptop" / "device.key", appliance, trust=True))
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=16k", "none", state / "models"], check=False).returncode:
        pytest.skip("no tmpfs can be mounted here")
    try:
        with pytest.raises(GanderError, match="No space left"):
            list(push(bundle, tmp_path / "laptop" / "device.key", appliance))
    finally:
        subprocess.run(["umount", state / "models"], check=True)
