"""How many workers share a job changes how it is computed, not what the student learns."""

import pytest

from distill.contracts.records import JobRecord, JobState
from services.client.client import StillhouseClient
from services.stack.stack import Stack
from tests.fundamentals.jobs import a_job, ended

pytestmark = pytest.mark.long

FEW_STEPS = {"epochs": 3, "batch_size": 128, "optimizer": {"kind": "sgd", "lr": 0.05}}


@pytest.fixture(scope="module")
def jobs(stack: Stack) -> dict[int, JobRecord]:
    """The same job with one worker and with two, at the same time."""
    with StillhouseClient(stack.url) as client:
        posted = {
            workers: client.submit_job(a_job(training=FEW_STEPS, compute={"workers": workers, "cpus_per_worker": 0.5}))
            for workers in (1, 2)
        }
        return {workers: ended(client, job) for workers, job in posted.items()}


def test_both_succeed_at_their_first_attempt(jobs: dict[int, JobRecord]):
    assert [(job.state, job.attempt) for job in jobs.values()] == [(JobState.SUCCEEDED, 1)] * 2


def test_every_epoch_has_the_same_loss(jobs: dict[int, JobRecord]):
    alone, together = ([epoch["train_loss"] for epoch in job.epochs] for job in jobs.values())
    assert together == pytest.approx(alone, rel=1e-5)
    assert alone == sorted(alone, reverse=True)


def test_the_students_are_equally_good(client: StillhouseClient, jobs: dict[int, JobRecord]):
    (alone,), (together,) = (client.report("job", job.id).models for job in jobs.values())
    assert together.quality.accuracy == alone.quality.accuracy
    assert together.quality.nll == pytest.approx(alone.quality.nll, rel=1e-4)
