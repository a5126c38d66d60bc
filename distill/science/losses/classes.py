"""Losses on what a network answers: classes taken apart (DKD), and set in relation (DIST).

Shapes: N rows, C classes, R = C - 1 classes other than the target, A and B either of N and C.
Half-precision input is computed in float32; float64 stays float64.
A teacher is always given as logits; an ensemble as logits whose softmax at the same temperature is its distribution.
They may be as low as the logarithm of almost nothing, but must be finite.
"""

import torch
from torch import Tensor
from torch.nn import functional

from distill.science.losses.checks import check_labels
from distill.science.losses.softened import kl, log_softened


def decoupled_loss(
    student_NC: Tensor,
    teacher_NC: Tensor,
    labels_N: Tensor,
    *,
    alpha: float = 1.0,
    beta: float = 8.0,
    temperature: float = 4.0,
) -> Tensor:
    """Soft targets in two parts with weights of their own: target class against the rest, and the rest among itself.

    ``alpha * KL(b_teacher || b_student) + beta * KL(r_teacher || r_student)``, times T squared, where b is the pair
    (probability of the target class, probability of all others) and r the others' distribution, summing to one.
    With ``beta`` equal to the teacher's probability of the others, row by row, it would be the plain KL.

    Args:
        student_NC: student logits, (N, C), C >= 2, any float dtype; gradients flow.
        teacher_NC: teacher logits, (N, C); constants.
        labels_N: target classes, (N,) int64; where negative, the teacher's likeliest class.
        alpha: weight of the first part, >= 0.
        beta: weight of the second part, >= 0.
        temperature: T > 0, dimensionless, the same on both sides.

    Returns:
        Scalar float32, mean over N, in nats.

    Raises:
        ValueError: the shapes differ, there is one class only, or the temperature is not positive.

    Source:
        Zhao et al. (2022), DKD, arXiv:2203.08679, section 3, with the T squared of its program. mdistiller's dkd_loss
        hides the target class by subtracting 1000 from its logit and takes logarithms of probabilities; here it is
        left out, and all stays in logarithms. Rows without a label are not in the paper.
    """
    check_labels(student_NC, labels_N)
    if student_NC.shape[1] < 2:
        raise ValueError(f"at least two classes are needed to tell one from the others, not {student_NC.shape[1]}")
    log_student_NC, log_teacher_NC = log_softened(student_NC, teacher_NC, temperature)
    target_N = torch.where(labels_N >= 0, labels_N, log_teacher_NC.argmax(dim=1))
    student_N2, student_NR = _decoupled(log_student_NC, target_N)
    teacher_N2, teacher_NR = _decoupled(log_teacher_NC, target_N)
    return (alpha * kl(teacher_N2, student_N2) + beta * kl(teacher_NR, student_NR)) * temperature**2


def dist_loss(
    student_NC: Tensor, teacher_NC: Tensor, *, inter: float = 1.0, intra: float = 1.0, temperature: float = 1.0
) -> Tensor:
    """One minus Pearson's correlation of softened probabilities, within rows and within classes, times T squared.

    Args:
        student_NC: student logits, (N, C), any float dtype; gradients flow.
        teacher_NC: teacher logits, (N, C); constants.
        inter: weight of the part within rows: the relation of a row's classes.
        intra: weight of the part within classes: the relation of a class's rows. One row has none; then it is zero.
        temperature: T > 0, dimensionless, the same on both sides.

    Returns:
        Scalar float32, dimensionless, each part in [0, 2] times T squared. What doesn't vary at all, on either side,
        has correlation 0 and no gradient.

    Raises:
        ValueError: the shapes differ or the temperature is not positive.

    Source:
        Huang et al. (2022), DIST, arXiv:2205.10536, the inter-class and intra-class relations. The T squared is of the
        authors' program and torchdistill's DISTLoss, not of the paper.
    """
    log_student_NC, log_teacher_NC = log_softened(student_NC, teacher_NC, temperature)
    student_NC, teacher_NC = log_student_NC.exp(), log_teacher_NC.exp()
    loss = inter * (1 - _correlation(student_NC, teacher_NC).mean())
    if student_NC.shape[0] > 1:
        loss = loss + intra * (1 - _correlation(student_NC.T, teacher_NC.T).mean())
    return loss * temperature**2


def _decoupled(log_p_NC: Tensor, target_N: Tensor) -> tuple[Tensor, Tensor]:
    """Logarithms of (target class, all others), (N, 2), and of the others' own distribution, (N, C - 1)."""
    is_target_NC = functional.one_hot(target_N, log_p_NC.shape[1]).bool()
    log_others_NR = log_p_NC[~is_target_NC].view(len(log_p_NC), -1)
    log_all_others_N1 = log_others_NR.logsumexp(dim=1, keepdim=True)
    log_target_N1 = log_p_NC.gather(1, target_N[:, None])
    return torch.cat([log_target_N1, log_all_others_N1], dim=1), log_others_NR - log_all_others_N1


def _correlation(student_AB: Tensor, teacher_AB: Tensor) -> Tensor:
    """Pearson's correlation along B, (A,)."""
    student_AB = student_AB - student_AB.mean(dim=1, keepdim=True)
    teacher_AB = teacher_AB - teacher_AB.mean(dim=1, keepdim=True)
    return functional.cosine_similarity(student_AB, teacher_AB, dim=1)
