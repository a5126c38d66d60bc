"""Losses that tell a row's own teacher embedding from those of other rows.

Shapes: N rows, D dimensions of the space in which both sides are compared.
"""

import torch
from torch import Tensor
from torch.nn import functional

from distill.science.losses.checks import check_same_shape, check_temperature
from distill.science.losses.precision import both_sides
from distill.science.losses.rows import unit_rows


def contrastive_loss(student_ND: Tensor, teacher_ND: Tensor, *, temperature: float = 0.1) -> Tensor:
    """Which teacher embedding belongs to a row's student embedding, and the reverse: cross-entropy of both choices.

    Embeddings are divided by their L2 norm; the logits of a choice are their N inner products over the temperature.
    Both directions have the same weight, as the program of the paper contrasts from both sides too; here the second
    is free, the same N x N matrix read by columns.

    This is the memory-free form, within the batch: each row's negatives are the other N - 1 rows, whatever their
    labels. The paper draws 16,384 negatives of other classes from a memory of the whole data set and estimates the
    ratio of densities (NCE) rather than a softmax (InfoNCE).

    Args:
        student_ND: embeddings, (N, D), any float dtype; gradients flow.
        teacher_ND: embeddings in the same space, (N, D); constants, so a projection that made them stays as it is. The
            paper trains that one too: the loss is symmetric, and with the sides exchanged it gives those gradients.
        temperature: T > 0, dimensionless.

    Returns:
        Scalar float32, mean over N and both directions, in nats; ln N where nothing is told apart, zero for one row.

    Raises:
        ValueError: the shapes differ, or the temperature is not positive.

    Source:
        Tian et al. (2020), CRD, arXiv:1910.10699, section 3.1, with the softmax of van den Oord et al. (2018), InfoNCE,
        arXiv:1807.03748, equation 4.
    """
    if student_ND.dim() != 2:
        raise ValueError(f"embeddings must be (N, D), not {tuple(student_ND.shape)}")
    check_same_shape(student_ND, teacher_ND)
    check_temperature(temperature)
    student_ND, teacher_ND = both_sides(student_ND, teacher_ND)
    choice_NN = unit_rows(student_ND) @ unit_rows(teacher_ND).T / temperature
    own_N = torch.arange(len(choice_NN), device=choice_NN.device)
    return (functional.cross_entropy(choice_NN, own_N) + functional.cross_entropy(choice_NN.T, own_N)) / 2
