"""Losses on what a network answers: its logits.

Shapes: N rows, C classes. Half-precision input is computed in float32; float64 stays float64.
A teacher is always given as logits; an ensemble as logits whose softmax at the same temperature is its distribution.
They may be as low as the logarithm of almost nothing, but must be finite.
"""

import math

import torch
from torch import Tensor
from torch.nn import functional

from distill.science.losses.checks import check_logits, check_share, check_temperature
from distill.science.losses.precision import at_least_float32, both_sides

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
    _check_labels(student_NC, labels_N)
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
    log_student_NC, log_teacher_NC = _log_softened(student_NC, teacher_NC, temperature)
    return _kl(log_teacher_NC, log_student_NC) * temperature**2


def soft_probability_loss(student_NC: Tensor, teacher_probability_NC: Tensor, *, temperature: float) -> Tensor:
    """KL(teacher || student) times T squared, from a teacher's distribution that is softened already.

    Args:
        student_NC: student logits, (N, C), any float dtype; gradients flow.
        teacher_probability_NC: softened at the same T, as `combine` returns it, (N, C); constants. Zeros are allowed.
        temperature: T > 0, dimensionless; divides the student's logits only.

    Returns:
        Scalar float32, mean over N, in nats.

    Raises:
        ValueError: the shapes differ or the temperature is not positive.

    Source:
        Hinton, Vinyals, Dean (2015), arXiv:1503.02531, section 2.
    """
    check_logits(student_NC, teacher_probability_NC)
    check_temperature(temperature)
    teacher_NC = at_least_float32(teacher_probability_NC.detach())
    log_student_NC = torch.log_softmax(at_least_float32(student_NC) / temperature, dim=1)
    return functional.kl_div(log_student_NC, teacher_NC, reduction="batchmean") * temperature**2


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
    log_student_NC, log_teacher_NC = _log_softened(student_NC, teacher_NC, temperature)
    return _kl(log_student_NC, log_teacher_NC) * temperature**2


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
    log_student_NC, log_teacher_NC = _log_softened(student_NC, teacher_NC, temperature)
    if beta == 0:
        return _kl(log_teacher_NC, log_student_NC) * temperature**2
    if beta == 1:
        return _kl(log_student_NC, log_teacher_NC) * temperature**2
    log_mixture_NC = _log_mixture(log_teacher_NC, log_student_NC, beta)
    of_teacher, of_student = _kl(log_teacher_NC, log_mixture_NC), _kl(log_student_NC, log_mixture_NC)
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
    log_student_NC, log_teacher_NC = _log_softened(student_NC, teacher_NC, temperature)
    return _kl(log_teacher_NC, _log_mixture(log_teacher_NC, log_student_NC, alpha)) * temperature**2


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
    log_student_NC, log_teacher_NC = _log_softened(student_NC, teacher_NC, temperature)
    return (log_student_NC.exp() - log_teacher_NC.exp()).abs().sum(dim=1).mean() / 2


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
    _check_labels(student_NC, labels_N)
    if student_NC.shape[1] < 2:
        raise ValueError(f"at least two classes are needed to tell one from the others, not {student_NC.shape[1]}")
    log_student_NC, log_teacher_NC = _log_softened(student_NC, teacher_NC, temperature)
    target_N = torch.where(labels_N >= 0, labels_N, log_teacher_NC.argmax(dim=1))
    student_N2, student_NR = _decoupled(log_student_NC, target_N)
    teacher_N2, teacher_NR = _decoupled(log_teacher_NC, target_N)
    return (alpha * _kl(teacher_N2, student_N2) + beta * _kl(teacher_NR, student_NR)) * temperature**2


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
    log_student_NC, log_teacher_NC = _log_softened(student_NC, teacher_NC, temperature)
    student_NC, teacher_NC = log_student_NC.exp(), log_teacher_NC.exp()
    loss = inter * (1 - _correlation(student_NC, teacher_NC).mean())
    if student_NC.shape[0] > 1:
        loss = loss + intra * (1 - _correlation(student_NC.T, teacher_NC.T).mean())
    return loss * temperature**2


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


def _log_softened(student_NC: Tensor, teacher_NC: Tensor, temperature: float) -> tuple[Tensor, Tensor]:
    check_logits(student_NC, teacher_NC)
    check_temperature(temperature)
    student_NC, teacher_NC = both_sides(student_NC, teacher_NC)
    return torch.log_softmax(student_NC / temperature, dim=1), torch.log_softmax(teacher_NC / temperature, dim=1)


def _kl(log_p_NC: Tensor, log_q_NC: Tensor) -> Tensor:
    return functional.kl_div(log_q_NC, log_p_NC, reduction="batchmean", log_target=True)


def _log_mixture(log_p_NC: Tensor, log_q_NC: Tensor, share: float) -> Tensor:
    """Of ``share * p + (1 - share) * q``."""
    if share == 0:
        return log_q_NC
    return torch.logaddexp(log_p_NC + math.log(share), log_q_NC + math.log1p(-share))


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


def _check_labels(student_NC: Tensor, labels_N: Tensor) -> None:
    if labels_N.shape != student_NC.shape[:1] or student_NC.dim() != 2:
        raise ValueError(f"labels {tuple(labels_N.shape)} don't fit logits {tuple(student_NC.shape)}")
