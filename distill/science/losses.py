"""Distillation losses: pure functions of tensors, nothing else.

Shapes: N rows, C classes. Half-precision input is computed in float32; float64 stays float64.
"""

import torch
from torch import Tensor
from torch.nn import functional


def label_loss(student_NC: Tensor, labels_N: Tensor, *, smoothing: float = 0.0) -> Tensor:
    """Cross-entropy with the true labels, mean over the rows that have one.

    Args:
        student_NC: student logits, (N, C), any float dtype; gradients flow.
        labels_N: class numbers, (N,) int64; a negative one means that the row has no label.
        smoothing: share of the target that is spread evenly over all C classes, in [0, 1).

    Returns:
        Scalar float32, in nats; zero, with a zero gradient, where no row has a label.

    Raises:
        ValueError: the shapes differ, or the smoothing is out of range.

    Source:
        Szegedy et al. (2015), arXiv:1512.00567, section 7, for the smoothing.
    """
    if labels_N.shape != student_NC.shape[:1] or student_NC.dim() != 2:
        raise ValueError(f"labels {tuple(labels_N.shape)} don't fit logits {tuple(student_NC.shape)}")
    if not 0 <= smoothing < 1:
        raise ValueError(f"smoothing must be in [0, 1), not {smoothing}")
    labelled_N = labels_N >= 0
    if not labelled_N.any():
        return at_least_float32(student_NC).sum() * 0.0
    return functional.cross_entropy(
        at_least_float32(student_NC), labels_N.masked_fill(~labelled_N, -100), label_smoothing=smoothing
    )


def soft_target_loss(student_NC: Tensor, teacher_NC: Tensor, *, temperature: float) -> Tensor:
    """KL(teacher || student) of softened class distributions, times T squared.

    Args:
        student_NC: student logits, (N, C), any float dtype; gradients flow.
        teacher_NC: teacher logits, (N, C); constants.
        temperature: T > 0, dimensionless, the same on both sides.

    Returns:
        Scalar float32, mean over N, in nats.

    Raises:
        ValueError: the shapes differ or the temperature is not positive.

    Source:
        Hinton, Vinyals, Dean (2015), arXiv:1503.02531, section 2.
    """
    _check(student_NC, teacher_NC, temperature)
    log_teacher_NC = torch.log_softmax(at_least_float32(teacher_NC.detach()) / temperature, dim=1)
    return _divergence(student_NC, log_teacher_NC, temperature)


def at_least_float32(values: Tensor) -> Tensor:
    """The same values in float32, or as they are in float64."""
    return values if values.dtype == torch.float64 else values.float()


def _divergence(student_NC: Tensor, log_teacher_NC: Tensor, temperature: float) -> Tensor:
    log_student_NC = torch.log_softmax(at_least_float32(student_NC) / temperature, dim=1)
    return functional.kl_div(log_student_NC, log_teacher_NC, reduction="batchmean", log_target=True) * temperature**2


def _check(student_NC: Tensor, teacher_NC: Tensor, temperature: float) -> None:
    if student_NC.shape != teacher_NC.shape or student_NC.dim() != 2:
        raise ValueError(
            f"student {tuple(student_NC.shape)} and teacher {tuple(teacher_NC.shape)} must both be (N, C): "
            "they answer for the same rows and the same classes"
        )
    if not temperature > 0:
        raise ValueError(f"temperature must be positive, not {temperature}")
