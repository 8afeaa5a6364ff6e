"""What `gander doctor` says of an installed appliance; the whole is tried in a machine with systemd (the lab)."""

from __future__ import annotations

import getpass
import grp
import os
from pathlib import Path

import pytest

from edge import installed, unit
from edge.config import Config
from edge.machine import outputs_stay, released

GOOD = {
    "ActiveState": "active",
    "ExecMainCode": "1",
    "ExecMainStatus": "0",
    "UnitFileState": "enabled",
    "MemoryCurrent": "123",
    "User": "gander-watch",
}


def units(**watch: str) -> dict[str, dict[str, str]]:
    return {installed.WATCH: GOOD | watch, "gander-publish.service": GOOD}


def test_the_target_that_starts_all_at_boot_is_looked_at() -> None:
    target = Path(__file__).parents[2] / "systemd" / "gander.target"
    assert "WantedBy=multi-user.target" in target.read_text()
    assert target.name in installed.UNITS


@pytest.mark.parametrize(
    ("watch", "level", "says"),
    [
        ({}, "ok", "everything starts at boot"),
        ({"ActiveState": "failed"}, "problem", "gander-watch.service: failed"),
        ({"ActiveState": "inactive", "ExecMainStatus": "2"}, "problem", "gander-watch.service: failed"),
        ({"ActiveState": "inactive", "ExecMainStatus": "15"}, "problem", "gander-watch.service: failed"),
        (
            {"ActiveState": "inactive", "ExecMainCode": "2", "ExecMainStatus": "9"},
            "problem",
            "gander-watch.service: failed",
        ),
        ({"ActiveState": "inactive", "ExecMainCode": "2", "ExecMainStatus": "15"}, "ok", "nothing failed"),
        ({"ActiveState": "inactive"}, "ok", "nothing failed"),
        ({"ActiveState": "activating", "ExecMainStatus": "2"}, "ok", "nothing failed"),
        ({"UnitFileState": "disabled"}, "problem", "gander-watch.service: does not start at boot"),
        ({"UnitFileState": ""}, "problem", "does not start at boot"),
    ],
)
def test_a_unit_that_failed_or_will_not_start_is_a_problem(watch: dict[str, str], level: str, says: str) -> None:
    (found,) = installed.services(units(**watch))
    assert found.level == level
    assert says in found.says


def test_where_there_is_a_service_nobody_is_told_to_start_another_gander(tmp_path: Path) -> None:
    assert "`gander run`" in unit.to_start(tmp_path)
    for folder in ("run/systemd/system", "etc/systemd/system"):
        (tmp_path / folder).mkdir(parents=True)
    assert not unit.there(tmp_path)
    (tmp_path / "etc/systemd/system" / unit.WATCH).touch()
    assert unit.to_start(tmp_path).startswith("`sudo systemctl start gander.target`")


@pytest.mark.parametrize(("counted", "said"), [("123", False), ("[not set]", True), (str(2**64 - 1), True)])
def test_memory_that_is_not_counted_is_told_while_it_runs(counted: str, said: bool) -> None:
    told = ["memory limit" in finding.what for finding in installed.services(units(MemoryCurrent=counted))]
    assert any(told) == said
    stopped = installed.services(units(MemoryCurrent=counted, ActiveState="inactive"))
    assert not any("memory limit" in finding.what for finding in stopped)


@pytest.mark.parametrize(("mode", "may"), [(0o600, True), (0o060, False), (0o400, False), (0o006, False)])
def test_rights_of_the_owner(tmp_path: Path, mode: int, may: bool) -> None:
    device = tmp_path / "gpiochip0"
    device.touch()
    device.chmod(mode)
    assert installed.may_open(device, getpass.getuser()) == may


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give files away")
@pytest.mark.parametrize(
    ("group", "mode", "may"), [("nogroup", 0o660, True), ("root", 0o660, False), ("root", 0o666, True)]
)
def test_rights_by_group_and_of_all(tmp_path: Path, group: str, mode: int, may: bool) -> None:
    device = tmp_path / "video0"
    device.touch()
    os.chown(device, 0, grp.getgrnam(group).gr_gid)
    device.chmod(mode)
    assert installed.may_open(device, "nobody") == may


def test_what_the_configuration_needs() -> None:
    def needs(**more: object) -> dict[str, str]:
        return {what: group for what, group, _ in installed.needed(Config.model_validate(more))}

    assert needs(camera=[{"source": "picamera:1"}]) == {"picamera": "video"}
    assert needs(camera=[{"source": "2"}], controller={"kind": "guard"}) == {"2": "video", "pins": "gpio"}
    assert needs(camera=[{"source": "/dev/null"}], controller={"kind": "serial"}) == {
        "/dev/null": "video",
        "controller": "dialout",
    }
    assert needs(camera=[{"source": "synthetic:day"}]) == {}


def test_an_installation_that_watches_nothing_real_is_told() -> None:
    assert [found.what for found in installed.rendered(Config())] == ["camera cam"]
    assert not list(installed.rendered(Config.model_validate({"camera": [{"source": "picamera"}]})))


@pytest.mark.parametrize(
    ("stays", "configured", "says"),
    [
        (True, False, "add dtparam=strict_gpiod"),
        (True, True, "reboot once"),
        (False, True, ""),
        (False, False, ""),
        (None, False, "add dtparam=strict_gpiod"),
        (None, None, "add dtparam=strict_gpiod"),
        (None, True, ""),
    ],
)
def test_a_kernel_that_keeps_released_outputs_is_told(stays: bool | None, configured: bool | None, says: str) -> None:
    told = [finding.advice for finding in released(stays, configured)]
    assert len(told) == bool(says)
    assert all(advice.startswith(says) for advice in told)


@pytest.mark.parametrize(
    ("model", "driver"),
    [
        ("Raspberry Pi 3 Model B Rev 1.2", "pinctrl_bcm2835"),
        ("Raspberry Pi 4 Model B Rev 1.5", "pinctrl_bcm2835"),
        ("Raspberry Pi 400 Rev 1.0", "pinctrl_bcm2835"),
        ("Raspberry Pi Compute Module 4 Rev 1.0", "pinctrl_bcm2835"),
        ("Raspberry Pi 5 Model B Rev 1.0", "pinctrl_rp1"),
        ("Raspberry Pi 500 Rev 1.0", "pinctrl_rp1"),
        ("Raspberry Pi Compute Module 5 Rev 1.0", "pinctrl_rp1"),
    ],
)
def test_only_the_driver_that_this_models_pins_have_is_asked(tmp_path: Path, model: str, driver: str) -> None:
    assert outputs_stay(model, tmp_path) is None
    for name in ("pinctrl_bcm2835", "pinctrl_rp1"):  # Raspberry Pi's kernel has both built in
        (tmp_path / name / "parameters").mkdir(parents=True)
        (tmp_path / name / "parameters" / "persist_gpio_outputs").write_text("N\n" if name == driver else "Y\n")
    assert outputs_stay(model, tmp_path) is False
