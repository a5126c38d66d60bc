"""The way of a window through a replica: checked, admitted, computed in its turn, answered alone.

Windows are computed one at a time, first come, first served, in a thread of their own: the event loop stays free for
health checks. Whose turn comes next is decided in `_turn` alone.
"""

import asyncio
import logging
import time
from collections.abc import AsyncIterator, Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from typing import Any

import torch

from distill.contracts.errors import StillhouseError, TeacherBusy
from distill.contracts.wire import AnswerHeader, AskHeader
from teacher_server.runner import Ensemble
from teacher_server.window import Array, read_header, read_inputs

log = logging.getLogger(__name__)

MAX_QUEUED_ROWS = 65_536
MAX_QUEUED_BYTES = 256 * 2**20
"""Of inputs: they hold the node's object store for as long as they wait."""
MAX_FAILURES = 3
"""Windows in a row that may fail for no fault of their own before the replica calls itself unhealthy."""


class Batcher:
    """The queue of one replica before its ensemble."""

    def __init__(
        self,
        ensemble: Ensemble,
        *,
        teacher: str,
        digest: str,
        threads: int,
        max_queued_rows: int = MAX_QUEUED_ROWS,
        max_queued_bytes: int = MAX_QUEUED_BYTES,
    ) -> None:
        self._ensemble = ensemble
        self._teacher = teacher
        self._digest = digest
        self._max_queued_rows = max_queued_rows
        self._max_queued_bytes = max_queued_bytes
        self._queued_rows = 0
        self._queued_bytes = 0
        self._num_failures = 0
        self._device_free = asyncio.Lock()
        self._thread = ThreadPoolExecutor(1, "ensemble", initializer=torch.set_num_threads, initargs=(threads,))

    async def answer(
        self, header: Mapping[str, Any], tensors: Mapping[str, Array]
    ) -> tuple[dict[str, Any], dict[str, Array]]:
        """Answer one window: an `AskHeader` and its tensors, for an `AnswerHeader` and its tensors.

        Raises:
            InvalidSpec: the window is not what this teacher takes, or its answer is too large; asking again can't help.
            TeacherBusy: the queue is full, or the window waited in it past its deadline.
            NotFinite: a member's answer holds NaN or infinity.
        """
        arrived = time.monotonic()
        ask = read_header(header)
        inputs = read_inputs(ask, tensors, self._ensemble.input)
        members = self._ensemble.choose_members(ask.members)
        self._ensemble.check_taps(ask.taps, members)
        async with self._turn(ask, arrived, inputs.nbytes):
            started = time.monotonic()
            answered = await self._run(
                lambda: self._ensemble.answer(inputs, members=members, precision=ask.precision, taps=ask.taps)
            )
        ended = time.monotonic()
        reply = AnswerHeader(
            request_id=ask.request_id,
            teacher=self._teacher,
            digest=self._digest,
            num_rows=ask.num_rows,
            members=members,
            seconds=ended - arrived,
            compute_seconds=ended - started,
        )
        return reply.model_dump(mode="json"), answered

    def check_health(self) -> None:
        """Raise if the device or the process seems broken, so that Serve replaces the replica."""
        if self._num_failures >= MAX_FAILURES:
            raise RuntimeError(f"the last {self._num_failures} windows failed: this replica must be replaced")

    def close(self) -> None:
        """End the thread, after what it computes."""
        self._thread.shutdown()

    @asynccontextmanager
    async def _turn(self, ask: AskHeader, arrived: float, num_bytes: int) -> AsyncIterator[None]:
        rows, size = self._queued_rows + ask.num_rows, self._queued_bytes + num_bytes
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
            self._queued_rows -= ask.num_rows
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
