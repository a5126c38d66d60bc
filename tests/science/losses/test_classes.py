"""Classes taken apart (DKD), and set in relation (DIST)."""

import math

import pytest
import torch

from distill.science.losses import decoupled_loss, dist_loss, soft_target_loss

STUDENT = torch.tensor([[0.5, 0.3, 0.2]]).log()
TEACHER = torch.tensor([[0.3, 0.1, 0.6]]).log()  # its likeliest class is not the target


def test_the_target_class_against_the_rest_by_hand():
    loss = decoupled_loss(STUDENT, TEACHER, torch.tensor([0]), alpha=2.0, beta=0.0, temperature=1.0)

    assert loss.item() == pytest.approx(2 * (0.3 * math.log(0.3 / 0.5) + 0.7 * math.log(0.7 / 0.5)), rel=1e-5)


def test_the_other_classes_among_each_other_by_hand():
    loss = decoupled_loss(STUDENT, TEACHER, torch.tensor([0]), alpha=0.0, beta=8.0, temperature=1.0)

    assert loss.item() == pytest.approx(8 * (1 / 7 * math.log(1 / 7 / 0.6) + 6 / 7 * math.log(6 / 7 / 0.4)), rel=1e-5)


def test_with_the_share_of_the_others_as_weight_the_two_parts_are_the_plain_kl():
    student_1C, teacher_1C = torch.randn(1, 6).double(), torch.randn(1, 6).double()
    share_of_others = 1 - (teacher_1C / 3).softmax(dim=1)[0, 2].item()

    loss = decoupled_loss(student_1C, teacher_1C, torch.tensor([2]), alpha=1.0, beta=share_of_others, temperature=3.0)

    assert loss.item() == pytest.approx(soft_target_loss(student_1C, teacher_1C, temperature=3.0).item(), rel=1e-9)


def test_a_row_without_a_label_takes_the_teachers_likeliest_class():
    student_NC, teacher_NC = torch.randn(4, 5), torch.randn(4, 5)
    likeliest_N = teacher_NC.argmax(dim=1)
    partly_N = torch.where(torch.tensor([True, False, True, False]), likeliest_N, -1)

    loss = decoupled_loss(student_NC, teacher_NC, partly_N)

    assert torch.equal(loss, decoupled_loss(student_NC, teacher_NC, likeliest_N))
    assert loss.item() != decoupled_loss(student_NC, teacher_NC, (likeliest_N + 1) % 5).item()


def test_of_two_classes_nothing_is_left_to_compare_but_the_target():
    one, other = (
        decoupled_loss(
            torch.randn(3, 2, generator=torch.manual_seed(1)), torch.ones(3, 2), torch.zeros(3).long(), beta=b
        )
        for b in (0.0, 8.0)
    )

    assert one.item() == other.item() > 0


def test_one_class_or_labels_that_do_not_fit_are_refused():
    with pytest.raises(ValueError, match="at least two classes"):
        decoupled_loss(torch.zeros(2, 1), torch.zeros(2, 1), torch.zeros(2).long())
    with pytest.raises(ValueError, match=r"labels \(3,\) don't fit logits \(2, 4\)"):
        decoupled_loss(torch.zeros(2, 4), torch.zeros(2, 4), torch.zeros(3).long())


def pearson(xs, ys):
    """In plain numbers."""
    mean_x, mean_y = sum(xs) / len(xs), sum(ys) / len(ys)
    shared = sum((x - mean_x) * (y - mean_y) for x, y in zip(xs, ys, strict=True))
    return shared / math.sqrt(sum((x - mean_x) ** 2 for x in xs) * sum((y - mean_y) ** 2 for y in ys))


@pytest.mark.parametrize("temperature", [1.0, 3.0])
def test_relations_of_classes_and_of_rows_by_plain_arithmetic(temperature):
    student_NC, teacher_NC = torch.randn(4, 3).double(), torch.randn(4, 3).double()
    student, teacher = ((logits_NC / temperature).softmax(dim=1) for logits_NC in (student_NC, teacher_NC))

    loss = dist_loss(student_NC, teacher_NC, inter=2.0, intra=0.5, temperature=temperature)

    inter = sum(1 - pearson(student[n].tolist(), teacher[n].tolist()) for n in range(4)) / 4
    intra = sum(1 - pearson(student[:, c].tolist(), teacher[:, c].tolist()) for c in range(3)) / 3
    assert loss.item() == pytest.approx(temperature**2 * (2.0 * inter + 0.5 * intra), rel=1e-9)


def test_a_correlation_does_not_care_how_sure_a_student_of_two_classes_is():
    teacher_NC = torch.tensor([[2.0, 0.0], [0.0, 1.0]])

    loss = dist_loss(5 * teacher_NC, teacher_NC, intra=0.0)

    assert loss.item() == pytest.approx(0.0, abs=1e-6)


def test_one_row_has_no_relation_to_other_rows():
    student_1C, teacher_1C = torch.randn(1, 4), torch.randn(1, 4)

    assert dist_loss(student_1C, teacher_1C, inter=0.0, intra=1.0).item() == 0
    assert dist_loss(student_1C, teacher_1C, inter=1.0, intra=0.0).item() > 0
