"""Records with nothing special, and what a follower of a small job is sent."""

from datetime import UTC, datetime
from typing import Any

from distill.contracts.base import digest_of
from distill.contracts.events import Event, ProgressEvent
from distill.contracts.facts import AttemptClaimed, EpochEnded, JobCreated
from distill.contracts.job import JobSpec
from distill.contracts.records import JobRecord, JobState, Progress, Reason

KEY_ID = "abcdefghjk"
NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)
SPEC = JobSpec.model_validate(
    {"name": "digits", "dataset": {"source": "digits"}, "student": {"source": "zoo", "name": "mlp"}}
)
Sent = tuple[str | None, str, dict[str, Any]]
"""Stream id, name and data of an event."""


def a_job(identity: str = "digits-abc123", *, state: JobState = JobState.QUEUED, **more: Any) -> JobRecord:
    """A record with nothing special."""
    fields = {"spec": SPEC, "spec_digest": digest_of(SPEC), "created_at": NOON, "updated_at": NOON}
    reason = Reason(code="test", text="because the test says so")
    return JobRecord(id=identity, state=state, reason=reason, **(fields | more))


def an_event(fact: Any, *, job: str = "digits-abc123", state: JobState = JobState.RUNNING) -> Event:
    """A published fact."""
    return Event(fact=fact, job=job, role="student", state=state, reason=Reason(code="x", text="going on"), revision=1)


def a_short_life(*, end: JobState = JobState.SUCCEEDED) -> list[Sent]:
    """What a follower of a small job is sent."""
    facts = [
        JobCreated(at=NOON),
        AttemptClaimed(attempt=1, at=NOON),
        EpochEnded(attempt=1, epoch=1, metrics={"train_loss": 0.5, "validation_accuracy": 0.875}, at=NOON),
    ]
    sent: list[Sent] = [
        (f"{n}-0", fact.kind, an_event(fact).model_dump(mode="json")) for n, fact in enumerate(facts, 1)
    ]
    now = Progress(
        attempt=1, phase="training", step=5, num_steps=10, epoch=0, num_epochs=1, rows_per_s=1000, eta_s=65, at=NOON
    )
    live = ProgressEvent(job="digits-abc123", role="student", progress=now)
    sent.insert(2, (None, "progress", live.model_dump(mode="json")))
    return [*sent, (None, "end", {"state": end.value})]
