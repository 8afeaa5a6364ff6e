"""Debian packages by the names of those that only Raspberry Pi OS's archive has, in an archive of their own."""

from __future__ import annotations

import hashlib
import subprocess
from pathlib import Path

# What the installation asks of them, and no more.
_MODULES = {
    "numpy": ("", '__version__ = "2.2.4"\n'),
    "picamera2": (
        "Depends: python3-numpy\n",
        "import numpy\n\n\nclass Picamera2:\n    @staticmethod\n    def global_camera_info():\n        return []\n",
    ),
    "lgpio": ("", ""),
}


def archive(root: Path) -> None:
    """Have apt in the machine under `root` know these, and no other archive."""
    folder = root / "opt" / "stubs"
    folder.mkdir()
    index = ""
    for module, (needs, code) in _MODULES.items():
        made = folder / module
        (made / "DEBIAN").mkdir(parents=True)
        control = (
            f"Package: python3-{module}\nVersion: 1\nArchitecture: all\nMaintainer: lab\n{needs}Description: stub\n"
        )
        (made / "DEBIAN" / "control").write_text(control)
        package = made / "usr" / "lib" / "python3" / "dist-packages" / module / "__init__.py"
        package.parent.mkdir(parents=True)
        package.write_text(code)
        deb = folder / f"{module}.deb"
        subprocess.run(["dpkg-deb", "--root-owner-group", "--build", made, deb], check=True, capture_output=True)
        digest = hashlib.sha256(deb.read_bytes()).hexdigest()
        index += f"{control}Filename: ./{deb.name}\nSize: {deb.stat().st_size}\nSHA256: {digest}\n\n"
    (folder / "Packages").write_text(index)
    apt = root / "etc" / "apt"
    for listed in (apt / "sources.list.d").glob("*"):
        listed.unlink()
    (apt / "sources.list").write_text("deb [trusted=yes] file:/opt/stubs ./\n")
