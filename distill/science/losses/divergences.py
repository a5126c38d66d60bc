"""Losses on what a network answers: other divergences between softened class distributions than the plain KL.

Shapes: N rows, C classes. Half-precision input is computed in float32; float64 stays float64.
A teacher is always given as logits; an ensemble as logits whose softmax at the same temperature is its distribution.
They may be as low as the logarithm of almost nothing, but must be finite.
"""

import math

import torch
from torch import Tensor

from distill.science.losses.checks import check_share
from distill.science.losses.softened import kl, log_softened


def reverse_kl_loss(student_NC: Tensor, teacher_NC: Tensor, *, temperature: float = 1.0) -> Tensor:
    """KL(student || teacher) of softened class distributions, times T squared: the student may leave classes out.

    Args:
        student_NC: student logits, (N, C), any float dtype; gradients flow.
        teacher_NC: teacher logits, (N, C); constants.
        temperature: T > 0, dimensionless, the same on both sides.

    Returns:
        Scalar float32, mean over N, in nats. Large where the student believes in what the teacher rules out.

    Raises:
        ValueError: the shapes differ or the temperature is not positive.

    Source:
        Gu et al. (2024), MiniLLM, arXiv:2306.08543, section 2, here over classes; they have no temperature.
    """
    log_student_NC, log_teacher_NC = log_softened(student_NC, teacher_NC, temperature)
    return kl(log_student_NC, log_teacher_NC) * temperature**2


def jensen_shannon_loss(
    student_NC: Tensor, teacher_NC: Tensor, *, beta: float = 0.5, temperature: float = 1.0
) -> Tensor:
    """Generalised Jensen-Shannon divergence of softened class distributions, times T squared.

    With the mixture ``m = beta * teacher + (1 - beta) * student`` it is
    ``beta * KL(teacher || m) + (1 - beta) * KL(student || m)``.

    Args:
        student_NC: student logits, (N, C), any float dtype; gradients flow.
        teacher_NC: teacher logits, (N, C); constants.
        beta: share of the teacher in the mixture, in [0, 1]. At 0 and 1 the formula vanishes; there it is *defined*
            as the forward KL(teacher || student) and the reverse KL(student || teacher). It does not come near them:
            close to 0 it is beta times the forward KL.
        temperature: T > 0, dimensionless, the same on both sides.

    Returns:
        Scalar float32, mean over N, in nats; at most ln 2 times T squared where beta is neither 0 nor 1.

    Raises:
        ValueError: the shapes differ, beta is out of range, or the temperature is not positive.

    Source:
        Agarwal et al. (2024), GKD, arXiv:2306.13649, section 2, the generalised divergence JSD(beta). Public trainers
        define 0 and 1 as we do.
    """
    check_share("beta", beta)
    log_student_NC, log_teacher_NC = log_softened(student_NC, teacher_NC, temperature)
    if beta == 0:
        return kl(log_teacher_NC, log_student_NC) * temperature**2
    if beta == 1:
        return kl(log_student_NC, log_teacher_NC) * temperature**2
    log_mixture_NC = _log_mixture(log_teacher_NC, log_student_NC, beta)
    of_teacher, of_student = kl(log_teacher_NC, log_mixture_NC), kl(log_student_NC, log_mixture_NC)
    return (beta * of_teacher + (1 - beta) * of_student) * temperature**2


def skewed_kl_loss(student_NC: Tensor, teacher_NC: Tensor, *, alpha: float = 0.1, temperature: float = 1.0) -> Tensor:
    """KL(teacher || alpha * teacher + (1 - alpha) * student) of softened distributions, times T squared.

    Args:
        student_NC: student logits, (N, C), any float dtype; gradients flow.
        teacher_NC: teacher logits, (N, C); constants.
        alpha: share of the teacher in the mixture, in [0, 1); 0 is the forward KL.
        temperature: T > 0, dimensionless, the same on both sides.

    Returns:
        Scalar float32, mean over N, in nats; at most -ln(alpha) times T squared.

    Raises:
        ValueError: the shapes differ, alpha is out of range, or the temperature is not positive.

    Source:
        Ko et al. (2024), DistiLLM, arXiv:2402.03898, section 3.1, the skew KL divergence; they have no temperature.
    """
    if not 0 <= alpha < 1:
        raise ValueError(f"alpha must be in [0, 1), not {alpha}")
    log_student_NC, log_teacher_NC = log_softened(student_NC, teacher_NC, temperature)
    return kl(log_teacher_NC, _log_mixture(log_teacher_NC, log_student_NC, alpha)) * temperature**2


def total_variation_loss(student_NC: Tensor, teacher_NC: Tensor, *, temperature: float = 1.0) -> Tensor:
    """Half the sum of absolute differences of softened probabilities. Not multiplied by T squared.

    Args:
        student_NC: student logits, (N, C), any float dtype; gradients flow, and shrink as 1 / T.
        teacher_NC: teacher logits, (N, C); constants.
        temperature: T > 0, dimensionless, the same on both sides.

    Returns:
        Scalar float32, mean over N, dimensionless, in [0, 1].

    Raises:
        ValueError: the shapes differ or the temperature is not positive.

    Source:
        Wen et al. (2023), f-divergence minimisation, arXiv:2307.15190, the total variation distance.
    """
    log_student_NC, log_teacher_NC = log_softened(student_NC, teacher_NC, temperature)
    return (log_student_NC.exp() - log_teacher_NC.exp()).abs().sum(dim=1).mean() / 2


def _log_mixture(log_p_NC: Tensor, log_q_NC: Tensor, share: float) -> Tensor:
    """Of ``share * p + (1 - share) * q``."""
    if share == 0:
        return log_q_NC
    return torch.logaddexp(log_p_NC + math.log(share), log_q_NC + math.log1p(-share))
