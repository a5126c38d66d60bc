"""Softened class distributions, as logarithms: what losses on logits have in common.

Shapes: N rows, C classes.
"""

import torch
from torch import Tensor
from torch.nn import functional

from distill.science.losses.checks import check_logits, check_temperature
from distill.science.losses.precision import both_sides


def log_softened(student_NC: Tensor, teacher_NC: Tensor, temperature: float) -> tuple[Tensor, Tensor]:
    """Logarithms of both sides' softmax at the temperature, (N, C) each, the teacher's held fixed.

    Raises:
        ValueError: the shapes differ or the temperature is not positive.
    """
    check_logits(student_NC, teacher_NC)
    check_temperature(temperature)
    student_NC, teacher_NC = both_sides(student_NC, teacher_NC)
    return torch.log_softmax(student_NC / temperature, dim=1), torch.log_softmax(teacher_NC / temperature, dim=1)


def kl(log_p_NC: Tensor, log_q_NC: Tensor) -> Tensor:
    """KL(p || q) of logarithms of probabilities, mean over N, in nats. They may be low, but not infinite."""
    return functional.kl_div(log_q_NC, log_p_NC, reduction="batchmean", log_target=True)
