"""What carries out an order. To add a deterrent's driver: one file here with an `Actuator`."""

from __future__ import annotations

from typing import Any, Protocol

from edge.values import Action, Order


class Actuator(Protocol):
    """Carries out bounded pulses. Never blocks longer than `patience_ms`; never raises for a refused order."""

    name: str
    real: bool  # False: nothing physical moves (dry)

    def ready(self) -> bool:
        """Whether an order given now would be carried out."""
        ...

    def fire(self, order: Order) -> Action:
        """Order a pulse and wait for the acknowledgement that the pin is on (or the refusal)."""
        ...

    def off(self) -> None:
        """Everything off, now."""
        ...

    def beat(self) -> None:
        """Called by the loop at every step, and while it waits for a model until the deadline: the host is alive.

        Silence from a stuck loop turns the pins off.
        """
        ...

    def acting_until_ns(self) -> int:
        """Monotonic time until which a pulse is or may be on; 0 when none."""
        ...

    def finished(self) -> list[tuple[str, int]]:
        """Id and measured milliseconds on of the actions that ended since last asked, of many only the last."""
        ...

    def facts(self) -> dict[str, Any]:
        """How it is, for status: counts, and what is wrong."""
        ...

    def close(self) -> None:
        """Off, and let go."""
        ...
