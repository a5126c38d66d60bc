"""What the pool says of each step's rows, asked ahead in windows larger than the step; nothing, without teachers.

A window is bounded by rows, by its bytes and by those of its answer; it grows from one step's batch by doubling, and two
are in flight at most: each call costs this process milliseconds, so few big ones keep a student at its own speed. What
was said once is remembered by place: from the second time that a row comes in the same view, nobody is asked.

Shapes: N rows of one rank's step, M members, C classes.
"""

import math
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import TypeVar

import torch
from torch import Tensor

from distill.contracts.errors import InvalidAnswer
from distill.contracts.job import AnswersSpec
from distill.contracts.taps import MemberTap
from distill.contracts.teachers import ResolvedTeacher
from distill.science.answers import Answers
from student_worker.batches import Batch
from student_worker.memory import MAX_BYTES, RowMemory, Speaking
from student_worker.pool import Pending, Pool
from student_worker.said import Said

WINDOW_ROWS = 1024
WINDOW_BYTES = 16 * 2**20
ANSWER_BYTES = 64 * 2**20
"""Of a window's whole answer: a feature can be a thousand times larger than its row."""
WINDOWS_IN_FLIGHT = 2
AHEAD_ROWS = 4 * WINDOW_ROWS
"""As many rows are read ahead at most, where most of them need not be asked for."""

Lesson = tuple[Batch, Answers | None]
"""One step's rows, and what the pool says of them."""


def untaught(batches: Iterator[Batch]) -> Iterator[Lesson]:
    """Lessons of a job without teachers."""
    for batch in batches:
        yield batch, None


def everyone(batch: Batch) -> Speaking:
    """All members speak at every step."""
    return None


def served(
    batches: Iterator[Batch],
    pool: Pool,
    *,
    speaking: Callable[[Batch], Speaking] = everyone,
    memory: RowMemory | None = None,
    with_taps: bool = True,
    max_rows: int = WINDOW_ROWS,
    max_bytes: int = WINDOW_BYTES,
) -> Iterator[Lesson]:
    """Each batch with the answers to its own rows, in order.

    Args:
        batches: in the order of the training.
        pool: whom to ask.
        speaking: who is asked for a batch; a window never holds batches for whom others are asked.
        memory: where answers are kept, and looked up first; None: every row is asked for each time it comes.
        with_taps: whether the pool's taps are wanted too.
        max_rows: of a window.
        max_bytes: of a window's inputs.

    Raises:
        InvalidAnswer: a window came back with another number of rows.
        TeacherUnavailable: the teachers gave no answer for as long as the pool was told to wait.
    """
    windows = Windows(batches, pool, speaking, memory, with_taps=with_taps, max_rows=max_rows, max_bytes=max_bytes)
    while (lesson := windows.next_lesson()) is not None:
        yield lesson


def window_rows(teachers: Sequence[ResolvedTeacher], taps: Sequence[MemberTap], answers: AnswersSpec) -> int:
    """How many rows a window may have, at most `WINDOW_ROWS`, for its answer to stay within `ANSWER_BYTES`.

    Args:
        teachers: who answers, all their members.
        taps: what is asked beside logits, members counted over all teachers.
        answers: their precision.
    """
    return max(1, min(WINDOW_ROWS, ANSWER_BYTES // _row_bytes(teachers, taps, answers)))


def memory_rows(teachers: Sequence[ResolvedTeacher], taps: Sequence[MemberTap], answers: AnswersSpec) -> int:
    """How many rows' answers a rank keeps, for all of them to stay within `memory.MAX_BYTES`; arguments as above."""
    return MAX_BYTES // _row_bytes(teachers, taps, answers)


def _row_bytes(teachers: Sequence[ResolvedTeacher], taps: Sequence[MemberTap], answers: AnswersSpec) -> int:
    members = [member for teacher in teachers for member in teacher.manifest.members]
    logits = sum(len(teacher.manifest.members) * len(teacher.manifest.classes) for teacher in teachers)
    features = sum(math.prod(asked.tap.row_shape(members[asked.member].taps)) for asked in taps)
    return (logits + features) * (4 if answers.precision == "fp32" else 2)


class _Rows:
    """Rows that wait to be asked for, one after the other, all of the same members."""

    def __init__(self, speaking: Speaking) -> None:
        self.speaking = speaking
        self.num_rows = 0
        self._parts: deque[Tensor] = deque()

    def add(self, inputs: Tensor) -> None:
        self._parts.append(inputs)
        self.num_rows += len(inputs)

    def take(self, num_rows: int) -> Tensor:
        """Cut so many off the front."""
        self.num_rows -= num_rows
        parts = list(_take(self._parts, num_rows))
        return parts[0] if len(parts) == 1 else torch.cat(parts)


@dataclass(frozen=True)
class _Read:
    """A batch whose turn comes, and which of its rows are asked for."""

    batch: Batch
    speaking: Speaking
    asked_N: Tensor  # noqa: N815
    """bool; the others are remembered."""
    num_asked: int


class Windows:
    """The stream of rows ahead of the training, cut into windows; answers come back in the order of the rows."""

    def __init__(
        self,
        batches: Iterator[Batch],
        pool: Pool,
        speaking: Callable[[Batch], Speaking],
        memory: RowMemory | None,
        *,
        with_taps: bool,
        max_rows: int,
        max_bytes: int,
    ) -> None:
        self._batches = batches
        self._pool = pool
        self._speaking = speaking
        self._memory = memory
        self._with_taps = with_taps
        self._max_rows = max_rows
        self._max_bytes = max_bytes
        self._rows = 0
        """Of the next window; 0 before the first batch is seen."""
        self._read: deque[_Read] = deque()
        self._num_read = self._num_to_come = 0
        """Rows of the batches whose turn comes, and of these the ones that are not remembered."""
        self._unasked: deque[_Rows] = deque()
        self._in_flight: deque[tuple[int, Pending]] = deque()
        self._answered: deque[Said] = deque()
        self._num_answered = 0

    def next_lesson(self) -> tuple[Batch, Answers] | None:
        """The next batch and what is said of it, or None after the last."""
        self._ask_ahead()
        if not self._read:
            return None
        read = self._read.popleft()
        self._num_read -= len(read.asked_N)
        self._num_to_come -= read.num_asked
        return read.batch, self._said(read).answers()

    def _said(self, read: _Read) -> Said:
        if self._memory is None:
            return self._fresh(read.num_asked)
        places_N, asked_N = read.batch.places_N, read.asked_N
        if read.num_asked == 0:
            return self._memory.recall(places_N, read.speaking)
        fresh = self._fresh(read.num_asked)
        self._memory.keep(places_N[asked_N], read.speaking, fresh)
        if read.num_asked == len(asked_N):
            return fresh
        recalled = self._memory.recall(places_N[~asked_N], read.speaking)
        order_N = torch.cat([(~asked_N).nonzero(), asked_N.nonzero()]).flatten()
        return Said.join([recalled, fresh])[order_N.argsort()]

    def _fresh(self, num_rows: int) -> Said:
        """The next ``num_rows`` answers."""
        while self._num_answered < num_rows:
            self._collect()
            self._ask_ahead()
        self._num_answered -= num_rows
        return Said.join(list(_take(self._answered, num_rows)))

    def _collect(self) -> None:
        num_rows, pending = self._in_flight[0]
        answered = pending.result()
        self._in_flight.popleft()
        if len(answered.logits) != num_rows:
            raise InvalidAnswer(f"a window of {num_rows} rows came back with {len(answered.logits)} answers")
        self._answered.append(Said(answered.logits, answered.members, answered.features))
        self._num_answered += num_rows

    def _ask_ahead(self) -> None:
        while len(self._in_flight) < WINDOWS_IN_FLIGHT:
            window = self._next_window()
            if window is None:
                return
            inputs, speaking = window
            pending = self._pool.ask(inputs, members=speaking, with_taps=self._with_taps)
            self._in_flight.append((len(inputs), pending))

    def _next_window(self) -> tuple[Tensor, Speaking] | None:
        """The next rows to ask for, and whom; None when there are none yet. A window may end inside a batch."""
        while self._wants_rows() and (batch := next(self._batches, None)) is not None:
            self._read_ahead(batch)
        if not self._unasked:
            return None
        rows = self._unasked[0]
        inputs = rows.take(min(self._rows, rows.num_rows))
        if not rows.num_rows:
            self._unasked.popleft()
        self._rows = min(2 * self._rows, self._greatest(inputs))
        return inputs, rows.speaking

    def _wants_rows(self) -> bool:
        if not self._unasked:
            # whatever is remembered needs no reading ahead
            return self._num_read < (AHEAD_ROWS if self._num_to_come else 1)
        return len(self._unasked) == 1 and self._unasked[0].num_rows < self._rows

    def _read_ahead(self, batch: Batch) -> None:
        speaking = self._speaking(batch)
        asked_N = torch.ones(len(batch.inputs), dtype=torch.bool)
        if self._memory is not None:
            asked_N = self._memory.reserve(batch.places_N, speaking)
        num_asked = int(asked_N.sum())
        self._read.append(_Read(batch, speaking, asked_N, num_asked))
        self._num_read += len(asked_N)
        self._num_to_come += num_asked
        if num_asked:
            inputs = batch.inputs if num_asked == len(asked_N) else batch.inputs[asked_N]
            if not self._unasked or self._unasked[-1].speaking != speaking:
                self._unasked.append(_Rows(speaking))
            self._unasked[-1].add(inputs)
            self._rows = self._rows or min(num_asked, self._greatest(inputs))

    def _greatest(self, inputs: Tensor) -> int:
        row_bytes = inputs[0].numel() * inputs.element_size()
        return max(1, min(self._max_rows, self._max_bytes // row_bytes))


T = TypeVar("T", Tensor, Said)


def _take(parts: deque[T], num_rows: int) -> Iterator[T]:
    """Cut exactly ``num_rows`` rows off the front."""
    while num_rows:
        part = parts.popleft()
        if len(part) > num_rows:
            parts.appendleft(part[num_rows:])
            part = part[:num_rows]
        num_rows -= len(part)
        yield part
