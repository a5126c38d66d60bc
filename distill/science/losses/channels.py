"""Losses on what channels respond to: the flow from one layer to another, and each channel's pattern.

Shapes: N rows, C channels of the first layer, D of the second, H and W positions of a map, P all positions,
L positions of a sequence. Half-precision input is computed in float32; float64 stays float64.
"""

import torch
from torch import Tensor
from torch.nn import functional

from distill.science.losses.checks import check_same_rows
from distill.science.losses.precision import at_least_float32, both_sides
from distill.science.losses.rows import mean_over_rows, unit_rows


def flow_matrix(first_NCHW: Tensor, second_NDHW: Tensor) -> Tensor:
    """The flow from one layer to another: inner products of their channels, divided by the number of positions.

    It is all that `flow_loss` needs of a network: what a teacher sends.

    Args:
        first_NCHW: features of the earlier layer, (N, C, H, W), any float dtype; gradients flow if they do in it.
        second_NDHW: features of the later layer, (N, D, H, W). Of two sizes, the larger map is max-pooled to the
            smaller.

    Returns:
        (N, C, D), at least float32, in products of the features' units.

    Raises:
        ValueError: not maps of the same N rows.

    Source:
        Yim et al. (2017), FSP, "A Gift from Knowledge Distillation" (CVPR 2017), equation 1. Max pooling as in
        torchdistill's FSPLoss; RepDistiller's averages.
    """
    check_same_rows(first_NCHW, second_NDHW)
    if first_NCHW.dim() != 4 or second_NDHW.dim() != 4:
        raise ValueError(
            f"maps must be (N, C, H, W) and (N, D, H, W), not {tuple(first_NCHW.shape)} and {tuple(second_NDHW.shape)}"
        )
    size = _smaller_size(first_NCHW, second_NDHW)
    first_NCP = functional.adaptive_max_pool2d(at_least_float32(first_NCHW), size).flatten(2)
    second_NDP = functional.adaptive_max_pool2d(at_least_float32(second_NDHW), size).flatten(2)
    return first_NCP @ second_NDP.mT / first_NCP.shape[2]


def flow_loss(student_NCD: Tensor, teacher_NCD: Tensor, *, weight_N: Tensor | None = None) -> Tensor:
    """Mean squared difference of flow matrices, over rows and pairs of channels.

    Args:
        student_NCD: as `flow_matrix` returns it, (N, C, D); gradients flow.
        teacher_NCD: of the same shape; constants. Both networks' layers have the same numbers of channels.
        weight_N: how much each row counts, (N,); left out: 1.

    Returns:
        Scalar float32, in squared units of the flow.

    Raises:
        ValueError: the shapes differ.

    Source:
        Yim et al. (2017), FSP (CVPR 2017), equation 2, which sums over pairs of channels, as torchdistill does: C * D
        times ours. RepDistiller takes the mean, as we do, so that the weight doesn't depend on the layers' widths.
    """
    if student_NCD.shape != teacher_NCD.shape or student_NCD.dim() != 3:
        raise ValueError(
            f"flows of student {tuple(student_NCD.shape)} and teacher {tuple(teacher_NCD.shape)} must both be "
            "(N, C, D): their layers need the same numbers of channels"
        )
    student_NCD, teacher_NCD = both_sides(student_NCD, teacher_NCD)
    return mean_over_rows((student_NCD - teacher_NCD).square(), weight_N)


def neuron_selectivity_loss(student: Tensor, teacher: Tensor, *, weight_N: Tensor | None = None) -> Tensor:
    """Squared maximum mean discrepancy between the channels' patterns of activation, of unit length.

    With the kernel ``k(x, y) = (x . y) ** 2`` of two patterns it is the mean of k over pairs of the teacher's channels,
    plus that of the student's, minus twice that of one of each; then the mean over rows.

    Args:
        student: maps (N, C, H, W) or sequences (N, L, C), any float dtype; gradients flow.
        teacher: the same kind with the same N; constants. The number of channels may differ; of maps of different
            sizes, the larger is averaged down to the smaller. A pattern of zeros stays zeros.
        weight_N: how much each row counts, (N,); left out: 1.

    Returns:
        Scalar float32, dimensionless, in [0, 2].

    Raises:
        ValueError: neither two maps nor two sequences, or the rows or the lengths of sequences differ.

    Source:
        Huang, Wang (2017), NST, arXiv:1707.01219, the squared MMD with the polynomial kernel of degree 2 and
        offset 0, as RepDistiller's NSTLoss has it.
    """
    check_same_rows(student, teacher)
    student_NCP, teacher_NDP = _patterns(*both_sides(student, teacher))
    student_NCP, teacher_NDP = unit_rows(student_NCP), unit_rows(teacher_NDP)
    own, shared = (_mean_kernel(student_NCP, other, weight_N) for other in (student_NCP, teacher_NDP))
    return _mean_kernel(teacher_NDP, teacher_NDP, weight_N) + own - 2 * shared


def _patterns(first: Tensor, second: Tensor) -> tuple[Tensor, Tensor]:
    """Channels by positions, (N, C, P) and (N, D, P)."""
    if first.dim() == second.dim() == 4:
        size = _smaller_size(first, second)
        first_NCHW = functional.adaptive_avg_pool2d(first, size)
        return first_NCHW.flatten(2), functional.adaptive_avg_pool2d(second, size).flatten(2)
    if first.dim() == second.dim() == 3 and first.shape[1] == second.shape[1]:
        return first.mT, second.mT
    raise ValueError(
        f"student {tuple(first.shape)} and teacher {tuple(second.shape)} must both be maps (N, C, H, W), "
        "or sequences (N, L, C) of the same length"
    )


def _smaller_size(first_NCHW: Tensor, second_NDHW: Tensor) -> tuple[int, int]:
    (first_height, first_width), (second_height, second_width) = first_NCHW.shape[2:], second_NDHW.shape[2:]
    return min(first_height, second_height), min(first_width, second_width)


def _mean_kernel(first_NCP: Tensor, second_NDP: Tensor, weight_N: Tensor | None) -> Tensor:
    return mean_over_rows(torch.matmul(first_NCP, second_NDP.mT).square(), weight_N)
