"""What each step is taught: the teachers' answers, asked ahead in windows larger than the step, or nothing.

A window is bounded by rows and bytes, grows from one step's batch by doubling, and two are in flight at most: each call
costs this process milliseconds, so few big ones keep a student at its own speed.

Shapes: N rows of one rank's step, M members, C classes.
"""

from collections import deque
from collections.abc import Iterator

import torch
from torch import Tensor

from distill.contracts.errors import InvalidAnswer
from distill.science.objective import Targets
from student_worker.batches import Batch
from student_worker.pool import Pending, Pool

WINDOW_ROWS = 1024
WINDOW_BYTES = 16 * 2**20
WINDOWS_IN_FLIGHT = 2


Lesson = tuple[Batch, Targets]
"""One step's rows, and what they are taught."""


def untaught(batches: Iterator[Batch]) -> Iterator[Lesson]:
    """Lessons of a job without teachers: the labels alone."""
    for batch in batches:
        yield batch, Targets()


def served(
    batches: Iterator[Batch], pool: Pool, *, max_rows: int = WINDOW_ROWS, max_bytes: int = WINDOW_BYTES
) -> Iterator[Lesson]:
    """Lessons of the offline scheme: each batch with the answers to its own rows, in order.

    Raises:
        InvalidAnswer: a window came back with another number of rows.
        TeacherUnavailable: the teachers gave no answer for as long as the pool was told to wait.
    """
    windows = Windows(batches, pool, max_rows=max_rows, max_bytes=max_bytes)
    while (batch := windows.next_batch()) is not None:
        yield batch, Targets(served_logits_NMC=windows.answers(len(batch.inputs)))


class Windows:
    """The stream of rows ahead of the training, cut into windows; answers come back in the order of the rows."""

    def __init__(self, batches: Iterator[Batch], pool: Pool, *, max_rows: int, max_bytes: int) -> None:
        self._batches = batches
        self._pool = pool
        self._max_rows = max_rows
        self._max_bytes = max_bytes
        self._rows = 0
        """Of the next window; 0 before the first batch is seen."""
        self._read: deque[Batch] = deque()
        self._unasked: deque[Tensor] = deque()
        self._in_flight: deque[tuple[int, Pending]] = deque()
        self._answered: deque[Tensor] = deque()

    def next_batch(self) -> Batch | None:
        """The next batch, or None after the last."""
        self._ask_ahead()
        return self._read.popleft() if self._read else None

    def answers(self, num_rows: int) -> Tensor:
        """The next ``num_rows`` answers, (N, M, C)."""
        while sum(map(len, self._answered)) < num_rows:
            self._collect()
            self._ask_ahead()
        parts = list(_take(self._answered, num_rows))
        return parts[0] if len(parts) == 1 else torch.cat(parts)

    def _collect(self) -> None:
        num_rows, pending = self._in_flight[0]
        logits_NMC = pending.result().logits_NMC
        self._in_flight.popleft()
        if len(logits_NMC) != num_rows:
            raise InvalidAnswer(f"a window of {num_rows} rows came back with {len(logits_NMC)} answers")
        self._answered.append(logits_NMC)

    def _ask_ahead(self) -> None:
        while len(self._in_flight) < WINDOWS_IN_FLIGHT:
            window = self._next_window()
            if window is None:
                return
            self._in_flight.append((len(window), self._pool.ask(window)))

    def _next_window(self) -> Tensor | None:
        """The next rows to ask for; None when all have been asked. A window may end inside a batch."""
        while sum(map(len, self._unasked)) < max(self._rows, 1):
            batch = next(self._batches, None)
            if batch is None:
                break
            self._read.append(batch)
            self._unasked.append(batch.inputs)
            self._rows = self._rows or min(len(batch.inputs), self._greatest(batch.inputs))
        if not self._unasked:
            return None
        parts = list(_take(self._unasked, min(self._rows, sum(map(len, self._unasked)))))
        self._rows = min(2 * self._rows, self._greatest(parts[0]))
        return parts[0] if len(parts) == 1 else torch.cat(parts)

    def _greatest(self, inputs: Tensor) -> int:
        row_bytes = inputs[0].numel() * inputs.element_size()
        return max(1, min(self._max_rows, self._max_bytes // row_bytes))


def _take(parts: deque[Tensor], num_rows: int) -> Iterator[Tensor]:
    """Cut exactly ``num_rows`` rows off the front."""
    while num_rows:
        part = parts.popleft()
        if len(part) > num_rows:
            parts.appendleft(part[num_rows:])
            part = part[:num_rows]
        num_rows -= len(part)
        yield part
