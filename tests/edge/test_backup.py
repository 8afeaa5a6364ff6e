"""Backups: everything precious comes back the same, and a file that is cut, altered or crafted touches nothing."""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import os
import shutil
import sqlite3
import tarfile
from collections.abc import Callable
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from edge import keys
from edge.backup import MANIFEST, backup
from edge.database import EVENTS, OWNER
from edge.errors import GanderError, Refused, StateError
from edge.journal import lock, recent_visits
from edge.restore import restore
from tests.edge.stock import content, stocked
from tests.edge.test_export import Shelf

BEGIN = datetime(2026, 9, 1, 6, tzinfo=UTC)


@pytest.fixture
def shelf(tmp_path: Path) -> Shelf:
    return stocked(tmp_path / "state")


@pytest.fixture
def tar(shelf: Shelf, tmp_path: Path) -> Path:
    backup(shelf.state, tmp_path / "gander.tar", "coop")
    return tmp_path / "gander.tar"


def rows(state: Path, sql: str) -> list[tuple[object, ...]]:
    with closing(sqlite3.connect(state / "owner.db")) as owner:
        return owner.execute(sql).fetchall()


def test_all_of_it_comes_back(shelf: Shelf, tmp_path: Path) -> None:
    file = tmp_path / "all.tar"
    done = backup(shelf.state, file, "coop", everything=True)
    assert (done.events, done.visits, done.labels, done.models, done.pictures, done.people) == (2, 2, 1, 1, 6, 3)
    assert file.stat().st_mode & 0o777 == 0o600
    assert done.bytes == file.stat().st_size
    back = restore(tmp_path / "new" / "state", file)
    assert (back.node, back.mode, back.before) == ("coop", "armed", "")
    before, after = content(shelf.state), content(tmp_path / "new" / "state")
    assert before.pop("owner.db") != after.pop("owner.db"), "but for the mode"
    assert after == before
    assert rows(tmp_path / "new" / "state", "SELECT value FROM setting WHERE name = 'mode'") == [("observe",)]
    words = "SELECT * FROM label ORDER BY id"
    assert rows(tmp_path / "new" / "state", words) == rows(shelf.state, words) != []
    assert (tmp_path / "new" / "state" / "device.key").stat().st_mode & 0o777 == 0o600
    folders = {name: (tmp_path / "new" / "state" / name).stat().st_mode & 0o777 for name in ("keys", "pictures")}
    assert folders == {"keys": 0o750, "pictures": 0o770}, "what publishes puts nothing among the keys"
    assert [path.name for path in (tmp_path / "new").iterdir()] == ["state"]
    assert recent_visits(tmp_path / "new" / "state", None)[0]["owner"] == "jay"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["all.tar", "new", "state"]


def test_whatever_a_key_or_model_is_called_comes_back(shelf: Shelf, tmp_path: Path) -> None:
    """The day on which the card is dead is no day to be told that a name is wrong."""
    long = "a" * 251
    for name in ("my laptop.pub", "-x", "ключ.pub", "a\nb.pub", "\udcff.pub", f"{long}.pub", "C:\\x", "a*?|'\"$"):
        (shelf.state / "keys" / name).write_bytes(os.fsencode(name))
    (shelf.state / "reserve").write_bytes(bytes(1000))
    for kind, where in (("crop", ".hidden/x.jpg"), ("marked", "../../outside/x.jpg")):  # damaged rows
        path = shelf.state / "pictures" / where
        path.parent.mkdir()
        path.write_bytes(b"not ours")
        shelf.events.execute("UPDATE picture SET path = ? WHERE kind = ?", (where, kind))
    shelf.events.commit()
    done = backup(shelf.state, tmp_path / "gander.tar", "coop")
    assert (done.pictures, done.vanished) == (1, 2)
    restore(tmp_path / "new", tmp_path / "gander.tar")
    before, after = content(shelf.state), content(tmp_path / "new")
    keys_of = {name for name in before if name.startswith("keys/")}
    assert len(keys_of) == 9
    assert {name: after.get(name) for name in keys_of} == {name: before[name] for name in keys_of}
    assert "reserve" not in after


def test_without_all_only_labelled_pictures_are_in_it_and_known(shelf: Shelf, tmp_path: Path) -> None:
    assert backup(shelf.state, tmp_path / "gander.tar", "coop").pictures == 3
    restore(tmp_path / "new", tmp_path / "gander.tar")
    with sqlite3.connect(tmp_path / "new" / EVENTS) as events:
        known = {row[0] for row in events.execute("SELECT path FROM picture")}
    pictures = tmp_path / "new" / "pictures"
    assert known == {str(path.relative_to(pictures)) for path in pictures.rglob("*.jpg")}
    assert len(known) == 3


def test_a_file_is_not_written_over_and_what_fails_leaves_nothing(shelf: Shelf, tmp_path: Path) -> None:
    file = tmp_path / "gander.tar"
    file.write_text("mine")
    with pytest.raises(Refused, match="is there already"):
        backup(shelf.state, file, "coop")
    assert file.read_text() == "mine"
    with pytest.raises(Refused, match="no such folder"):
        backup(shelf.state, tmp_path / "not" / "there.tar", "coop")
    before = sorted(tmp_path.iterdir())
    with pytest.raises(KeyboardInterrupt):
        backup(shelf.state, tmp_path / "other.tar", "coop", progress=_interrupted)
    (shelf.state / OWNER).write_bytes(b"no database" * 1000)
    with pytest.raises(GanderError):
        backup(shelf.state, tmp_path / "other.tar", "coop")
    assert sorted(tmp_path.iterdir()) == before


def _interrupted(what: str, done: int, of: int) -> None:
    raise KeyboardInterrupt


def test_a_state_with_a_journal_is_kept(shelf: Shelf, tar: Path) -> None:
    later = shelf.visit(40)
    held = content(shelf.state)
    with pytest.raises(Refused, match="--force"):
        restore(shelf.state, tar)
    assert content(shelf.state) == held
    back = restore(shelf.state, tar, force=True)
    assert content(Path(back.before)) == held
    assert len(recent_visits(shelf.state, None)) == 2
    assert recent_visits(Path(back.before), None)[-1]["id"] == later["visit"]


def test_what_is_at_work_there_is_not_disturbed(shelf: Shelf, tar: Path) -> None:
    held = content(shelf.state)
    for name in ("lock", "publish.lock"):
        fd = lock(shelf.state, name)
        with pytest.raises(StateError, match="at work"):
            restore(shelf.state, tar, force=True)
        os.close(fd)
    assert content(shelf.state) == held


def test_a_state_without_a_journal_is_moved_aside_too(tar: Path, tmp_path: Path) -> None:
    fresh, empty = tmp_path / "fresh", tmp_path / "empty"
    keys.load_or_generate(fresh_key := _made(fresh) / "device.key")
    key = fresh_key.read_bytes()
    back = restore(fresh, tar)
    assert (Path(back.before) / "device.key").read_bytes() == key
    assert restore(_made(empty), tar).before == ""


def _made(folder: Path) -> Path:
    folder.mkdir()
    return folder


@settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow]
)
@given(data=st.data())
def test_a_cut_or_altered_file_is_refused(tar: Path, tmp_path: Path, data: st.DataObject) -> None:
    whole = tar.read_bytes()
    place = data.draw(st.integers(0, len(whole) - 1))
    cut = data.draw(st.booleans())
    bad, new = tmp_path / "bad.tar", tmp_path / "new"
    altered = bytes([whole[place] ^ (1 << data.draw(st.integers(0, 7)))])
    bad.write_bytes(whole[:place] if cut else whole[:place] + altered + whole[place + 1 :])
    before = sorted(tmp_path.iterdir())
    refusal = ""
    try:
        restore(new, bad)
    except Refused as error:
        refusal = str(error)
    if refusal:
        assert str(bad) in refusal
        assert "\n" not in refusal
        assert sorted(tmp_path.iterdir()) == before
    else:  # it was of no content: the zeros between members
        assert not cut
        assert content(new) == content(_restored(tar, tmp_path / "good"))
        for path in (new, tmp_path / "good"):
            shutil.rmtree(path)


def _restored(tar: Path, state: Path) -> Path:
    restore(state, tar)
    return state


Members = dict[str, tuple[tarfile.TarInfo, bytes]]


def altered(tar: Path, change: Callable[[Members, dict[str, Any]], None]) -> Path:
    """The same backup with other members; its manifest holds whatever `change` says."""
    members: Members = {}
    with tarfile.open(tar) as old:
        for info in old:
            file = old.extractfile(info)
            assert file
            members[info.name] = (info, file.read())
    manifest = json.loads(members.pop(MANIFEST)[1])
    change(members, manifest)
    text = json.dumps(manifest).encode()
    out = tar.with_name("crafted.tar")
    with tarfile.open(out, "w", format=tarfile.USTAR_FORMAT) as new:
        for info, data in [*members.values(), (tarfile.TarInfo(MANIFEST), text)]:
            info.size = len(data)
            new.addfile(info, io.BytesIO(data))
    return out


def _with(name: str, kind: bytes = tarfile.REGTYPE, link: str = "") -> Callable[[Members, dict[str, Any]], None]:
    def change(members: Members, manifest: dict[str, Any]) -> None:
        info = tarfile.TarInfo(name)
        info.type, info.linkname = kind, link
        data = b"" if link or kind != tarfile.REGTYPE else b"bad"
        members["bad"] = (info, data)
        manifest["files"][name] = {"sha256": hashlib.sha256(data).hexdigest(), "bytes": len(data)}

    return change


def _unlisted(members: Members, manifest: dict[str, Any]) -> None:
    members["models/x"] = (tarfile.TarInfo("models/x"), b"x")


def _newer(members: Members, manifest: dict[str, Any]) -> None:
    manifest["format"] = 2


def _newer_journal(members: Members, manifest: dict[str, Any]) -> None:
    info, data = members[EVENTS]
    data = data[:60] + (99).to_bytes(4, "big") + data[64:]  # user_version in SQLite's header
    members[EVENTS] = (info, data)
    manifest["files"][EVENTS]["sha256"] = hashlib.sha256(data).hexdigest()


def _no_owner(members: Members, manifest: dict[str, Any]) -> None:
    del members[OWNER], manifest["files"][OWNER]


def _no_database(members: Members, manifest: dict[str, Any]) -> None:
    members[OWNER] = (members[OWNER][0], b"x" * 5000)
    manifest["files"][OWNER] = {"sha256": hashlib.sha256(b"x" * 5000).hexdigest(), "bytes": 5000}


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (_with("../evil"), "nothing a backup holds"),
        (_with("/tmp/evil"), "nothing a backup holds"),
        (_with("models/../../evil"), "nothing a backup holds"),
        (_with("pictures/../x.jpg"), "nothing a backup holds"),
        (_with("models/sub/evil"), "nothing a backup holds"),
        (_with("keys/.hidden"), "nothing a backup holds"),
        (_with("models/link", tarfile.SYMTYPE, "/etc/passwd"), "not a plain file"),
        (_with("models/link", tarfile.LNKTYPE, "device.key"), "not a plain file"),
        (_with("models/pipe", tarfile.FIFOTYPE), "not a plain file"),
        (_with("models/disk", tarfile.BLKTYPE), "not a plain file"),
        (_with("models/folder", tarfile.DIRTYPE), "not a plain file"),
        (_with("device.key"), "twice"),
        (_unlisted, "not what the manifest says"),
        (_newer, "newer gander"),
        (_newer_journal, "newer gander"),
        (_no_owner, "has no owner.db"),
        (_no_database, "owner.db in it"),
        (lambda members, manifest: manifest.pop("files"), "manifest is not"),
        (lambda members, manifest: manifest["files"].update({"models/gone": {}}), "'models/gone' is not"),
    ],
)
def test_a_crafted_file_touches_nothing(
    tar: Path, shelf: Shelf, change: Callable[[Members, dict[str, Any]], None], says: str
) -> None:
    crafted, held = altered(tar, change), content(shelf.state)
    before = sorted(tar.parent.iterdir())
    with pytest.raises(Refused, match=says) as error:
        restore(shelf.state, crafted, force=True)
    assert "\n" not in str(error.value)
    assert content(shelf.state) == held
    assert sorted(tar.parent.iterdir()) == before


def test_what_is_no_backup_at_all_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "x.tar"
    for data in (b"", b"x" * 20_000, bytes(10_240)):
        file.write_bytes(data)
        with pytest.raises(Refused, match=r"backup of ours"):
            restore(tmp_path / "new", file)
    with pytest.raises(Refused, match="no such file"):
        restore(tmp_path / "new", tmp_path / "nothing.tar")
    assert not (tmp_path / "new").exists()


def test_what_still_lies_in_the_log_of_the_database_is_in_it(shelf: Shelf, tmp_path: Path) -> None:
    last = shelf.visit(50)
    shelf.events.execute("PRAGMA wal_autocheckpoint = 0")
    shelf.event(BEGIN + timedelta(hours=51), "visit", last["visit"])
    assert backup(shelf.state, tmp_path / "gander.tar", "coop").events == 4


def test_the_configuration_in_use_comes_along(shelf: Shelf, tmp_path: Path) -> None:
    used = tmp_path / "coop.toml"
    used.write_text("[node]\nname = 'coop'\n")
    done = backup(shelf.state, tmp_path / "gander.tar", "coop", config=used)
    assert (done.config, done.key) == (True, True)
    back = restore(tmp_path / "new", tmp_path / "gander.tar")
    assert Path(back.config).read_text() == used.read_text()
    assert Path(back.config).parent == tmp_path / "new"
    (shelf.state / "device.key").unlink()
    none = backup(shelf.state, tmp_path / "none.tar", "coop")
    assert (none.config, none.key) == (False, False)
    assert restore(tmp_path / "newer", tmp_path / "none.tar").config == ""


def test_a_backup_is_no_compressed_file(shelf: Shelf, tar: Path, tmp_path: Path) -> None:
    for name in ("gander.tar.gz", "gander.tgz", "gander.ZIP"):
        with pytest.raises(Refused, match=r"plain \.tar"):
            backup(shelf.state, tmp_path / name, "coop")
    squeezed = tmp_path / "gander.tar.gz"
    squeezed.write_bytes(gzip.compress(tar.read_bytes()))
    with pytest.raises(Refused, match="gunzip"):
        restore(tmp_path / "new", squeezed)
    assert not (tmp_path / "new").exists()
