"""Tracking: what a fit was, mirrored into a real MLflow on SQLite, and who is champion there."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import Any

import pytest

from edge.errors import Refused, StateError
from training.track import mirror, promoted

pytestmark = [
    pytest.mark.timeout(600),  # a new database of MLflow's is synced some hundred times
    pytest.mark.skipif(
        not all(importlib.util.find_spec(name) for name in ("mlflow", "sqlalchemy", "alembic")),
        reason="needs the extra mlflow: `make setup-training`",
    ),
]


def run(number: int) -> dict[str, Any]:
    """What `run.json` says of a fit."""
    return {
        "recipe": {"name": "crows", "seed": number, "labels": {"threat": ["crow*"] * 200}},
        "data": {"hashes": {"pictures": "a" * 64}},
        "metrics": {"accuracy": 0.9, "n": 10, "verdict": "enough"},
        "seconds": {"features": 2.0, "training": 1.5},
        "bundle": {"file": f"crows-{number}.gander", "name": "crows", "sha256": str(number) * 64},
    }


@pytest.fixture(scope="module")
def entered(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[tuple[str, str]]]:
    """A database in a folder that was not there, with two fits of one recipe."""
    folder = tmp_path_factory.mktemp("track")
    database = folder / "new" / "runs.db"
    return database, [mirror(folder / str(number), run(number), database) for number in (1, 2)]


def client(database: Path) -> Any:
    from mlflow import MlflowClient

    return MlflowClient(tracking_uri=f"sqlite:///{database}", registry_uri=f"sqlite:///{database}")


def test_a_fit_is_a_run_and_a_version(entered: tuple[Path, list[tuple[str, str]]]) -> None:
    database, versions = entered
    assert [number for number, _ in versions] == ["1", "2"]
    (experiment,) = [one for one in client(database).search_experiments() if one.name == "crows"]
    runs = {one.info.run_name: one for one in client(database).search_runs([experiment.experiment_id])}
    assert set(runs) == {"crows-1.gander", "crows-2.gander"}
    second = runs["crows-2.gander"]
    assert second.info.status == "FINISHED"
    assert second.data.metrics == {"accuracy": 0.9, "n": 10.0, "seconds": 3.5}, "words are no metrics"
    assert second.data.params["seed"] == "2"
    assert (second.data.tags["bundle"], second.data.tags["data"]) == ("2" * 64, "a" * 64)
    assert client(database).get_model_version("crows", "2").run_id == second.info.run_id
    assert sorted(path.name for path in database.parent.parent.rglob("*")) == ["new", "runs.db"], "no folders beside it"


def test_the_first_is_champion_the_next_challenges_until_it_is_promoted(
    entered: tuple[Path, list[tuple[str, str]]],
) -> None:
    database, versions = entered
    assert [alias for _, alias in versions] == ["champion", "challenger"]
    registry = client(database)
    assert str(registry.get_model_version_by_alias("crows", "champion").version) == "1"
    assert str(registry.get_model_version_by_alias("crows", "challenger").version) == "2"
    assert promoted(database, "crows", "2" * 64) == "2"
    assert {alias: str(n) for alias, n in registry.get_registered_model("crows").aliases.items()} == {"champion": "2"}
    with pytest.raises(Refused, match="does not know this bundle of crows"):
        promoted(database, "crows", "3" * 64)


def test_a_file_that_is_no_database_is_left_alone(tmp_path: Path) -> None:
    notes = tmp_path / "notes.txt"
    notes.write_text("not a database, but what somebody wrote down")
    with pytest.raises(StateError, match=r"not entered there.*not a database"):
        mirror(tmp_path, run(1), notes)
    assert notes.read_text() == "not a database, but what somebody wrote down"
