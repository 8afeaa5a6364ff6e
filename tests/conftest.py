"""Fixtures that several tests share."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import pytest
from hypothesis import settings

ROOT = Path(__file__).resolve().parent.parent

settings.register_profile("gander", deadline=None)  # a machine that stands still for a moment is no fault
settings.load_profile("gander")

# A suite begun in the background has Ctrl-C ignored, and so would have all the programs it starts.
signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The folder of real pictures and clips; skips where there is none."""
    named = os.environ.get("GANDER_TEST_DATA")
    folder = Path(named) if named else ROOT.parent / "shared" / "data"
    if not folder.is_dir():
        pytest.skip(f"no real data at {folder}: set GANDER_TEST_DATA to its folder")
    return folder
