"""The first line of a report, whole, for each way in which a study can end."""

import pytest

from distill.contracts.errors import Problem
from distill.contracts.records import JobState
from distill.contracts.report import Report
from services.reports.compose import compose_job, compose_study

from .examples import NOON, child, composed, job, result, study, three_members

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


def both(students, baselines, **which):
    """Such accuracies by seed."""
    return {child("student", seed=seed, **which): reached for seed, reached in enumerate(students)} | {
        child("baseline", seed=seed, **which): reached for seed, reached in enumerate(baselines)
    }


def test_over_seeds_the_gain_is_the_mean_and_the_noise_their_spread():
    # differences 8, 9 and 10: deviation 1, two standard errors 2 / sqrt(3) = 1.2
    assert composed(both([0.88, 0.88, 0.88], [0.80, 0.79, 0.78])).headline == (
        "Distillation gained 9.0 points (±1.2 points over 3 seeds): the student reaches 88.0 % on 10,000 test rows "
        "(mean of 3 seeds), its baseline 79.0 %; it keeps 95.7 % of the ensemble's 92.0 % and is 75 times smaller."
    )


def test_over_seeds_too_the_first_line_says_that_a_student_is_no_better():
    # differences 4 and -2: mean 1, deviation 4.2, two standard errors 6.0
    assert composed(both([0.88, 0.86], [0.84, 0.88])).headline.startswith(
        "The student is no better than its baseline: 87.0 % against 86.0 % on 10,000 test rows (mean of 2 seeds), "
        "within the noise of 2 seeds (±6.0 points); "
    )


def test_a_gain_that_other_test_rows_could_undo_says_so():
    # differences 0.4 and 0.5: surer than the seeds' spread, yet below the 0.9 points of 10,000 rows
    headline = composed(both([0.884, 0.885], [0.88, 0.88])).headline
    assert headline.startswith(
        "Distillation gained 0.5 points (±0.1 points over 2 seeds, though other test rows alone may change it by 0.9 points)"
    )


def test_a_sweep_that_pays_at_every_size_says_how_much():
    sizes = both([0.86], [0.80], point="w8") | both([0.91], [0.88], point="w16")
    assert composed(sizes).headline == (
        "Distillation gained 3.0 to 6.0 points at both sizes, each over its own baseline. The cheapest student within 2 % "
        "of the ensemble's 92.0 % is w16, with 16.0k parameters and 91.0 %; it is the fastest such too."
    )


def test_a_sweep_names_the_sizes_at_which_the_student_is_no_better():
    sizes = both([0.80], [0.82], point="w4") | both([0.86], [0.86], point="w8") | both([0.90], [0.88], point="w16")
    assert composed(sizes).headline.startswith(
        "The student is no better than its baseline at 2 of 3 sizes (w4 and w8); it lost 2.0 points at w4; distillation "
        "gained 2.0 points at w16. "
    )


def test_a_sweep_in_vain_says_so():
    sizes = both([0.86], [0.86], point="w8") | both([0.88], [0.88], point="w16")
    assert composed(sizes).headline.startswith(
        "The student is no better than its baseline at any of 2 sizes. No student is"
    )


def test_the_last_generation_speaks_for_the_study():
    generations = {child("student", generation=g): 0.84 + g / 100 for g in (1, 2, 3)}
    assert composed(generations | {child("baseline"): 0.84}).headline == (
        "Distillation gained 3.0 points: the student of generation 3 reaches 87.0 % on 10,000 test rows, its baseline 84.0 %; "
        "generation 1 reached 85.0 %; it keeps 94.6 % of the ensemble's 92.0 % and is 75 times smaller."
    )


def test_of_many_failures_three_are_named():
    headline = composed(both([None] * 5, [0.8] * 5)).headline
    assert headline.count("failed: it ended.") == 3
    assert (
        "The student (seed 2) failed: it ended. 2 more jobs did not succeed. There is no student to compare;"
        in headline
    )
