"""A teacher's replica may die in mid-epoch: its student waits for the next one, and nothing is asked or counted twice."""

import pytest

from distill.contracts.records import JobRecord, JobState
from services.client.client import StillhouseClient
from services.stack.stack import Stack
from tests.fundamentals.jobs import BATCH_SIZE, EPOCHS, STEPS, TEST_ROWS, a_taught_job, ended, first
from tests.fundamentals.processes import kill, replicas_of
from tests.fundamentals.waiting import until

pytestmark = pytest.mark.long


@pytest.fixture(scope="module")
def job(stack: Stack, teacher: str) -> JobRecord:
    with StillhouseClient(stack.url) as client:
        job = client.submit_job(a_taught_job(teacher, answers={"remember": False}))
        first(client, job, "epoch_ended")
        (wise,) = job.teachers
        (old,) = replicas_of(stack, wise)
        kill(stack, old)
        until(lambda: replicas_of(stack, wise) not in ([], [old]))
        assert client.job(job.id).state is JobState.RUNNING
        return ended(client, job)


def test_the_job_succeeds_in_the_same_attempt(job: JobRecord):
    assert (job.state, job.attempt) == (JobState.SUCCEEDED, 1)
    assert len(job.epochs) == EPOCHS


def test_every_row_of_every_epoch_was_asked_once_and_the_wait_is_told(client: StillhouseClient, job: JobRecord):
    (told,) = client.report("job", job.id).jobs
    assert told.teacher_rows == EPOCHS * STEPS * BATCH_SIZE + TEST_ROWS
    assert told.teacher_wait_s > 0
