"""Jobs and facts for tests, built as the control plane builds them."""

from datetime import UTC, datetime, timedelta
from typing import Any

from distill.contracts.base import digest_of
from distill.contracts.facts import AttemptClaimed, JobFact, PhaseReached
from distill.contracts.job import JobSpec
from distill.contracts.records import JobRecord, JobState, Phase, Reason
from services.control_plane.life import apply_fact

NOON = datetime(2026, 11, 1, 12, tzinfo=UTC)
JOB: dict[str, Any] = {
    "name": "digits",
    "dataset": {"source": "digits"},
    "student": {"source": "zoo", "name": "mlp"},
}


def at(seconds: float) -> datetime:
    """So long after noon."""
    return NOON + timedelta(seconds=seconds)


def a_queued_job(identity: str = "digits-abc234", **changes: Any) -> JobRecord:
    """A job nobody has started."""
    spec = JobSpec.model_validate(JOB | changes)
    reason = Reason(code="queued", text="waiting for its turn")
    return JobRecord(
        id=identity, spec=spec, spec_digest=digest_of(spec), reason=reason, created_at=NOON, updated_at=NOON
    )


def after(record: JobRecord, *facts: JobFact) -> JobRecord:
    """The record after these facts."""
    for fact in facts:
        record = apply_fact(record, fact)
    return record


def a_starting_job(**changes: Any) -> JobRecord:
    """A job whose first attempt is claimed."""
    return after(a_queued_job(**changes), AttemptClaimed(attempt=1, at=NOON))


def a_running_job(**changes: Any) -> JobRecord:
    """A job whose first attempt has its workers."""
    job = after(a_starting_job(**changes), said(PhaseReached(attempt=1, phase=Phase.WORKERS_READY, at=NOON), 1))
    assert job.state is JobState.RUNNING
    return job


def said(fact: Any, number: int, writer: str = "rank-0") -> Any:
    """The fact as that writer's journal stamps it."""
    return fact.model_copy(update={"number": number, "writer": writer})
