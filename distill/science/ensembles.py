"""How the members of an ensemble become one teacher, whose answer is handed on as logits.

Two steps: `member_weights` says how much each member counts on each row, `aggregate` makes one answer of several.
Shapes: N rows, M members, C classes, K members that are heard (weight > 0).
"""

from typing import Literal

import torch
from torch import Tensor

from distill.contracts.ensemble import (
    EnsembleSpec,
    Entropy,
    GeometricMean,
    LabelAware,
    MeanLogit,
    PerMemberHeads,
    Weighted,
)
from distill.science.losses import at_least_float32

Aggregation = Literal["mean_probability", "mean_logit", "geometric_mean"]


def combine(
    logits_NMC: Tensor, *, base_M: Tensor, spec: EnsembleSpec, temperature: float, labels_N: Tensor | None = None
) -> Tensor:
    """The ensemble's logits: their softmax at ``temperature`` is the ensemble's softened distribution.

    ``each`` and ``per_member_heads`` are not combined while a student learns; their one answer here is for reports:
    the mean probability, and what ``aggregate`` of the spec says.

    Args:
        logits_NMC: every member's logits, (N, M, C), any float dtype, finite; constants.
        base_M: how much each member counts before a row is looked at, as `base_weights` gives it for these members,
            (M,), >= 0 and not all 0; normalised here.
        spec: how they are combined.
        temperature: T > 0, dimensionless.
        labels_N: class numbers, (N,) int64, negative where a row has none. They change ``label_aware`` alone; leave
            them out where the ensemble is measured, or it is told the answers.

    Returns:
        Logits (N, C) float32 (float64 for float64 logits), finite, without a gradient.

    Raises:
        ValueError: the shapes don't fit, a weight is negative, all are 0, or the temperature is not positive.
    """
    logits_NMC = at_least_float32(logits_NMC.detach())
    weights_NM = member_weights(logits_NMC, labels_N, base_M, spec)
    return aggregate(logits_NMC, weights_NM, how=_aggregation(spec), temperature=temperature)


def base_weights(teachers_M: Tensor, spec: EnsembleSpec) -> Tensor:
    """How much each member counts before a row is looked at, (M,) float32 of all teachers' members, not normalised.

    Args:
        teachers_M: each member's part of its teacher's weight, (M,).
        spec: the weights of ``weighted`` take the place of the teachers'.

    Raises:
        ValueError: ``weighted`` has another number of weights than there are members.
    """
    if not isinstance(spec, Weighted):
        return teachers_M
    if len(spec.weights) != len(teachers_M):
        raise ValueError(f"the teachers have {len(teachers_M)} members, and {len(spec.weights)} weights are given")
    return torch.tensor(spec.weights, dtype=torch.float32, device=teachers_M.device)


def member_weights(logits_NMC: Tensor, labels_N: Tensor | None, base_M: Tensor, spec: EnsembleSpec) -> Tensor:
    """How much each member counts on each row.

    ``entropy`` and ``label_aware`` multiply the normalised ``base_M`` by a share s of each row, and normalise again:

    - ``entropy``: s_m = (1 - H_m / (H_1 + ... + H_K)) / (K - 1), with H_m the entropy of the member's answer;
    - ``label_aware``: s_m = (1 - exp(L_m) / (exp(L_1) + ... + exp(L_K))) / (K - 1), with L_m the cross-entropy of the
      member's answer with the row's label; a row without a label leaves ``base_M`` as it is.

    Both judge answers as they are, at temperature 1. K counts the members that are heard: one of weight 0 changes
    nobody's share. A single heard member has all the weight, and members of no entropy at all share alike.

    Args:
        logits_NMC: every member's logits, (N, M, C), any float dtype, finite.
        labels_N: class numbers, (N,) int64, negative where a row has none; None where no row has one.
        base_M: (M,), >= 0 and not all 0.
        spec: how the members are combined.

    Returns:
        (N, M) float32 (float64 for float64 logits), >= 0, each row's sum is 1.

    Raises:
        ValueError: the shapes don't fit, a weight is negative, or all are 0.

    Source:
        ``entropy``: Kwon, Na, Lee, Kim (2020), "Adaptive knowledge distillation based on entropy", ICASSP, for the
        idea that lower entropy counts more; the formula is the one that CA-MKD's authors compare with in their code,
        where the weights sum to K - 1 and the loss is then divided by K: ours sum to 1.
        ``label_aware``: Zhang, Chen, Wang (2022), arXiv:2201.00007, w_KD; their code divides the loss by K besides.
        Both papers weigh the members' losses; a KL to the weighted mean has the same gradient, and its value is
        smaller by what doesn't depend on the student.
    """
    _check_weights(logits_NMC, labels_N, base_M)
    logits_NMC = at_least_float32(logits_NMC)
    base_NM = (base_M / base_M.sum()).to(logits_NMC).expand(logits_NMC.shape[:2])
    heard_M = (base_M > 0).to(logits_NMC.device)
    if isinstance(spec, Entropy):
        return _normalised(base_NM * _shares(_entropy_parts(logits_NMC, heard_M), heard_M))
    if not isinstance(spec, LabelAware) or labels_N is None:
        return base_NM
    labels_N = labels_N.to(logits_NMC.device)
    aware_NM = _normalised(base_NM * _shares(_label_parts(logits_NMC, labels_N, heard_M), heard_M))
    return torch.where((labels_N >= 0)[:, None], aware_NM, base_NM)


def aggregate(logits_NMC: Tensor, weights_NM: Tensor, *, how: Aggregation, temperature: float) -> Tensor:
    """One answer of several: logits whose softmax at ``temperature`` is the aggregated distribution.

    A student with a head per member is aggregated by this very function, so gradients flow.

    Args:
        logits_NMC: logits of members or heads, (N, M, C), any float dtype, finite.
        weights_NM: (N, M), >= 0, each row's sum is 1; a member of weight 0 adds nothing, not even to gradients.
        how: ``mean_probability``: T log(sum_m w_m softmax(z_m / T)). ``mean_logit``: sum_m w_m z_m, whatever T.
            ``geometric_mean``: T times the normalised log of prod_m softmax(z_m / T)^w_m, which is the distribution of
            ``mean_logit``, moved so that logsumexp(result / T) = 0.
        temperature: T > 0, dimensionless.

    Returns:
        Logits (N, C) float32 (float64 for float64 logits).

    Raises:
        ValueError: the shapes don't fit, or the temperature is not positive.

    Source:
        Hinton, Vinyals, Dean (2015), arXiv:1503.02531, section 3, names the arithmetic and the geometric mean.
    """
    if logits_NMC.dim() != 3 or weights_NM.shape != logits_NMC.shape[:2]:
        raise ValueError(f"weights {tuple(weights_NM.shape)} don't fit logits {tuple(logits_NMC.shape)}: (N, M, C)")
    if not temperature > 0:
        raise ValueError(f"temperature must be positive, not {temperature}")
    logits_NMC = at_least_float32(logits_NMC)
    weights_NM1 = weights_NM.to(logits_NMC)[:, :, None]
    if how == "mean_probability":
        log_p_NMC = (logits_NMC / temperature).log_softmax(dim=2)
        # log 0 is -inf, which logsumexp takes for a part of nothing
        return temperature * (weights_NM1.log() + log_p_NMC).logsumexp(dim=1)
    mean_NC = (weights_NM1 * logits_NMC).sum(dim=1)
    return mean_NC if how == "mean_logit" else temperature * (mean_NC / temperature).log_softmax(dim=1)


def _aggregation(spec: EnsembleSpec) -> Aggregation:
    if isinstance(spec, PerMemberHeads):
        return spec.aggregate
    if isinstance(spec, MeanLogit | GeometricMean):
        return spec.combine
    return "mean_probability"


def _entropy_parts(logits_NMC: Tensor, heard_M: Tensor) -> Tensor:
    """Each heard member's part of all heard members' entropy, (N, M)."""
    log_p_NMC = logits_NMC.log_softmax(dim=2)
    entropy_NM = -(log_p_NMC.exp() * log_p_NMC).sum(dim=2) * heard_M
    sum_N1 = entropy_NM.sum(dim=1, keepdim=True)
    return torch.where(sum_N1 > 0, entropy_NM / sum_N1, 1 / heard_M.sum())


def _label_parts(logits_NMC: Tensor, labels_N: Tensor, heard_M: Tensor) -> Tensor:
    """Softmax over the heard members of their cross-entropy with the label, (N, M); any number on unlabelled rows."""
    at_NM1 = labels_N.clamp_min(0)[:, None, None].expand(-1, logits_NMC.shape[1], 1)
    cross_entropy_NM = -logits_NMC.log_softmax(dim=2).gather(2, at_NM1).squeeze(2)
    return cross_entropy_NM.masked_fill(~heard_M, -torch.inf).softmax(dim=1)


def _shares(parts_NM: Tensor, heard_M: Tensor) -> Tensor:
    """Who has less of what speaks against a member counts more, (N, M): 1 - part, whose K - 1 goes in normalising."""
    if int(heard_M.sum()) == 1:
        return heard_M.to(parts_NM).expand_as(parts_NM)
    return (1 - parts_NM) * heard_M


def _normalised(weights_NM: Tensor) -> Tensor:
    return weights_NM / weights_NM.sum(dim=1, keepdim=True)


def _check_weights(logits_NMC: Tensor, labels_N: Tensor | None, base_M: Tensor) -> None:
    if logits_NMC.dim() != 3 or base_M.shape != logits_NMC.shape[1:2]:
        raise ValueError(
            f"{tuple(base_M.shape)} member weights don't fit logits {tuple(logits_NMC.shape)}, which must be (N, M, C)"
        )
    if labels_N is not None and labels_N.shape != logits_NMC.shape[:1]:
        raise ValueError(f"labels {tuple(labels_N.shape)} don't fit logits {tuple(logits_NMC.shape)}")
    if not (base_M >= 0).all() or not 0 < base_M.sum() < torch.inf:
        raise ValueError(f"member weights must be >= 0, finite and not all 0: {base_M.tolist()}")
