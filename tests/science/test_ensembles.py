"""Combined teachers against plain numpy and against arithmetic by hand."""

import math

import numpy as np
import pytest
import torch

from distill.contracts.ensemble import (
    Each,
    Entropy,
    GeometricMean,
    LabelAware,
    MeanLogit,
    MeanProbability,
    PerMemberHeads,
    Weighted,
)
from distill.science.ensembles import aggregate, base_weights, combine, member_weights

MEAN_PROBABILITY = MeanProbability()
MEAN_LOGIT = MeanLogit(combine="mean_logit")
GEOMETRIC_MEAN = GeometricMean(combine="geometric_mean")
ENTROPY = Entropy(combine="entropy")
LABEL_AWARE = LabelAware(combine="label_aware")
WEIGHTED = Weighted(combine="weighted", weights=(3.0, 0.0, 1.0))
EACH = Each(combine="each")
HEADS = PerMemberHeads(combine="per_member_heads")
HEADS_BY_LOGIT = PerMemberHeads(combine="per_member_heads", aggregate="mean_logit")
ALL_SPECS = [MEAN_PROBABILITY, MEAN_LOGIT, GEOMETRIC_MEAN, ENTROPY, LABEL_AWARE, WEIGHTED, EACH, HEADS, HEADS_BY_LOGIT]
TEMPERATURES = [0.5, 1.0, 4.0, 20.0]


def softmax(z):
    e = np.exp(z - z.max(axis=-1, keepdims=True))
    return e / e.sum(axis=-1, keepdims=True)


def normal(*shape, seed=0):
    return np.random.default_rng(seed).normal(size=shape)


def answers(*members):
    """Logits (1, M, C) of one row, whose softmax at T = 1 is what each member says."""
    return torch.tensor([members], dtype=torch.float64).log()


def by_name(spec):
    return f"{spec.combine}-{spec.aggregate}" if isinstance(spec, PerMemberHeads) else spec.combine


@pytest.mark.parametrize("temperature", TEMPERATURES)
@pytest.mark.parametrize("spec", [MEAN_PROBABILITY, EACH, HEADS], ids=by_name)
def test_mean_probability_is_the_weighted_mean_of_each_members_softened_probabilities(spec, temperature):
    z = normal(4, 3, 5)

    out_NC = combine(torch.tensor(z), base_M=torch.tensor([1.0, 1.0, 2.0]), spec=spec, temperature=temperature)

    expected = np.average(softmax(z / temperature), axis=1, weights=[1, 1, 2])
    np.testing.assert_allclose(softmax(out_NC.numpy() / temperature), expected, rtol=1e-12)
    assert (out_NC / temperature).logsumexp(dim=1).abs().max() < 1e-12


@pytest.mark.parametrize("spec", [MEAN_LOGIT, HEADS_BY_LOGIT], ids=by_name)
def test_mean_logit_is_the_weighted_mean_of_the_logits_themselves_at_every_temperature(spec):
    z = normal(4, 3, 5)

    for temperature in TEMPERATURES:
        out_NC = combine(torch.tensor(z), base_M=torch.tensor([1.0, 1.0, 2.0]), spec=spec, temperature=temperature)
        np.testing.assert_allclose(out_NC, np.average(z, axis=1, weights=[1, 1, 2]), rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("temperature", TEMPERATURES)
def test_geometric_mean_is_the_normalised_product_of_powers_of_the_members_probabilities(temperature):
    z, shares = normal(4, 3, 5), np.array([0.25, 0.25, 0.5])

    out_NC = combine(torch.tensor(z), base_M=torch.tensor(shares), spec=GEOMETRIC_MEAN, temperature=temperature)

    product = (softmax(z / temperature) ** shares[:, None]).prod(axis=1)
    expected = product / product.sum(axis=1, keepdims=True)
    np.testing.assert_allclose(np.exp(out_NC.numpy() / temperature), expected, rtol=1e-11)


@pytest.mark.parametrize("temperature", TEMPERATURES)
def test_mean_logit_and_geometric_mean_are_one_distribution_in_different_logits(temperature):
    logits_NMC, base_M = torch.tensor(normal(4, 3, 5)), torch.tensor([1.0, 1.0, 2.0])

    by_logit, by_mean = (
        combine(logits_NMC, base_M=base_M, spec=spec, temperature=temperature) for spec in (MEAN_LOGIT, GEOMETRIC_MEAN)
    )

    torch.testing.assert_close((by_logit / temperature).softmax(dim=1), (by_mean / temperature).softmax(dim=1))
    assert (by_mean / temperature).logsumexp(dim=1).abs().max() < 1e-12
    assert (by_logit / temperature).logsumexp(dim=1).abs().min() > 1e-3


def test_weights_of_your_own_take_the_place_of_the_teachers():
    z = normal(4, 3, 5)
    base_M = base_weights(torch.tensor([1.0, 5.0, 9.0]), WEIGHTED)

    out_NC = combine(torch.tensor(z), base_M=base_M, spec=WEIGHTED, temperature=2.0)

    p = softmax(z / 2)
    np.testing.assert_allclose(softmax(out_NC.numpy() / 2), 0.75 * p[:, 0] + 0.25 * p[:, 2], rtol=1e-12)


def test_without_weights_of_your_own_the_teachers_count():
    teachers_M = torch.tensor([0.5, 0.5, 3.0])

    assert base_weights(teachers_M, ENTROPY) is teachers_M
    with pytest.raises(ValueError, match="2 members, and 3 weights"):
        base_weights(torch.ones(2), WEIGHTED)


def test_entropy_counts_the_surer_member_more_by_hand():
    # entropies: ln 2, ln 4 = 2 ln 2, and 0 (nearly); parts 1/3, 2/3, 0; shares (1 - part) / 2
    sure = 1e-300
    half, flat, certain = [0.5, 0.5, sure, sure], [0.25] * 4, [1.0, sure, sure, sure]

    weights_NM = member_weights(answers(half, flat, certain), None, torch.ones(3), ENTROPY)

    np.testing.assert_allclose(weights_NM, [[1 / 3, 1 / 6, 1 / 2]], rtol=1e-12)


def test_entropy_is_judged_row_by_row():
    sure, unsure = [9.0, 0.0, 0.0], [0.1, 0.0, 0.0]

    weights_NM = member_weights(torch.tensor([[sure, unsure], [unsure, sure]]), None, torch.ones(2), ENTROPY)

    assert weights_NM[0, 0] > 0.9
    torch.testing.assert_close(weights_NM[0], weights_NM[1].flip(0))


def test_members_without_any_entropy_share_alike():
    certain = torch.tensor([[[1e4, 0.0], [0.0, 1e4], [1e4, 0.0]]])

    torch.testing.assert_close(member_weights(certain, None, torch.ones(3), ENTROPY), torch.full((1, 3), 1 / 3))


def test_label_aware_counts_the_member_nearer_to_the_label_more_by_hand():
    # the label's class gets 1/2, 1/4, 1/4: exp of the cross-entropies is 2, 4, 4; shares (1 - e / 10) / 2
    logits_NMC = answers([0.5, 0.5, 1e-9], [0.25, 0.25, 0.5], [0.25, 0.7, 0.05])

    weights_NM = member_weights(logits_NMC, torch.tensor([0]), torch.ones(3), LABEL_AWARE)

    np.testing.assert_allclose(weights_NM, [[0.4, 0.3, 0.3]], rtol=1e-8)


def test_label_aware_weights_multiply_the_teachers_weights_by_hand():
    # shares 2/3 and 1/3 (exp of the cross-entropies: 2 and 4), times weights 1 and 3, normalised: 2/5 and 3/5
    logits_NMC = answers([0.5, 0.5], [0.25, 0.75])

    weights_NM = member_weights(logits_NMC, torch.tensor([0]), torch.tensor([1.0, 3.0]), LABEL_AWARE)

    np.testing.assert_allclose(weights_NM, [[0.4, 0.6]], rtol=1e-12)


def test_label_aware_answers_mix_the_members_probabilities_by_those_weights():
    logits_NMC = answers([0.5, 0.5], [0.25, 0.75])

    out_NC = combine(
        logits_NMC, base_M=torch.tensor([1.0, 3.0]), spec=LABEL_AWARE, temperature=1.0, labels_N=torch.tensor([0])
    )

    np.testing.assert_allclose(out_NC.exp(), [[0.4 * 0.5 + 0.6 * 0.25, 0.4 * 0.5 + 0.6 * 0.75]], rtol=1e-12)


def test_on_rows_without_a_label_label_aware_members_count_as_their_teachers_say():
    logits_NMC, base_M = torch.tensor(normal(3, 2, 4)), torch.tensor([1.0, 3.0])

    some = member_weights(logits_NMC, torch.tensor([-1, 2, -1]), base_M, LABEL_AWARE)
    none = member_weights(logits_NMC, None, base_M, LABEL_AWARE)

    own = torch.tensor([0.25, 0.75], dtype=torch.float64)
    torch.testing.assert_close(some[[0, 2]], own.expand(2, 2))
    assert (some[1] - own).abs().max() > 0.01
    torch.testing.assert_close(none, own.expand(3, 2))


@pytest.mark.parametrize("spec", [ENTROPY, LABEL_AWARE], ids=by_name)
def test_a_member_of_weight_zero_changes_nobodys_share(spec):
    logits_NMC, labels_N = torch.tensor(normal(6, 4, 5)), torch.tensor([0, 1, 2, 3, 4, -1])
    base_M, heard = torch.tensor([1.0, 0.0, 2.0, 1.0]), [0, 2, 3]

    weights_NM = member_weights(logits_NMC, labels_N, base_M, spec)

    assert torch.equal(weights_NM[:, 1], torch.zeros(6, dtype=torch.float64))
    torch.testing.assert_close(
        weights_NM[:, heard], member_weights(logits_NMC[:, heard], labels_N, base_M[heard], spec)
    )


@pytest.mark.parametrize("spec", ALL_SPECS, ids=by_name)
def test_an_ensemble_of_one_is_that_one(spec):
    logits_NMC = torch.tensor(normal(4, 3, 5))
    labels_N = torch.tensor([0, 1, 2, 3])

    one = combine(logits_NMC[:, :1], base_M=torch.tensor([0.3]), spec=spec, temperature=2.0, labels_N=labels_N)
    silent = combine(logits_NMC, base_M=torch.tensor([0.3, 0, 0]), spec=spec, temperature=2.0, labels_N=labels_N)

    for out_NC in (one, silent):
        torch.testing.assert_close((out_NC / 2).softmax(dim=1), (logits_NMC[:, 0] / 2).softmax(dim=1))


@pytest.mark.parametrize("spec", ALL_SPECS, ids=by_name)
def test_the_order_of_members_does_not_matter_as_long_as_their_weights_come_along(spec):
    logits_NMC, base_M, labels_N = torch.tensor(normal(4, 3, 5)), torch.tensor([1.0, 0.0, 2.0]), torch.arange(4)
    order = [2, 0, 1]

    first = combine(logits_NMC, base_M=base_M, spec=spec, temperature=3.0, labels_N=labels_N)
    second = combine(logits_NMC[:, order], base_M=base_M[order], spec=spec, temperature=3.0, labels_N=labels_N)

    torch.testing.assert_close(first, second)


@pytest.mark.parametrize("spec", ALL_SPECS, ids=by_name)
def test_weights_count_by_their_ratios_alone(spec):
    logits_NMC, base_M, labels_N = torch.tensor(normal(4, 3, 5)), torch.tensor([1.0, 0.5, 2.0]), torch.arange(4)

    first = combine(logits_NMC, base_M=base_M, spec=spec, temperature=3.0, labels_N=labels_N)

    torch.testing.assert_close(
        combine(logits_NMC, base_M=8 * base_M, spec=spec, temperature=3.0, labels_N=labels_N), first
    )


@pytest.mark.parametrize("temperature", [0.5, 4.0])
@pytest.mark.parametrize("spec", ALL_SPECS, ids=by_name)
def test_extreme_half_precision_logits_give_finite_float32(spec, temperature):
    extreme = [[1e4, -1e4, 0.0], [-1e4, 1e4, 0.0], [-1e4, -1e4, 1e4]]
    logits_NMC = torch.tensor([extreme] * 4, dtype=torch.float16, requires_grad=True)

    out_NC = combine(
        logits_NMC,
        base_M=torch.tensor([1.0, 0.0, 2.0]),
        spec=spec,
        temperature=temperature,
        labels_N=torch.tensor([0, 1, 2, -1]),
    )

    assert out_NC.dtype == torch.float32
    assert out_NC.isfinite().all()
    assert not out_NC.requires_grad


def test_a_class_that_nobody_believes_in_keeps_its_very_small_probability():
    # exp(-300) is no float32: the mean of two such probabilities is known by its logarithm only
    out_NC = combine(torch.tensor([[[300.0, 0.0]] * 2]), base_M=torch.ones(2), spec=MEAN_PROBABILITY, temperature=1.0)

    torch.testing.assert_close(out_NC, torch.tensor([[0.0, -300.0]]))


@pytest.mark.parametrize("how", ["mean_probability", "mean_logit", "geometric_mean"])
def test_aggregates_derivatives_agree_with_finite_differences(how):
    heads_NMC = torch.tensor(normal(2, 3, 4), requires_grad=True)
    weights_NM = torch.tensor([[0.2, 0.3, 0.5], [0.0, 1.0, 0.0]], dtype=torch.float64)

    assert torch.autograd.gradcheck(lambda z: aggregate(z, weights_NM, how=how, temperature=3.0), heads_NMC)


def test_a_head_of_weight_zero_gets_a_gradient_of_zero_however_extreme_it_is():
    heads_NMC = torch.tensor([[[1e4, -1e4], [1.0, 0.0]]], requires_grad=True)

    aggregate(heads_NMC, torch.tensor([[0.0, 1.0]]), how="mean_probability", temperature=1.0)[0, 0].backward()

    # of log p_0 = -log(1 + exp(-1)): +-p_1
    p_1 = 1 / (1 + math.e)
    torch.testing.assert_close(heads_NMC.grad, torch.tensor([[[0.0, 0.0], [p_1, -p_1]]]))


@pytest.mark.parametrize("weights", [[1.0, 1.0], [1.0, -1.0, 1.0], [0.0, 0.0, 0.0], [1.0, math.nan, 1.0]])
def test_weights_that_make_no_mean_are_refused(weights):
    with pytest.raises(ValueError, match="weights"):
        combine(torch.zeros(2, 3, 4), base_M=torch.tensor(weights), spec=MEAN_PROBABILITY, temperature=1.0)


def test_labels_of_other_rows_or_no_temperature_are_refused():
    logits_NMC, base_M = torch.zeros(2, 3, 4), torch.ones(3)

    with pytest.raises(ValueError, match="labels"):
        combine(logits_NMC, base_M=base_M, spec=LABEL_AWARE, temperature=1.0, labels_N=torch.zeros(3).long())
    with pytest.raises(ValueError, match="temperature"):
        combine(logits_NMC, base_M=base_M, spec=MEAN_LOGIT, temperature=0.0)
    with pytest.raises(ValueError, match="don't fit"):
        aggregate(logits_NMC, torch.ones(2, 2), how="mean_logit", temperature=1.0)
