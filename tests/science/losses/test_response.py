"""Losses against figures of published code, against arithmetic by hand, and against their own derivatives."""

import json
import math
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from distill.science.losses import label_loss, soft_target_loss

GOLDEN = Path(__file__).parents[1] / "golden"
FIGURES = json.loads((GOLDEN / "losses.json").read_text())
TENSORS = load_file(GOLDEN / "losses.safetensors")


@pytest.mark.parametrize("figure", [figure for figure in FIGURES if figure["loss"] == "soft_targets"])
def test_soft_targets_give_the_figures_of_torchdistill(figure):
    student_NC, teacher_NC = (TENSORS[f"{figure['seed']}/{side}_logits"] for side in ("student", "teacher"))

    loss = soft_target_loss(student_NC, teacher_NC, temperature=figure["settings"]["temperature"])

    assert loss.item() == pytest.approx(figure["value"], rel=1e-5)


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


def test_the_teacher_gets_no_gradient():
    student_NC, teacher_NC = torch.randn(2, 3, requires_grad=True), torch.randn(2, 3, requires_grad=True)

    soft_target_loss(student_NC, teacher_NC, temperature=2.0).backward()

    assert teacher_NC.grad is None


def test_losses_derivatives_agree_with_finite_differences():
    student_NC = torch.randn(3, 4, dtype=torch.float64, requires_grad=True)
    teacher_NC = torch.randn(3, 4, dtype=torch.float64)
    labels_N = torch.tensor([0, -1, 3])

    assert torch.autograd.gradcheck(lambda z: soft_target_loss(z, teacher_NC, temperature=3.0), student_NC)
    assert torch.autograd.gradcheck(lambda z: label_loss(z, labels_N, smoothing=0.1), student_NC)


def test_half_precision_answers_are_computed_in_float32():
    student_NC, teacher_NC = torch.randn(4, 5).half(), torch.randn(4, 5).half()

    loss = soft_target_loss(student_NC, teacher_NC, temperature=4.0)

    assert loss.dtype == torch.float32
    assert loss.item() == soft_target_loss(student_NC.float(), teacher_NC.float(), temperature=4.0).item()


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
