"""Terms on answers: the student's logits beside a teacher's, at this moment's temperature.

Shapes: N rows, C classes.
"""

from torch import Tensor

from distill.contracts.objective import (
    DecoupledTerm,
    DistTerm,
    JensenShannonTerm,
    LogitsTerm,
    ResponseTerm,
    ReverseKlTerm,
    SkewedKlTerm,
    SoftTargetsTerm,
    TotalVariationTerm,
)
from distill.contracts.schedules import value_at
from distill.science.losses import (
    decoupled_loss,
    dist_loss,
    jensen_shannon_loss,
    logit_loss,
    reverse_kl_loss,
    skewed_kl_loss,
    soft_target_loss,
    standardise,
    total_variation_loss,
)


def combining_temperature(term: ResponseTerm, progress: float) -> float:
    """T at which the members are combined: the term's own, or 1 where it compares the logits themselves."""
    if isinstance(term, LogitsTerm) or (isinstance(term, SoftTargetsTerm) and term.standardise):
        return 1.0
    return value_at(term.temperature, progress)


def response_loss(
    term: ResponseTerm, student_NC: Tensor, teacher_NC: Tensor, labels_N: Tensor, *, progress: float
) -> Tensor:
    """The term's value, before its weight.

    Args:
        term: says which loss, and its settings.
        student_NC: student logits, (N, C); gradients flow.
        teacher_NC: teacher logits, (N, C), combined at `combining_temperature`; constants.
        labels_N: class numbers, (N,) int64, -1 where a row has none that may be used.
        progress: of the training, from 0 to 1: schedules are read at it.

    Returns:
        A scalar, mean over N.
    """
    if isinstance(term, LogitsTerm):
        return logit_loss(student_NC, teacher_NC)
    temperature = value_at(term.temperature, progress)
    match term:
        case SoftTargetsTerm(standardise=True):
            return soft_target_loss(standardise(student_NC), standardise(teacher_NC), temperature=temperature)
        case SoftTargetsTerm():
            return soft_target_loss(student_NC, teacher_NC, temperature=temperature)
        case ReverseKlTerm():
            return reverse_kl_loss(student_NC, teacher_NC, temperature=temperature)
        case JensenShannonTerm(beta=beta):
            return jensen_shannon_loss(student_NC, teacher_NC, beta=beta, temperature=temperature)
        case SkewedKlTerm(alpha=alpha):
            return skewed_kl_loss(student_NC, teacher_NC, alpha=alpha, temperature=temperature)
        case TotalVariationTerm():
            return total_variation_loss(student_NC, teacher_NC, temperature=temperature)
        case DecoupledTerm(alpha=alpha, beta=beta):
            return decoupled_loss(student_NC, teacher_NC, labels_N, alpha=alpha, beta=beta, temperature=temperature)
        case DistTerm(inter=inter, intra=intra):
            return dist_loss(student_NC, teacher_NC, inter=inter, intra=intra, temperature=temperature)
