"""The bound: teacher and student in two bare processes, without Ray, as a competent user writes them.

Rows and answers lie in memory that both processes share; a pipe says which part of it is ready. Nothing is copied twice,
checked, hashed, counted or remembered.

Shapes: N rows of a window, M members, C classes.
"""

from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from multiprocessing.connection import Connection
from pathlib import Path
from types import TracebackType
from typing import Self

import torch
from torch import Tensor
from torch import multiprocessing as mp

from benchmarks.workload import BATCH, NUM_CLASSES, SIDE, Student
from distill.science.allocator import keep_freed_memory
from distill.science.answers import Answers
from distill.science.weights import load_model
from student_worker.batches import Batch
from student_worker.targets import Lesson

WINDOW_STEPS = 2
"""Small ones, since a word over a pipe costs next to nothing: so the first answer comes early."""
NUM_SLOTS = 4


@dataclass(frozen=True)
class Shared:
    """Memory of both processes, in slots of one window."""

    rows: Tensor
    """uint8 (slots, N, 1, 28, 28)."""
    logits: Tensor
    """float32 (slots, N, M, C)."""

    @classmethod
    def make(cls, num_members: int) -> Self:
        """Fresh."""
        window = WINDOW_STEPS * BATCH
        rows = torch.zeros((NUM_SLOTS, window, 1, SIDE, SIDE), dtype=torch.uint8)
        logits = torch.zeros((NUM_SLOTS, window, num_members, NUM_CLASSES))
        return cls(rows.share_memory_(), logits.share_memory_())


class OtherProcess:
    """A teacher in a process of its own, for as long as the ``with`` block lasts."""

    def __init__(self, members: Sequence[Path], *, threads: int, keeps: bool = False) -> None:
        """``members`` are folders of cards and weights; whether it ``keeps`` freed memory, as a replica does."""
        self._shared = Shared.make(len(members))
        context = mp.get_context("spawn")
        self._pipe, theirs = context.Pipe()
        self._process = context.Process(
            target=_teach, args=(theirs, self._shared, list(members), threads, keeps), daemon=True
        )

    def __enter__(self) -> Self:
        self._process.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._pipe.send(None)
        self._process.join()

    def wait_ready(self) -> None:
        """Until it has loaded its teacher."""
        self._pipe.recv()

    def lessons(self, student: Student) -> Iterator[Lesson]:
        """The student's batches with the teacher's word, asked as far ahead as there are slots."""
        batches = student.batches()
        free, asked = deque(range(NUM_SLOTS)), deque[tuple[int, list[Batch]]]()
        while True:
            while free and (window := list(islice(batches, WINDOW_STEPS))):
                asked.append((free.popleft(), window))
                self._ask(*asked[-1])
            if not asked:
                return
            slot, window = asked.popleft()
            self._pipe.recv()
            for place, batch in enumerate(window):
                said_NMC = self._shared.logits[slot, place * BATCH : (place + 1) * BATCH]
                yield batch, Answers(said_NMC, tuple(range(said_NMC.shape[1])))
            free.append(slot)

    def _ask(self, slot: int, window: Sequence[Batch]) -> None:
        rows = torch.cat([batch.inputs for batch in window])
        self._shared.rows[slot, : len(rows)] = rows
        self._pipe.send((slot, len(rows)))


def _teach(pipe: Connection, shared: Shared, folders: Sequence[Path], threads: int, keeps: bool) -> None:
    from benchmarks.in_process import Members

    torch.set_num_threads(threads)
    if keeps:
        keep_freed_memory()
    teacher = Members([load_model(folder)[0] for folder in folders])
    pipe.send("ready")
    while (asked := pipe.recv()) is not None:
        slot, num_rows = asked
        # as many rows at once as the student learns from: larger batches are no faster on a CPU
        for start in range(0, num_rows, BATCH):
            part = slice(start, min(start + BATCH, num_rows))
            shared.logits[slot, part] = teacher(shared.rows[slot, part])
        pipe.send(slot)
