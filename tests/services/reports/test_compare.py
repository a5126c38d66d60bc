"""What is a difference and what is noise, with numbers worked out by hand."""

import pytest

from distill.contracts.measures import Size
from distill.contracts.report import ReportModel
from services.reports.compare import compare, noise_of_difference

from .examples import quality, size


def model(accuracy: float, *, rows: int = 10_000, of: Size | None = None) -> ReportModel:
    return ReportModel(
        role="student", name="m", architecture="cnn", quality=quality(accuracy, rows), size=of or size(15_000)
    )


def test_noise_is_two_standard_errors_of_the_difference_of_two_proportions():
    # 0.8 * 0.2 / 400 + 0.9 * 0.1 / 400 = 0.0004 + 0.000225 = 0.000625, whose root is 0.025
    assert noise_of_difference(quality(0.8, 400), quality(0.9, 400)) == pytest.approx(0.05)


def test_a_gap_above_the_noise_is_a_difference_and_one_below_is_not():
    assert compare(model(0.86, rows=400), model(0.80, rows=400)).verdict == "better"  # 6 points, noise 5.29
    assert compare(model(0.80, rows=400), model(0.86, rows=400)).verdict == "worse"
    assert compare(model(0.84, rows=400), model(0.80, rows=400)).verdict == "within_noise"  # 4 points, noise 5.43


def test_models_that_are_always_right_are_equal():
    assert compare(model(1.0), model(1.0)).verdict == "within_noise"


def test_retention_and_size_are_ratios():
    comparison = compare(model(0.87), model(0.92, of=size(840_000, 6.0)))
    assert comparison.retention == pytest.approx(0.945652, abs=1e-6)  # 87 / 92
    assert comparison.size_reduction == 56  # 840,000 / 15,000
    assert comparison.speed_up == {1: 6.0, 64: 6.0}


def test_latencies_of_unlike_machines_are_not_compared():
    assert compare(model(0.87), model(0.92, of=size(840_000, threads=8))).speed_up == {}


def test_nothing_is_kept_of_an_ensemble_that_is_never_right():
    assert compare(model(0.1), model(0.0)).retention is None


def test_a_model_that_was_not_measured_is_not_compared():
    assert compare(model(0.87), model(0.92).model_copy(update={"quality": None})) is None
