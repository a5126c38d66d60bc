"""The rows of one window: recalled where the answer book knows them, computed where it doesn't, once among all replicas.

Shapes: N rows of the window, no two alike; K some of them.
"""

import asyncio
import logging
import time
import uuid
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass

import numpy as np

from distill.contracts.errors import TeacherBusy
from distill.contracts.wire import AskHeader, BookKey
from teacher_server.batching import Batcher
from teacher_server.memory import Consulted, Memory
from teacher_server.sample import difference, sample_of
from teacher_server.window import Array

log = logging.getLogger(__name__)

SAMPLE_ROWS = 32
WAIT_S = 5.0
"""The book is asked anew after so long, whatever it says."""


@dataclass(frozen=True)
class Window:
    """What is asked of which rows."""

    ask: AskHeader
    key: BookKey
    members: tuple[int, ...]
    inputs: Array
    """(N, ...)."""
    digests: Array
    """(N, 16)."""
    arrived: float
    """On the monotonic clock."""


class Checks:
    """What this process found out about editions of books: each is sampled once."""

    def __init__(self) -> None:
        self._faults: dict[str, str | None] = {}
        self._one_at_a_time = asyncio.Lock()

    async def fault(self, edition: str, check: Callable[[], Awaitable[str | None]]) -> str | None:
        """What is wrong with an edition, if anything; windows that meet it meanwhile wait for the first one's ``check``."""
        async with self._one_at_a_time:
            if edition not in self._faults:
                self._faults[edition] = await check()
        return self._faults[edition]


class Recalling:
    """One window on its way to an answer."""

    def __init__(self, window: Window, batcher: Batcher, memory: Memory, checks: Checks) -> None:
        num_rows = len(window.digests)
        self.device_s = 0.0
        self.num_computed = 0
        self._window = window
        self._batcher = batcher
        self._memory = memory
        self._checks = checks
        self._claimant = uuid.uuid4().hex
        self._claimed_N = np.zeros(num_rows, bool)
        self._there_N = np.zeros(num_rows, bool)
        self._parts: list[tuple[Array, Mapping[str, Array]]] = []

    async def answer(self) -> dict[str, Array]:
        """Tensors (N, ...), each row recalled or computed.

        Raises:
            TeacherBusy: the queue is full, or rows were not there within the deadline.
            NotFinite: a member's answer holds NaN or infinity.
            TooLarge: the answer would be.
        """
        window = self._window
        try:
            consulted = await self._memory.consult(window.key, window.digests, claimant=self._claimant)
            self._claimed_N |= consulted.mine_N
            refused_N = await self._accept(consulted)
            # one's own before others': two windows that wait for each other would wait for ever
            await self._compute_and_hand_in(np.flatnonzero(self._claimed_N | refused_N))
            self._batcher.coming.queued(window.ask.request_id)
            while not self._there_N.all():
                await self._wait()
        finally:
            if self._claimed_N.any():
                self._memory.release(window.key, window.digests[self._claimed_N], claimant=self._claimant)
        return self._whole()

    async def _accept(self, consulted: Consulted) -> Array:
        """Take what is known, if the book's edition is good; else (N,) the rows that are to be computed all the same."""
        known_K = np.flatnonzero(consulted.known_N)
        if not len(known_K):
            return consulted.known_N
        fault = await self._checks.fault(consulted.edition, lambda: self._check(known_K, consulted))
        if fault is None:
            if not consulted.is_confirmed:
                await self._memory.confirm(self._window.key, consulted.edition)
            self._put(known_K, consulted.answers)
            return consulted.known_N & False
        await self._memory.refuse(self._window.key, consulted.edition, fault)
        return consulted.known_N

    async def _check(self, known_K: Array, consulted: Consulted) -> str | None:
        """Compute a sample of what is known, and say what differs; None: nothing."""
        sample_S = sample_of(np.arange(len(known_K)), SAMPLE_ROWS)
        live = await self._compute(known_K[sample_S])
        differs = difference(live, {name: part[sample_S] for name, part in consulted.answers.items()})
        if differs is None:
            return None
        teacher = self._window.key.teacher
        log.error("what the answer book says for teacher %s is not what it says today: %s", teacher, differs)
        return f"of {len(sample_S)} rows computed again, {differs}"

    async def _wait(self) -> None:
        """For rows that another one computes; what became free meanwhile is computed here."""
        window = self._window
        missing_K = np.flatnonzero(~self._there_N)
        left_s = window.arrived + window.ask.deadline_s - time.monotonic()
        if left_s <= 0:
            raise TeacherBusy(
                f"{len(missing_K)} rows of the window are being computed by another replica, and were not there "
                f"within its {window.ask.deadline_s:g} s"
            )
        consulted = await self._memory.wait(
            window.key, window.digests[missing_K], claimant=self._claimant, timeout_s=min(left_s, WAIT_S)
        )
        self._claimed_N[missing_K[consulted.mine_N]] = True
        # no sample: they weren't known a moment ago, so they come from a replica of today
        self._put(missing_K[consulted.known_N], consulted.answers)
        await self._compute_and_hand_in(np.flatnonzero(self._claimed_N))

    async def _compute_and_hand_in(self, rows_K: Array) -> None:
        if len(rows_K):
            self._hand_in(rows_K, await self._compute(rows_K))

    async def _compute(self, rows_K: Array) -> Mapping[str, Array]:
        window = self._window
        inputs = window.inputs if len(rows_K) == len(window.inputs) else window.inputs[rows_K]
        computed = await self._batcher.compute(window.ask, inputs, window.members, arrived=window.arrived)
        self.device_s += computed.device_s
        self.num_computed += len(rows_K)
        self._put(rows_K, computed.tensors)
        return computed.tensors

    def _hand_in(self, rows_K: Array, tensors: Mapping[str, Array]) -> None:
        self._memory.hand_in(self._window.key, self._window.digests[rows_K], tensors, claimant=self._claimant)
        self._claimed_N[rows_K] = False

    def _put(self, rows_K: Array, tensors: Mapping[str, Array]) -> None:
        if len(rows_K):
            self._parts.append((rows_K, tensors))
            self._there_N[rows_K] = True

    def _whole(self) -> dict[str, Array]:
        """All parts in row order; of two answers to one row the later."""
        rows_K, tensors = self._parts[-1]
        num_rows = len(self._there_N)
        if len(rows_K) == num_rows:
            return dict(tensors)
        whole = {name: np.empty((num_rows, *part.shape[1:]), part.dtype) for name, part in tensors.items()}
        for rows, part in self._parts:
            for name, tensor in part.items():
                whole[name][rows] = tensor
        return whole
