"""Losses on what a network answers: labels, soft targets, and the logits as they are.

Shapes: N rows, C classes. Half-precision input is computed in float32; float64 stays float64.
A teacher is always given as logits; an ensemble as logits whose softmax at the same temperature is its distribution.
They may be as low as the logarithm of almost nothing, but must be finite.
"""

from torch import Tensor
from torch.nn import functional

from distill.science.losses.checks import check_labels, check_logits
from distill.science.losses.precision import at_least_float32, both_sides
from distill.science.losses.softened import kl, log_softened

STANDARDISE_EPSILON = 1e-7


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
    check_labels(student_NC, labels_N)
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
        Hinton, Vinyals, Dean (2015), arXiv:1503.02531, section 2, with the T squared that it recommends.
        torchdistill's KDLoss has the same T squared on its soft term, and no other.
    """
    log_student_NC, log_teacher_NC = log_softened(student_NC, teacher_NC, temperature)
    return kl(log_teacher_NC, log_student_NC) * temperature**2


def logit_loss(student_NC: Tensor, teacher_NC: Tensor) -> Tensor:
    """Mean squared difference of logits, over all N rows and C classes.

    Args:
        student_NC: student logits, (N, C), any float dtype; gradients flow.
        teacher_NC: teacher logits, (N, C); constants. A constant added to a row counts, unlike in a KL.

    Returns:
        Scalar float32, in squared logits.

    Raises:
        ValueError: the shapes differ.

    Source:
        Ba, Caruana (2014), arXiv:1312.6184, equation 1, which is half the sum over classes: C / 2 times ours.
    """
    check_logits(student_NC, teacher_NC)
    student_NC, teacher_NC = both_sides(student_NC, teacher_NC)
    return functional.mse_loss(student_NC, teacher_NC)


def standardise(logits_NC: Tensor) -> Tensor:
    """Each row's logits minus their mean, divided by their standard deviation: a temperature of the row's own.

    Gradients flow if they do in ``logits_NC``. A row of equal logits becomes zeros, and its gradient is 1e7 times what
    comes back: a student's head must not start from zeros.

    Args:
        logits_NC: (N, C), C >= 2, any float dtype.

    Returns:
        (N, C), at least float32, dimensionless.

    Raises:
        ValueError: not (N, C), or there is one class only.

    Source:
        Sun et al. (2024), arXiv:2403.01427, algorithm 1. The deviation divides by C - 1 and 1e-7 is added to it, as
        torchdistill's LogitStdKDLoss and the authors' program have it.
    """
    if logits_NC.dim() != 2 or logits_NC.shape[1] < 2:
        raise ValueError(f"logits must be (N, C) of at least two classes, not {tuple(logits_NC.shape)}")
    logits_NC = at_least_float32(logits_NC)
    deviation_N1 = logits_NC.std(dim=1, keepdim=True)
    return (logits_NC - logits_NC.mean(dim=1, keepdim=True)) / (deviation_N1 + STANDARDISE_EPSILON)
