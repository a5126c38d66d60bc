"""The jobs of this tutorial, and how a test waits for what they do: by following their events, as every client can."""

from contextlib import closing
from typing import Any

from distill.contracts.events import Event
from distill.contracts.job import JobSpec
from distill.contracts.records import JobRecord
from services.client.client import StillhouseClient

TRAINED_ROWS = 1294
"""Of the 1,797 digits every fifth is test data, which leaves 1,438; a tenth of these is for validation."""
TEST_ROWS = 359
BATCH_SIZE = 4
EPOCHS = 20
STEPS = TRAINED_ROWS // BATCH_SIZE
"""Of one epoch."""

TRAINING = {"epochs": EPOCHS, "batch_size": BATCH_SIZE, "optimizer": {"kind": "sgd", "lr": 0.01}}
"""Thousands of little steps: some seconds, in which a test can break something."""
ENDLESS = TRAINING | {"epochs": 100_000}
"""For a job that a test means to stop."""


def shown(key: str) -> dict[str, str]:
    """How a client that isn't ours shows its key."""
    return {"Authorization": f"Bearer {key}"}


def a_job(**changes: Any) -> JobSpec:
    """A small network that learns to read digits from their labels."""
    content: dict[str, Any] = {
        "name": "digits",
        "dataset": {"source": "digits"},
        "student": {"source": "zoo", "name": "mlp", "args": {"hidden": [64]}},
        "training": TRAINING,
        "compute": {"cpus_per_worker": 0.5},
    }
    return JobSpec.model_validate(content | changes)


def a_taught_job(teacher: str, **changes: Any) -> JobSpec:
    """The same network, taught by ``teacher`` and by 50 labels."""
    terms = [{"kind": "labels", "weight": 0.1}, {"kind": "soft_targets", "weight": 0.9}]
    dataset = {"source": "digits", "labels": {"kind": "count", "count": 50}}
    return a_job(**{"teachers": [{"name": teacher}], "objective": terms, "dataset": dataset} | changes)


def ended(client: StillhouseClient, job: JobRecord) -> JobRecord:
    """Follow the job to its end, and return its record."""
    for _ in client.follow("job", job.id):
        pass
    return client.job(job.id)


def first(client: StillhouseClient, job: JobRecord, kind: str, *, attempt: int = 1) -> Event:
    """Follow the job to the first event of this kind in this attempt."""
    with closing(client.follow("job", job.id)) as followed:
        for sent in followed:
            if isinstance(sent.data, Event) and (sent.name, sent.data.attempt) == (kind, attempt):
                return sent.data
    raise AssertionError(f"{job.id} ended without {kind} in attempt {attempt}")


def events_of(client: StillhouseClient, job: JobRecord) -> list[Event]:
    """Everything that was published of a job that has ended."""
    return [sent.data for sent in client.follow("job", job.id) if isinstance(sent.data, Event)]


def weights_of(client: StillhouseClient, job: JobRecord) -> str:
    """The digest of what the student learned: the same to the last bit, or another."""
    return next(file.digest for file in client.artifacts(job.id) if file.name == "model.safetensors")
