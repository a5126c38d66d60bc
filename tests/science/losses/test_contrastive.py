"""Telling a row's own teacher from those of other rows."""

import math

import pytest
import torch

from distill.science.losses import contrastive_loss


def test_two_rows_by_hand():
    student_ND = torch.tensor([[2.0, 0.0], [0.0, 3.0]])
    teacher_ND = torch.tensor([[5.0, 0.0], [3.0, 4.0]])  # cosines (1, 0.6), (0, 0.8)

    loss = contrastive_loss(student_ND, teacher_ND, temperature=0.5)

    def miss(own, other):
        return math.log(1 + math.exp((other - own) / 0.5))

    of_students, of_teachers = (miss(1, 0.6) + miss(0.8, 0)) / 2, (miss(1, 0) + miss(0.8, 0.6)) / 2
    assert loss.item() == pytest.approx((of_students + of_teachers) / 2, rel=1e-6)


def test_a_student_that_tells_nothing_apart_pays_the_logarithm_of_the_rows():
    loss = contrastive_loss(torch.ones(6, 3), torch.ones(6, 3))

    assert loss.item() == pytest.approx(math.log(6), rel=1e-6)


def test_a_student_that_tells_all_apart_pays_little_and_more_if_it_is_hot():
    cold, hot = (contrastive_loss(torch.eye(6), torch.eye(6), temperature=t).item() for t in (0.05, 1.0))

    assert cold < 1e-6
    assert hot == pytest.approx(math.log(1 + 5 / math.e), rel=1e-6)


def test_neither_sides_length_matters_and_a_common_rotation_neither():
    student_ND, teacher_ND = torch.randn(5, 4).double(), torch.randn(5, 4).double()
    rotation = torch.linalg.qr(torch.randn(4, 4).double())[0]

    plain = contrastive_loss(student_ND, teacher_ND)
    turned = contrastive_loss(3 * student_ND @ rotation, teacher_ND @ rotation / 7)

    assert turned.item() == pytest.approx(plain.item(), rel=1e-9)


def test_both_directions_count_the_same():
    student_ND, teacher_ND = torch.randn(5, 4).double(), torch.randn(5, 4).double()

    there, back = contrastive_loss(student_ND, teacher_ND), contrastive_loss(teacher_ND, student_ND)

    assert there.item() == pytest.approx(back.item(), rel=1e-12)


def test_embeddings_in_different_spaces_are_refused():
    with pytest.raises(ValueError, match=r"student \(5, 4\) and teacher \(5, 3\)"):
        contrastive_loss(torch.zeros(5, 4), torch.zeros(5, 3))
    with pytest.raises(ValueError, match=r"\(N, D\), not \(5, 4, 1\)"):
        contrastive_loss(torch.zeros(5, 4, 1), torch.zeros(5, 4, 1))
