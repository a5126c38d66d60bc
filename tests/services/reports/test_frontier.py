"""What accuracy costs: fronts and the cheapest student that is near enough, by hand."""

import pytest

from distill.contracts.report import ReportModel
from services.reports.frontier import frontier, pareto_front

from .examples import child, composed, quality, size


def student(point: str, parameters: int, accuracy: float, *, latency: float = 0.0, threads: int = 1) -> ReportModel:
    """As slow as it is large, unless told otherwise."""
    measured = size(parameters, latency or parameters / 1_000, threads=threads)
    return ReportModel(
        role="student", name=point, point=point, architecture="cnn", quality=quality(accuracy), size=measured
    )


ENSEMBLE = ReportModel(
    role="ensemble", name="fashion@1", architecture="3 members", quality=quality(0.9), size=size(600_000)
)


def test_a_student_that_another_beats_in_cost_and_accuracy_is_not_on_the_front():
    models = [student("small", 100, 0.7), student("odd", 200, 0.65), student("large", 300, 0.8)]
    assert pareto_front(models, "parameters") == ("small", "large")


def test_of_two_that_cost_the_same_the_better_one_is_on_the_front():
    assert pareto_front([student("one", 100, 0.7), student("other", 100, 0.71)], "parameters") == ("other",)


def test_equals_are_on_the_front_together():
    assert pareto_front([student("one", 100, 0.7), student("other", 100, 0.7)], "parameters") == ("one", "other")


def test_fronts_differ_by_what_is_counted():
    models = [student("thin", 100, 0.7, latency=5.0), student("wide", 200, 0.75, latency=1.0)]
    assert frontier(models, ENSEMBLE, 0.02).fronts == {
        "parameters": ("thin", "wide"),
        "flops": ("thin", "wide"),
        "latency": ("wide",),  # both faster and better
    }


def test_the_cheapest_is_the_smallest_that_lacks_no_more_than_its_share():
    # 2 % of 90 % may be lacking: 88.2 % is the least; the noise is 2 sqrt((0.8825 * 0.1175 + 0.09) / 10,000) = 0.9 points
    models = [student("w8", 8_000, 0.8819), student("w16", 16_000, 0.8825), student("w32", 32_000, 0.8995)]
    found = frontier(models, ENSEMBLE, 0.02)
    assert found.smallest == found.fastest == "w16"
    assert found.sentence == (
        "The cheapest student within 2 % of the ensemble's 90.0 % is w16, with 16.0k parameters and 88.2 % "
        "(by 0.0 points, less than the noise of ±0.9 points); it is the fastest such too."
    )


def test_exactly_the_share_is_near_enough():
    assert frontier([student("w8", 8_000, 0.98 * 0.9), student("w4", 4_000, 0.5)], ENSEMBLE, 0.02).smallest == "w8"


def test_the_fastest_may_be_another():
    models = [student("deep", 8_000, 0.9, latency=3.0), student("wide", 16_000, 0.9, latency=0.5)]
    found = frontier(models, ENSEMBLE, 0.02)
    assert (found.smallest, found.fastest) == ("deep", "wide")
    assert found.sentence.endswith("and 90.0 %; the fastest such is wide, 0.50 ms for a row alone.")


def test_when_no_student_is_near_enough_the_best_is_named_with_what_it_lacks():
    found = frontier([student("w8", 8_000, 0.8), student("w16", 16_000, 0.81)], ENSEMBLE, 0.02)
    assert (found.smallest, found.fastest) == (None, None)
    assert (
        found.sentence
        == (
            "No student is within 2 % of the ensemble's 90.0 %: the best, w16, reaches 81.0 %, 10.0 % less."  # 81 / 90 = 0.9
        )
    )


def test_latencies_of_unlike_machines_make_no_front():
    found = frontier([student("w8", 8_000, 0.9), student("w16", 16_000, 0.9, threads=8)], ENSEMBLE, 0.02)
    assert set(found.fronts) == {"parameters", "flops"}
    assert found.fastest is None


def test_without_an_ensemble_there_is_nothing_to_be_near_to():
    found = frontier([student("w8", 8_000, 0.9), student("w16", 16_000, 0.9)], None, 0.02)
    assert found.smallest is None
    assert found.sentence == "There is no ensemble's accuracy to hold the sizes against."


def test_one_size_is_no_frontier():
    assert frontier([student("w8", 8_000, 0.9)], ENSEMBLE, 0.02) is None


@pytest.mark.parametrize(("within", "smallest"), [(0.01, "w32"), (0.05, "w16")])
def test_the_study_says_how_near_is_near(within, smallest):
    sizes = {child("student", point=point): reached for point, reached in (("w8", 0.8), ("w16", 0.88), ("w32", 0.915))}
    assert composed(sizes, within=within).frontier.smallest == smallest  # of the ensemble's 92 %: 91.1 % and 87.4 %


def test_the_last_generation_of_each_size_stands_for_it():
    twice = {
        child("student", point=point, generation=generation): 0.8 + generation / 100
        for point in ("w8", "w16")
        for generation in (1, 2)
    }
    report = composed(twice)
    assert report.frontier.fronts["parameters"] == ("w8",)  # both reach 82 % in the end, and w8 is the smaller
