"""The ladder for a stuck camera, pure: when to restart the process, when to ask for a reboot, when to do neither."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace
from typing import Literal

from edge.clock import Uptime

Step = Literal["restart", "reboot"]

RESTARTS_IN_S = 6 * 3600.0
REBOOT_APART_S, REBOOTS_IN_S = 6 * 3600.0, 7 * 24 * 3600.0
SILENT_S = 30.0  # until then it is only being opened again
LONGEST_TURN_S = 15.0  # a process that was frozen for an hour has not waited an hour for its camera


@dataclass(frozen=True, slots=True)
class Rules:
    """Budgets. `after_s`: of silence before each step; `restarts`: most in 6 hours of one boot; `reboots`: most in 7
    days, and never two within 6 hours."""

    after_s: float
    restarts: int
    reboots: int


@dataclass(frozen=True, slots=True)
class Past:
    """What the next process and the next boot must know. Never by the clock of the wall, which jumps.

    `age_s`: seconds this machine was seen running, in all its boots, at `boot_s` of the boot `boot`. `worked`: cameras
    that gave a picture in this boot; `restarts`: at which `boot_s`; `reboots`: at which `age_s`.
    """

    boot: str = ""
    boot_s: float = 0.0
    age_s: float = 0.0
    worked: tuple[str, ...] = ()
    restarts: tuple[float, ...] = ()
    reboots: tuple[float, ...] = ()

    def at(self, now: Uptime) -> Past:
        """The same at another moment; another boot begins with its own restarts, and with cameras never seen."""
        if now.boot == self.boot:
            since = max(now.seconds - self.boot_s, 0.0)
            return replace(self, boot_s=max(now.seconds, self.boot_s), age_s=self.age_s + since)
        return Past(now.boot, now.seconds, self.age_s + now.seconds, reboots=self.reboots)

    def restarts_spent(self) -> int:
        return sum(self.boot_s - then < RESTARTS_IN_S for then in self.restarts)

    def reboots_spent(self) -> int:
        return sum(self.age_s - then < REBOOTS_IN_S for then in self.reboots)

    def rested(self) -> bool:
        """Whether the last reboot is long enough ago for another."""
        return not self.reboots or self.age_s - self.reboots[-1] >= REBOOT_APART_S

    def with_step(self, step: Step) -> Past:
        """After this step. Only what still counts is kept."""
        restarts = tuple(then for then in self.restarts if self.boot_s - then < RESTARTS_IN_S)
        reboots = tuple(then for then in self.reboots if self.age_s - then < REBOOTS_IN_S)
        if step == "restart":
            return replace(self, restarts=(*restarts, self.boot_s), reboots=reboots)
        return replace(self, restarts=restarts, reboots=(*reboots, self.age_s))


class Ladder:
    """Watches how many pictures each camera has delivered. Opening it again, the first rung, is its source's own.

    Climbs only while no camera of this daemon works, for one of this machine (`local`) that worked since boot: no
    restart mends a network camera that is off, or a cable that was never right.
    """

    def __init__(self, rules: Rules, past: Past, now: Uptime, local: Collection[str], reboots: bool = True) -> None:
        """`reboots`: whether anybody would carry one out."""
        self._rules, self._local = rules, frozenset(local)
        self._may_reboot = reboots
        self._delivered: dict[str, int] = {}
        self._silent_s: dict[str, float] = {}
        self._came: set[str] = set()  # cameras that had delivered more at the last look
        self.past = past.at(now)

    def look(self, now: Uptime, delivered: Mapping[str, int]) -> Step | None:
        """The step that is due. `delivered`: pictures so far, of every camera.

        Pictures at one look only end no silence: a driver may give one each time it is opened, and then hang. Asking
        again gives the same step until it was `take`n.
        """
        turn_s = min(max(now.seconds - self.past.boot_s, 0.0), LONGEST_TURN_S)
        self.past = self.past.at(now)
        came = {camera for camera, count in delivered.items() if count != self._delivered.get(camera, 0)}
        for camera in delivered:
            silent_s = self._silent_s.get(camera, 0.0)
            self._silent_s[camera] = silent_s if camera in came else silent_s + turn_s
            if camera in came & self._came:
                self._silent_s[camera] = 0.0
        if first := came - set(self.past.worked):
            self.past = replace(self.past, worked=(*self.past.worked, *sorted(first)))
        self._delivered, self._came = dict(delivered), came
        return self.next if self.stuck and self._silence() >= self._rules.after_s else None

    def take(self, step: Step) -> Past:
        """The step is being taken: what must be on the disk before it is. The next one is due after as long again."""
        self.past = self.past.with_step(step)
        self._silent_s = dict.fromkeys(self._silent_s, 0.0)
        return self.past

    @property
    def stuck(self) -> tuple[str, ...]:
        """Cameras that a step could mend, should they be silent."""
        silent = tuple(self._silent_s)  # at once: others may ask while a camera is first seen
        return tuple(camera for camera in silent if camera in self._local and camera in self.past.worked)

    @property
    def next(self) -> Step | None:
        """The rung above, as far as the budgets reach."""
        if self.past.restarts_spent() < self._rules.restarts:
            return "restart"
        reboots = self._rules.reboots if self._may_reboot else 0
        return "reboot" if self.past.reboots_spent() < reboots and self.past.rested() else None

    def due_in_s(self, camera: str) -> float | None:
        """Seconds until the next step for this camera, should all stay silent; None: nothing is done for it."""
        if camera not in self.stuck or self.next is None or self._silence() < SILENT_S:
            return None
        return max(self._rules.after_s - self._silence(), 0.0)

    def _silence(self) -> float:
        """For how long nobody has delivered anything: a restart would take a camera that works away."""
        return min(tuple(self._silent_s.values()), default=0.0)
