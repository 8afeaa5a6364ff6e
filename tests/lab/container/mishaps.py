"""What befalls an appliance in a machine: a unit that ends badly, another program at the packages."""

from __future__ import annotations

from tests.lab.container.coop import log
from tests.lab.container.machine import Machine

# Lets go once somebody waits for it.
_LISTS_IN_USE = """
import fcntl, pathlib, subprocess, time
lists = open("/var/lib/apt/lists/lock", "w")
fcntl.lockf(lists, fcntl.LOCK_EX)
pathlib.Path("/run/held").touch()
while subprocess.run(["pgrep", "-fx", "sleep 5"], stdout=subprocess.DEVNULL).returncode:
    time.sleep(0.1)
"""


def other_apt(coop: Machine) -> None:
    """apt's lists are in use, until somebody sleeps for five seconds."""
    coop.run("systemd-run", "--unit=other-apt", "python3", "-c", _LISTS_IN_USE)
    coop.until(lambda: coop.run("test", "-e", "/run/held", check=False).returncode == 0, "nothing is held")


def plant_code(coop: Machine) -> None:
    """Publish, in somebody else's hands, leaves code where Python looks in a home, and users are as they once were."""
    coop.sh(
        "sed -i '/^gander-/s,:/nonexistent:,:/var/lib/gander:,' /etc/passwd && grep -q :/var/lib/gander: /etc/passwd"
    )
    home = "/var/lib/gander/.local/lib/python$(/usr/bin/python3 -V | cut -d' ' -f2 | cut -d. -f-2)/site-packages"
    code = f"mkdir -p {home}; echo 'import os; os.mkdir(\"/var/lib/gander/ran\")' >{home}/x.pth"
    coop.run("setpriv", "--reuid", "gander-publish", "--regid", "gander", "--clear-groups", "sh", "-c", code)


def gave_up(coop: Machine, unit: str, settings: str, order: str) -> str:
    """What its log says after an order that ends badly under these settings, and that was looked at."""
    drop_in, name = f"/run/systemd/system/{unit}.d", unit.removesuffix(".service")
    coop.sh(f"mkdir -p {drop_in}; printf '[Service]\\n{settings}\\n' >{drop_in}/lab.conf")
    coop.sh(f"systemctl daemon-reload; systemctl reset-failed {unit}; systemctl stop gander-again@{name}")
    since = coop.sh("date +@%s.%N").strip()
    looks = f"journalctl -q --no-pager --since={since} -u gander-gave-up@{name}"
    coop.run("systemctl", order, unit, check=False)
    coop.until(lambda: "Finished" in coop.sh(looks) and coop.shows(unit, "ActiveState") == "inactive", log(coop))
    coop.sh(f"rm -r {drop_in}; systemctl daemon-reload")
    return coop.sh(f"journalctl -q --no-pager --since={since} -u {unit}")
