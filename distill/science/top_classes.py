"""The greatest classes of an answer and the mass of all others; and logits of all classes again from them.

Shapes: N rows, M members, C classes, K classes sent.
"""

import torch
from torch import Tensor

from distill.contracts.classes import check_top_k


def top_classes(logits_NMC: Tensor, k: int) -> tuple[Tensor, Tensor, Tensor]:
    """The K most probable classes of each row and member, and the probability of all others together.

    Args:
        logits_NMC: any float dtype; worked with in float32.
        k: K, 1 to C - 1.

    Returns:
        Log-probabilities (N, M, K) float16, in nats, greatest first: each within 2^-11 of its own size; what float16
        can't hold (below -65,504) becomes its least number, which is probability 0 all the same. Their classes
        (N, M, K) uint16. The tail (N, M) float32: added up over the other classes, not taken as what is missing to 1,
        so that a tail of 1e-12 is as exact as one of 0.5.

    Raises:
        InvalidSpec: k is out of its bounds, or there are more than 65,536 classes.
    """
    check_top_k(k, logits_NMC.shape[-1])
    log_probs_NMC = torch.log_softmax(logits_NMC.float(), dim=-1)
    top_NMK, classes_NMK = log_probs_NMC.topk(k, dim=-1)
    tail_NM = log_probs_NMC.scatter(-1, classes_NMK, -torch.inf).exp().sum(dim=-1)
    sent_NMK = top_NMK.clamp(min=torch.finfo(torch.float16).min).to(torch.float16)
    return sent_NMK, classes_NMK.to(torch.uint16), tail_NM


def spread(log_probs_NMK: Tensor, classes_NMK: Tensor, tail_NM: Tensor, num_classes: int) -> Tensor:
    """Logits of all classes again: log-probabilities, with the tail spread evenly over the classes not sent.

    Exact are the tail's mass, which classes lead, and the ratios between them as float16 carried them. The sum is 1: the
    leading classes are scaled together to fill what the tail leaves, since rounding made them miss it by up to 0.05 %
    for each nat of a log-probability. How the tail is distributed is lost; so at a temperature above 1 it weighs more
    than the teacher's own would, as evenly spread mass is what softening makes the most of.

    Args:
        log_probs_NMK: as `top_classes` gives them.
        classes_NMK: uint16, or any other whole numbers.
        tail_NM: float32.
        num_classes: C.

    Returns:
        (N, M, C) float32, finite: a class that has nothing of an empty tail gets -87, a probability of 1e-38.
    """
    least = torch.finfo(torch.float32).tiny
    top_NMK, tail_NM1 = log_probs_NMK.float(), tail_NM.float().unsqueeze(-1)
    share_NM1 = (tail_NM1 / (num_classes - top_NMK.shape[-1])).clamp(min=least)
    filled_NM1 = (1 - tail_NM1).clamp(min=least)
    top_NMK = top_NMK + filled_NM1.log() - top_NMK.logsumexp(dim=-1, keepdim=True)
    rest_NMC = share_NM1.log().repeat(1, 1, num_classes)
    # torch gathers and scatters by int64 only
    return rest_NMC.scatter(-1, classes_NMK.to(torch.int64), top_NMK)
