"""What every measurement is given: how long it may take, and one stack that all of them share."""

import time
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from functools import cached_property
from types import TracebackType
from typing import TYPE_CHECKING, Self

if TYPE_CHECKING:
    from benchmarks.house import House
    from benchmarks.workload import Workshop


@dataclass(frozen=True)
class Effort:
    """How much is measured."""

    rounds: int
    """In which every side is measured once."""
    side_s: float
    """At least so long, about, of each side in each round."""
    counted_s: float
    """Where a share is counted: so long a time is looked at."""
    warm_s: float
    """Before that, where a steady rate is measured."""


QUICK = Effort(rounds=6, side_s=2.0, counted_s=1.0, warm_s=0.7)
"""For a run within 15 minutes on two cores."""
FULL = Effort(rounds=9, side_s=5.5, counted_s=3.0, warm_s=1.5)


class Bench:
    """Of one run; the stack starts when the first measurement needs it."""

    def __init__(self, effort: Effort, *, say: Callable[[str], None]) -> None:
        self.effort = effort
        self.say = say
        self._held = ExitStack()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._held.close()

    @cached_property
    def house(self) -> "House":
        """The stack, and this process as a driver of it."""
        from benchmarks.house import House

        began = time.monotonic()
        house = self._held.enter_context(House())
        self.say(f"a stack is up after {time.monotonic() - began:.0f} s")
        return house

    @cached_property
    def workshop(self) -> "Workshop":
        """Rows, students and teachers on that stack."""
        from benchmarks.workload import Workshop, write_rows

        write_rows(self.house.settings)
        return Workshop(self.house.settings, self.house.redis)
