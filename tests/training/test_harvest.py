"""Harvest: what the owner labelled on the appliance becomes a folder to train from, again and again."""

from __future__ import annotations

import csv
from pathlib import Path

import pytest

from edge.errors import Refused
from edge.export import LABEL_COLUMNS
from tests.edge.test_export import Shelf
from training.harvest import DOUBTFUL, LABELLED, Harvested, from_state, merge


@pytest.fixture
def shelf(tmp_path: Path) -> Shelf:
    return Shelf(tmp_path / "state")


def rows(path: Path) -> dict[str, str]:
    """Label by visit."""
    with path.open(newline="") as file:
        return {row["visit_id"]: row["label"] for row in csv.DictReader(file)}


def harvest(shelf: Shelf, out: Path) -> Harvested:
    return from_state(shelf.state, "coop", out, None, lambda *_: None)


def test_crops_come_with_their_labels_and_come_once(shelf: Shelf, tmp_path: Path) -> None:
    out = tmp_path / "pictures"
    jay, nobody = shelf.visit(1), shelf.visit(2, label="hen")
    shelf.said("fox", visit=jay["visit"])
    first = harvest(shelf, out)
    assert (first.labelled, first.unlabelled, first.new, first.relabelled) == (1, 1, 2, 0)
    assert rows(out / LABELLED) == {jay["visit"]: "fox"}
    assert rows(out / DOUBTFUL) == {nobody["visit"]: ""}
    assert len([path for path in out.rglob("*") if path.suffix == ".jpg"]) == 2, "crops only"
    again = harvest(shelf, out)
    assert (again.labelled, again.unlabelled, again.new, again.relabelled) == (1, 1, 0, 0)


def test_a_new_word_takes_the_place_of_the_old_and_nothing_labelled_goes(shelf: Shelf, tmp_path: Path) -> None:
    out = tmp_path / "pictures"
    jay, hen = shelf.visit(1), shelf.visit(2, label="hen")
    shelf.said("fox", visit=jay["visit"])
    harvest(shelf, out)
    shelf.said("jay", visit=jay["visit"])
    shelf.said("hen", visit=hen["visit"])
    assert harvest(shelf, out).relabelled == 1
    assert rows(out / LABELLED) == {jay["visit"]: "jay", hen["visit"]: "hen"}
    assert rows(out / DOUBTFUL) == {}
    shelf.owner.execute("DELETE FROM label")  # another appliance, or one set up anew
    shelf.owner.commit()
    harvest(shelf, out)
    assert rows(out / LABELLED) == {jay["visit"]: "jay", hen["visit"]: "hen"}


def test_what_is_no_export_is_refused(tmp_path: Path) -> None:
    with pytest.raises(Refused, match="harvest from a state directory"):
        merge(tmp_path, tmp_path / "out")
    (tmp_path / LABELLED).write_text("path,label\n")
    with pytest.raises(Refused, match="not of an export"):
        merge(tmp_path, tmp_path / "out")


def test_a_path_that_leads_outside_is_refused(tmp_path: Path) -> None:
    heading = ",".join(LABEL_COLUMNS)
    (tmp_path / LABELLED).write_text(f"{heading}\n../../etc/passwd,fox{',' * (len(LABEL_COLUMNS) - 2)}\n")
    (tmp_path / DOUBTFUL).write_text(f"{heading}\n")
    with pytest.raises(Refused, match="outside the export"):
        merge(tmp_path, tmp_path / "out")


def read(table: Path) -> list[dict[str, str]]:
    with table.open(newline="") as file:
        return list(csv.DictReader(file))


def rewrite(table: Path, rows_: list[dict[str, str]]) -> None:
    with table.open("w", newline="") as file:
        writer = csv.DictWriter(file, list(rows_[0]))
        writer.writeheader()
        writer.writerows(rows_)


def test_what_the_owner_wrote_into_the_tables_stays(shelf: Shelf, tmp_path: Path) -> None:
    out = tmp_path / "pictures"
    jay, crow, hen = shelf.visit(1), shelf.visit(2, label="crow"), shelf.visit(3, label="hen")
    shelf.said("fox", visit=jay["visit"])
    shelf.said("crow", visit=crow["visit"])
    harvest(shelf, out)
    labels, doubtful = read(out / LABELLED), read(out / DOUBTFUL)
    own = dict.fromkeys(labels[0], "") | {"path": "/photos/own.jpg", "label": "marten"}
    labels[0]["label"], labels[1]["label"], doubtful[0]["label"] = "jay", "raven", "rooster"
    rewrite(out / LABELLED, [row | {"weather": "rain"} for row in (*labels, own)])
    rewrite(out / DOUBTFUL, doubtful)
    shelf.said("magpie", visit=crow["visit"])  # said after the harvest: newer than what was written here
    done = harvest(shelf, out)
    assert (done.labelled, done.unlabelled, done.new, done.relabelled) == (4, 0, 0, 1)
    kept = {jay["visit"]: "jay", crow["visit"]: "magpie", hen["visit"]: "rooster", "": "marten"}
    assert rows(out / LABELLED) == kept
    assert [row["weather"] for row in read(out / LABELLED)] == ["rain", "rain", "rain", ""]
    harvest(shelf, out)
    assert rows(out / LABELLED) == kept


def test_who_was_doubted_most_comes_first(shelf: Shelf, tmp_path: Path) -> None:
    visits = [shelf.visit(hour)["visit"] for hour in range(4)]
    for visit, p in zip(visits, (0.97, None, 0.31, 0.62), strict=True):
        shelf.events.execute("UPDATE visit SET p = ? WHERE id = ?", (p, visit))
    shelf.events.commit()
    harvest(shelf, tmp_path / "out")
    assert [row["visit_id"] for row in read(tmp_path / "out" / DOUBTFUL)] == [visits[n] for n in (2, 3, 0, 1)]


def test_a_harvest_cut_off_leaves_what_was_there_and_the_next_mends_it(shelf: Shelf, tmp_path: Path) -> None:
    out = tmp_path / "pictures"
    shelf.said("fox", visit=shelf.visit(1)["visit"])
    harvest(shelf, out)
    before = (out / LABELLED).read_bytes()
    shelf.said("jay", visit=shelf.visit(2)["visit"])

    def cut_off(what: str, *_: int) -> None:
        if what == "harvesting":
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        from_state(shelf.state, "coop", out, None, cut_off)
    assert (out / LABELLED).read_bytes() == before
    assert sorted(path.name for path in out.iterdir()) == [LABELLED, "pictures", DOUBTFUL]
    (first, *_) = out.rglob("*.jpg")
    first.write_bytes(b"")  # as a power cut leaves it
    assert harvest(shelf, out).labelled == 2
    assert {path.read_bytes()[:7] for path in out.rglob("*.jpg")} == {b"crop of"}
    assert sorted(path.name for path in out.iterdir()) == [LABELLED, "pictures", DOUBTFUL]


def test_two_harvests_at_once_are_refused(shelf: Shelf, tmp_path: Path) -> None:
    shelf.visit(1)

    def meanwhile(*_: object) -> None:
        with pytest.raises(Refused, match="another harvest is under way"):
            harvest(shelf, tmp_path / "out")

    assert from_state(shelf.state, "coop", tmp_path / "out", None, meanwhile).unlabelled == 1


def test_a_folder_begun_by_hand_goes_on_growing(shelf: Shelf, tmp_path: Path) -> None:
    out = tmp_path / "out"
    out.mkdir()
    (out / LABELLED).write_text("path,label,seq_id\nmine/1.jpg,fox,a\n", encoding="utf-8-sig")
    shelf.said("jay", visit=shelf.visit(1)["visit"])
    assert harvest(shelf, out).labelled == 2
    assert next((row["path"], row["seq_id"]) for row in read(out / LABELLED)) == ("mine/1.jpg", "a")


def test_a_table_that_a_spreadsheet_spoilt_is_refused_and_left(shelf: Shelf, tmp_path: Path) -> None:
    out = tmp_path / "out"
    shelf.said("jay", visit=shelf.visit(1)["visit"])
    for spoilt in (b"path;label\na;b\n", b"path,label\n\xff\xfe,jay\n"):
        out.mkdir(exist_ok=True)
        (out / LABELLED).write_bytes(spoilt)
        with pytest.raises(Refused, match=r"no column path|not a CSV"):
            harvest(shelf, out)
        assert (out / LABELLED).read_bytes() == spoilt
