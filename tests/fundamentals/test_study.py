"""A finished job can teach the next one: a study trains a student beside its baseline, and reports what that was worth."""

import json

import pytest

from distill.contracts.measures import AttemptResult
from distill.contracts.records import JobRecord, JobState
from distill.contracts.report import Report
from distill.contracts.study import StudySpec
from services.client.client import StillhouseClient
from services.control_plane.views import StudyView
from services.stack.stack import Stack
from tests.fundamentals.jobs import EPOCHS, STEPS, TEST_ROWS, TRAINED_ROWS, a_taught_job


@pytest.fixture(scope="module")
def study(stack: Stack, teacher: str) -> StudyView:
    with StillhouseClient(stack.url, key=stack.key) as client:
        posted = client.submit_study(StudySpec(name="digits-study", job=a_taught_job(teacher)))
        for _ in client.follow("study", posted.study.id):
            pass
        return client.study(posted.study.id)


@pytest.fixture
def report(client: StillhouseClient, study: StudyView) -> Report:
    return client.report("study", study.study.id)


def accuracy_of(stack: Stack, job: JobRecord) -> float:
    """Counted from what the student said of each test row."""
    result = AttemptResult.model_validate_json((stack.home.storage / job.result).read_bytes())
    said = json.loads((stack.home.storage / result.predictions).read_bytes())
    hits = [named == true for named, true in zip(said["student"], said["truth"], strict=True)]
    return sum(hits) / len(hits)


def test_both_children_succeed_and_only_one_of_them_is_taught(study: StudyView, teacher: str):
    assert study.state is JobState.SUCCEEDED
    student, baseline = study.children["student"], study.children["baseline"]
    assert [wise.reference for wise in student.teachers] == [teacher]
    assert baseline.teachers == ()


def test_both_are_the_same_network_on_the_same_labels_for_the_same_steps(report: Report):
    student, baseline = (
        next(model for model in report.models if model.role == role) for role in ("student", "baseline")
    )
    assert student.architecture == baseline.architecture
    assert student.size.parameters == baseline.size.parameters == (64 + 1) * 64 + (64 + 1) * 10
    assert student.learned_from.num_labels == baseline.learned_from.num_labels == 50
    assert student.learned_from.steps == baseline.learned_from.steps == EPOCHS * STEPS


def test_the_student_is_better_by_as_much_as_the_report_says(stack: Stack, study: StudyView, report: Report):
    (beside,) = [comparison for comparison in report.comparisons if comparison.role == "baseline"]
    gain = accuracy_of(stack, study.children["student"]) - accuracy_of(stack, study.children["baseline"])
    assert beside.accuracy_gain == pytest.approx(gain, abs=1e-9)
    assert beside.verdict == "better"


def test_the_report_says_what_of_its_teacher_the_student_kept(
    client: StillhouseClient, report: Report, unbroken: JobRecord
):
    (teachers_own,) = client.report("job", unbroken.id).models
    (beside,) = [comparison for comparison in report.comparisons if comparison.role == "ensemble"]
    student = next(model for model in report.models if model.role == "student")
    assert beside.retention == pytest.approx(student.quality.accuracy / teachers_own.quality.accuracy, abs=1e-9)
    assert student.quality.num_rows == TEST_ROWS


def test_only_the_student_asked_the_teacher_and_about_no_row_twice(report: Report):
    rows = {job.role: job.teacher_rows for job in report.jobs}
    assert rows == {"student": TRAINED_ROWS + TEST_ROWS, "baseline": 0}
