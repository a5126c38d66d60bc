"""Redis may die at any moment: what it had confirmed is there when it comes back, and workers say again what it missed."""

import pytest

from distill.contracts.events import Event
from distill.contracts.records import JobRecord, JobState
from services.client.client import StillhouseClient
from services.client.following import Followed
from services.stack.stack import Stack
from tests.fundamentals.jobs import EPOCHS, a_job, ended, events_of, weights_of

pytestmark = pytest.mark.long


@pytest.fixture(scope="module")
def confirmed() -> list[Followed]:
    """What followers had seen before Redis died."""
    return []


@pytest.fixture(scope="module")
def job(stack: Stack, confirmed: list[Followed]) -> JobRecord:
    with StillhouseClient(stack.url) as client:
        job = client.submit_job(a_job())
        for sent in client.follow("job", job.id):
            if isinstance(sent.data, Event):
                confirmed.append(sent)
            if sent.name == "epoch_ended":
                break
        stack.restart_redis(kill=True)
        assert client.job(job.id).state is JobState.RUNNING
        return ended(client, job)


def test_nothing_that_was_confirmed_is_lost(client: StillhouseClient, job: JobRecord, confirmed: list[Followed]):
    assert confirmed[-1].name == "epoch_ended"
    assert list(client.follow("job", job.id))[: len(confirmed)] == confirmed


def test_nothing_that_was_said_meanwhile_is_missing_or_came_twice(client: StillhouseClient, job: JobRecord):
    epochs = [event.fact.epoch for event in events_of(client, job) if event.fact.kind == "epoch_ended"]
    assert epochs == list(range(1, EPOCHS + 1))


def test_the_job_succeeds_in_the_same_attempt_with_the_student_that_it_would_have_been(
    client: StillhouseClient, job: JobRecord, unbroken: JobRecord
):
    assert (job.state, job.attempt) == (JobState.SUCCEEDED, 1)
    assert weights_of(client, job) == weights_of(client, unbroken)
