"""A job whose worker is killed goes on in a new attempt, from the last checkpoint, as if nothing had happened."""

import pytest

from distill.contracts.records import JobRecord, JobState, Outcome
from services.client.client import StillhouseClient
from services.stack.stack import Stack
from tests.fundamentals.jobs import EPOCHS, STEPS, a_job, ended, events_of, first, weights_of
from tests.fundamentals.processes import kill, worker_of

pytestmark = pytest.mark.long


@pytest.fixture(scope="module")
def lost(stack: Stack) -> JobRecord:
    """The job as it stood when its second attempt began."""
    with StillhouseClient(stack.url) as client:
        job = client.submit_job(a_job())
        first(client, job, "checkpoint_saved")
        kill(stack, worker_of(stack, client.job(job.id)))
        first(client, job, "attempt_claimed", attempt=2)
        return client.job(job.id)


@pytest.fixture(scope="module")
def job(stack: Stack, lost: JobRecord) -> JobRecord:
    with StillhouseClient(stack.url) as client:
        return ended(client, lost)


def test_the_first_attempt_says_what_it_lost_and_leaves_a_checkpoint(lost: JobRecord):
    first_attempt, _ = lost.attempts
    assert (first_attempt.outcome, first_attempt.problem.code) == (Outcome.FAILED, "worker_lost")
    assert 0 < lost.checkpoint.step < EPOCHS * STEPS
    assert lost.checkpoint.attempt == 1


def test_the_second_attempt_trains_only_what_was_missing(client: StillhouseClient, lost: JobRecord, job: JobRecord):
    assert (job.state, job.attempt) == (JobState.SUCCEEDED, 2)
    ends = [event.fact for event in events_of(client, job) if event.fact.kind == "epoch_ended"]
    epochs = [end.epoch for end in ends if end.attempt == 2]
    assert epochs == list(range(lost.checkpoint.epoch + 1, EPOCHS + 1))
    assert [epoch["epoch"] for epoch in job.epochs] == list(range(1, EPOCHS + 1))


def test_the_report_tells_of_both_attempts_and_the_curve_is_whole(client: StillhouseClient, job: JobRecord):
    (told,) = client.report("job", job.id).jobs
    assert told.attempts == 2
    assert [(point.epoch, point.step) for point in told.curve] == [(n, n * STEPS) for n in range(1, EPOCHS + 1)]


def test_the_student_is_the_one_that_it_would_have_been(client: StillhouseClient, job: JobRecord, unbroken: JobRecord):
    assert weights_of(client, job) == weights_of(client, unbroken)
