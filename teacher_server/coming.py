"""What a replica has left to do, for callers that choose between replicas: what it computes, what waits, what is coming.

Pure but for the clock. Work is rows times members.
"""

import math
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import NamedTuple

PROMISE_S = 0.2
"""So long a promised window counts before it has come: far longer than its way, and not long where its caller died."""


class Left(NamedTuple):
    """What is left to do."""

    busy_s: float
    """Until the device is done with what is on it, as far as is known."""
    work: int
    """What waits for the device, and what is coming."""
    s_per_work: float | None
    """Seconds that the device takes; None before it has computed anything."""

    def is_at_most(self, seconds: float) -> bool:
        """Whether it takes no longer than so; as long as the pace is unknown, anything but 0 is thought to be enough."""
        if self.s_per_work is None:
            return not self.work or seconds > 0
        return self.busy_s + self.work * self.s_per_work <= seconds


class Coming:
    """Windows on their way into the queue: promised to a caller, or taken and still looked up in the answer book."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        """``clock`` gives seconds, and never goes back."""
        self.num_taken = 0
        """Windows that have come and are not answered."""
        self._clock = clock
        self._windows: dict[str, tuple[int, float]] = {}

    @property
    def work(self) -> int:
        """Of all windows that are on their way."""
        now = self._clock()
        self._windows = {request_id: window for request_id, window in self._windows.items() if window[1] > now}
        return sum(work for work, _ in self._windows.values())

    def promise(self, request_id: str, work: int) -> None:
        """A window is sent: it counts until it is `queued`, but no longer than `PROMISE_S` before it is `taken`."""
        self._windows[request_id] = work, self._clock() + PROMISE_S

    @contextmanager
    def taken(self, request_id: str, work: int) -> Iterator[None]:
        """A window has come: it counts until it is `queued` or answered."""
        self._windows[request_id] = work, math.inf
        self.num_taken += 1
        try:
            yield
        finally:
            self.num_taken -= 1
            self.queued(request_id)

    def queued(self, request_id: str) -> None:
        """What is to be computed of a window counts in the queue from now on, or is computed elsewhere."""
        self._windows.pop(request_id, None)
