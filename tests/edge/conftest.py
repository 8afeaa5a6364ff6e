"""A simulated yard, and a lens that has watched it for three days: made once for all tests of a lens."""

from __future__ import annotations

import copy

import pytest

from edge.config import CameraConfig
from edge.lens import Lens
from tests.edge.yard import DAYS_S, HOUR_S, Yard, watch

Days = tuple[Lens, list[tuple[float, list[str], str]]]


@pytest.fixture(scope="session")
def yard() -> Yard:
    return Yard()


@pytest.fixture(scope="session")
def days(yard: Yard) -> Days:
    """Three days from midnight on, and the hour after: the lens then, and what was told at each minute."""
    lens = Lens(CameraConfig(id="nest"))
    return lens, [(at_s, names, lens.state) for at_s, names in watch(lens, yard, 0.0, DAYS_S + HOUR_S)]


@pytest.fixture
def taught(days: Days) -> Lens:
    return copy.deepcopy(days[0])
