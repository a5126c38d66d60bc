"""Relations between rows: what they are by plain arithmetic, what they don't care for, and rows that coincide."""

import math

import pytest
import torch

from distill.science.losses import (
    correlation_loss,
    probabilistic_transfer_loss,
    relational_angle_loss,
    relational_distance_loss,
    similarity_loss,
)

RELATIONS = [
    relational_distance_loss,
    relational_angle_loss,
    similarity_loss,
    correlation_loss,
    probabilistic_transfer_loss,
]


def huber(difference):
    return difference**2 / 2 if abs(difference) < 1 else abs(difference) - 0.5


def a_rotation(size):
    return torch.linalg.qr(torch.randn(size, size, dtype=torch.float64))[0]


def test_distances_of_three_rows_by_hand():
    student_ND = torch.tensor([[0.0, 0.0], [3.0, 0.0], [0.0, 4.0]])  # 3, 4, 5: mean 4
    teacher_NE = torch.tensor([[0.0], [1.0], [2.0]])  # 1, 2, 1: mean 4 / 3

    loss = relational_distance_loss(student_ND, teacher_NE)

    differences = [3 / 4 - 3 / 4, 4 / 4 - 6 / 4, 5 / 4 - 3 / 4]
    assert loss.item() == pytest.approx(2 * sum(map(huber, differences)) / 9, rel=1e-6)


def test_distances_far_apart_count_linearly():
    spread = torch.tensor([[0.0], [0.0], [0.0], [0.0], [1.0]])  # one row apart from four that coincide
    even = torch.eye(5)

    loss = relational_distance_loss(100 * spread, even)

    # 8 of 25 pairs are apart, all by the mean; 12 that coincide are 0 where the teacher has 1
    assert loss.item() == pytest.approx(12 * 0.5 / 25, rel=1e-6)


def test_angles_by_plain_arithmetic():
    student_ND, teacher_NE = torch.randn(4, 3).double(), torch.randn(4, 2).double()

    def cosine(rows, i, j, k):
        if j in (i, k):
            return 0.0
        a, b = rows[i] - rows[j], rows[k] - rows[j]
        return (a @ b / (a.norm() * b.norm())).item()

    loss = relational_angle_loss(student_ND, teacher_NE)

    triples = [(i, j, k) for i in range(4) for j in range(4) for k in range(4)]
    differences = [cosine(student_ND, *triple) - cosine(teacher_NE, *triple) for triple in triples]
    assert loss.item() == pytest.approx(sum(map(huber, differences)) / 64, rel=1e-9)


def test_angles_of_rows_that_nearly_coincide_far_from_the_origin_keep_their_digits():
    near_ND = 1e-3 * torch.randn(5, 3).double()
    teacher_NE = torch.randn(5, 3).double()
    far_ND = (near_ND + 10).float()

    loss = relational_angle_loss(far_ND, teacher_NE.float())

    assert loss.item() == pytest.approx(relational_angle_loss(far_ND.double(), teacher_NE).item(), rel=1e-5)


@pytest.mark.parametrize("relation", [relational_distance_loss, relational_angle_loss])
def test_distances_and_angles_do_not_care_for_place_size_and_direction(relation):
    student_ND, teacher_NE = torch.randn(5, 4).double(), torch.randn(5, 3).double()

    plain = relation(student_ND, teacher_NE)
    moved = relation(7 * student_ND @ a_rotation(4) + 3, teacher_NE @ a_rotation(3) / 5 - 1)

    assert moved.item() == pytest.approx(plain.item(), rel=1e-9)


@pytest.mark.parametrize("relation", [similarity_loss, correlation_loss, probabilistic_transfer_loss])
def test_similarities_do_not_care_for_size_and_direction(relation):
    student_ND, teacher_NE = torch.randn(5, 4).double(), torch.randn(5, 3).double()

    plain = relation(student_ND, teacher_NE)
    turned = relation(7 * student_ND @ a_rotation(4), teacher_NE @ a_rotation(3) / 5)

    assert turned.item() == pytest.approx(plain.item(), rel=1e-9)


@pytest.mark.parametrize("relation", RELATIONS)
def test_the_order_of_rows_does_not_matter_if_both_sides_share_it(relation):
    student_ND, teacher_NE = torch.randn(5, 4).double(), torch.randn(5, 3).double()
    order = [3, 0, 4, 1, 2]

    assert relation(student_ND[order], teacher_NE[order]).item() == pytest.approx(
        relation(student_ND, teacher_NE).item(), rel=1e-9
    )
    assert relation(student_ND[order], teacher_NE).item() != pytest.approx(relation(student_ND, teacher_NE).item())


def test_similarities_of_two_rows_by_hand():
    student_ND = torch.tensor([[1.0, 0.0], [0.0, 1.0]])  # inner products (1, 0), (0, 1)
    teacher_NE = torch.tensor([[3.0], [4.0]])  # (9, 12), (12, 16): of unit length (0.6, 0.8) twice

    loss = similarity_loss(student_ND, teacher_NE)

    assert loss.item() == pytest.approx((0.4**2 + 0.8**2 + 0.6**2 + 0.2**2) / 4, rel=1e-6)


def test_correlations_of_two_rows_by_hand():
    student_ND = torch.tensor([[2.0, 0.0], [0.0, 5.0]])  # cosine 0
    teacher_NE = torch.tensor([[3.0], [4.0]])  # cosine 1

    loss = correlation_loss(student_ND, teacher_NE)

    difference = math.exp(-0.8) * (0.8 + 0.8**2 / 2)  # the first and second order of exp(0.8), which cosine 0 lacks
    assert loss.item() == pytest.approx(2 * difference**2 / 4, rel=1e-6)


@pytest.mark.parametrize("cosine", [0.3, 0.6, 1.0])
def test_the_series_falls_short_of_the_gaussian_kernel_by_what_its_third_order_would_add(cosine):
    student_ND = torch.tensor([[1.0, 0.0], [cosine, math.sqrt(1 - cosine**2)]]).double()
    right_angle_NE = torch.eye(2).double()  # where both are exp(-0.8)

    by_series = math.sqrt(2 * correlation_loss(student_ND, right_angle_NE).item()) + math.exp(-0.8)

    missing = math.exp(-0.4 * (2 - 2 * cosine)) - by_series
    third_order = math.exp(-0.8) * (0.8 * cosine) ** 3 / 6
    assert third_order < missing < third_order * math.exp(0.8 * cosine)


def test_the_code_form_multiplies_neighbouring_rows_differences_by_hand():
    student_ND = torch.tensor([[1.0, 2.0], [3.0, 0.0], [0.0, 1.0]])

    loss = correlation_loss(student_ND, torch.zeros(3, 2), form="code")

    assert loss.item() == ((1 * 3 + 2 * 0) + (3 * 0 + 0 * 1)) / 2


def test_the_code_form_needs_equal_widths_and_says_both():
    with pytest.raises(ValueError, match=r"student \(3, 4\) and teacher \(3, 8\)"):
        correlation_loss(torch.zeros(3, 2, 2), torch.zeros(3, 8), form="code")
    with pytest.raises(ValueError, match="'paper' or 'code', not 'kernel'"):
        correlation_loss(torch.zeros(3, 2), torch.zeros(3, 2), form="kernel")


def test_probable_neighbours_of_two_rows_by_hand():
    student_ND = torch.tensor([[1.0, 0.0], [0.0, 1.0]])  # affinities (1, 1/2): neighbours (2/3, 1/3)
    teacher_NE = torch.tensor([[1.0], [2.0]])  # affinities (1, 1): (1/2, 1/2)

    loss = probabilistic_transfer_loss(student_ND, teacher_NE)

    by_hand = 0.5 * math.log(0.5 / (2 / 3)) + 0.5 * math.log(0.5 / (1 / 3))  # of each of two rows, over four pairs
    assert loss.item() == pytest.approx(2 * by_hand / 4, rel=1e-5)


@pytest.mark.parametrize("relation", RELATIONS)
def test_features_of_any_shape_are_taken_row_by_row(relation):
    student_NCHW, teacher_NLD = torch.randn(4, 3, 2, 2), torch.randn(4, 5, 2)

    loss = relation(student_NCHW, teacher_NLD)

    assert torch.equal(loss, relation(student_NCHW.flatten(1), teacher_NLD.flatten(1)))


@pytest.mark.parametrize("relation", RELATIONS)
def test_rows_that_coincide_have_finite_gradients(relation):
    student_ND = torch.randn(5, 4)
    student_ND[1] = student_ND[0]
    teacher_NE = torch.randn(5, 3)
    teacher_NE[3] = teacher_NE[2]

    for rows_ND in (student_ND, student_ND[:1].repeat(5, 1)):
        given_ND = rows_ND.clone().requires_grad_()
        loss = relation(given_ND, teacher_NE)
        loss.backward()
        assert loss.isfinite()
        assert given_ND.grad.isfinite().all()


@pytest.mark.parametrize(
    ("relation", "too_few"),
    [*((relation, 1) for relation in RELATIONS), (relational_angle_loss, 2)],
)
def test_too_few_rows_cost_nothing_and_move_nothing(relation, too_few):
    student_ND = torch.randn(too_few, 4, requires_grad=True)

    loss = relation(student_ND, torch.randn(too_few, 3))
    loss.backward()

    assert loss.item() == 0
    assert torch.equal(student_ND.grad, torch.zeros(too_few, 4))


def test_rows_of_no_width_are_refused():
    with pytest.raises(ValueError, match=r"student \(3,\) and teacher \(3, 2\)"):
        similarity_loss(torch.zeros(3), torch.zeros(3, 2))
