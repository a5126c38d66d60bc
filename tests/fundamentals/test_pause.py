"""A job that is paused gives back what it took, and once resumed becomes the student that it would have been."""

import pytest

from distill.contracts.records import JobRecord, JobState, Outcome
from services.client.client import StillhouseClient
from services.stack.stack import Stack
from tests.fundamentals.jobs import EPOCHS, STEPS, a_job, ended, first, weights_of
from tests.fundamentals.processes import workers_of
from tests.fundamentals.waiting import until

pytestmark = pytest.mark.long


@pytest.fixture(scope="module")
def paused(stack: Stack) -> JobRecord:
    with StillhouseClient(stack.url) as client:
        job = client.submit_job(a_job())
        first(client, job, "epoch_ended")
        assert client.pause_job(job.id).state is JobState.PAUSING
        until(lambda: client.job(job.id).state is not JobState.PAUSING)
        return client.job(job.id)


@pytest.fixture(scope="module")
def resumed(stack: Stack, paused: JobRecord) -> JobRecord:
    with StillhouseClient(stack.url) as client:
        assert client.resume_job(paused.id).state in {JobState.QUEUED, JobState.STARTING}
        return ended(client, paused)


def test_it_stops_at_a_step_and_keeps_a_checkpoint_of_it(paused: JobRecord):
    assert paused.state is JobState.PAUSED
    assert [attempt.outcome for attempt in paused.attempts] == [Outcome.PAUSED]
    assert STEPS <= paused.checkpoint.step < EPOCHS * STEPS


def test_none_of_its_workers_is_left(stack: Stack, paused: JobRecord):
    until(lambda: workers_of(stack, paused) == [])


def test_resumed_it_goes_on_where_it_stood(resumed: JobRecord):
    assert (resumed.state, resumed.attempt) == (JobState.SUCCEEDED, 2)
    assert [epoch["epoch"] for epoch in resumed.epochs] == list(range(1, EPOCHS + 1))


def test_the_student_is_the_one_that_it_would_have_been(
    client: StillhouseClient, resumed: JobRecord, unbroken: JobRecord
):
    assert weights_of(client, resumed) == weights_of(client, unbroken)
