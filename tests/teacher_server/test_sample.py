"""Whether two answers to the same rows are the same, by hand-worked cases."""

import numpy as np
import pytest

from teacher_server.sample import difference, sample_of


def logits(*rows):
    return {"logits": np.array(rows, np.float16)[:, None, :]}


def tops(log_probs, classes, tail):
    return {
        "top.log_probs": np.array([[log_probs]], np.float16),
        "top.classes": np.array([[classes]], np.uint16),
        "top.tail": np.array([[tail]], np.float32),
    }


def test_a_sample_is_spread_over_all_rows_and_no_larger_than_they_are():
    assert sample_of(np.arange(100), 5).tolist() == [0, 25, 50, 74, 99]
    assert sample_of(np.array([3, 8]), 32).tolist() == [3, 8]


def test_logits_that_differ_by_a_constant_are_the_same_answer():
    assert difference(logits([1, 2, 3]), logits([2, 3, 4])) is None


def test_a_probability_may_differ_by_a_thousandth():
    # softmax(x, 0) = 1 / (1 + exp(-x)), whose slope at 0 is 1/4: 0.002 -> 0.0005, 0.008 -> 0.002
    assert difference(logits([0.002, 0]), logits([0, 0])) is None
    assert "may by 0.001" in str(difference(logits([0.008, 0]), logits([0, 0])))


def test_two_classes_as_good_as_equal_are_both_the_top():
    assert difference(logits([1.0, 1.001]), logits([1.001, 1.0])) is None
    assert difference(tops([-0.7, -0.7], [4, 9], 0.01), tops([-0.7, -0.7], [9, 4], 0.01)) is None


def test_another_top_class_is_a_difference_even_with_equal_probabilities():
    assert difference(tops([-0.1, -3.0], [4, 9], 0.05), tops([-0.1, -3.0], [9, 4], 0.05)) == "the top class differs"


@pytest.mark.parametrize(
    ("recalled", "named"),
    [
        (tops([-0.1, -3.0], [4, 9], 0.06), "top.tail"),
        (tops([-0.11, -3.0], [4, 9], 0.05), "top.log_probs"),
        (tops([-0.1, -3.0], [4, 9], np.nan), "top.tail"),
    ],
)
def test_mass_that_moved_is_a_difference(recalled, named):
    assert named in str(difference(tops([-0.1, -3.0], [4, 9], 0.05), recalled))


def test_a_feature_may_differ_by_a_fiftieth_of_its_greatest_value():
    def with_tap(*values):
        return {**logits([1, 2]), "tap.0.stages.1": np.array([values], np.float32)}

    assert difference(with_tap(10, -2), with_tap(10.1, -2.1)) is None
    assert "tap.0.stages.1" in str(difference(with_tap(10, -2), with_tap(10.3, -2)))


def test_other_tensors_are_a_difference():
    assert "other tensors" in str(difference(logits([1, 2]), logits([1, 2, 3])))
    assert "other tensors" in str(difference(logits([1, 2]), {}))
