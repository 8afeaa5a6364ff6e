"""An archive through a bundle into one table, also when it is interrupted."""

from __future__ import annotations

import csv
import importlib.util
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from edge import database
from edge.bundle import Bundle, verify
from edge.errors import Refused
from edge.keys import load_public
from tests.training.crops import render
from training.dataset import Picture
from training.rescore import COLUMNS, rescore
from training.scoring import score
from training.starter import FOLDER


@pytest.fixture(scope="module")
def starter() -> Bundle:
    return verify(FOLDER / "starter.gander", [load_public(FOLDER / "starter.pub")])


@pytest.fixture(scope="module")
def rendered(tmp_path_factory: pytest.TempPathFactory, starter: Bundle) -> list[Picture]:
    return render(tmp_path_factory.mktemp("archive"), starter.manifest.input, 12.0)


@pytest.fixture(scope="module")
def archive(rendered: list[Picture]) -> Path:
    return rendered[0].path.parent.parent


def rows(path: Path) -> list[dict[str, str]]:
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def test_a_tree_of_pictures(starter: Bundle, rendered: list[Picture], archive: Path, tmp_path: Path) -> None:
    out = tmp_path / "all.csv"
    done = rescore(starter, archive, out, 2)
    found = {row["path"]: row for row in rows(out)}
    assert (done.rows, done.kept, done.unread) == (len(rendered), 0, 0)
    assert set(found) == {str(picture.path) for picture in rendered}
    assert list(next(iter(found.values()))) == list(COLUMNS)
    for picture, p in zip(rendered, score(starter, rendered, 1).p, strict=True):
        row = found[str(picture.path)]
        best = int(p.argmax())
        assert row["label1"] == starter.labels[best]
        assert float(row["p1"]) == pytest.approx(p[best], abs=1e-5)
        assert float(row["threat"]) == pytest.approx(p[starter.labels.index("jay")], abs=1e-5)
        assert float(row["threat"]) + float(row["resident"]) + float(row["person"]) + float(row["other"]) == (
            pytest.approx(1.0, abs=1e-4)
        )
        assert (row["model"], row["version"], row["bundle"]) == (starter.name, starter.version, starter.sha256)
        assert row["label5"] == "", "it has four"
    assert [path.name for path in tmp_path.iterdir()] == ["all.csv"]


@pytest.mark.parametrize("torn", ["", "/archive/half a ro", '"/archive/a quote that never ends, 0.1\n'])
def test_an_interrupted_run_is_continued(starter: Bundle, archive: Path, tmp_path: Path, torn: str) -> None:
    out, part = tmp_path / "all.csv", tmp_path / "all.csv.part"

    def interrupt(_: str, done: int, of: int) -> None:
        if done == 12 and of > 12:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        rescore(starter, archive, out, 1, interrupt)
    assert not out.exists()
    assert len(rows(part)) == 12
    with part.open("a") as file:
        file.write(torn)
    steps: list[tuple[str, int, int]] = []
    done = rescore(starter, archive, out, 1, lambda *step: steps.append(step))
    assert done.kept == 12
    assert len(steps) == done.rows - 12, "what was there is not computed again"
    rescore(starter, archive, tmp_path / "at_once.csv", 1)
    assert out.read_text() == (tmp_path / "at_once.csv").read_text()
    assert not part.exists()


def test_a_grown_archive_costs_only_what_is_new(starter: Bundle, rendered: list[Picture], tmp_path: Path) -> None:
    archive, out = tmp_path / "archive", tmp_path / "all.csv"
    archive.mkdir()
    for number, picture in enumerate(rendered[:5]):
        (archive / f"{number}.png").write_bytes(picture.path.read_bytes())
    assert rescore(starter, archive, out, 1).kept == 0
    (archive / "5.png").write_bytes(rendered[5].path.read_bytes())
    (archive / "bad.png").write_bytes(b"no picture")
    done = rescore(starter, archive, out, 1)
    assert (done.rows, done.kept, done.unread) == (6, 5, 1)
    assert len(rows(out)) == 6


def test_anothers_answers_are_not_mixed_in(starter: Bundle, archive: Path, tmp_path: Path) -> None:
    out = tmp_path / "all.csv"
    rescore(starter, archive, out, 1)
    before = out.read_bytes()
    with pytest.raises(Refused, match=f"holds answers of {starter.name}"):
        rescore(replace(starter, sha256="0" * 64), archive, out, 1)
    assert out.read_bytes() == before
    out.write_text("my,own,table\n1,2,3\n")
    with pytest.raises(Refused, match="not a table that this program wrote"):
        rescore(starter, archive, out, 1)
    assert [path.name for path in tmp_path.iterdir()] == ["all.csv"]


def test_a_table_of_pictures_keeps_its_labels_and_groups(
    starter: Bundle, rendered: list[Picture], tmp_path: Path
) -> None:
    lines = [f"{picture.path},{picture.label},{picture.group}" for picture in rendered[:6]]
    (tmp_path / "data.csv").write_text("path,label,seq_id\n" + "\n".join(lines) + "\n")
    rescore(starter, tmp_path / "data.csv", tmp_path / "all.csv", 1)
    assert [(row["label"], row["group"]) for row in rows(tmp_path / "all.csv")] == [
        (picture.label, picture.group) for picture in rendered[:6]
    ]


@pytest.mark.parametrize("named", ["", "pictures"])
def test_a_state_directorys_crops_with_their_visits(
    starter: Bundle, rendered: list[Picture], tmp_path: Path, named: str
) -> None:
    state = tmp_path / "state"
    (state / "pictures" / "2026-05-01").mkdir(parents=True)
    database.prepare(state / database.EVENTS)
    with database.connect(state / database.EVENTS) as journal:
        for number, (kind, name) in enumerate([("crop", "c.png"), ("frame", "f.png"), ("crop", "gone.png")]):
            row = (str(number), f"2026-05-01/{name}", "", 1, kind, "visit-1", "2026-05-01T20:00:00.000Z", "coop")
            journal.execute(
                "INSERT INTO picture (id, path, sha256, bytes, kind, visit_id, wall, camera) VALUES (?,?,?,?,?,?,?,?)",
                row,
            )
    for name in ("c.png", "f.png"):
        (state / "pictures" / "2026-05-01" / name).write_bytes(rendered[0].path.read_bytes())
    rescore(starter, state / named, tmp_path / "all.csv", 1)
    (row,) = rows(tmp_path / "all.csv")
    assert Path(row["path"]).name == "c.png"
    assert (row["group"], row["camera"], row["wall"]) == ("visit-1", "coop", "2026-05-01T20:00:00.000Z")


@pytest.mark.parametrize(
    ("out", "why"), [("all.txt", r"neither .csv nor .parquet"), ("no/such/all.csv", "no such folder")]
)
def test_refused_before_anything_is_done(starter: Bundle, archive: Path, tmp_path: Path, out: str, why: str) -> None:
    with pytest.raises(Refused, match=why):
        rescore(starter, archive, tmp_path / out)
    with pytest.raises(Refused, match="no picture"):
        rescore(starter, tmp_path, tmp_path / "all.csv")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.skipif(importlib.util.find_spec("pyarrow") is not None, reason="pyarrow is here")
def test_parquet_without_pyarrow_is_refused(starter: Bundle, archive: Path, tmp_path: Path) -> None:
    with pytest.raises(Refused, match="pyarrow"):
        rescore(starter, archive, tmp_path / "all.parquet")


def test_parquet_holds_the_same(starter: Bundle, archive: Path, tmp_path: Path) -> None:
    parquet = pytest.importorskip("pyarrow.parquet", reason="pyarrow is not installed")
    rescore(starter, archive, tmp_path / "all.csv", 1)
    rescore(starter, archive, tmp_path / "all.parquet", 1)
    table = parquet.read_table(tmp_path / "all.parquet").to_pylist()
    for row, text in zip(table, rows(tmp_path / "all.csv"), strict=True):
        assert (row["path"], row["label1"]) == (text["path"], text["label1"])
        assert np.isclose(row["p1"], float(text["p1"]))
        assert row["x"] is None
    assert sorted(path.name for path in tmp_path.iterdir()) == ["all.csv", "all.parquet"]
