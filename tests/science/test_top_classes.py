"""The greatest classes and the mass of the others, against numpy in float64."""

import numpy as np
import pytest
import torch
from torch import Tensor

from distill.contracts.errors import InvalidSpec
from distill.science.top_classes import spread, top_classes


def some_logits(num_classes: int, *, scale: float = 3.0) -> Tensor:
    return scale * torch.randn(5, 2, num_classes, generator=torch.Generator().manual_seed(0))


def log_probs_of(logits_NMC: Tensor) -> np.ndarray:
    """Log-softmax in float64."""
    values = logits_NMC.numpy().astype(np.float64)
    greatest = values.max(-1, keepdims=True)
    return values - greatest - np.log(np.exp(values - greatest).sum(-1, keepdims=True))


def test_the_greatest_classes_come_with_their_log_probabilities_greatest_first():
    logits_NMC = some_logits(1000)
    log_probs, classes, _ = top_classes(logits_NMC, 10)
    expected = log_probs_of(logits_NMC)
    order = np.argsort(-expected, axis=-1)[..., :10]
    assert (log_probs.dtype, classes.dtype) == (torch.float16, torch.uint16)
    assert np.array_equal(classes.numpy(), order)
    # float16 has 11 bits
    np.testing.assert_allclose(log_probs.numpy(), np.take_along_axis(expected, order, -1), rtol=2**-11)


@pytest.mark.parametrize("scale", [0.1, 3.0, 30.0])
def test_the_tail_is_exact_be_it_half_of_the_mass_or_next_to_nothing(scale):
    logits_NMC = some_logits(50, scale=scale)
    _, _, tail_NM = top_classes(logits_NMC, 3)
    expected = np.exp(np.sort(log_probs_of(logits_NMC), axis=-1)[..., :-3]).sum(-1)
    assert tail_NM.dtype == torch.float32
    np.testing.assert_allclose(tail_NM.numpy(), expected, rtol=2e-5)
    if scale == 30.0:  # what 1 minus the sum of the others would have made 0
        assert 0 < expected.min() < 1e-12


def test_classes_are_named_up_to_the_last_of_65536():
    logits_NMC = torch.zeros(1, 1, 65_536)
    logits_NMC[..., 65_535], logits_NMC[..., 40_000] = 20.0, 18.0
    log_probs, classes, tail = top_classes(logits_NMC, 2)
    assert classes.numpy().tolist() == [[[65_535, 40_000]]]
    assert spread(log_probs, classes, tail, 65_536).argmax(-1).item() == 65_535


@pytest.mark.parametrize(
    ("num_classes", "k", "saying"),
    [(10, 10, "leave top_k out"), (10, 11, "at most 9"), (10, 0, "at most 9"), (65_537, 2, "16 bits")],
)
def test_as_many_as_there_are_or_more_than_can_be_named_are_refused(num_classes, k, saying):
    with pytest.raises(InvalidSpec, match=saying):
        top_classes(torch.zeros(1, 1, num_classes), k)


def test_what_is_spread_sums_to_one_with_the_very_tail_and_the_top_as_sent():
    logits_NMC = some_logits(100)
    log_probs, classes, tail = top_classes(logits_NMC, 10)
    dense = spread(log_probs, classes, tail, 100)
    assert dense.dtype == torch.float32
    probs = np.exp(dense.numpy().astype(np.float64))
    np.testing.assert_allclose(probs.sum(-1), 1.0, atol=1e-6)

    order = np.argsort(-log_probs_of(logits_NMC), axis=-1)
    top, rest = (np.take_along_axis(probs, part, -1) for part in (order[..., :10], order[..., 10:]))
    np.testing.assert_allclose(rest, np.broadcast_to(tail.numpy()[..., None] / 90, rest.shape), rtol=1e-5)
    sent = log_probs.numpy().astype(np.float64)
    np.testing.assert_allclose(np.log(top[..., 1:] / top[..., :1]), sent[..., 1:] - sent[..., :1], atol=1e-5)
    np.testing.assert_allclose(
        top, np.exp(np.take_along_axis(log_probs_of(logits_NMC), order[..., :10], -1)), rtol=5e-3
    )


def test_an_empty_tail_stays_finite():
    certain = torch.tensor([[[0.0, 2000.0, 0.0, 0.0]]])
    log_probs, classes, tail = top_classes(certain, 1)
    assert tail.item() == 0
    dense = spread(log_probs, classes, tail, 4)
    assert dense.isfinite().all()
    torch.testing.assert_close(dense.softmax(-1), torch.tensor([[[0.0, 1.0, 0.0, 0.0]]]))


def test_a_probability_below_what_half_precision_holds_is_sent_as_its_least_number():
    log_probs, _, _ = top_classes(torch.tensor([[[1e30, 0.0, -1.0]]]), 2)
    assert log_probs.tolist() == [[[0.0, -65_504.0]]]


def test_a_teacher_that_knows_nothing_is_spread_as_one():
    log_probs, classes, tail = top_classes(torch.zeros(1, 1, 8), 2)
    torch.testing.assert_close(spread(log_probs, classes, tail, 8).exp(), torch.full((1, 1, 8), 1 / 8))
