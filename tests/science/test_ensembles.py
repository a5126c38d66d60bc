"""Combined teachers against plain numpy."""

import numpy as np
import pytest
import torch

from distill.contracts.ensemble import MeanLogit, MeanProbability
from distill.science.ensembles import combine

MEAN_LOGIT = MeanLogit(combine="mean_logit")


def softmax(z):
    e = np.exp(z - z.max(axis=-1, keepdims=True))
    return e / e.sum(axis=-1, keepdims=True)


def test_mean_probability_is_the_weighted_mean_of_each_members_softened_probabilities():
    z = np.random.default_rng(0).normal(size=(4, 3, 5))

    p = combine(torch.tensor(z), member_weights_M=torch.tensor([1.0, 1.0, 2.0]), spec=MeanProbability(), temperature=4)

    np.testing.assert_allclose(p, np.average(softmax(z / 4), axis=1, weights=[1, 1, 2]), rtol=1e-12)


def test_mean_logit_is_the_softened_weighted_mean_of_logits():
    z = np.random.default_rng(1).normal(size=(4, 3, 5))

    p = combine(torch.tensor(z), member_weights_M=torch.tensor([1.0, 1.0, 2.0]), spec=MEAN_LOGIT, temperature=4)

    np.testing.assert_allclose(p, softmax(np.average(z, axis=1, weights=[1, 1, 2]) / 4), rtol=1e-12)


def test_an_ensemble_of_one_is_that_one():
    logits_NMC = torch.randn(4, 1, 5)

    for spec in (MeanProbability(), MEAN_LOGIT):
        p = combine(logits_NMC, member_weights_M=torch.tensor([0.3]), spec=spec, temperature=2.0)
        torch.testing.assert_close(p, (logits_NMC[:, 0] / 2).softmax(dim=1))


def test_half_precision_logits_give_float32_probabilities_that_sum_to_one():
    p = combine(torch.randn(64, 3, 10).half(), member_weights_M=torch.ones(3), spec=MeanProbability(), temperature=1.0)

    assert p.dtype == torch.float32
    torch.testing.assert_close(p.sum(dim=1), torch.ones(64))


@pytest.mark.parametrize("weights", [[1.0, 1.0], [1.0, -1.0, 1.0], [0.0, 0.0, 0.0]])
def test_weights_that_make_no_mean_are_refused(weights):
    with pytest.raises(ValueError, match="weights"):
        combine(torch.zeros(2, 3, 4), member_weights_M=torch.tensor(weights), spec=MeanProbability(), temperature=1.0)
