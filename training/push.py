"""A bundle to an appliance: checked here, copied, installed there, and promoted where that is wanted."""

from __future__ import annotations

import shlex
from collections.abc import Callable, Iterator
from pathlib import Path

from edge import bundle, keys
from edge.errors import GanderError, Refused
from edge.self_test import self_test
from training.appliance import Appliance, apart, read

Progress = Callable[[str, int, int], None]


def push(
    path: Path,
    key: Path,
    appliance: Appliance,
    trust: bool = False,
    promote: bool = False,
    progress: Progress = lambda *_: None,
) -> Iterator[str]:
    """Send `path`, which the private `key` signed. Yields what the appliance says, step by step.

    `trust` first enrols the key there, which is needed once. Raises `BundleError` for a bundle that is not whole,
    `Refused` for one that another key signed, `GanderError` where the appliance cannot be reached or has no room.
    """
    public = keys.load_public(keys.public_path(key))
    signer = bundle.read(path).manifest.signer
    if signer != public.fingerprint:
        raise Refused(
            f"{path}: signed by {signer or 'nobody'}, not by {key} ({public.fingerprint}); give the right one as --key"
        )
    made = bundle.verify(path, [public])
    progress("trying it here", 0, 1)
    self_test(made)
    progress("trying it here", 1, 1)
    if trust:
        there = apart(f'cat > "$d/laptop.pub" && {appliance.verb("bundle", "trust")} "$d/laptop.pub" >&2', shared=True)
        with read(keys.public_path(key)) as given:
            yield appliance.run(there, given)
    name, size = made.manifest.file_name, path.stat().st_size // 1000
    there = apart(
        f'cat > "$d/{name}" && {appliance.verb("bundle", "install")} "$d/{name}" < /dev/null >&2', shared=True
    )
    try:
        with read(path) as given:
            yield appliance.run(
                there, given, lambda sent: progress(f"sending to {appliance.host}, kB", sent // 1000, size)
            )
    except GanderError as error:
        if f"unknown key {public.fingerprint}" in str(error):
            raise Refused(
                f"{appliance.host} does not know this laptop's key {public.fingerprint}; once: "
                f"gander-train push {shlex.quote(str(path))} {shlex.quote(appliance.where)} --trust"
            ) from None
        raise
    if promote:
        yield appliance.run(f"{appliance.verb('bundle', 'promote', Path(name).stem)} < /dev/null >&2")
