"""How good a model is, on rows whose labels are known.

Shapes: N rows, C classes, B bins.
"""

import torch
from torch import Tensor

from distill.contracts.measures import Quality


def quality(logits_NC: Tensor, labels_N: Tensor) -> Quality:
    """Quality of logits (N, C) on the rows that have a label; negative labels are left out.

    Raises:
        ValueError: the shapes differ, or no row has a label.
    """
    if logits_NC.dim() != 2 or labels_N.shape != logits_NC.shape[:1]:
        raise ValueError(f"labels {tuple(labels_N.shape)} don't fit logits {tuple(logits_NC.shape)}")
    labelled_N = labels_N >= 0
    if not labelled_N.any():
        raise ValueError("quality needs at least one row with a label")
    log_probability_NC, labels_N = logits_NC[labelled_N].double().log_softmax(dim=1), labels_N[labelled_N]
    return Quality(
        accuracy=agreement(log_probability_NC.argmax(dim=1), labels_N),
        nll=float(-log_probability_NC.gather(1, labels_N[:, None]).mean()),
        calibration_error=expected_calibration_error(log_probability_NC.exp(), labels_N),
        num_rows=len(labels_N),
    )


def expected_calibration_error(probability_NC: Tensor, labels_N: Tensor, bins: int = 15) -> float:
    """Mean gap between confidence and accuracy over equal-width bins of confidence, weighted by their rows.

    Args:
        probability_NC: class probabilities, (N, C).
        labels_N: class numbers, (N,) int64, none negative.
        bins: B; bin b holds confidences in (b / B, (b + 1) / B].

    Returns:
        A number in [0, 1].

    Source:
        Guo, Pleiss, Sun, Weinberger (2017), arXiv:1706.04599, equation 3.
    """
    confidence_N, named_N = probability_NC.double().max(dim=1)
    gap_N = (named_N == labels_N).double() - confidence_N
    bin_N = (confidence_N * bins).ceil().long().sub(1).clamp(0, bins - 1)
    gap_B = torch.zeros(bins, dtype=torch.float64, device=gap_N.device).index_add_(0, bin_N, gap_N)
    return float(gap_B.abs().sum() / len(labels_N))


def agreement(first_N: Tensor, second_N: Tensor) -> float:
    """Share of rows for which both name the same class, of class numbers (N,).

    Raises:
        ValueError: the lengths differ, or there are no rows.
    """
    if first_N.shape != second_N.shape or not len(first_N):
        raise ValueError(f"can't compare {tuple(first_N.shape)} answers with {tuple(second_N.shape)}")
    return float((first_N == second_N).double().mean())
