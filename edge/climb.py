"""Climbs the ladder for a stuck camera: keeps its budgets on disk, tells of each step, then takes it."""

from __future__ import annotations

import json
import logging
import math
import os
from collections.abc import Callable, Collection, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from edge.atomic import write_atomically
from edge.clock import Uptime, uptime
from edge.config import HealthConfig
from edge.errors import CameraStuck, GanderError
from edge.ladder import Ladder, Past, Rules, Step

log = logging.getLogger(__name__)

FILE = "ladder.json"
REQUEST = "reboot-wanted"  # in the runtime directory: a root unit carries it out, with a budget of its own
_SAVE_S = 3600.0
_MOST = 10  # steps of a kind that any budget allows

Problems = list[dict[str, str]]


class Climber:
    """For one thread; `check` and `status` for any. Does nothing where nobody would start this process again.

    That is where `config.service` says so: systemd, or another that is named in the configuration.
    """

    def __init__(
        self,
        config: HealthConfig,
        state: Path,
        local: Collection[str],
        tell: Callable[[Problems], None],
        settle: Callable[[], None],
    ) -> None:
        """`local`: the cameras of this machine; `tell` adds an event, `settle` waits until all are committed."""
        self._config, self._path, self._tell, self._settle = config, state / FILE, tell, settle
        now = uptime()
        runtime = os.environ.get("RUNTIME_DIRECTORY", "").partition(":")[0]
        self._runtime = Path(runtime) if runtime else None
        self._ladder: Ladder | None = None
        self._end = self._said = ""
        if now and config.service:
            rules = Rules(config.climb_after_s, config.restarts, config.reboots)
            self._kept = load(self._path, now)
            self._ladder = Ladder(rules, self._kept, now, local, reboots=self._runtime is not None)

    def look(self, delivered: Mapping[str, int], problems: Problems) -> None:
        """Take the step that is due. `delivered`: pictures so far, of every camera; `problems`: all there are."""
        now, ladder = uptime(), self._ladder
        if ladder is None or now is None or self._end:
            return
        step = ladder.look(now, delivered)
        try:
            if step:
                self._settle()
                self._climb(step, ladder, problems)
            elif self._is_stale(ladder.past):
                self._save(ladder.past)
            self._said = ""
        except (OSError, GanderError) as error:  # a step that cannot be remembered or told is not taken
            if str(error) != self._said:
                log.warning("%s: %s", self._path, error)
            self._said = str(error)

    def check(self) -> None:
        """Raises `CameraStuck` once this process is to end."""
        if self._end:
            raise CameraStuck(self._end)

    def status(self) -> dict[str, Any]:
        """For `gander status`. `due`: by camera that is stuck, the next step and in how many seconds."""
        ladder = self._ladder
        if ladder is None:
            return {"climbs": False, "restarts": 0, "reboots": 0, "due": {}}
        step = ladder.next  # once: another thread may take it meanwhile
        due = {camera: ladder.due_in_s(camera) for camera in ladder.stuck} if step else {}
        return {
            "climbs": True,
            "restarts": ladder.past.restarts_spent(),
            "reboots": ladder.past.reboots_spent(),
            "due": {camera: {"step": step, "in_s": round(s)} for camera, s in due.items() if s is not None},
        }

    def _climb(self, step: Step, ladder: Ladder, problems: Problems) -> None:
        """First the budget, then the event, then the step: whatever happens in between, it is not taken too often."""
        silent = f"camera {', '.join(ladder.stuck)}: no picture for {_minutes(self._config.climb_after_s)}"
        self._save(ladder.past.with_step(step))
        past = ladder.take(step)
        if step == "restart":
            spent = f"{past.restarts_spent()} of {self._config.restarts} in 6 hours"
            what = f"{silent} although it worked: Gander restarts itself ({spent})"
        else:
            spent = f"{past.reboots_spent()} of {self._config.reboots} in 7 days"
            what = f"{silent}, and a restart did not help: Gander asks for a reboot ({spent})"
        log.warning("%s", what)
        advice = "nothing yet; when it comes to that again, look at its cable and power"
        self._tell([{"what": what, "advice": advice}, *problems])
        self._settle()
        if step == "restart":
            self._end = what
        elif self._runtime:
            write_atomically(self._runtime / REQUEST, f"{what}\n".encode())

    def _is_stale(self, past: Past) -> bool:
        """Whether the next boot would count wrongly by what is on the disk. Rarely: it is a card."""
        if past.boot != self._kept.boot or past.worked != self._kept.worked:
            return bool(past.worked) or past.reboots_spent() > 0
        return past.reboots_spent() > 0 and past.age_s - self._kept.age_s >= _SAVE_S

    def _save(self, past: Past) -> None:
        write_atomically(self._path, json.dumps(asdict(past)).encode(), 0o640)
        self._kept = past


def load(path: Path, now: Uptime) -> Past:
    """What is kept, or nothing yet. What cannot be read counts as all spent just now: no loop comes from damage."""
    try:
        kept = json.loads(path.read_text())
        restarts, reboots = (tuple(map(float, kept[name])) for name in ("restarts", "reboots"))
        boot_s, age_s = float(kept["boot_s"]), float(kept["age_s"])
        if not all(map(math.isfinite, (boot_s, age_s, *restarts, *reboots))):
            raise ValueError("a time that is none")
        return Past(str(kept["boot"]), boot_s, age_s, tuple(map(str, kept["worked"])), restarts, reboots)
    except FileNotFoundError:
        return Past()
    except (OSError, ValueError, TypeError, KeyError, AttributeError) as error:
        log.warning("%s cannot be read (%s): no restart for 6 hours, no reboot for 7 days", path, error)
        return Past(now.boot, now.seconds, 0.0, restarts=(now.seconds,) * _MOST, reboots=(0.0,) * _MOST)


def _minutes(seconds: float) -> str:
    return f"{seconds / 60:.0f} minutes" if seconds >= 120 else f"{seconds:.0f} s"
