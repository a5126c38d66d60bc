"""What people do without a pool: the teacher's forward pass in the training loop, as a competent user writes it.

Shapes: N rows of a step, M members, C classes.
"""

from collections.abc import Callable, Iterator, Sequence
from itertools import islice

import torch
from torch import Tensor

from benchmarks.workload import BATCH, NUM_CLASSES, NUM_ROWS, Student
from distill.science.answers import Answers
from distill.science.models import Classifier
from student_worker.batches import Batch
from student_worker.targets import Lesson

WINDOW_STEPS = 1024 // BATCH


class Members:
    """An ensemble in evaluation mode, called without gradients."""

    def __init__(self, members: Sequence[Classifier]) -> None:
        self._members = [member.eval() for member in members]

    def __len__(self) -> int:
        return len(self._members)

    def __call__(self, inputs: Tensor) -> Tensor:
        """Logits (N, M, C) of raw inputs (N, ...)."""
        with torch.inference_mode():
            logits_NMC = torch.stack([member(inputs) for member in self._members], dim=1)
        # what was made in inference mode can't be kept for a backward pass; these are a few kilobytes
        return logits_NMC.clone()


def per_step(student: Student, teacher: Members) -> Iterator[Lesson]:
    """The teacher is asked for each step's rows."""
    return student.told(lambda batch: teacher(batch.inputs))


def per_window(student: Student, teacher: Members) -> Iterator[Lesson]:
    """The teacher is asked for 1,024 rows at once, a few steps ahead."""
    batches = student.batches()
    while window := list(islice(batches, WINDOW_STEPS)):
        said_NMC = teacher(torch.cat([batch.inputs for batch in window]))
        parts = said_NMC.split([len(batch.inputs) for batch in window])
        for batch, logits_NMC in zip(window, parts, strict=True):
            yield batch, Answers(logits_NMC, tuple(range(logits_NMC.shape[1])))


def remembering(student: Student, teacher: Members) -> Iterator[Lesson]:
    """The teacher is asked for each row once; later epochs read what it said, in half precision as the pool does."""
    kept_NMC = torch.empty((NUM_ROWS, len(teacher), NUM_CLASSES), dtype=torch.float16)
    known_N = torch.zeros(NUM_ROWS, dtype=torch.bool)

    def say(batch: Batch) -> Tensor:
        if not known_N[batch.places_N].all():
            kept_NMC[batch.places_N] = teacher(batch.inputs).half()
            known_N[batch.places_N] = True
        return kept_NMC[batch.places_N]

    return student.told(say)


Loop = Callable[[Student, Members], Iterator[Lesson]]
LOOPS: dict[str, Loop] = {"teacher per step": per_step, "teacher per 1,024 rows": per_window}
