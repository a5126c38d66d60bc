"""Jobs, teachers and facts for tests, built as the control plane builds them."""

from datetime import UTC, datetime, timedelta
from typing import Any

from distill.contracts.base import digest_of
from distill.contracts.datasets import DIGITS_CLASSES
from distill.contracts.facts import AttemptClaimed, JobFact, PhaseReached
from distill.contracts.job import JobSpec
from distill.contracts.measures import Size
from distill.contracts.models import ImageInput, ZooModel
from distill.contracts.pool import Reservation
from distill.contracts.records import JobRecord, JobState, Phase, Reason
from distill.contracts.teachers import (
    MemberManifest,
    ResolvedTeacher,
    TeacherManifest,
    TeacherRecord,
    TeacherResources,
    TeacherVersion,
    TeacherVersionState,
)
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


MANIFEST = TeacherManifest(
    teacher="wise",
    version=1,
    digest="sha256:" + "1" * 64,
    input=ImageInput(channels=1, height=8, width=8, mean=(0.3,), std=(0.25,)),
    classes=DIGITS_CLASSES,
    members=tuple(
        MemberManifest(
            model=ZooModel(name="mlp"),
            weights_digest=f"sha256:{position:064x}",
            size=Size(parameters=1, bytes=1, flops=1, latency_ms={1: 1.0}, latency_threads=1, latency_device="cpu"),
            taps={"stages.0": (16,)},
        )
        for position in range(3)
    ),
    size=Size(parameters=3, bytes=3, flops=3, latency_ms={1: 3.0}, latency_threads=1, latency_device="cpu"),
    rows_per_s=1000.0,
    device="cpu",
)


def a_version(**changes: Any) -> TeacherVersion:
    """Version 1 of ``wise``: three members that know digits, READY."""
    content: dict[str, Any] = {
        "version": 1,
        "state": TeacherVersionState.READY,
        "members": (),
        "resources": TeacherResources(num_cpus=1),
        "manifest": MANIFEST,
        "created_at": NOON,
    }
    return TeacherVersion(**(content | changes))


def a_teacher(*versions: TeacherVersion, **changes: Any) -> TeacherRecord:
    """The teacher ``wise``, ``wise@prod`` being version 1."""
    record = TeacherRecord(
        name="wise", versions=versions or (a_version(),), aliases={"prod": 1}, created_at=NOON, updated_at=NOON
    )
    return record.model_copy(update=changes)


TAUGHT: dict[str, Any] = JOB | {
    "teachers": [{"name": "wise@prod"}],
    "objective": [{"kind": "labels", "weight": 0.1}, {"kind": "soft_targets", "weight": 0.9}],
}
"""A job file whose student learns from ``wise``."""


WISE = ResolvedTeacher(name="wise", version=1, digest=MANIFEST.digest, weight=1.0, manifest=MANIFEST)


def a_taught_job(identity: str = "taught-abc234", **changes: Any) -> JobRecord:
    """A queued job whose teacher is ``wise@1``."""
    return a_queued_job(identity, **(TAUGHT | changes)).model_copy(update={"teachers": (WISE,)})


def a_reservation(identity: str = "wise-1", *, rows_per_s: float = 500.0) -> Reservation:
    """Of ``wise@1``, for half a minute from noon."""
    return Reservation(
        id=identity, team="default", teacher=WISE, rows_per_s=rows_per_s, created_at=NOON, expires_at=at(30),
        door="http://127.0.0.1:8471/v1/pool",
    )  # fmt: skip
