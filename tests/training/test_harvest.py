"""Harvest: what the owner labelled on the appliance becomes a folder to train from, again and again."""

from __future__ import annotations

import csv
from pathlib import Path

import pytest

from edge.errors import Refused
from edge.export import LABEL_COLUMNS
from tests.edge.test_export import Shelf
from training.appliance import Appliance
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


@pytest.mark.parametrize("host", ["-oProxyCommand=x", "a b", "coop;rm", "", "pi@-x"])
def test_hosts_that_are_none(host: str) -> None:
    with pytest.raises(Refused, match="not a host"):
        Appliance(host)


def test_words_reach_the_other_shell_quoted() -> None:
    assert Appliance("coop").verb("export", "--since", "2h; rm -rf /") == "gander export --since '2h; rm -rf /'"
