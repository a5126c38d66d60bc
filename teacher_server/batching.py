"""The queue of a replica before its device: rows are admitted, computed in their turn, and each request answered alone.

Whose turn it is, and when, is decided in `teacher_server.queue`; here are its clock, its bounds and its errors. All of it
lives in one event loop; only the device has threads.
"""

import asyncio
import logging
import time
from collections.abc import Coroutine, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from distill.contracts.errors import StillhouseError, TeacherBusy
from distill.contracts.models import InputSpec, TokensInput
from distill.contracts.wire import AskHeader
from teacher_server.admission import Admission
from teacher_server.coming import Coming, Left
from teacher_server.device import Device
from teacher_server.meter import Gauge
from teacher_server.pending import Batch, Computed, Pending, Shape
from teacher_server.queue import FairQueue, goes_now
from teacher_server.runner import Ensemble
from teacher_server.window import Array

log = logging.getLogger(__name__)

MAX_QUEUED_ROWS = 65_536
MAX_QUEUED_BYTES = 256 * 2**20
"""Of inputs: they hold the node's object store for as long as they wait."""
MAX_FAILURES = 3
"""Batches in a row that may fail for no fault of their own before the replica calls itself unhealthy."""


def rows_of_batch(taken: InputSpec, *, max_rows: int, max_tokens: int | None) -> int:
    """The most rows of a device batch within a budget of rows, and of rows times length where inputs are tokens."""
    if max_tokens is None or not isinstance(taken, TokensInput):
        return max_rows
    return max(1, min(max_rows, max_tokens // taken.length))


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
        self._admission = Admission(teacher, max_rows=max_queued_rows, max_bytes=max_queued_bytes)
        self.coming = Coming()
        """What isn't queued yet."""
        self._num_failures = 0
        self._queue: FairQueue[Pending] = FairQueue()
        self._device = Device(ensemble, threads=threads)
        self._changed = asyncio.Event()
        self._feeding: asyncio.Task[None] | None = None
        self._tasks: set[asyncio.Task[None]] = set()

    async def compute(self, ask: AskHeader, inputs: Array, members: tuple[int, ...], *, arrived: float) -> Computed:
        """Answer rows in their turn; ``arrived`` is when their request came, on the monotonic clock.

        Args:
            ask: what is asked of them; its ``num_rows`` doesn't count here.
            inputs: rows (N, ...), at least one.
            members: M positions, as `Ensemble.choose_members` gives them.

        Raises:
            TeacherBusy: the queue is full, or the rows waited in it past their deadline.
            NotFinite: a member's answer to one of them holds NaN or infinity.
            InvalidSpec: ``top_k`` is not less than the number of classes.
            TooLarge: the answer would be.
        """
        shape = Shape(members, ask.precision, ask.top_k, ask.taps)
        self._ensemble.check_answer_size(len(inputs), **shape._asdict())
        with self._admission.room(ask.team, len(inputs), inputs.nbytes):
            pending = Pending(inputs, shape, asyncio.get_running_loop().create_future())
            with self._until(arrived + ask.deadline_s, pending, self._late(ask)):
                self._queue.push(ask.team, pending, rows=len(inputs), shape=shape, job=ask.job, members=len(members))
                self.coming.queued(ask.request_id)
                self._stir()
                try:
                    return await pending.answered
                finally:
                    self._queue.remove(pending)

    def gauge(self) -> Gauge:
        """How much waits, and what was done since the start; for any thread."""
        return Gauge(self._admission.rows, self._device.rows_computed, self._device.busy_s)

    def left(self) -> Left:
        """What there is left to do; for the event loop."""
        device = self._device
        work = self._queue.work + self.coming.work
        if device.s_per_work is None:
            return Left(0.0, work + device.work, None)
        return Left(device.busy_s_left, work, device.s_per_work)

    def set_weights(self, weights: Mapping[str, float]) -> None:
        """Weigh teams from now on; for any thread."""
        self._queue.weights = dict(weights)

    def check_health(self) -> None:
        """Raise if the device or the process seems broken, so that Serve replaces the replica."""
        if self._num_failures >= MAX_FAILURES:
            raise RuntimeError(f"the last {self._num_failures} batches failed: this replica must be replaced")

    def close(self) -> None:
        """End the device's threads, after what they compute."""
        self._device.close()

    @contextmanager
    def _until(self, deadline: float, pending: Pending, late: TeacherBusy) -> Iterator[None]:
        left_s = deadline - time.monotonic()
        if left_s < 0:
            raise late
        timer = asyncio.get_running_loop().call_later(left_s, self._expire, pending, late)
        try:
            yield
        finally:
            timer.cancel()

    def _expire(self, pending: Pending, late: TeacherBusy) -> None:
        if not pending.has_begun:
            self._queue.remove(pending)
            pending.settle(late)

    def _late(self, ask: AskHeader) -> TeacherBusy:
        return TeacherBusy(f"the window waited in {self._teacher}'s queue for its whole {ask.deadline_s:g} s")

    def _stir(self) -> None:
        self._changed.set()
        if self._feeding is None or self._feeding.done():
            self._feeding = self._begin(self._feed())

    async def _feed(self) -> None:
        """Give the device batch after batch, for as long as rows wait."""
        while ready_rows := self._queue.ready_rows:
            due_in_s = self._device.due_at - time.monotonic()
            if not goes_now(ready_rows, on_device=self._device.num_batches, is_due=due_in_s <= 0):
                await self._change(due_in_s)
                continue
            launched = asyncio.Event()
            self._begin(self._compute(self._next_batch(), launched))
            await launched.wait()

    async def _change(self, due_in_s: float) -> None:
        """Wait until something waits, or is done, or is about to be done."""
        self._changed.clear()
        alarm = asyncio.get_running_loop().call_later(due_in_s, self._changed.set) if due_in_s > 0 else None
        await self._changed.wait()
        if alarm is not None:
            alarm.cancel()

    def _next_batch(self) -> Batch:
        parts = self._queue.next_batch(self._ensemble.batch_rows)
        for pending, _, _ in parts:
            pending.has_begun = True
        return Batch(parts)

    async def _compute(self, batch: Batch, launched: asyncio.Event) -> None:
        try:
            outcomes = await self._device.compute(batch, launched)
            self._num_failures = 0
        except Exception as error:
            outcomes = []
            await self._failed(batch, error)
        for pending, outcome in outcomes:
            pending.settle(outcome)
        self._changed.set()

    async def _failed(self, batch: Batch, error: Exception) -> None:
        if len(batch.parts) > 1:
            log.warning(
                "a batch of %d requests to %s failed (%s): each alone now", len(batch.parts), self._teacher, error
            )
            for one in batch.alone():
                await self._compute(one, asyncio.Event())
            return
        if not isinstance(error, StillhouseError):
            self._num_failures += 1
            log.error("a batch of %s failed (%d in a row)", self._teacher, self._num_failures, exc_info=error)
        batch.parts[0][0].settle(error)

    def _begin(self, work: Coroutine[Any, Any, None]) -> "asyncio.Task[None]":
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._ended)
        return task

    def _ended(self, task: "asyncio.Task[None]") -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()):  # a bug of ours: requests would wait for ever
            log.error("the queue of %s broke", self._teacher, exc_info=error)
            self._num_failures = MAX_FAILURES
