"""What the owner may command: by name, for the control socket and for a command line without a daemon alike."""

from __future__ import annotations

import threading
from collections.abc import Callable
from pathlib import Path

from edge.bundle import Bundle
from edge.control import Handler
from edge.errors import GanderError, Refused
from edge.model_store import ModelStore
from edge.owner import Owner

TakeOver = Callable[[Bundle, Callable[[], None]], None]
"""Has a new champion loaded, then its role kept (by the second argument), then lets it begin. It raises, and all is as
before, where the bundle does not load or fit, or its role cannot be kept."""


def handlers(
    owner: Owner,
    store: ModelStore,
    take_over: TakeOver,
    prune: Callable[[], str],
    test_fire: Callable[[str, str], str],
) -> dict[str, Handler]:
    """The commands. `prune` deletes what is due and says what went. `test_fire` gets who asks, and which deterrent ("":
    the first).

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


TELLER = "gander-publish"
"""The user of what talks to the world. By MQTT the owner may have a signed model installed, and no more of this."""


def _not_by_mqtt(who: str) -> None:
    if who.partition(" via ")[0] == TELLER:
        raise Refused("this is for an owner on the machine, not for what publishes")


def _models(owner: Owner, store: ModelStore, take_over: TakeOver) -> dict[str, Handler]:
    """What is done with bundles."""
    one = threading.Lock()  # bundles are installed and promoted one at a time

    def install(who: str, path: object) -> str:
        with one:
            bundle, test = store.install(Path(str(path)))
        owner.audit(who, f"install {bundle.name} {bundle.version}")
        return f"{bundle.name} {bundle.version} is installed; it takes {test.invoke_ms:.1f} ms here"

    def trust(who: str, path: object) -> str:
        _not_by_mqtt(who)
        key = store.trust(Path(str(path)))
        owner.audit(who, f"trust {key.fingerprint} {key.comment}".strip())
        return f"bundles signed by key {key.fingerprint} are accepted from now on"

    def promote(who: str, name: object) -> str:
        _not_by_mqtt(who)
        with one:
            bundle = store.candidate(str(name))
            take_over(bundle, lambda: store.promote(bundle))
        owner.audit(who, f"promote {bundle.name} {bundle.version}")
        return f"{bundle.name} {bundle.version} is champion"

    def update(who: str) -> str:
        with one:
            bundle = store.newest()
            take_over(bundle, lambda: store.promote(bundle))
        owner.audit(who, f"update to {bundle.name} {bundle.version}")
        return f"{bundle.name} {bundle.version} is installed and champion"

    def rollback(who: str) -> str:
        _not_by_mqtt(who)
        with one:
            bundle = store.before()
            take_over(bundle, store.rollback)
        owner.audit(who, f"rollback to {bundle.name} {bundle.version}")
        return f"{bundle.name} {bundle.version} is champion again"

    return {"install": install, "trust": trust, "promote": promote, "update": update, "rollback": rollback}
