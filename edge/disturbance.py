"""Which pictures a deterrent spoils: a strobe is a lighting change and a jet is motion, until all has settled."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import replace

from edge.config import CameraConfig, DeterrentConfig, PolicyConfig
from edge.policy import answers
from edge.values import Action, Frame, Order
from firmware.deterrent import ORDER_MS

WATER_SETTLE_S = 1.5  # twigs go on moving, and it drips
_MAY_BE_ON = "on", "silent"


class Disturbance:
    """Marks each camera's frames from the order until the picture has settled. For the loop's thread."""

    def __init__(
        self,
        policy: PolicyConfig,
        cameras: Sequence[CameraConfig],
        deterrents: Sequence[DeterrentConfig],
        live: bool = True,
    ) -> None:
        """`live`: time is the monotonic clock and each frame's `taken_at_ns`. Without it (a replay as fast as it can)
        there is `media_time` only, and one camera."""
        self._policy, self._cameras, self._live = policy, cameras, live
        self._deterrents = {d.id: d for d in deterrents}
        self._until: dict[str, float] = {}  # camera -> seconds

    def ordered(self, order: Order, action: Action, media_time: float) -> None:
        """A pulse was ordered, on a picture of `media_time`. One that cannot have come leaves no mark."""
        deterrent = self._deterrents[order.deterrent]
        if action.result not in _MAY_BE_ON or deterrent.kind == "siren":  # nobody sees a siren
            return
        late_ms = ORDER_MS if action.result == "silent" else 0
        began = (action.acknowledged_at_ns or time.monotonic_ns()) / 1e9 if self._live else media_time
        until = began + (order.length_ms + late_ms) / 1000 + self.settle_s(deterrent)
        for camera in self._cameras:
            if answers(deterrent, camera.id):
                # A pulse ordered later does not end before one that still runs.
                self._until[camera.id] = max(self._until.get(camera.id, until), until + camera.lag_s)

    def settle_s(self, deterrent: DeterrentConfig) -> float:
        """How long after its pulse the picture is not yet what it was."""
        return max(self._policy.settle_s, WATER_SETTLE_S) if deterrent.kind == "water" else self._policy.settle_s

    def mark(self, frame: Frame) -> Frame:
        """The frame as it is, or `disturbed`."""
        taken = frame.taken_at_ns / 1e9 if self._live else frame.media_time
        return replace(frame, disturbed=True) if taken < self._until.get(frame.camera, taken) else frame
