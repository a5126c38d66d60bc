"""A second generation is taught by the first: its student is published, checked and asked, and nobody has to do it."""

import json
from typing import Any

import pytest

from distill.contracts.measures import AttemptResult
from distill.contracts.records import JobRecord, JobState, Phase
from distill.contracts.study import StudySpec
from services.client.client import StillhouseClient
from services.stack.stack import Stack
from tests.fundamentals.jobs import TEST_ROWS, TRAINED_ROWS, a_job, ended, weights_of

pytestmark = pytest.mark.long

EPOCHS, BATCH_SIZE = 3, 128
TRAINING = {"epochs": EPOCHS, "batch_size": BATCH_SIZE, "optimizer": {"kind": "sgd", "lr": 0.05}}
STEPS = EPOCHS * (TRAINED_ROWS // BATCH_SIZE)
SPEC = StudySpec.model_validate(
    {
        "name": "born-again",
        "job": a_job(training=TRAINING, answers={"precision": "fp32"}),
        "generations": 2,
        "later_objective": [{"kind": "soft_targets", "temperature": 1.0}],
    }
)


@pytest.fixture(scope="module")
def generations(stack: Stack) -> tuple[JobRecord, JobRecord]:
    """Both jobs of the study, at their end."""
    with StillhouseClient(stack.url, key=stack.key) as client:
        children = client.submit_study(SPEC).children
        first, second = (ended(client, children[key]) for key in ("student-g1", "student-g2"))
        return first, second


def said(stack: Stack, job: JobRecord) -> Any:
    """The class that each model named for each test row."""
    result = AttemptResult.model_validate_json((stack.home.storage / str(job.result)).read_bytes())
    return json.loads((stack.home.storage / result.predictions).read_bytes())


def test_both_succeed_one_after_the_other(generations: tuple[JobRecord, JobRecord]):
    first, second = generations
    assert [job.state for job in generations] == [JobState.SUCCEEDED, JobState.SUCCEEDED], second.reason.text
    assert first.ended_at is not None
    assert first.ended_at < second.attempts[0].phases[Phase.CLAIMED]


def test_the_second_ones_teacher_has_the_weights_of_the_first(
    client: StillhouseClient, generations: tuple[JobRecord, JobRecord]
):
    first, second = generations
    assert first.teachers == ()
    (teacher,) = second.teachers
    assert teacher.reference == f"{second.study}@1"
    assert [member.weights_digest for member in teacher.manifest.members] == [weights_of(client, first)]


def test_it_was_asked_for_every_row_and_said_what_the_first_one_says(
    stack: Stack, client: StillhouseClient, generations: tuple[JobRecord, JobRecord]
):
    first, second = generations
    (job,) = client.report("job", second.id).jobs
    # each row once: of an epoch the last short batch is dropped, and every epoch drops others
    assert STEPS // EPOCHS * BATCH_SIZE <= job.teacher_rows - TEST_ROWS <= TRAINED_ROWS
    assert said(stack, second)["ensemble"] == said(stack, first)["student"]
