"""Brings back what dies: each part of the stack is looked at twice a second, and started again with a growing pause."""

import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from distill.contracts.errors import StillhouseError
from services.stack.processes import Child

PAUSES_S = (0.0, 1.0, 2.0, 5.0, 10.0, 30.0)
"""Before the first, second, ... try in a row."""

STEADY_S = 60.0
"""A part that has lived so long has no failures behind it."""


@dataclass
class Part:
    """One child of the stack, and how to start it again."""

    name: str
    child: Child | None
    """None: it isn't ours to start."""
    start: Callable[[], Child]
    failures: int = 0
    since: float = 0.0
    """`time.monotonic` of the last start."""

    def needs_start(self, at: float) -> bool:
        """Whether it is dead, and its pause is over."""
        if self.child is None or self.child.is_alive():
            return False
        if self.since and at - self.since > STEADY_S:
            self.failures = 0
        return at - self.since >= PAUSES_S[min(self.failures, len(PAUSES_S) - 1)]


class Supervisor:
    """A thread that looks after parts until it is told to stop.

    ``guard`` is held while a part is started: who stops or restarts one on purpose holds it too.
    """

    def __init__(self, parts: Sequence[Part], *, guard: threading.RLock, say: Callable[[str], None]) -> None:
        self._parts = parts
        self._guard = guard
        self._say = say
        self._told_to_stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="stack-supervisor", daemon=True)

    def start(self) -> None:
        """Begin."""
        self._thread.start()

    def stop(self) -> None:
        """End, and wait for what is being started."""
        self._told_to_stop.set()
        if self._thread.ident is not None:
            self._thread.join()

    def _run(self) -> None:
        while not self._told_to_stop.wait(0.5):
            with self._guard:
                for part in self._parts:
                    if part.needs_start(time.monotonic()) and not self._told_to_stop.is_set():
                        self._start(part)

    def _start(self, part: Part) -> None:
        self._say(f"{part.name} died: starting it again")
        part.failures += 1
        part.since = time.monotonic()
        try:
            part.child = part.start()
        except (StillhouseError, OSError) as error:
            self._say(f"{part.name} doesn't start: {error}")
