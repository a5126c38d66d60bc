"""The first line of a report, whole, for each way in which a study can end."""

import pytest

from distill.contracts.errors import Problem
from distill.contracts.records import JobState
from distill.contracts.report import Report
from services.reports.compose import compose_job, compose_study

from .examples import NOON, job, result, study, three_members

TEACHERS = (three_members(),)
BROKEN = Problem(code="training_diverged", message="the loss is NaN at step 12: lower the learning rate")


def report(
    student: float | None, baseline: float | None, *, ensemble: float = 0.92, parameters: int = 15_000
) -> Report:
    """Of a study; a child whose accuracy is None has failed."""
    jobs = {"student": job(teachers=TEACHERS), "baseline": job("baseline")}
    results = {}
    if student is not None:
        results["student"] = result(student, ensemble=ensemble, members=(0.9, 0.91, 0.9), parameters=parameters)
    else:
        jobs["student"] = job(teachers=TEACHERS, state=JobState.FAILED, problem=BROKEN)
    if baseline is not None:
        results["baseline"] = result(baseline, role="baseline")
    else:
        jobs["baseline"] = job("baseline", state=JobState.FAILED, problem=BROKEN)
    return compose_study(study("student", "baseline"), jobs, results, {}, at=NOON)


def test_a_gain_is_told_in_points():
    assert report(0.874, 0.79).headline == (
        "Distillation gained 8.4 points: the student reaches 87.4 % on 10,000 test rows, its baseline 79.0 %; "
        "it keeps 95.0 % of the ensemble's 92.0 % and is 40 times smaller."
    )


def test_a_student_worse_than_its_baseline_is_told_as_a_loss():
    assert report(0.86, 0.88).headline.startswith(
        "Distillation lost 2.0 points: the student reaches 86.0 % on 10,000 test rows, its baseline 88.0 %; "
    )


def test_a_gap_within_the_noise_is_no_gain():
    # two standard errors: 2 * sqrt((0.883 * 0.117 + 0.88 * 0.12) / 10,000) = 0.0091
    assert report(0.883, 0.88).headline.startswith(
        "The student is no better than its baseline: 88.3 % against 88.0 %, within the noise of 10,000 test rows "
        "(±0.9 points); "
    )


def test_equal_accuracies_are_no_gain():
    assert report(0.88, 0.88).headline.startswith(
        "The student is no better than its baseline: both reach 88.0 % on 10,000 test rows; "
    )


def test_a_student_may_exceed_or_match_its_ensemble():
    assert (
        "; it exceeds the ensemble's 85.0 % by 4.0 points and is 40 times smaller."
        in report(0.89, 0.8, ensemble=0.85).headline
    )
    assert "; it matches the ensemble's 88.9 % within the noise and is" in report(0.89, 0.8, ensemble=0.889).headline


def test_size_is_told_as_it_is():
    assert report(0.89, 0.8, parameters=600_000).headline.endswith("at the same size.")
    assert report(0.89, 0.8, parameters=1_200_000).headline.endswith("is 2.0 times larger.")


def test_without_a_baseline_the_gain_is_not_known():
    done = {"student": result(0.874, ensemble=0.92, members=(0.9, 0.9, 0.9))}
    alone = compose_study(study("student"), {"student": job(teachers=TEACHERS)}, done, {}, at=NOON)
    assert alone.headline == (
        "The student reaches 87.4 % on 10,000 test rows; there is no baseline, so what distillation gained isn't known; "
        "it keeps 95.0 % of the ensemble's 92.0 % and is 40 times smaller."
    )


def test_a_job_without_teachers_says_how_many_labels_taught_it():
    assert compose_job(job(), result(0.79), at=NOON).headline == (
        "Taught by 1,000 labels alone, the student reaches 79.0 % on 10,000 test rows."
    )


def test_a_failed_baseline_is_named_first():
    assert report(0.874, None).headline == (
        "The baseline failed: the loss is NaN at step 12: lower the learning rate. The student reaches 87.4 % on "
        "10,000 test rows; the baseline left no result, so what distillation gained isn't known; "
        "it keeps 95.0 % of the ensemble's 92.0 % and is 40 times smaller."
    )


def test_a_failed_student_leaves_nothing_to_compare():
    assert report(None, 0.79).headline == (
        "The student failed: the loss is NaN at step 12: lower the learning rate. "
        "There is no student to compare; the baseline reaches 79.0 %."
    )


def test_when_all_failed_all_are_named():
    headline = report(None, None).headline
    assert headline.count("failed: the loss is NaN") == 2
    assert headline.endswith("There is no student to compare.")


@pytest.mark.parametrize("state", [JobState.FAILED, JobState.CANCELLED])
def test_a_single_job_that_did_not_succeed_says_so(state):
    word = {"FAILED": "failed", "CANCELLED": "was cancelled"}[state]
    assert compose_job(job(state=state), None, at=NOON).headline.startswith(f"The student {word}: it ended.")
