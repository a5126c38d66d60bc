"""All members' answers to rows that are no lesson: to measure, or to choose by.

Shapes: N rows, M members, C classes.
"""

from collections.abc import Iterator

import torch
from torch import Tensor

from student_worker.batches import Batch, Cursor
from student_worker.pool import Pool
from student_worker.targets import served

ASKED_ROWS = 512


def answers(inputs: Tensor, pool: Pool) -> Tensor:
    """Every member's logits for raw inputs (N, ...), at least one row: (N, M, C), asked in windows.

    Raises:
        TeacherUnavailable: the teachers gave no answer for as long as the pool was told to wait.
    """
    lessons = served(_batches_of(inputs), pool, with_taps=False)
    return torch.cat([said.logits_NMC for _, said in lessons if said is not None])


def _batches_of(inputs: Tensor) -> Iterator[Batch]:
    places_N = torch.arange(len(inputs))
    for part, places in zip(torch.split(inputs, ASKED_ROWS), torch.split(places_N, ASKED_ROWS), strict=True):
        labels_N = torch.full((len(part),), -1)
        yield Batch(cursor=Cursor(), inputs=part, labels_N=labels_N, num_labelled=0, places_N=places)
