"""Labels, soft targets and logits, against arithmetic by hand."""

import math

import pytest
import torch

from distill.science.losses import label_loss, logit_loss, soft_target_loss, standardise


def test_soft_targets_of_two_classes_by_hand():
    # teacher (3/4, 1/4), student (1/2, 1/2), at T = 2: the logits are twice the log-odds
    teacher_NC = torch.tensor([[2 * math.log(3), 0.0]])

    loss = soft_target_loss(torch.zeros(1, 2), teacher_NC, temperature=2.0)

    assert loss.item() == pytest.approx(4 * (0.75 * math.log(1.5) + 0.25 * math.log(0.5)), rel=1e-6)


def test_soft_targets_do_not_care_for_a_constant_added_to_a_rows_logits():
    student_NC, teacher_NC = torch.randn(4, 5), torch.randn(4, 5)

    moved = soft_target_loss(student_NC + 7, teacher_NC - 3, temperature=4.0)

    assert moved.item() == pytest.approx(soft_target_loss(student_NC, teacher_NC, temperature=4.0).item(), rel=1e-5)


def test_a_teacher_that_is_certain_makes_soft_targets_a_cross_entropy():
    student_NC = torch.randn(4, 5, requires_grad=True)

    loss = soft_target_loss(student_NC, 1e4 * torch.eye(5)[[0, 3, 2, 2]], temperature=1.0)
    loss.backward()

    expected = -student_NC.log_softmax(dim=1)[range(4), [0, 3, 2, 2]].mean().item()
    assert loss.item() == pytest.approx(expected, rel=1e-6)
    assert student_NC.grad is not None
    assert student_NC.grad.isfinite().all()


def test_true_labels_count_only_where_there_are_any():
    student_NC = torch.tensor([[0.0, 0.0], [100.0, 0.0], [math.log(3), 0.0]])

    loss = label_loss(student_NC, torch.tensor([0, -1, 1]))

    assert loss.item() == pytest.approx((math.log(2) + math.log(4)) / 2, rel=1e-6)


def test_a_step_without_labels_costs_nothing_and_moves_nothing():
    student_NC = torch.randn(3, 4, requires_grad=True)

    loss = label_loss(student_NC, torch.full((3,), -1))
    loss.backward()

    assert loss.item() == 0
    assert torch.equal(student_NC.grad, torch.zeros(3, 4))


def test_smoothing_spreads_its_share_evenly_over_all_classes():
    log_p = torch.tensor([[0.7, 0.2, 0.1]]).log()

    loss = label_loss(log_p, torch.tensor([0]), smoothing=0.3)

    assert loss.item() == pytest.approx(-(0.8 * math.log(0.7) + 0.1 * math.log(0.2) + 0.1 * math.log(0.1)), rel=1e-6)


def test_other_classes_or_no_temperature_are_refused():
    with pytest.raises(ValueError, match="same classes"):
        soft_target_loss(torch.zeros(2, 3), torch.zeros(2, 4), temperature=1.0)
    with pytest.raises(ValueError, match="positive"):
        soft_target_loss(torch.zeros(2, 3), torch.zeros(2, 3), temperature=0.0)


def test_labels_that_do_not_fit_are_refused():
    with pytest.raises(ValueError, match="don't fit"):
        label_loss(torch.zeros(2, 3), torch.zeros(3, dtype=torch.int64))


def test_derivatives_of_labels_agree_with_finite_differences():
    student_NC = torch.randn(3, 4, dtype=torch.float64, requires_grad=True)
    labels_N = torch.tensor([0, -1, 3])

    assert torch.autograd.gradcheck(lambda z: label_loss(z, labels_N, smoothing=0.1), student_NC)


def test_a_smoothing_that_leaves_no_label_is_refused():
    with pytest.raises(ValueError, match=r"smoothing must be in \[0, 1\), not 1"):
        label_loss(torch.zeros(2, 3), torch.zeros(2).long(), smoothing=1.0)


def test_logits_differ_by_their_mean_square_and_a_constant_counts():
    student_NC = torch.tensor([[1.0, 2.0], [0.0, 0.0]])

    assert logit_loss(student_NC, torch.tensor([[1.0, 0.0], [3.0, 0.0]])).item() == (4 + 9) / 4
    assert logit_loss(student_NC, student_NC + 2).item() == 4


def test_standardised_logits_have_mean_0_and_deviation_1_by_hand():
    standard_NC = standardise(torch.tensor([[1.0, 2.0, 6.0]]))  # mean 3, squares 4 + 1 + 9 over 3 - 1

    assert standard_NC[0].tolist() == pytest.approx([x / math.sqrt(7) for x in (-2, -1, 3)], rel=1e-6)


def test_standardised_logits_do_not_care_for_shift_and_scale():
    logits_NC = torch.randn(4, 5)

    assert torch.allclose(standardise(3 * logits_NC - 7), standardise(logits_NC), atol=1e-5)


def test_standardised_equal_logits_are_zeros_with_finite_derivatives():
    logits_NC = torch.ones(2, 3, requires_grad=True)

    standard_NC = standardise(logits_NC)
    standard_NC[:, 0].sum().backward()

    assert torch.equal(standard_NC, torch.zeros(2, 3))
    assert logits_NC.grad.isfinite().all()


def test_standardising_is_differentiable_and_computed_in_float32_at_least():
    logits_NC = torch.randn(3, 4)

    assert torch.autograd.gradcheck(standardise, logits_NC.double().requires_grad_())
    assert torch.equal(standardise(logits_NC.half()), standardise(logits_NC.half().float()))


def test_what_cannot_be_standardised_is_refused():
    for wrong in (torch.zeros(3, 1), torch.zeros(3)):
        with pytest.raises(ValueError, match="at least two classes"):
            standardise(wrong)
