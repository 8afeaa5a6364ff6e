"""A bundle to an appliance: checked here, copied, installed there, and promoted where that is wanted."""

from __future__ import annotations

from pathlib import Path

from edge import bundle, keys
from edge.errors import GanderError, Refused
from edge.self_test import self_test
from training.appliance import Appliance, apart, read


def push(path: Path, key: Path, appliance: Appliance, trust: bool = False, promote: bool = False) -> list[str]:
    """Send `path`, signed with the private `key`'s twin. Returns what the appliance said.

    `trust` first enrols the key there, which is needed once. Raises `BundleError` for a bundle that is not whole,
    `Refused` for one that another key signed, `GanderError` where the appliance will not have it.
    """
    public = keys.load_public(keys.public_path(key))
    made = bundle.verify(path, [public])
    self_test(made)
    said = []
    if trust:
        words = apart(f'cat > "$d/laptop.pub" && {appliance.verb("bundle", "trust")} "$d/laptop.pub" >&2')
        with read(keys.public_path(key)) as given:
            said.append(appliance.run(words, given))
    name = made.manifest.file_name
    words = apart(f'cat > "$d/{name}" && {appliance.verb("bundle", "install")} "$d/{name}" >&2')
    try:
        with read(path) as given:
            said.append(appliance.run(words, given))
    except GanderError as error:
        if "unknown key" in str(error) and not trust:
            raise Refused(
                f"{error}; `gander-train push --trust` enrols this laptop's key {public.fingerprint} once"
            ) from None
        raise
    if promote:
        said.append(appliance.run(f"{appliance.verb('bundle', 'promote', Path(name).stem)} >&2"))
    return [line for line in said if line]
