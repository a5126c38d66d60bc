"""Paused again and again at random steps, a job gives all back each time, and becomes the student that it would have been.

It has what a cut could lose: two workers, dropout, views, peers, a teacher of the pool, an optimiser with a memory.
"""

import random
from contextlib import closing

import psutil
import pytest

from distill.contracts import names
from distill.contracts.events import ProgressEvent
from distill.contracts.records import JobRecord, JobState, Outcome
from services.client.client import StillhouseClient
from services.stack.stack import Stack
from tests.fundamentals.jobs import TRAINED_ROWS, a_taught_job, ended, weights_of
from tests.fundamentals.processes import applications, placement_groups_of, workers_of
from tests.fundamentals.waiting import until

pytestmark = [pytest.mark.long, pytest.mark.timeout(400)]

NUM_PAUSES = 3
EPOCHS, BATCH_SIZE = 10, 16
STEPS = TRAINED_ROWS // BATCH_SIZE
"""Of one epoch: 800 in all, some 20 seconds of two workers that meet in each."""
MLP = {"source": "zoo", "name": "mlp", "args": {"hidden": [32], "dropout": 0.3}}


def post(client: StillhouseClient, teacher: str) -> JobRecord:
    spec = a_taught_job(
        teacher,
        student=MLP,
        dataset={
            "source": "digits",
            "labels": {"kind": "count", "count": 50},
            "augmentation": {"policy": "crop-flip", "views": 2},
        },
        scheme={"kind": "online", "peers": [MLP]},
        objective=[{"kind": "labels"}, {"kind": "soft_targets"}, {"kind": "soft_targets", "target": {"from": "peers"}}],
        training={"epochs": EPOCHS, "batch_size": BATCH_SIZE},
        compute={"workers": 2, "cpus_per_worker": 0.5},
    )
    return client.submit_job(spec)


@pytest.fixture(scope="module")
def whole(stack: Stack, teacher: str) -> JobRecord:
    with StillhouseClient(stack.url, key=stack.key) as client:
        return ended(client, post(client, teacher))


@pytest.fixture(scope="module")
def cut(stack: Stack, teacher: str, whole: JobRecord) -> JobRecord:
    """The same job, paused at random; what is left of each attempt is looked for before the next one starts."""
    chance = random.Random(0)
    with StillhouseClient(stack.url, key=stack.key) as client:
        job = post(client, teacher)
        steps = sorted(chance.sample(range(1, EPOCHS * STEPS - STEPS), NUM_PAUSES))
        for attempt, step in enumerate(steps, start=1):
            until_step(client, job, step, attempt=attempt)
            pids = workers_of(stack, client.job(job.id))
            client.pause_job(job.id)
            until(lambda: client.job(job.id).state is not JobState.PAUSING)
            paused = client.job(job.id)
            assert (paused.state, paused.attempts[-1].outcome) == (JobState.PAUSED, Outcome.PAUSED)
            assert len(pids) == 2
            until(lambda pids=pids: not any(psutil.pid_exists(pid) for pid in pids))
            until(lambda paused=paused: placement_groups_of(stack, paused) == workers_of(stack, paused) == [])
            client.resume_job(job.id)
        return ended(client, job)


def until_step(client: StillhouseClient, job: JobRecord, step: int, *, attempt: int = 1) -> None:
    """The attempt trains, and has gone so far or further: the one before may have done the step already."""
    with closing(client.follow("job", job.id)) as followed:
        for sent in followed:
            if isinstance(sent.data, ProgressEvent):
                reached = sent.data.progress
                if (reached.attempt, reached.phase) == (attempt, "training") and reached.step >= step:
                    return
    raise AssertionError(f"{job.id} ended before step {step}")


def test_each_pause_was_an_attempt_of_its_own(cut: JobRecord):
    assert cut.state is JobState.SUCCEEDED
    assert [one.outcome for one in cut.attempts] == [Outcome.PAUSED] * NUM_PAUSES + [Outcome.FINISHED]


def test_the_student_and_every_figure_are_those_of_a_job_that_nobody_paused(
    client: StillhouseClient, whole: JobRecord, cut: JobRecord
):
    figures = ("epoch", "train_loss", "validation_accuracy", "validation_loss", "learning_rate")
    of_whole, of_cut = ([[epoch[name] for name in figures] for epoch in job.epochs] for job in (whole, cut))
    assert len(of_whole) == EPOCHS
    assert of_cut == of_whole
    assert weights_of(client, cut) == weights_of(client, whole)


def test_the_teacher_of_a_paused_job_leaves_once_it_was_idle(stack: Stack, client: StillhouseClient, teacher: str):
    job = post(client, teacher)
    application = names.application(*teacher.split("@"))
    until_step(client, job, 1)
    assert application in applications(stack)
    client.pause_job(job.id)
    until(lambda: client.job(job.id).state is JobState.PAUSED)
    until(lambda: application not in applications(stack), timeout_s=120)
    assert client.job(job.id).state is JobState.PAUSED
    assert client.cancel_job(job.id).state is JobState.CANCELLED
