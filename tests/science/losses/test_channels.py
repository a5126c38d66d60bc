"""What channels respond to: the flow between layers, and each channel's pattern."""

import pytest
import torch

from distill.science.losses import flow_loss, flow_matrix, neuron_selectivity_loss


def test_a_flow_is_the_inner_product_of_channels_per_position():
    first_NCHW = torch.tensor([[[[1.0, 2.0]], [[3.0, 4.0]]]])  # two channels of two positions
    second_NDHW = torch.tensor([[[[5.0, 6.0]]]])

    flow_NCD = flow_matrix(first_NCHW, second_NDHW)

    assert flow_NCD.tolist() == [[[(5 + 12) / 2], [(15 + 24) / 2]]]


def test_the_larger_map_is_pooled_by_its_maximum_on_whichever_side_it_stands():
    small_NCHW, large_NDHW = torch.randn(2, 3, 2, 4), torch.randn(2, 5, 4, 8)
    pooled_NDHW = large_NDHW.view(2, 5, 2, 2, 4, 2).amax(dim=(3, 5))

    assert torch.allclose(flow_matrix(small_NCHW, large_NDHW), flow_matrix(small_NCHW, pooled_NDHW))
    assert torch.allclose(flow_matrix(large_NDHW, small_NCHW), flow_matrix(pooled_NDHW, small_NCHW))


def test_a_flow_learns_through_both_layers():
    first, second = (torch.randn(1, 2, 2, 2).double().requires_grad_() for _ in range(2))

    assert torch.autograd.gradcheck(flow_matrix, (first, second))


def test_a_flow_of_half_precision_is_float32():
    first_NCHW = torch.randn(1, 2, 4, 4).half()

    flow_NCD = flow_matrix(first_NCHW, first_NCHW)

    assert torch.equal(flow_NCD, flow_matrix(first_NCHW.float(), first_NCHW.float()))


def test_flows_differ_by_their_mean_square():
    loss = flow_loss(torch.tensor([[[1.0, 2.0]]]), torch.tensor([[[4.0, 2.0]]]))

    assert loss.item() == 9 / 2


def test_what_is_no_flow_is_refused():
    with pytest.raises(ValueError, match=r"not \(2, 3\) and \(2, 3, 4, 4\)"):
        flow_matrix(torch.zeros(2, 3), torch.zeros(2, 3, 4, 4))
    with pytest.raises(ValueError, match="same N rows"):
        flow_matrix(torch.zeros(1, 3, 4, 4), torch.zeros(2, 3, 4, 4))
    with pytest.raises(ValueError, match=r"student \(2, 3, 4\) and teacher \(2, 3, 5\).*same numbers of channels"):
        flow_loss(torch.zeros(2, 3, 4), torch.zeros(2, 3, 5))


def test_neuron_selectivity_by_plain_arithmetic():
    student_NCHW, teacher_NDHW = torch.randn(2, 3, 2, 2).double(), torch.randn(2, 4, 2, 2).double()

    def mean_kernel(ours_CHW, theirs_DHW):
        cosines = [
            torch.dot(x.flatten(), y.flatten()).item() / (x.norm().item() * y.norm().item())
            for x in ours_CHW
            for y in theirs_DHW
        ]
        return sum(cosine**2 for cosine in cosines) / len(cosines)

    loss = neuron_selectivity_loss(student_NCHW, teacher_NDHW)

    by_hand = [
        mean_kernel(s, s) + mean_kernel(t, t) - 2 * mean_kernel(s, t)
        for s, t in zip(student_NCHW, teacher_NDHW, strict=True)
    ]
    assert loss.item() == pytest.approx(sum(by_hand) / 2, rel=1e-9)


def test_neuron_selectivity_does_not_care_for_the_order_or_the_strength_of_channels():
    student_NCHW, teacher_NDHW = torch.randn(2, 3, 4, 4).double(), torch.randn(2, 5, 4, 4).double()

    plain = neuron_selectivity_loss(student_NCHW, teacher_NDHW)
    other = neuron_selectivity_loss(3 * student_NCHW[:, [2, 0, 1]], -teacher_NDHW.flip(1))

    assert other.item() == pytest.approx(plain.item(), rel=1e-9)


def test_patterns_that_have_nothing_in_common_are_as_far_as_can_be():
    left, right = torch.tensor([[[[1.0, 0.0]]]]), torch.tensor([[[[0.0, 1.0]]]])

    assert neuron_selectivity_loss(left, right).item() == pytest.approx(2.0)


def test_a_sequences_patterns_run_along_its_positions():
    student_NLC, teacher_NLD = torch.randn(2, 6, 3), torch.randn(2, 6, 4)

    loss = neuron_selectivity_loss(student_NLC, teacher_NLD)

    as_maps = (features.mT.reshape(2, -1, 2, 3) for features in (student_NLC, teacher_NLD))
    assert loss.item() == pytest.approx(neuron_selectivity_loss(*as_maps).item(), rel=1e-5)


def test_the_larger_map_is_averaged_down_before_patterns_are_compared():
    student_NCHW, teacher_NDHW = torch.randn(2, 3, 2, 2), torch.randn(2, 5, 4, 4)
    averaged_NDHW = teacher_NDHW.view(2, 5, 2, 2, 2, 2).mean(dim=(3, 5))

    loss = neuron_selectivity_loss(student_NCHW, teacher_NDHW)

    assert loss.item() == pytest.approx(neuron_selectivity_loss(student_NCHW, averaged_NDHW).item(), rel=1e-5)


@pytest.mark.parametrize("shape", [(2, 7, 3), (2, 7), (2, 3, 4, 4)])
def test_patterns_of_other_positions_are_refused_with_both_shapes(shape):
    with pytest.raises(ValueError, match=r"student \(2, 6, 3\) and teacher \(2, "):
        neuron_selectivity_loss(torch.zeros(2, 6, 3), torch.zeros(shape))
