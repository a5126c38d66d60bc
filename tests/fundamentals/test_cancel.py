"""A job that is cancelled while it runs stops at a step, and what it has learned until then is kept."""

import pytest
from safetensors.torch import load_file

from distill.contracts.records import JobRecord, JobState, Outcome
from services.client.client import StillhouseClient
from services.stack.stack import Stack
from student_worker import checkpoints
from tests.fundamentals.jobs import ENDLESS, STEPS, a_job, ended, first


@pytest.fixture(scope="module")
def cancelled(stack: Stack) -> JobRecord:
    with StillhouseClient(stack.url, key=stack.key) as client:
        job = client.submit_job(a_job(training=ENDLESS))
        first(client, job, "epoch_ended")
        assert client.cancel_job(job.id).state is JobState.CANCELLING
        return ended(client, job)


def test_it_ends_cancelled_and_its_workers_had_the_last_word(cancelled: JobRecord):
    assert cancelled.state is JobState.CANCELLED
    assert [attempt.outcome for attempt in cancelled.attempts] == [Outcome.CANCELLED]
    assert cancelled.result is None


def test_the_checkpoint_that_the_record_names_is_there_and_whole(stack: Stack, cancelled: JobRecord):
    kept = cancelled.checkpoint
    folder = stack.home.storage / kept.path
    assert checkpoints.digest(folder) == kept.digest
    weights = load_file(folder / checkpoints.MODEL_FILE)
    assert sum(tensor.numel() for tensor in weights.values()) == (64 + 1) * 64 + (64 + 1) * 10


def test_it_stopped_after_a_whole_step_wherever_in_its_epoch_that_was(stack: Stack, cancelled: JobRecord):
    kept = cancelled.checkpoint
    assert kept.epoch == len(cancelled.epochs)
    assert kept.epoch * STEPS <= kept.step < (kept.epoch + 1) * STEPS
    assert f"a checkpoint of step {kept.step} is kept" in cancelled.reason.text


def test_cancelling_it_again_changes_nothing(client: StillhouseClient, cancelled: JobRecord):
    again = client.cancel_job(cancelled.id)
    assert again.model_copy(update={"applied_id": cancelled.applied_id}) == cancelled
