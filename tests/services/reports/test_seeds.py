"""Seeds, sizes and generations: means, spread and pairs, by hand."""

from math import sqrt

import pytest
from pydantic import ValidationError

from services.reports.compare import compare, distillation_score, noise_of_mean

from .examples import child, composed, predictions
from .test_compare import model


def of(report, role, point=None, generation=None):
    found = [m for m in report.models if (m.role, m.point, m.generation) == (role, point, generation)]
    assert len(found) == 1
    return found[0]


def seeds(students, baselines):
    return {child("student", seed=seed): reached for seed, reached in enumerate(students)} | {
        child("baseline", seed=seed): reached for seed, reached in enumerate(baselines)
    }


def test_a_line_holds_the_mean_and_the_sample_deviation():
    report = composed(seeds([0.86, 0.88, 0.90], [0.80, 0.80, 0.83]))
    student, baseline = of(report, "student"), of(report, "baseline")
    assert student.quality.accuracy == pytest.approx(0.88)
    assert student.deviation.accuracy == pytest.approx(0.02)  # root of (4 + 0 + 4) / 2, in points
    assert baseline.deviation.accuracy == pytest.approx(0.03 / sqrt(3))  # root of (1 + 1 + 4) / 2
    assert student.seeds == baseline.seeds == (0, 1, 2)


def test_differences_are_paired_by_seed_and_their_spread_is_the_noise():
    report = composed(seeds([0.86, 0.88, 0.90], [0.83, 0.80, 0.80]))
    found = next(c for c in report.comparisons if c.role == "baseline")
    assert found.differences == pytest.approx((0.03, 0.08, 0.10))
    assert found.accuracy_gain == pytest.approx(0.07)
    # distances from 7: 4, 1 and 3; root of 26 / 2, times 2 / sqrt(3)
    assert found.noise == pytest.approx(2 * sqrt(13) / 100 / sqrt(3))
    assert found.verdict == "better"
    assert found.row_noise == pytest.approx(2 * sqrt((0.88 * 0.12 + 0.81 * 0.19) / 10_000))


def test_a_wide_spread_is_no_gain_where_one_seed_would_have_been_one():
    assert compare(model(0.88), model(0.86)).verdict == "better"
    assert compare(model(0.88), model(0.86), [0.06, -0.02]).verdict == "within_noise"


def test_two_equal_differences_have_no_spread():
    assert noise_of_mean([0.02, 0.02]) == 0.0


def test_seeds_that_only_one_side_finished_are_not_paired():
    report = composed(seeds([0.86, 0.88, 0.90], [0.80, None, 0.82]))
    found = next(c for c in report.comparisons if c.role == "baseline")
    assert found.differences == pytest.approx((0.06, 0.08))
    assert of(report, "baseline").seeds == (0, 2)
    assert report.headline.startswith("The baseline (seed 1) failed: it ended. Distillation gained 7.0 points")


def test_a_single_pair_falls_back_to_the_noise_of_rows():
    report = composed(seeds([0.86, 0.88], [0.80]))
    found = next(c for c in report.comparisons if c.role == "baseline")
    assert (found.differences, found.noise) == ((), found.row_noise)


def test_sizes_have_lines_and_baselines_of_their_own():
    report = composed(
        {
            child("student", point="w8"): 0.86,
            child("student", point="w16"): 0.90,
            child("baseline", point="w8"): 0.84,
            child("baseline", point="w16"): 0.87,
        }
    )
    gains = {c.point: c.accuracy_gain for c in report.comparisons if c.role == "baseline"}
    assert gains == {"w8": pytest.approx(0.02), "w16": pytest.approx(0.03)}
    assert of(report, "student", "w16").size.parameters == 16_000


def test_later_generations_stand_beside_the_only_baseline():
    report = composed({child("student", generation=g): 0.84 + g / 100 for g in (1, 2, 3)} | {child("baseline"): 0.84})
    gains = {c.generation: c.accuracy_gain for c in report.comparisons if c.role == "baseline"}
    assert gains == {1: pytest.approx(0.01), 2: pytest.approx(0.02), 3: pytest.approx(0.03)}


def test_a_first_generation_that_labels_alone_taught_is_the_baseline_of_those_after_it():
    report = composed({child("student", generation=g): 0.845 + g / 200 for g in (1, 2)}, teachers=())
    assert [(c.role, c.name, c.generation) for c in report.comparisons] == [("baseline", "generation 1", 2)]
    assert report.headline.startswith(
        "The student of generation 2 is no better than its baseline: 85.5 % against 85.0 %"
    )
    assert not any(model.role == "ensemble" for model in report.models)


def test_an_earlier_generation_is_not_the_ensemble():
    report = composed({child("student", generation=g): 0.85 for g in (1, 2)})
    assert [m.name for m in report.models if m.role == "ensemble"] == ["fashion@1"]


def test_a_later_generations_agreement_is_with_the_first_ensemble():
    first, second = child("student", generation=1), child("student", generation=2)
    named = {
        first: predictions((0, 1, 2, 0), ensemble=(0, 1, 2, 0)),
        second: predictions((0, 1, 0, 0), ensemble=(0, 1, 0, 0)),  # what generation 1 said as its teacher
    }
    report = composed({first: 0.85, second: 0.86}, named=named)
    assert of(report, "student", generation=2).agreement == 0.75


def test_the_score_weighs_size_and_accuracy():
    # a tenth of the size and nine tenths of the accuracy: 0.3 * 0.1 + 0.7 * 0.1
    assert distillation_score(size_share=0.1, accuracy_share=0.9, alpha=0.3) == pytest.approx(0.1)
    assert distillation_score(size_share=0.1, accuracy_share=0.9, alpha=1.0) == pytest.approx(0.1)
    assert distillation_score(size_share=1.0, accuracy_share=1.1, alpha=0.0) == pytest.approx(-0.1)  # a better student


def test_every_model_has_a_score_against_the_ensemble():
    report = composed({child("student"): 0.874, child("baseline"): 0.8}, alpha=0.25)
    student = of(report, "student")
    assert report.alpha == 0.25
    assert (student.retention, student.size_reduction) == (0.95, 75)  # 87.4 / 92; 600,000 / 8,000
    assert student.score == pytest.approx(0.25 / 75 + 0.75 * 0.05)
    assert next(m for m in report.models if m.role == "ensemble").score == pytest.approx(0.25)
    assert next(m for m in report.models if m.role == "member").size_reduction == 3


@pytest.mark.parametrize("setting", [{"alpha": 1.1}, {"alpha": -0.1}, {"within": 1.0}])
def test_shares_that_are_none_are_refused(setting):
    with pytest.raises(ValidationError, match=next(iter(setting))):
        composed({child("student"): 0.87}, **setting)
