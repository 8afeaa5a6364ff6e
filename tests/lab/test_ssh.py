"""The loop with the laptop over a real sshd on loopback: harvest, push, promote, and what an appliance refuses."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from edge import keys
from edge.errors import GanderError, Refused
from tests import stage
from tests.edge.test_export import Shelf
from tests.stage import gander
from training.appliance import Appliance
from training.harvest import LABELLED, from_appliance
from training.push import push

pytestmark = pytest.mark.lab


@pytest.fixture
def appliance(tmp_path: Path) -> Iterator[Appliance]:
    """An appliance whose state directory is `tmp_path/state`, reached by ssh with a key."""
    if shutil.which("sshd", path="/usr/sbin") is None and shutil.which("apt-get"):
        subprocess.run(
            ["apt-get", "install", "-y", "openssh-server", "openssh-client"], capture_output=True, check=False
        )
    if shutil.which("sshd", path="/usr/sbin") is None:
        pytest.skip("sshd is not installed, and cannot be: apt-get install openssh-server")
    folder = tmp_path / "ssh"
    folder.mkdir(mode=0o700)
    for name in ("host", "laptop"):
        subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", folder / name], check=True)
    (folder / "laptop.pub").rename(folder / "authorized")
    Path("/run/sshd").mkdir(exist_ok=True) if os.access("/run", os.W_OK) else None
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    (folder / "config").write_text(
        f"Port {port}\nListenAddress 127.0.0.1\nHostKey {folder}/host\nAuthorizedKeysFile {folder}/authorized\n"
        f"PidFile {folder}/pid\nUsePAM no\nStrictModes no\nPasswordAuthentication no\n"
        "PermitRootLogin prohibit-password\n"
    )
    server = subprocess.Popen(["/usr/sbin/sshd", "-D", "-e", "-f", folder / "config"], stderr=subprocess.DEVNULL)
    options = ("-p", str(port), "-i", str(folder / "laptop"), "-o", f"UserKnownHostsFile={folder}/known")
    options = (*options, "-o", "StrictHostKeyChecking=accept-new", "-F", "none")
    command = f"env GANDER_STATE={tmp_path}/state PYTHONPATH={Path(__file__).parents[2]} {sys.executable} -m edge.cli"
    end = time.monotonic() + 10
    while socket.socket().connect_ex(("127.0.0.1", port)) and time.monotonic() < end:
        time.sleep(0.05)
    yield Appliance("127.0.0.1", command, options)
    server.terminate()
    server.wait(10)


@pytest.fixture
def bundle(tmp_path: Path) -> Path:
    """Signed by the laptop, whose key is `tmp_path/laptop/device.key`."""
    return stage.bundle(tmp_path / "laptop", tmp_path / "made")


def test_harvest_over_ssh(appliance: Appliance, tmp_path: Path) -> None:
    shelf = Shelf(tmp_path / "state")
    shelf.said("fox", visit=shelf.visit(1)["visit"])
    done = from_appliance(appliance, tmp_path / "pictures", None, lambda *_: None)
    assert (done.labelled, done.new) == (1, 1)
    assert "fox" in (tmp_path / "pictures" / LABELLED).read_text()
    assert not list(Path("/tmp").glob("tmp.*/export.zip")), "nothing is left there"
    with pytest.raises(GanderError, match="since"):
        from_appliance(appliance, tmp_path / "pictures", "nonsense", lambda *_: None)


def test_push_install_and_promote(appliance: Appliance, bundle: Path, tmp_path: Path) -> None:
    key = tmp_path / "laptop" / "device.key"
    gander("status", state=tmp_path / "state")  # the appliance has a key of its own
    with pytest.raises(Refused, match="gander-train push --trust"):
        push(bundle, key, appliance)
    said = push(bundle, key, appliance, trust=True, promote=True)
    assert len(said) <= 3
    assert "champion: colours" in gander("bundle", "list", state=tmp_path / "state").out
    other = keys.generate(tmp_path / "other.key")
    with pytest.raises(Refused, match="unknown key"):
        push(bundle, tmp_path / "other.key", appliance)
    assert other.public.fingerprint


def test_who_cannot_be_reached_is_said(appliance: Appliance, bundle: Path, tmp_path: Path) -> None:
    nobody = Appliance("127.0.0.1", "gander", ("-p", "9", *appliance.options[2:]))
    with pytest.raises(GanderError, match="must go without a password"):
        push(bundle, tmp_path / "laptop" / "device.key", nobody)
    elsewhere = Appliance("127.0.0.1", "/opt/nowhere/gander", appliance.options)
    with pytest.raises(GanderError, match="--gander"):
        push(bundle, tmp_path / "laptop" / "device.key", elsewhere)
