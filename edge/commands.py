"""What the owner may command: by name, for the control socket and for a command line without a daemon alike."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from edge.bundle import Bundle
from edge.control import Handler
from edge.model_store import ModelStore
from edge.owner import Owner


def handlers(owner: Owner, store: ModelStore, take_over: Callable[[Bundle], None]) -> dict[str, Handler]:
    """The commands. `take_over` lets a new champion begin; it raises where the bundle does not load."""

    def install(who: str, path: str) -> str:
        bundle, test = store.install(Path(path))
        return f"{bundle.name} {bundle.version} is installed; it takes {test.invoke_ms:.1f} ms here"

    def trust(who: str, path: str) -> str:
        return f"bundles signed by key {store.trust(Path(path)).fingerprint} are accepted from now on"

    def promote(who: str, name: str) -> str:
        bundle = store.candidate(name)
        take_over(bundle)  # first: what does not load is not written down as champion either
        store.promote(bundle)
        return f"{bundle.name} {bundle.version} is champion"

    def rollback(who: str) -> str:
        bundle = store.before()
        take_over(bundle)
        store.rollback()
        return f"{bundle.name} {bundle.version} is champion again"

    return {
        "mode": lambda who, mode: owner.set_mode(mode, who),
        "pause": lambda who, seconds: owner.pause(float(seconds), who),
        "label": lambda who, visit, label, note="": owner.label(visit, label, who, note),
        "install": install,
        "trust": trust,
        "promote": promote,
        "rollback": rollback,
    }
