"""The control plane may die at any moment: workers train on, and the one that is started next goes on with every job."""

import pytest

from distill.contracts.records import JobRecord, JobState, Outcome
from services.client.client import StillhouseClient
from services.stack.stack import Stack
from tests.fundamentals.jobs import EPOCHS, a_job, ended, events_of, first, weights_of

pytestmark = pytest.mark.long


@pytest.fixture(scope="module")
def job(stack: Stack) -> JobRecord:
    with StillhouseClient(stack.url) as client:
        job = client.submit_job(a_job())
        first(client, job, "epoch_ended")
        stack.restart_control_plane(kill=True)
        assert client.job(job.id).state is JobState.RUNNING
        return ended(client, job)


def test_the_job_ends_once_at_its_only_attempt(client: StillhouseClient, job: JobRecord):
    assert (job.state, job.attempt) == (JobState.SUCCEEDED, 1)
    ends = [event.fact.outcome for event in events_of(client, job) if event.fact.kind == "attempt_ended"]
    assert ends == [Outcome.FINISHED]


def test_no_epoch_is_missing_and_none_came_twice(client: StillhouseClient, job: JobRecord):
    epochs = [event.fact.epoch for event in events_of(client, job) if event.fact.kind == "epoch_ended"]
    assert epochs == list(range(1, EPOCHS + 1))


def test_the_student_is_the_one_that_it_would_have_been(client: StillhouseClient, job: JobRecord, unbroken: JobRecord):
    assert weights_of(client, job) == weights_of(client, unbroken)
