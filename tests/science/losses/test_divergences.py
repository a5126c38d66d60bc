"""Divergences of class distributions other than the plain KL."""

import math

import pytest
import torch

from distill.science.losses import (
    jensen_shannon_loss,
    reverse_kl_loss,
    skewed_kl_loss,
    soft_target_loss,
    total_variation_loss,
)

HALVES = torch.tensor([[0.5, 0.5]]).log()
QUARTER = torch.tensor([[0.75, 0.25]]).log()


def kl(p, q):
    """Term by term, in plain numbers."""
    return sum(a * math.log(a / b) for a, b in zip(p, q, strict=True))


def test_reverse_kl_of_two_classes_by_hand():
    loss = reverse_kl_loss(HALVES, QUARTER)

    assert loss.item() == pytest.approx(0.5 * math.log(0.5 / 0.75) + 0.5 * math.log(0.5 / 0.25), rel=1e-6)


def test_reverse_kl_is_the_forward_one_with_the_sides_exchanged():
    one_NC, other_NC = torch.randn(4, 5), torch.randn(4, 5)

    reverse = reverse_kl_loss(one_NC, other_NC, temperature=3.0)

    assert reverse.item() == pytest.approx(soft_target_loss(other_NC, one_NC, temperature=3.0).item(), rel=1e-5)


@pytest.mark.parametrize("beta", [0.1, 0.5, 0.9])
def test_jensen_shannon_of_two_classes_by_hand(beta):
    middle = [beta * 0.75 + (1 - beta) * 0.5, beta * 0.25 + (1 - beta) * 0.5]

    loss = jensen_shannon_loss(HALVES, QUARTER, beta=beta)

    by_hand = beta * kl((0.75, 0.25), middle) + (1 - beta) * kl((0.5, 0.5), middle)
    assert loss.item() == pytest.approx(by_hand, rel=1e-5)


def test_jensen_shannon_at_its_ends_is_defined_as_the_forward_and_the_reverse_kl():
    student_NC, teacher_NC = torch.randn(4, 5), torch.randn(4, 5)
    forward, reverse = (kind(student_NC, teacher_NC, temperature=2.0) for kind in (soft_target_loss, reverse_kl_loss))

    assert torch.equal(jensen_shannon_loss(student_NC, teacher_NC, beta=0.0, temperature=2.0), forward)
    assert torch.equal(jensen_shannon_loss(student_NC, teacher_NC, beta=1.0, temperature=2.0), reverse)


def test_jensen_shannon_near_an_end_is_that_share_of_a_kl():
    student_NC, teacher_NC = torch.randn(4, 5).double(), torch.randn(4, 5).double()
    forward, reverse = (kind(student_NC, teacher_NC, temperature=1.0) for kind in (soft_target_loss, reverse_kl_loss))

    near_forward = jensen_shannon_loss(student_NC, teacher_NC, beta=1e-6)
    near_reverse = jensen_shannon_loss(student_NC, teacher_NC, beta=1 - 1e-6)

    assert near_forward.item() / 1e-6 == pytest.approx(forward.item(), rel=1e-4)
    assert near_reverse.item() / 1e-6 == pytest.approx(reverse.item(), rel=1e-4)


def test_jensen_shannon_in_the_middle_is_symmetric_and_at_most_ln_2():
    one_NC, other_NC = 30 * torch.randn(4, 5).double(), 30 * torch.randn(4, 5).double()

    there, back = jensen_shannon_loss(one_NC, other_NC), jensen_shannon_loss(other_NC, one_NC)

    assert there.item() == pytest.approx(back.item(), rel=1e-12)
    assert 0.1 < there.item() <= math.log(2)


def test_skewed_kl_of_two_classes_by_hand():
    loss = skewed_kl_loss(HALVES, QUARTER, alpha=0.2)

    assert loss.item() == pytest.approx(kl((0.75, 0.25), (0.2 * 0.75 + 0.4, 0.2 * 0.25 + 0.4)), rel=1e-5)


def test_skewed_kl_without_a_skew_is_the_forward_kl():
    student_NC, teacher_NC = torch.randn(4, 5), torch.randn(4, 5)

    skewed = skewed_kl_loss(student_NC, teacher_NC, alpha=0.0, temperature=2.0)

    assert torch.equal(skewed, soft_target_loss(student_NC, teacher_NC, temperature=2.0))


def test_skewed_kl_stays_below_the_logarithm_of_its_skew_however_wrong_the_student_is():
    loss = skewed_kl_loss(torch.tensor([[0.0, 1000.0]]), torch.tensor([[1000.0, 0.0]]), alpha=0.1)

    assert loss.item() == pytest.approx(-math.log(0.1), rel=1e-5)


def test_total_variation_by_hand_and_between_nothing_and_all():
    nothing = total_variation_loss(HALVES, HALVES)
    quarter = total_variation_loss(HALVES, QUARTER)
    everything = total_variation_loss(torch.tensor([[0.0, 1000.0]]), torch.tensor([[1000.0, 0.0]]))

    assert [nothing.item(), quarter.item(), everything.item()] == pytest.approx([0.0, 0.25, 1.0], rel=1e-6)


def test_a_temperature_multiplies_kls_by_its_square_but_not_total_variation():
    student_NC, teacher_NC = torch.randn(4, 5).double(), torch.randn(4, 5).double()
    half = student_NC / 2, teacher_NC / 2

    for loss in (reverse_kl_loss, jensen_shannon_loss, skewed_kl_loss):
        assert loss(student_NC, teacher_NC, temperature=2.0).item() == pytest.approx(4 * loss(*half).item(), rel=1e-9)
    warm = total_variation_loss(student_NC, teacher_NC, temperature=2.0)
    assert warm.item() == pytest.approx(total_variation_loss(*half).item(), rel=1e-9)


@pytest.mark.parametrize("beta", [-0.1, 1.1, float("nan")])
def test_a_share_that_is_none_is_refused(beta):
    with pytest.raises(ValueError, match=r"beta must be in \[0, 1\]"):
        jensen_shannon_loss(HALVES, QUARTER, beta=beta)


@pytest.mark.parametrize("alpha", [-0.1, 1.0, float("nan")])
def test_a_skew_that_leaves_no_student_is_refused(alpha):
    with pytest.raises(ValueError, match=r"alpha must be in \[0, 1\)"):
        skewed_kl_loss(HALVES, QUARTER, alpha=alpha)
