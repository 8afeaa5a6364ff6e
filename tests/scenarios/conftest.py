"""The stage's fixtures: a state directory with the colour model as champion, made once and copied."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from tests import stage


@pytest.fixture(scope="session")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("prepared")
    state = folder / "state"
    path = stage.bundle(state, folder)
    assert stage.gander("bundle", "install", path, state=state).status == 0
    assert stage.gander("bundle", "promote", "colours", state=state).status == 0
    return state


@pytest.fixture
def state(prepared: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(prepared, tmp_path / "state"))
