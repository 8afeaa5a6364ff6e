"""What the owner may command: by name, for the control socket and for a command line without a daemon alike."""

from __future__ import annotations

import threading
from collections.abc import Callable
from pathlib import Path

from edge.bundle import Bundle
from edge.control import Handler
from edge.errors import GanderError
from edge.model_store import ModelStore
from edge.owner import Owner


def handlers(
    owner: Owner,
    store: ModelStore,
    take_over: Callable[[Bundle], None],
    prune: Callable[[], str],
    test_fire: Callable[[str, str], str],
) -> dict[str, Handler]:
    """The commands. `take_over` lets a new champion begin; it raises where the bundle does not load or fit. `prune`
    deletes what is due and says what went. `test_fire` gets who asks, and which deterrent ("": the first).

    Arguments come from outside: whatever they are, they are taken as text.
    """

    def clean(who: str) -> str:
        answer = prune()
        owner.audit(who, "prune", answer)
        return answer

    def fire(who: str, deterrent: object = "") -> str:
        wanted = f"test fire {deterrent}".strip()
        try:
            answer = test_fire(who, str(deterrent))
        except GanderError as error:
            owner.audit(who, wanted, str(error))  # what was held back is told, with its reason
            raise
        owner.audit(who, wanted, answer)
        return answer

    return {
        "mode": lambda who, mode: owner.set_mode(str(mode), who),
        "pause": lambda who, seconds: owner.pause(float(seconds), who),
        "label": lambda who, visit, label, note="": owner.label(str(visit), str(label), who, str(note)),
        "prune": clean,
        "test_fire": fire,
        **_models(owner, store, take_over),
    }


def _models(owner: Owner, store: ModelStore, take_over: Callable[[Bundle], None]) -> dict[str, Handler]:
    """What is done with bundles."""
    one = threading.Lock()  # bundles are installed and promoted one at a time

    def install(who: str, path: object) -> str:
        with one:
            bundle, test = store.install(Path(str(path)))
        owner.audit(who, f"install {bundle.name} {bundle.version}")
        return f"{bundle.name} {bundle.version} is installed; it takes {test.invoke_ms:.1f} ms here"

    def trust(who: str, path: object) -> str:
        key = store.trust(Path(str(path)))
        owner.audit(who, f"trust {key.fingerprint} {key.comment}".strip())
        return f"bundles signed by key {key.fingerprint} are accepted from now on"

    def promote(who: str, name: object) -> str:
        with one:
            bundle = store.candidate(str(name))
            take_over(bundle)  # first: what does not load is not written down as champion either
            store.promote(bundle)
        owner.audit(who, f"promote {bundle.name} {bundle.version}")
        return f"{bundle.name} {bundle.version} is champion"

    def update(who: str) -> str:
        with one:
            bundle = store.newest()
            take_over(bundle)
            store.promote(bundle)
        owner.audit(who, f"update to {bundle.name} {bundle.version}")
        return f"{bundle.name} {bundle.version} is installed and champion"

    def rollback(who: str) -> str:
        with one:
            bundle = store.before()
            take_over(bundle)
            store.rollback()
        owner.audit(who, f"rollback to {bundle.name} {bundle.version}")
        return f"{bundle.name} {bundle.version} is champion again"

    return {"install": install, "trust": trust, "promote": promote, "update": update, "rollback": rollback}
