"""Features position by position: hints, and where a network looks."""

import math
from functools import partial

import pytest
import torch

from distill.science.losses import attention_loss, attention_map, flow_loss, hint_loss, neuron_selectivity_loss


def test_a_hint_is_the_mean_squared_difference():
    loss = hint_loss(torch.tensor([[1.0, 2.0], [3.0, 4.0]]), torch.tensor([[1.0, 0.0], [0.0, 4.0]]))

    assert loss.item() == (0 + 4 + 9 + 0) / 4


def test_a_hint_of_another_shape_is_refused_rather_than_stretched():
    with pytest.raises(ValueError, match=r"student \(2, 1\) and teacher \(2, 3\)"):
        hint_loss(torch.zeros(2, 1), torch.zeros(2, 3))


@pytest.mark.parametrize(("power", "expected"), [(1.0, 3.5), (2.0, 12.5), (3.0, 45.5)])
def test_an_attention_map_is_the_mean_over_channels_of_a_power(power, expected):
    features_NCHW = torch.tensor([3.0, -4.0]).view(1, 2, 1, 1)

    assert attention_map(features_NCHW, power=power).item() == pytest.approx(expected)


def test_channels_are_the_second_axis_of_maps_and_the_last_of_sequences():
    features_NCHW = torch.randn(2, 3, 4, 5)

    of_maps_NHW = attention_map(features_NCHW)
    of_sequences_NL = attention_map(features_NCHW.flatten(2).mT)

    assert of_maps_NHW.shape == (2, 4, 5)
    assert torch.allclose(of_sequences_NL, of_maps_NHW.flatten(1))


@pytest.mark.parametrize("power", [0.5, 1.0, 2.0])
def test_a_power_has_finite_derivatives_even_where_a_feature_is_zero(power):
    features_NCHW = torch.randn(1, 2, 2, 2).double()
    assert torch.autograd.gradcheck(
        lambda given: attention_map(given, power=power), features_NCHW.clone().requires_grad_()
    )

    features_NCHW = features_NCHW.relu().requires_grad_()
    assert (features_NCHW == 0).any()
    attention_map(features_NCHW, power=power).sum().backward()

    assert features_NCHW.grad.isfinite().all()


def test_both_forms_by_hand():
    student_NHW = torch.tensor([[[3.0, 4.0]], [[1.0, 0.0]]])  # of unit length: (0.6, 0.8) and (1, 0)
    teacher_NHW = torch.tensor([[[0.0, 5.0]], [[0.0, 2.0]]])  # (0, 1) and (0, 1)

    code = attention_loss(student_NHW, teacher_NHW, form="code")
    paper = attention_loss(student_NHW, teacher_NHW, form="paper")

    assert code.item() == pytest.approx((0.36 + 0.04 + 1 + 1) / 4, rel=1e-6)
    assert paper.item() == pytest.approx((math.sqrt(0.36 + 0.04) + math.sqrt(2)) / 2, rel=1e-6)


def test_one_rows_code_form_is_the_square_of_its_paper_form_over_the_positions():
    student_NHW, teacher_NHW = torch.rand(1, 4, 5), torch.rand(1, 4, 5)

    code, paper = (attention_loss(student_NHW, teacher_NHW, form=form).item() for form in ("code", "paper"))

    assert code == pytest.approx(paper**2 / 20, rel=1e-5)


def test_attention_does_not_care_how_large_features_are_or_how_many_channels_repeat():
    student_NCHW, teacher_NCHW = torch.randn(3, 2, 4, 4), torch.randn(3, 5, 4, 4)

    plain = attention_loss(attention_map(student_NCHW), attention_map(teacher_NCHW))
    scaled = attention_loss(attention_map(7 * student_NCHW), attention_map(teacher_NCHW.repeat(1, 3, 1, 1) / 9))

    assert scaled.item() == pytest.approx(plain.item(), rel=1e-5)


def test_the_larger_map_is_averaged_down_to_the_smaller():
    small_NHW, large_NHW = torch.rand(2, 3, 2), torch.rand(2, 6, 4)
    averaged_NHW = large_NHW.view(2, 3, 2, 2, 2).mean(dim=(2, 4))

    expected = attention_loss(small_NHW, averaged_NHW).item()

    assert attention_loss(small_NHW, large_NHW).item() == pytest.approx(expected, rel=1e-6)
    assert attention_loss(large_NHW, small_NHW).item() == pytest.approx(expected, rel=1e-6)


def test_a_grid_and_a_sequence_of_as_many_positions_are_compared_in_order():
    grid_NHW, sequence_NL = torch.rand(2, 3, 2), torch.rand(2, 6)

    loss = attention_loss(grid_NHW, sequence_NL)

    assert torch.equal(loss, attention_loss(grid_NHW.flatten(1), sequence_NL))


def test_what_is_no_attention_is_refused():
    with pytest.raises(ValueError, match=r"\(N, C, H, W\) or \(N, L, D\), not \(2, 3\)"):
        attention_map(torch.zeros(2, 3))
    with pytest.raises(ValueError, match="power must be positive, not 0"):
        attention_map(torch.zeros(2, 3, 4), power=0)
    with pytest.raises(ValueError, match=r"student \(2, 5\) and teacher \(2, 6\)"):
        attention_loss(torch.zeros(2, 5), torch.zeros(2, 6))
    with pytest.raises(ValueError, match="'code' or 'paper', not 'sum'"):
        attention_loss(torch.zeros(2, 5), torch.zeros(2, 5), form="sum")


@pytest.mark.parametrize(
    ("loss", "shape"),
    [
        (hint_loss, (2, 3, 4, 4)),
        (attention_loss, (2, 4, 4)),
        (partial(attention_loss, form="paper"), (2, 4, 4)),
        (flow_loss, (2, 3, 5)),
        (neuron_selectivity_loss, (2, 3, 4, 4)),
    ],
)
def test_a_rows_weight_multiplies_what_that_row_costs(loss, shape):
    student, teacher = torch.rand(shape), torch.rand(shape)

    weighted = loss(student, teacher, weight_N=torch.tensor([0.5, 3.0]))

    first, second = (loss(student[[row]], teacher[[row]]).item() for row in (0, 1))
    assert weighted.item() == pytest.approx((0.5 * first + 3.0 * second) / 2, rel=1e-5)
