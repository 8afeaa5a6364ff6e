"""How pictures and labels come: a folder per class, a table, a camera trap's JSON. Each gives rows; `Row` is one."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from edge.values import Box


@dataclass(frozen=True, slots=True)
class Row:
    """A picture as it was written down. `group` is empty where nobody said; `said` is the place, for messages."""

    path: Path
    label: str
    said: str
    group: str = ""
    source: str = ""
    camera: str = ""
    wall: datetime | None = None
    box: Box | None = None
    sublabel: str = ""
    crop: bool = False
