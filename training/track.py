"""What every fit leaves behind: a record of what went in and what came out; in MLflow too, where that is wanted."""

from __future__ import annotations

import json
import os
import platform
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from edge.atomic import write_atomically
from edge.errors import Refused
from training.fit import Fitted
from training.recipe import Recipe

RECORD = "run.json"
_PACKAGES = ("tensorflow", "keras", "ai-edge-litert", "numpy", "opencv-python-headless")


def record(folder: Path, recipe: Recipe, fitted: Fitted, data: Path, weights: Path | None) -> dict[str, Any]:
    """Write `run.json` into the fit's folder and return it: enough to do the same again, and to compare."""
    manifest = fitted.bundle.manifest
    made = {
        "made": datetime.now(UTC).isoformat(timespec="seconds"),
        "recipe": recipe.model_dump(mode="json"),
        "data": {"where": str(data), **manifest.data.model_dump()},
        "weights": str(weights) if weights else "keras",
        "versions": {name: _version(name) for name in _PACKAGES} | {"python": platform.python_version()},
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
        "bundle": {"file": fitted.path.name, "sha256": fitted.bundle.sha256, "signer": manifest.signer},
    }
    write_atomically(folder / RECORD, json.dumps(made, ensure_ascii=False, indent=1).encode())
    return made


def mirror(folder: Path, made: dict[str, Any], database: Path, champion: bool) -> str:
    """Enter a run into MLflow's SQLite file as a new version of its model; returns that version.

    It gets the alias `champion` or `challenger`. Raises `Refused` where MLflow is not installed.
    """
    if not find_spec("mlflow"):
        raise Refused("--mlflow: MLflow is not installed; in Gander's folder: pip install '.[training,mlflow]'")
    os.environ["MLFLOW_DISABLE_TELEMETRY"] = "true"
    from mlflow import MlflowClient
    from mlflow.exceptions import MlflowException

    address = f"sqlite:///{database.absolute()}"
    client = MlflowClient(tracking_uri=address, registry_uri=address)
    name = made["recipe"]["name"]
    experiment = client.get_experiment_by_name(name)
    number = experiment.experiment_id if experiment else client.create_experiment(name)
    run = client.create_run(number, run_name=made["bundle"]["file"]).info.run_id
    for key, value in made["recipe"].items():
        client.log_param(run, key, json.dumps(value)[:500])
    for key, value in made["metrics"].items():
        if isinstance(value, int | float):
            client.log_metric(run, key, value)
    tags = {
        "bundle": made["bundle"]["sha256"],
        "data": made["data"]["hashes"].get("pictures", ""),
        "folder": str(folder),
    }
    for key, value in tags.items():
        client.set_tag(run, key, value)
    client.set_terminated(run)
    try:
        client.create_registered_model(name)
    except MlflowException:  # there already
        client.get_registered_model(name)
    made_version = client.create_model_version(name, str(folder.absolute()), run).version
    client.set_registered_model_alias(name, "champion" if champion else "challenger", made_version)
    return str(made_version)


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return ""
