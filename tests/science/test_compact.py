"""Logits as they travel: cut and joined in any form, and dense again for the one who learns from them."""

import torch

from distill.science.compact import CompactLogits

GREATEST = CompactLogits(
    (
        torch.tensor([[[0.5, 0.25]], [[0.6, 0.4]], [[0.7, 0.1]]]).log(),
        torch.tensor([[[4, 0]], [[1, 2]], [[3, 4]]], dtype=torch.int32),
        torch.tensor([[0.25], [0.0], [0.2]]),
    ),
    num_classes=5,
)


def test_the_mass_of_the_others_is_spread_evenly_over_them():
    probabilities_NMC = GREATEST.dense().double().exp()
    third = 0.25 / 3
    torch.testing.assert_close(
        probabilities_NMC[0, 0], torch.tensor([0.25, third, third, third, 0.5]).double(), atol=1e-3, rtol=0
    )
    torch.testing.assert_close(probabilities_NMC.sum(-1), torch.ones(3, 1).double(), atol=1e-3, rtol=0)


def test_it_is_cut_and_joined_by_rows_without_becoming_dense():
    joined = CompactLogits.join([GREATEST[2:], GREATEST[torch.tensor([0, 1])]])
    assert torch.equal(joined.dense(), GREATEST.dense()[[2, 0, 1]])
    assert [tensor.shape[0] for tensor in joined.tensors] == [3, 3, 3]


def test_members_of_several_teachers_stand_beside_each_other():
    both = CompactLogits.join([GREATEST, GREATEST[torch.tensor([1, 2, 0])]], dim=1)
    assert torch.equal(both.dense()[:, 1], GREATEST.dense()[[1, 2, 0], 0])


def test_dense_logits_stay_as_they_are():
    logits_NMC = torch.randn(3, 2, 5, generator=torch.Generator().manual_seed(0))
    assert CompactLogits.of(logits_NMC).dense() is logits_NMC
