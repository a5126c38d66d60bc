"""The queue before a replica's ensemble: rows are admitted, and computed in their turn.

Windows are computed one at a time, first come, first served, in a thread of their own: the event loop stays free for
health checks. Whose turn comes next is decided in `_turn` alone.
"""

import asyncio
import logging
import time
from collections.abc import AsyncIterator, Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from dataclasses import dataclass

import torch

from distill.contracts.errors import StillhouseError, TeacherBusy
from distill.contracts.wire import AskHeader
from teacher_server.runner import Ensemble
from teacher_server.window import Array

log = logging.getLogger(__name__)

MAX_QUEUED_ROWS = 65_536
MAX_QUEUED_BYTES = 256 * 2**20
"""Of inputs: they hold the node's object store for as long as they wait."""
MAX_FAILURES = 3
"""Windows in a row that may fail for no fault of their own before the replica calls itself unhealthy."""


@dataclass(frozen=True)
class Computed:
    """What the device said."""

    tensors: dict[str, Array]
    """(N, ...) of each, N the rows that were to be computed."""
    device_s: float


class Batcher:
    """The queue of one replica before its ensemble."""

    def __init__(
        self,
        ensemble: Ensemble,
        *,
        teacher: str,
        threads: int,
        max_queued_rows: int = MAX_QUEUED_ROWS,
        max_queued_bytes: int = MAX_QUEUED_BYTES,
    ) -> None:
        self._ensemble = ensemble
        self._teacher = teacher
        self._max_queued_rows = max_queued_rows
        self._max_queued_bytes = max_queued_bytes
        self._queued_rows = 0
        self._queued_bytes = 0
        self._num_failures = 0
        self._device_free = asyncio.Lock()
        self._thread = ThreadPoolExecutor(1, "ensemble", initializer=torch.set_num_threads, initargs=(threads,))

    async def compute(self, ask: AskHeader, inputs: Array, members: tuple[int, ...], *, arrived: float) -> Computed:
        """Answer rows in their turn; ``arrived`` is when their request came, on the monotonic clock.

        Raises:
            TeacherBusy: the queue is full, or the rows waited in it past their deadline.
            NotFinite: a member's answer holds NaN or infinity.
            TooLarge: the answer would be.
        """
        async with self._turn(ask, arrived, len(inputs), inputs.nbytes):
            started = time.monotonic()
            answered = await self._run(
                lambda: self._ensemble.answer(inputs, members=members, precision=ask.precision, taps=ask.taps)
            )
            return Computed(answered, time.monotonic() - started)

    def check_health(self) -> None:
        """Raise if the device or the process seems broken, so that Serve replaces the replica."""
        if self._num_failures >= MAX_FAILURES:
            raise RuntimeError(f"the last {self._num_failures} windows failed: this replica must be replaced")

    def close(self) -> None:
        """End the thread, after what it computes."""
        self._thread.shutdown()

    @asynccontextmanager
    async def _turn(self, ask: AskHeader, arrived: float, num_rows: int, num_bytes: int) -> AsyncIterator[None]:
        rows, size = self._queued_rows + num_rows, self._queued_bytes + num_bytes
        if self._queued_rows and (rows > self._max_queued_rows or size > self._max_queued_bytes):
            raise TeacherBusy(
                f"{self._teacher} has {self._queued_rows} rows of {self._queued_bytes} bytes in its queue, and takes "
                f"{self._max_queued_rows} rows or {self._max_queued_bytes} bytes: ask again later"
            )
        self._queued_rows, self._queued_bytes = rows, size
        try:
            async with self._device_free:
                if time.monotonic() - arrived > ask.deadline_s:
                    raise TeacherBusy(
                        f"the window waited in {self._teacher}'s queue for its whole {ask.deadline_s:g} s"
                    )
                yield
        finally:
            self._queued_rows -= num_rows
            self._queued_bytes -= num_bytes

    async def _run(self, compute: Callable[[], dict[str, Array]]) -> dict[str, Array]:
        try:
            answered = await asyncio.get_running_loop().run_in_executor(self._thread, compute)
        except StillhouseError:
            raise
        except Exception:
            self._num_failures += 1
            log.exception("a window of %s failed (%d in a row)", self._teacher, self._num_failures)
            raise
        self._num_failures = 0
        return answered
