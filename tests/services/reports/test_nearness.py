"""Whom a student resembles, counted row by row."""

import pytest

from distill.contracts.measures import Predictions
from services.reports.nearness import noise_of_rows

from .examples import child, composed

TRUTH = (0,) * 100
ENSEMBLE = (1,) * 100


def says(*counts: tuple[int, int]) -> tuple[int, ...]:
    """So many rows of such a class, one after the other."""
    return tuple(number for rows, number in counts for _ in range(rows))


def answers(student: tuple[int, ...]) -> Predictions:
    return Predictions(student=student, ensemble=ENSEMBLE, truth=TRUTH)


def near(student, baseline, *, accuracy=0.86):
    """The student's rows beside an ensemble that always says 1."""
    taught, alone = child("student"), child("baseline")
    report = composed({taught: accuracy, alone: 0.8}, named={taught: answers(student), alone: answers(baseline)})
    return report.nearness[0]


def test_noise_is_counted_on_the_rows_that_differ():
    # 30 rows for the one alone, 10 for the other: 2 sqrt(40 - 20^2 / 100) / 100 = 0.12
    first = [True] * 30 + [False] * 70
    second = [False] * 30 + [True] * 10 + [False] * 60
    assert noise_of_rows(first, second) == noise_of_rows(second, first) == pytest.approx(0.12)


def test_a_student_that_says_what_the_ensemble_says_is_nearer_to_it():
    found = near(says((90, 1), (10, 2)), says((50, 1), (50, 2)))  # 90 as the ensemble, 50 + 10 as the baseline
    assert (found.to_ensemble, found.to_baseline, found.nearer) == (0.9, 0.6, "ensemble")
    assert found.position == pytest.approx(0.5)  # 86 is half of the way from 80 to 92
    assert found.sentence == (
        "The student names the ensemble's class on 90.0 % of the test rows, its baseline's on 60.0 %: it is nearer to its "
        "teachers; its accuracy has come 50.0 % of the way from the baseline's 80.0 % to the ensemble's 92.0 %."
    )


def test_a_student_that_says_what_its_baseline_says_was_taught_in_vain():
    found = near(says((50, 1), (50, 2)), says((45, 1), (55, 2)))  # 95 as the baseline
    assert found.nearer == "baseline"
    assert "it is nearer to the network that was never taught" in found.sentence


def test_what_the_noise_would_explain_is_neither():
    found = near(says((92, 1), (8, 2)), says((90, 1), (10, 2)))  # 92 and 98: 2 sqrt(10 - 36 / 100) / 100 = 0.062
    assert (found.nearer, found.noise) == ("neither", pytest.approx(0.0621, abs=1e-4))
    assert "it is as near to the one as to the other, within the noise" in found.sentence


def test_an_accuracy_may_lie_outside_of_both():
    same = says((90, 1), (10, 2)), says((50, 1), (50, 2))
    assert "lies below the baseline's 80.0 %" in near(*same, accuracy=0.7).sentence
    assert "lies beyond the ensemble's 92.0 %" in near(*same, accuracy=0.95).sentence


def test_where_the_ensemble_is_no_better_than_the_baseline_there_is_no_way_between():
    taught, alone = child("student"), child("baseline")
    said = {taught: answers(says((100, 1))), alone: answers(says((100, 2)))}
    found = composed({taught: 0.92, alone: 0.915}, named=said).nearness[0]  # the noise of 92.0 and 91.5 % is 0.8 points
    assert found.position is None
    assert "there is no way between them" in found.sentence


def test_several_seeds_are_paired_and_averaged():
    said = {}
    for seed, (taught, alone) in enumerate([(90, 50), (80, 60)]):
        said[child("student", seed=seed)] = answers(says((taught, 1), (100 - taught, 2)))
        said[child("baseline", seed=seed)] = answers(says((alone, 1), (100 - alone, 2)))
    found = composed(dict.fromkeys(said, 0.85), named=said).nearness[0]
    # seed 0: 90 and 60, seed 1: 80 and 80; differences 30 and 0, deviation 21.2, two standard errors 30 points
    assert (found.to_ensemble, found.to_baseline) == (pytest.approx(0.85), pytest.approx(0.7))
    assert found.noise == pytest.approx(0.3)
    assert found.nearer == "neither"


def test_a_seed_without_its_baseline_is_left_out():
    said = {child("student", seed=seed): answers(says((90, 1), (10, 2))) for seed in (0, 1)}
    alone = child("baseline", seed=1)
    report = composed(dict.fromkeys(said, 0.85) | {alone: 0.8}, named=said | {alone: answers(says((40, 1), (60, 2)))})
    assert report.nearness[0].to_baseline == 0.5


def test_without_predictions_nothing_is_said():
    assert composed({child("student"): 0.86, child("baseline"): 0.8}).nearness == ()
