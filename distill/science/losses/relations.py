"""Losses on relations between the rows of a step: what is near to what, whatever the layers' widths.

Shapes: N rows, D and E numbers of each row; features of any shape (N, ...) are flattened. I, J and K are rows too.
Half-precision input is computed in float32; float64 stays float64. Fewer rows than a relation needs cost nothing: the
loss is a zero with a zero gradient. Rows that coincide have no direction, and finite gradients.
"""

import math
from typing import Literal

import torch
from torch import Tensor
from torch.nn import functional

from distill.science.losses.checks import check_same_rows, check_same_shape
from distill.science.losses.precision import both_sides
from distill.science.losses.rows import unit_rows

PKT_EPSILON = 1e-7
CC_GAMMA = 0.4
CC_ORDER = 2


def relational_distance_loss(student: Tensor, teacher: Tensor) -> Tensor:
    """Huber difference of the distances between rows, each in units of its side's mean distance.

    Args:
        student: features (N, ...), any float dtype; gradients flow.
        teacher: features (N, ...) of any width; constants.

    Returns:
        Scalar float32, dimensionless, mean over all N * N pairs, those of a row with itself among them.
        Zero for fewer than two rows. The mean distance is that of rows that don't coincide.

    Raises:
        ValueError: the numbers of rows differ.

    Source:
        Park et al. (2019), RKD, arXiv:1904.05068, section 3.2.1, which sums over pairs; the mean is RepDistiller's
        (RKDLoss) and the authors' program's, who also take the gradient through the mean distance, as we do.
    """
    student_ND, teacher_NE = _rows(student, teacher)
    if student_ND.shape[0] < 2:
        return _nothing(student_ND)
    return functional.smooth_l1_loss(_distances_in_means(student_ND), _distances_in_means(teacher_NE))


def relational_angle_loss(student: Tensor, teacher: Tensor) -> Tensor:
    """Huber difference of the cosines of the angles that rows i and k form at row j.

    Args:
        student: features (N, ...), any float dtype; gradients flow.
        teacher: features (N, ...) of any width; constants.

    Returns:
        Scalar float32, dimensionless, mean over all N * N * N triples, those that name a row twice among them.
        Zero for fewer than three rows.

    Raises:
        ValueError: the numbers of rows differ.

    Source:
        Park et al. (2019), RKD, arXiv:1904.05068, section 3.2.2, which sums over triples; the mean is
        RepDistiller's (RKDLoss) and the authors' program's.
    """
    student_ND, teacher_NE = _rows(student, teacher)
    if student_ND.shape[0] < 3:
        return _nothing(student_ND)
    return functional.smooth_l1_loss(_cosines(student_ND), _cosines(teacher_NE))


def similarity_loss(student: Tensor, teacher: Tensor) -> Tensor:
    """Mean squared difference of the N x N matrices of inner products between rows, each row of them of unit length.

    Args:
        student: features (N, ...), any float dtype; gradients flow.
        teacher: features (N, ...) of any width; constants.

    Returns:
        Scalar float32, dimensionless, in [0, 4 / N]. Zero for one row.

    Raises:
        ValueError: the numbers of rows differ.

    Source:
        Tung, Mori (2019), SP, arXiv:1907.09682, section 3.1; RepDistiller's Similarity is the same.
    """
    student_ND, teacher_NE = _rows(student, teacher)
    if student_ND.shape[0] < 2:
        return _nothing(student_ND)
    return functional.mse_loss(unit_rows(student_ND @ student_ND.T), unit_rows(teacher_NE @ teacher_NE.T))


def correlation_loss(student: Tensor, teacher: Tensor, *, form: Literal["paper", "code"] = "paper") -> Tensor:
    """Difference of the correlations between rows, in the paper's form or in RepDistiller's, which is another loss.

    Args:
        student: features (N, ...), any float dtype; gradients flow.
        teacher: features (N, ...); constants. Any width for ``paper``; the student's for ``code``.
        form: ``paper``: mean squared difference of the N x N matrices of a Gaussian kernel between rows of unit
            length, ``exp(-gamma * |x - y| ** 2)``, gamma 0.4, as the first three members (orders 0 to 2) of its Taylor
            series. ``code``: with each row's vector of absolute differences between student and teacher, the inner
            product of neighbouring rows' vectors, mean over neighbours: it depends on the order of the rows.

    Returns:
        Scalar float32; ``paper`` is dimensionless, ``code`` in squared units of the feature. Zero for one row.

    Raises:
        ValueError: the numbers of rows differ, or the widths do and the form needs the same; or no such form.

    Source:
        Peng et al. (2019), CC, arXiv:1904.01802, the Gaussian RBF as a Taylor series. RepDistiller's Correlation for
        ``code``, without its linear embedding, which is a projection here.
    """
    if form not in ("paper", "code"):
        raise ValueError(f"form must be 'paper' or 'code', not {form!r}")
    student_ND, teacher_NE = _rows(student, teacher)
    if form == "code":
        check_same_shape(student_ND, teacher_NE)
    if student_ND.shape[0] < 2:
        return _nothing(student_ND)
    if form == "code":
        difference_ND = (student_ND - teacher_NE).abs()
        return (difference_ND[:-1] * difference_ND[1:]).sum(dim=1).mean()
    return functional.mse_loss(_gaussian_kernel(student_ND), _gaussian_kernel(teacher_NE))


def probabilistic_transfer_loss(student: Tensor, teacher: Tensor) -> Tensor:
    """KL between the probabilities that a row's neighbour is another: cosine similarities, each row summing to one.

    Args:
        student: features (N, ...), any float dtype; gradients flow.
        teacher: features (N, ...) of any width; constants.

    Returns:
        Scalar float32, in nats: KL(teacher || student), mean over rows, divided by N once more. Zero for one row.

    Raises:
        ValueError: the numbers of rows differ.

    Source:
        Passalis, Tefas (2018), PKT, arXiv:1803.10837, with the cosine similarity. The paper sums over pairs of
        different rows; RepDistiller's PKT, as we do, takes the mean over all pairs, a row with itself among them, and
        adds 1e-7 to both sides of the logarithm's ratio.
    """
    student_ND, teacher_NE = _rows(student, teacher)
    if student_ND.shape[0] < 2:
        return _nothing(student_ND)
    student_NN, teacher_NN = _neighbours(student_ND), _neighbours(teacher_NE)
    return (teacher_NN * ((teacher_NN + PKT_EPSILON) / (student_NN + PKT_EPSILON)).log()).mean()


def _rows(student: Tensor, teacher: Tensor) -> tuple[Tensor, Tensor]:
    check_same_rows(student, teacher)
    student, teacher = both_sides(student, teacher)
    return student.flatten(1), teacher.flatten(1)


def _nothing(student_ND: Tensor) -> Tensor:
    return student_ND.sum() * 0.0


def _distances(rows_ND: Tensor) -> Tensor:
    """(N, N); exact for near rows, and with a zero gradient for rows that coincide."""
    return torch.cdist(rows_ND, rows_ND, compute_mode="donot_use_mm_for_euclid_dist")


def _distances_in_means(rows_ND: Tensor) -> Tensor:
    distance_NN = _distances(rows_ND)
    num_apart = (distance_NN > 0).sum().clamp(min=1)
    mean = distance_NN.sum() / num_apart
    return distance_NN / mean.masked_fill(mean == 0, 1.0)


def _cosines(rows_ND: Tensor) -> Tensor:
    """Of the angle at row j between rows i and k, (J, I, K); zero where j coincides with one of them.

    From inner products, instead of N * N differences of D numbers each; in float64, or near rows would lose digits.
    """
    centred_ND = rows_ND.double() - rows_ND.double().mean(dim=0)
    product_NN = centred_ND @ centred_ND.T
    product_JIK = product_NN - product_NN[:, None, :] - product_NN[:, :, None] + product_NN.diagonal()[:, None, None]
    distance_JI = _distances(rows_ND)
    inverse_JI = torch.where(distance_JI > 0, distance_JI, math.inf).reciprocal()
    return product_JIK.to(rows_ND.dtype) * inverse_JI[:, :, None] * inverse_JI[:, None, :]


def _gaussian_kernel(rows_ND: Tensor) -> Tensor:
    """exp(-gamma |x - y|^2) = exp(-2 gamma) exp(2 gamma x . y) of unit rows, the last factor as a series."""
    unit_ND = unit_rows(rows_ND)
    exponent_NN = 2 * CC_GAMMA * unit_ND @ unit_ND.T
    series_NN = torch.stack([exponent_NN**order / math.factorial(order) for order in range(CC_ORDER + 1)]).sum(dim=0)
    return math.exp(-2 * CC_GAMMA) * series_NN


def _neighbours(rows_ND: Tensor) -> Tensor:
    """(N, N), rows summing to one."""
    unit_ND = unit_rows(rows_ND)
    affinity_NN = (unit_ND @ unit_ND.T + 1) / 2
    return affinity_NN / affinity_NN.sum(dim=1, keepdim=True)
