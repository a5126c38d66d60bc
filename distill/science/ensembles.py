"""How the members of an ensemble become one teacher.

Shapes: N rows, M members, C classes.
"""

import torch
from torch import Tensor

from distill.contracts.ensemble import EnsembleSpec, MeanProbability
from distill.science.losses import at_least_float32


def combine(logits_NMC: Tensor, *, member_weights_M: Tensor, spec: EnsembleSpec, temperature: float) -> Tensor:
    """Softened class probabilities of the whole ensemble.

    Args:
        logits_NMC: every member's logits, (N, M, C), any float dtype.
        member_weights_M: how much each member's word counts, (M,), >= 0 and not all 0; normalised here.
        spec: ``mean_probability`` is the weighted mean of softmax(z / T), ``mean_logit`` the softmax of the weighted
            mean of z / T: an arithmetic and a (normalised) geometric mean of the same distributions.
        temperature: T > 0, dimensionless.

    Returns:
        Probabilities (N, C) float32 (float64 for float64 logits), without a gradient.

    Raises:
        ValueError: the shapes don't fit, a weight is negative, or the temperature is not positive.

    Source:
        Hinton, Vinyals, Dean (2015), arXiv:1503.02531, section 3, names both means.
    """
    _check(logits_NMC, member_weights_M, temperature)
    softened_NMC = at_least_float32(logits_NMC.detach()) / temperature
    share_1M1 = (member_weights_M / member_weights_M.sum()).to(softened_NMC)[None, :, None]
    if isinstance(spec, MeanProbability):
        return (softened_NMC.softmax(dim=2) * share_1M1).sum(dim=1)
    return torch.softmax((softened_NMC * share_1M1).sum(dim=1), dim=1)


def _check(logits_NMC: Tensor, member_weights_M: Tensor, temperature: float) -> None:
    if logits_NMC.dim() != 3 or member_weights_M.shape != logits_NMC.shape[1:2]:
        raise ValueError(
            f"{tuple(member_weights_M.shape)} member weights don't fit logits {tuple(logits_NMC.shape)}, "
            "which must be (N, M, C)"
        )
    if member_weights_M.min() < 0 or member_weights_M.sum() <= 0:
        raise ValueError(f"member weights must be >= 0 and not all 0: {member_weights_M.tolist()}")
    if not temperature > 0:
        raise ValueError(f"temperature must be positive, not {temperature}")
