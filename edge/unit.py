"""Whether Gander is installed as a service here, and so how it is started."""

from __future__ import annotations

from pathlib import Path

WATCH = "gander-watch.service"
_ROOT = Path("/")


def there(root: Path = _ROOT) -> bool:
    """Whether systemd runs here and knows the daemon."""
    folders = (root / "etc/systemd/system", root / "usr/lib/systemd/system")
    return (root / "run/systemd/system").is_dir() and any((folder / WATCH).exists() for folder in folders)


def to_start(root: Path = _ROOT) -> str:
    """What to do where no daemon answers. Started by hand beside its service it would take that one's place."""
    if there(root):
        why = "after a minute still so: `journalctl -u gander-watch` says why"
        return f"`sudo systemctl start gander.target`, or name the right --state; {why}"
    return "start `gander run`, or name the right --state"
