"""Quality against scikit-learn and against arithmetic by hand."""

import pytest
import torch
from sklearn.metrics import accuracy_score, log_loss

from distill.science.metrics import agreement, expected_calibration_error, quality


def test_accuracy_and_likelihood_are_scikit_learns():
    logits_NC, labels_N = torch.randn(200, 5), torch.randint(0, 5, (200,))

    measured = quality(logits_NC, labels_N)

    assert measured.accuracy == accuracy_score(labels_N, logits_NC.argmax(dim=1))
    assert measured.nll == pytest.approx(log_loss(labels_N, logits_NC.double().softmax(dim=1), labels=range(5)))
    assert measured.num_rows == 200


def test_the_calibration_error_of_two_bins_by_hand():
    # two rows at .9 of which one is right, two at .6 which are both right, in bins that they don't share
    probability_NC = torch.tensor([[0.9, 0.1], [0.9, 0.1], [0.6, 0.4], [0.6, 0.4]])

    error = expected_calibration_error(probability_NC, torch.tensor([0, 1, 0, 0]))

    assert error == pytest.approx(0.5 * abs(0.5 - 0.9) + 0.5 * abs(1.0 - 0.6), abs=1e-6)


def test_rows_of_one_bin_make_up_for_each_other():
    assert expected_calibration_error(torch.full((2, 2), 0.5), torch.tensor([0, 1]), bins=1) == pytest.approx(0)


def test_a_certain_and_wrong_answer_costs_what_its_logits_say():
    measured = quality(torch.tensor([[10_000.0, 0.0]]), torch.tensor([1]))

    assert measured.nll == pytest.approx(10_000)
    assert measured.calibration_error == pytest.approx(1.0)


def test_rows_without_a_label_are_left_out():
    logits_NC = torch.randn(6, 3)

    assert quality(logits_NC, torch.tensor([0, -1, 2, -1, 1, 1])) == quality(
        logits_NC[[0, 2, 4, 5]], torch.tensor([0, 2, 1, 1])
    )


def test_agreement_is_the_share_of_equal_answers():
    assert agreement(torch.tensor([1, 2, 3, 4]), torch.tensor([1, 0, 3, 4])) == 0.75


def test_nothing_to_measure_is_refused():
    with pytest.raises(ValueError, match="at least one"):
        quality(torch.zeros(2, 3), torch.tensor([-1, -1]))
    with pytest.raises(ValueError, match="don't fit"):
        quality(torch.zeros(2, 3), torch.tensor([0]))
