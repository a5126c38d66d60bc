"""In which precision losses are computed: half is too coarse for their sums, and more than float32 is kept."""

import torch
from torch import Tensor


def at_least_float32(values: Tensor) -> Tensor:
    """The same values in float32, or as they are in float64."""
    return values if values.dtype == torch.float64 else values.float()


def both_sides(student: Tensor, teacher: Tensor) -> tuple[Tensor, Tensor]:
    """The student's values, at least in float32, and the teacher's in the same precision, held fixed."""
    student = at_least_float32(student)
    return student, teacher.detach().to(student.dtype)
