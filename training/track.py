"""What every fit leaves behind: a record of what went in and what came out; in MLflow too, where that is wanted."""

from __future__ import annotations

import hashlib
import json
import logging
import os
import platform
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

import edge
from edge.errors import Refused, StateError
from training.output import put

if TYPE_CHECKING:  # they bring TensorFlow, which entering a promotion does not need
    from training.fit import Fitted
    from training.recipe import Recipe

RECORD = "run.json"
CHAMPION, CHALLENGER = "champion", "challenger"
_PACKAGES = ("tensorflow", "keras", "scikit-learn", "ai-edge-litert", "numpy", "opencv-python-headless")


def record(folder: Path, recipe: Recipe, fitted: Fitted, data: Path, weights: Path | None) -> dict[str, Any]:
    """Write `run.json` into the fit's folder and return it: enough to do the same again, and to compare.

    Raises `StateError`.
    """
    manifest = fitted.bundle.manifest
    made = {
        "made": datetime.now(UTC).isoformat(timespec="seconds"),
        "recipe": recipe.model_dump(mode="json"),
        "data": {"where": str(data), **manifest.data.model_dump()},
        "weights": {"from": str(weights), "sha256": _sha256(weights)} if weights else {"from": "keras"},
        "versions": {name: _version(name) for name in _PACKAGES}
        | {"gander": edge.__version__, "python": platform.python_version()},
        "metrics": {
            key: value for key, value in fitted.evaluation.summary().items() if isinstance(value, int | float | str)
        },
        "strength": fitted.strength,
        "seconds": fitted.seconds,
        "variants": {
            one.variant: {"invoke_ms": one.invoke_ms, "agreement": one.agreement, "accuracy": one.accuracy}
            for one in fitted.converted
        },
        "why": fitted.why,
        "bundle": {
            "file": fitted.path.name,
            "name": manifest.name,
            "sha256": fitted.bundle.sha256,
            "signer": manifest.signer,
        },
    }
    put(folder / RECORD, json.dumps(made, ensure_ascii=False, indent=1))
    return made


def need_mlflow() -> None:
    """Raises `Refused` where it is not installed: said before the work of a fit, not after it."""
    if not all(find_spec(name) for name in ("mlflow", "sqlalchemy", "alembic")):
        raise Refused("--mlflow: MLflow is not installed; `make setup-training` adds it")


def mirror(folder: Path, made: dict[str, Any], database: Path, first: bool = True) -> tuple[str, str]:
    """Enter a run into MLflow's SQLite file as a new version of its model; returns that version and its alias.

    The `first` is `champion`, unless there is one; any other is `challenger` until `promoted`. Raises `Refused`,
    `StateError` for a file that is no such database.
    """
    with _client(database) as client:
        name = made["bundle"]["name"]
        experiment = client.get_experiment_by_name(name)
        where = (folder.absolute() / "mlflow").as_uri()  # where MLflow would put files; nothing is written there
        number = experiment.experiment_id if experiment else client.create_experiment(name, artifact_location=where)
        tags = {
            "bundle": made["bundle"]["sha256"],
            "data": made["data"]["hashes"].get("pictures", ""),
            "folder": str(folder.absolute()),
        }
        run = client.create_run(number, run_name=made["bundle"]["file"], tags=tags).info.run_id
        for key, value in made["recipe"].items():
            client.log_param(run, key, json.dumps(value, ensure_ascii=False))
        for key, value in (made["metrics"] | {"seconds": sum(made["seconds"].values())}).items():
            if isinstance(value, int | float):
                client.log_metric(run, key, value)
        client.set_terminated(run)
        if not client.search_registered_models(f"name = '{name}'"):
            client.create_registered_model(name)
        alone = first and CHAMPION not in client.get_registered_model(name).aliases
        alias = CHAMPION if alone else CHALLENGER
        entered = client.create_model_version(name, str(folder.absolute()), run, tags={"bundle": tags["bundle"]})
        client.set_registered_model_alias(name, alias, entered.version)
    return str(entered.version), alias


def promoted(database: Path, name: str, sha256: str) -> str:
    """Give the alias `champion` to the version with this bundle; returns it. Raises `Refused` where there is none."""
    with _client(database) as client:
        found = [one for one in client.search_model_versions(f"name = '{name}'") if one.tags.get("bundle") == sha256]
        if not found:
            raise Refused(f"{database}: does not know this bundle of {name}; `fit --mlflow` enters one when it is made")
        number = str(found[0].version)
        if str(client.get_registered_model(name).aliases.get(CHALLENGER)) == number:
            client.delete_registered_model_alias(name, CHALLENGER)
        client.set_registered_model_alias(name, CHAMPION, number)
    return number


@contextmanager
def _client(database: Path) -> Iterator[Any]:
    """MLflow on one SQLite file, telling nobody; its errors as ours, in one line."""
    need_mlflow()
    os.environ["MLFLOW_DISABLE_TELEMETRY"] = "true"
    from mlflow import MlflowClient
    from mlflow.exceptions import MlflowException
    from sqlalchemy.exc import SQLAlchemyError

    for chatty in ("mlflow", "alembic"):  # only now: it sets its own when it is loaded
        logging.getLogger(chatty).setLevel(logging.WARNING)
    try:
        database.parent.mkdir(parents=True, exist_ok=True)
        address = f"sqlite:///{database.absolute()}"
        yield MlflowClient(tracking_uri=address, registry_uri=address)
    except OSError as error:
        raise StateError.of(error, f"{database}: not entered there: {error.strerror}") from None
    except (MlflowException, SQLAlchemyError) as error:
        raise StateError(f"{database}: not entered there: {str(error).splitlines()[0]}") from None


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return ""
