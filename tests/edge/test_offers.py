"""Which bundle is offered as the newest, and what becomes of it."""

from __future__ import annotations

import shutil
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from edge.bundle import Bundle, read, write
from edge.clock import LiveClock
from edge.commands import handlers
from edge.config import ModelsConfig
from edge.errors import BundleError, Refused
from edge.journal import Journal
from edge.keys import load_or_generate
from edge.model_store import ModelStore
from edge.owner import Owner
from tests import stage


@pytest.fixture(scope="module")
def first(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A state directory with a champion, and nothing else."""
    folder = tmp_path_factory.mktemp("offers")
    path = stage.bundle(folder / "state", folder)
    store = ModelStore(folder / "state", ModelsConfig())
    store.promote(store.install(path)[0])
    return folder / "state"


@pytest.fixture
def state(first: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(first, tmp_path / "state"))


def another(state: Path, file: str, key: Path | None = None, **changes: Any) -> Path:
    """A bundle like the champion but for `changes`, in the folder `incoming`."""
    there = read(next((state / "models").glob("*.gander")))
    facts = there.manifest.model_dump() | {"serial": there.manifest.serial + 1} | changes
    (state / "incoming").mkdir(exist_ok=True)
    path = state / "incoming" / file
    write(
        path, type(there.manifest).model_validate(facts), there.model, there.golden,
        load_or_generate(key or state / "device.key"),
    )  # fmt: skip
    return path


def test_nothing_came(state: Path) -> None:
    store = ModelStore(state, ModelsConfig())
    versions = store.versions()
    assert versions["installed"] == versions["latest"]
    assert versions["installed"].startswith("colours-")
    with pytest.raises(Refused, match="nothing newer than colours-"):
        store.newest()


def test_the_newest_is_installed_whatever_its_file_is_called(state: Path) -> None:
    store = ModelStore(state, ModelsConfig())
    another(state, "a.gander", version="2")
    assert store.versions()["latest"] == "colours-2"
    another(state, "b.gander", name="birds", version="9", created="2000-01-01T00:00:00Z")
    assert store.versions()["latest"] == "colours-2", "made before"
    another(state, "c.gander", name="birds", version="10", created="2100-01-01T00:00:00Z")
    assert store.versions()["latest"] == "birds-10"
    bundle = store.newest()
    assert (bundle.name, bundle.version) == ("birds", "10")
    assert bundle.signed_by is not None
    store.promote(bundle)
    assert set(store.versions().values()) == {"birds-10"}
    with pytest.raises(Refused):
        store.newest()


def test_an_older_serial_of_the_same_name_is_no_offer(state: Path) -> None:
    another(state, "a.gander", version="0", serial=1, created="2100-01-01T00:00:00Z")
    versions = ModelStore(state, ModelsConfig()).versions()
    assert versions["latest"] == versions["installed"]


def test_one_that_is_installed_only_waits_to_be_promoted(state: Path) -> None:
    store = ModelStore(state, ModelsConfig())
    store.install(another(state, "a.gander", version="2"))
    (state / "incoming" / "a.gander").unlink()
    assert store.versions()["latest"] == "colours-2"
    assert store.newest().version == "2"


def test_one_of_an_unknown_key_is_offered_and_refused(state: Path, tmp_path: Path) -> None:
    store = ModelStore(state, ModelsConfig())
    another(state, "a.gander", key=tmp_path / "strange.key", version="2")
    assert store.versions()["latest"] == "colours-2"
    with pytest.raises(BundleError, match="signed by unknown key"):
        store.newest()
    assert len(list((state / "models").glob("*.gander"))) == 1


def test_a_configured_champion_decides(state: Path) -> None:
    another(state, "a.gander", version="2")
    store = ModelStore(state, ModelsConfig(champion="/some/where/colours-1.gander"))
    assert store.versions() == {"installed": "colours-1", "latest": "colours-1"}
    for refused in (store.newest, store.before, lambda: store.candidate("colours-1")):
        with pytest.raises(Refused, match="is configured and decides"):
            refused()


def test_a_role_is_kept_where_its_model_takes_over_and_only_there(state: Path) -> None:
    store, journal, fits = ModelStore(state, ModelsConfig()), Journal(state), [False]
    another(state, "a.gander", version="2").rename(state / "models" / "colours-2.gander")
    first = store.versions()["installed"]

    def take_over(bundle: Bundle, keep: Callable[[], None]) -> None:
        if not fits[0]:
            raise Refused("it does not load")
        keep()

    try:
        known = handlers(Owner(journal, "observe", LiveClock(), "coop"), store, take_over, str, lambda *_: "")
        for name, arguments, champion in (
            ("promote", {"name": "colours-2"}, "colours-2"),
            ("rollback", {}, first),
            ("update", {}, "colours-2"),
        ):
            before, fits[0] = store.versions()["installed"], False
            with pytest.raises(Refused, match="does not load"):
                known[name]("me", **arguments)
            assert store.versions()["installed"] == before
            fits[0] = True
            known[name]("me", **arguments)
            assert store.versions()["installed"] == champion
    finally:
        journal.close()


def cut_short(folder: Path) -> bytes:
    """A zip whose directory is whole, and whose only part ends before it should."""
    with zipfile.ZipFile(folder / "short.zip", "w", zipfile.ZIP_STORED) as archive:
        archive.writestr("manifest.json", b"{}")
    data = bytearray((folder / "short.zip").read_bytes())
    directory = data.index(b"PK\x01\x02")
    for at in (directory + 20, directory + 24):  # its two lengths
        data[at : at + 4] = (10_000).to_bytes(4, "little")
    return bytes(data)


def test_what_is_no_bundle_is_no_offer_until_it_is_whole(state: Path, tmp_path: Path) -> None:
    store = ModelStore(state, ModelsConfig())
    whole = another(state, "a.gander", version="2")
    data = whole.read_bytes()
    for junk in (b"", b"PK\x03\x04", data[:-10], data[: len(data) // 2], cut_short(tmp_path)):
        whole.write_bytes(junk)
        assert store.versions()["latest"] != "colours-2"
    (state / "incoming" / "folder.gander").mkdir()
    (state / "incoming" / "nowhere.gander").symlink_to("/nowhere")
    whole.write_bytes(data)
    assert store.versions()["latest"] == "colours-2"


def test_roles_that_cannot_be_read_leave_the_status_alone(state: Path) -> None:
    (state / "models" / "roles.json").write_text("{")
    assert ModelStore(state, ModelsConfig()).versions() == {}
