"""Push: what is checked here, what is said there. `ssh` is a script that runs the command on this machine."""

from __future__ import annotations

import os
import shlex
import sys
from pathlib import Path

import pytest

from edge import keys
from edge.errors import BundleError, GanderError, Refused
from tests import stage
from tests.stage import gander
from training.appliance import Appliance
from training.push import push

HERE = f"env PYTHONPATH={Path(__file__).parents[2]} {shlex.quote(sys.executable)} -m edge.cli"

# Everything up to `--` is for ssh itself; then comes the host, then the command, which a shell there reads.
SSH = """#!/bin/sh
echo "$*" >> "$HEARD"
while [ "$1" != -- ]; do shift; done
shift 2
exec sh -c "$*"
"""


@pytest.fixture
def bundle(tmp_path: Path) -> Path:
    """Signed by the laptop, whose key is `tmp_path/laptop/device.key`."""
    return stage.bundle(tmp_path / "laptop", tmp_path / "made")


@pytest.fixture
def key(tmp_path: Path) -> Path:
    return tmp_path / "laptop" / "device.key"


@pytest.fixture
def appliance(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Appliance:
    programs = tmp_path / "bin"
    programs.mkdir()
    (programs / "ssh").write_text(SSH)
    (programs / "ssh").chmod(0o755)
    monkeypatch.setenv("PATH", f"{programs}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.setenv("HEARD", str(tmp_path / "heard"))
    return Appliance(f"pi@coop:{tmp_path}/the state", HERE, ("-p2222",))


def test_a_key_is_enrolled_once_then_bundles_arrive(
    appliance: Appliance, bundle: Path, key: Path, tmp_path: Path
) -> None:
    with pytest.raises(Refused, match=f"once: gander-train push {bundle} 'pi@coop:.*/the state' --trust"):
        list(push(bundle, key, appliance))
    assert not (tmp_path / "the state" / "models").exists()
    trusted, installed, promoted = push(bundle, key, appliance, trust=True, promote=True)
    assert keys.load_public(keys.public_path(key)).fingerprint in trusted
    assert "installed" in installed
    assert "champion" in promoted
    assert "champion: colours" in gander("bundle", "list", state=tmp_path / "the state").out
    heard = (tmp_path / "heard").read_text()
    assert "-p2222 -- pi@coop exec sh -c" in heard
    assert "BatchMode=yes" in heard


def test_what_is_not_ours_does_not_leave(appliance: Appliance, bundle: Path, key: Path, tmp_path: Path) -> None:
    keys.generate(tmp_path / "other.key")
    with pytest.raises(Refused, match=r"signed by .*, not by .*other.key"):
        list(push(bundle, tmp_path / "other.key", appliance))
    bundle.write_bytes(bundle.read_bytes().replace(b"green", b"grean"))
    with pytest.raises(BundleError):
        list(push(bundle, key, appliance))
    with pytest.raises(Refused, match="No such file"):
        list(push(tmp_path / "nothing.gander", key, appliance))
    with pytest.raises(Refused, match="public key cannot be read"):
        list(push(bundle, tmp_path / "no.key", appliance))
    assert not (tmp_path / "heard").exists(), "nobody was called"


def test_a_laptop_without_ssh(bundle: Path, key: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(GanderError, match="apt install openssh-client"):
        list(push(bundle, key, Appliance("coop")))


@pytest.mark.parametrize(
    "where",
    ["-oProxyCommand=x", "a b", "coop;rm", "", "pi@-x", "coop:", "coop:state", "coop:/a\nb", "@coop", "./state"],
)
def test_hosts_that_are_none(where: str) -> None:
    with pytest.raises(Refused, match="not a host"):
        Appliance(where)


@pytest.mark.parametrize(
    ("where", "host"),
    [
        ("coop", "coop"),
        ("pi@coop.local", "pi@coop.local"),
        ("pi@10.0.0.7:/srv/a b", "pi@10.0.0.7"),
        ("pi@fe80::1%wlan0", "pi@fe80::1%wlan0"),
        ("::1:/srv", "::1"),
        ("coop-2_b", "coop-2_b"),
    ],
)
def test_hosts(where: str, host: str) -> None:
    assert Appliance(where).host == host


def test_words_reach_the_other_shell_quoted() -> None:
    assert Appliance("coop").verb("export", "--since", "2h; rm -rf /") == "gander export --since '2h; rm -rf /'"
    assert Appliance("coop:/a b;c").verb("export") == "gander export --state '/a b;c'"
