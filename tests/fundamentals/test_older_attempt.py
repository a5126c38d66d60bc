"""Whatever a worker of an older attempt says, the job doesn't change: its word arrives, and is passed over."""

from collections.abc import Iterator

import pytest
from redis import Redis

from distill.contracts import names
from distill.contracts.base import now
from distill.contracts.facts import AttemptEnded, CheckpointSaved, EpochEnded, Fact, TeacherAwaited
from distill.contracts.records import JobRecord, JobState, Outcome
from distill.journal.client import open_redis
from distill.journal.journal import Journal
from services.client.client import StillhouseClient
from services.stack.stack import Stack
from tests.fundamentals.jobs import ENDLESS, a_job, ended, events_of, first
from tests.fundamentals.processes import kill, worker_of
from tests.fundamentals.waiting import until

pytestmark = pytest.mark.long


@pytest.fixture
def stacks_redis(stack: Stack) -> Iterator[Redis]:
    client = open_redis(stack.redis_url)
    yield client
    client.close()


@pytest.fixture
def job(stack: Stack, client: StillhouseClient) -> Iterator[JobRecord]:
    """A job whose first attempt lost its worker, so that a second one has begun."""
    job = client.submit_job(a_job(training=ENDLESS))
    first(client, job, "checkpoint_saved")
    kill(stack, worker_of(stack, client.job(job.id)))
    first(client, job, "attempt_claimed", attempt=2)
    yield client.job(job.id)
    client.cancel_job(job.id)
    ended(client, job)


def what_a_lost_worker_may_say(job: JobRecord) -> list[Fact]:
    """It thinks that it has trained on, far beyond the checkpoint that the second attempt starts from."""
    beyond = job.checkpoint.model_copy(update={"path": "nowhere", "epoch": 500, "step": 500_000})
    return [
        EpochEnded(attempt=1, at=now(), epoch=500, metrics={"train_loss": 0.0}),
        CheckpointSaved(attempt=1, at=now(), checkpoint=beyond),
        TeacherAwaited(attempt=1, at=now(), teacher="reader@1", text="no replica is running"),
        AttemptEnded(attempt=1, at=now(), outcome=Outcome.FINISHED, result="nowhere/result.json"),
    ]


def test_the_word_of_an_older_attempt_arrives_and_changes_nothing(
    client: StillhouseClient, stacks_redis: Redis, job: JobRecord
):
    with Journal(stacks_redis, job.id, attempt=1, writer="lost-worker") as journal:
        for fact in what_a_lost_worker_may_say(job):
            journal.append(fact)
    until(lambda: has_read_all(stacks_redis, client.job(job.id)))

    after = client.job(job.id)
    unchanged = {"checkpoint", "epochs", "result", "teacher_awaited_since", "wish", "num_steps"}
    assert after.model_dump(include=unchanged) == job.model_dump(include=unchanged)
    assert (after.state, after.attempt) == (JobState.STARTING, 2)
    assert after.attempts[0] == job.attempts[0]

    client.cancel_job(job.id)
    ended(client, job)
    writers = {event.fact.writer for event in events_of(client, job) if hasattr(event.fact, "writer")}
    assert "driver" in writers
    assert "lost-worker" not in writers


def has_read_all(redis: Redis, job: JobRecord) -> bool:
    """Whether the record's newest entry is the newest that was ever put into its inbox."""
    return job.applied_id == redis.xinfo_stream(names.inbox_key("job", job.id))["last-generated-id"]
