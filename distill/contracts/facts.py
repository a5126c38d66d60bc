"""Facts: what happened, as appended to the inbox of a job or a teacher, and later published as its events.

Every fact of a worker carries its attempt, its writer and a number that rises by one: an older attempt's word changes
nothing, and what is sent twice is applied once.
"""

from typing import Annotated, Literal

from pydantic import Field, TypeAdapter

from distill.contracts.base import Stored, Timestamp
from distill.contracts.datasets import DatasetFacts
from distill.contracts.errors import Problem
from distill.contracts.records import CheckpointRef, Outcome, Phase
from distill.contracts.teachers import ResolvedTeacher, TeacherManifest, TeacherVersion


class _WorkerFact(Stored):
    attempt: int
    writer: str = ""
    """``driver`` or ``rank-0``; set by the journal."""
    number: int = 0
    """Set by the journal."""
    at: Timestamp


class PhaseReached(_WorkerFact):
    """The attempt reached a station."""

    kind: Literal["phase_reached"] = "phase_reached"
    phase: Phase


class AttemptChecked(_WorkerFact):
    """Data and student are as the job file says."""

    kind: Literal["attempt_checked"] = "attempt_checked"
    dataset: DatasetFacts
    num_steps: int


class TeacherAwaited(_WorkerFact):
    """The student stands still: no teacher answers. `TeacherReturned` ends it."""

    kind: Literal["teacher_awaited"] = "teacher_awaited"
    teacher: str
    text: str


class TeacherReturned(_WorkerFact):
    """A teacher answers again."""

    kind: Literal["teacher_returned"] = "teacher_returned"
    teacher: str


class EpochEnded(_WorkerFact):
    """An epoch is complete; metrics are those of its `CurvePoint`."""

    kind: Literal["epoch_ended"] = "epoch_ended"
    epoch: int
    metrics: dict[str, float]


class CheckpointSaved(_WorkerFact):
    """A checkpoint is on storage, whole and synced."""

    kind: Literal["checkpoint_saved"] = "checkpoint_saved"
    checkpoint: CheckpointRef


class AttemptEnded(_WorkerFact):
    """The attempt's last word."""

    kind: Literal["attempt_ended"] = "attempt_ended"
    outcome: Outcome
    problem: Problem | None = None
    result: str | None = None
    """Path of ``result.json``, below the storage root."""


class JobCreated(Stored):
    """The job is in the queue. Published when the record is made."""

    kind: Literal["job_created"] = "job_created"
    at: Timestamp


class AttemptClaimed(Stored):
    """The control plane starts attempt ``attempt``."""

    kind: Literal["attempt_claimed"] = "attempt_claimed"
    attempt: int
    at: Timestamp


class AttemptLaunched(Stored):
    """Ray accepted the attempt."""

    kind: Literal["attempt_launched"] = "attempt_launched"
    attempt: int
    submission_id: str
    at: Timestamp


class AttemptLost(Stored):
    """Ray says that the attempt is gone, its heartbeat is silent, and it left no last word."""

    kind: Literal["attempt_lost"] = "attempt_lost"
    attempt: int
    problem: Problem
    at: Timestamp


class QueueReason(Stored):
    """Why a queued or starting job waits; state stays."""

    kind: Literal["queue_reason"] = "queue_reason"
    code: str
    text: str
    at: Timestamp


class CancelAsked(Stored):
    """Someone wants the job ended."""

    kind: Literal["cancel_asked"] = "cancel_asked"
    at: Timestamp


class PauseAsked(Stored):
    """Someone wants the job to give its resources back for a while."""

    kind: Literal["pause_asked"] = "pause_asked"
    at: Timestamp


class ResumeAsked(Stored):
    """Someone wants the paused job to go on."""

    kind: Literal["resume_asked"] = "resume_asked"
    at: Timestamp


class PrioritySet(Stored):
    """Someone wants the job to start sooner, or later, than others of its team."""

    kind: Literal["priority_set"] = "priority_set"
    priority: int
    at: Timestamp


class GenerationReady(Stored):
    """The student of the generation before is published: the job has its teacher."""

    kind: Literal["generation_ready"] = "generation_ready"
    teachers: tuple[ResolvedTeacher, ...]
    at: Timestamp


class GenerationMissing(Stored):
    """The generation before left nothing that could teach the job."""

    kind: Literal["generation_missing"] = "generation_missing"
    problem: Problem
    cancelled: bool = False
    """It was cancelled, and so is this one."""
    at: Timestamp


class VersionCreated(Stored):
    """A new version waits for its check."""

    kind: Literal["version_created"] = "version_created"
    version: TeacherVersion
    at: Timestamp


class VersionChecked(Stored):
    """The check passed."""

    kind: Literal["version_checked"] = "version_checked"
    version: int
    manifest: TeacherManifest
    at: Timestamp


class VersionRejected(Stored):
    """The check failed."""

    kind: Literal["version_rejected"] = "version_rejected"
    version: int
    problem: Problem
    at: Timestamp


class AliasMoved(Stored):
    """``name@alias`` now means this version."""

    kind: Literal["alias_moved"] = "alias_moved"
    alias: str
    version: int
    expected: int | None = None
    """What it must have meant until now, 0 for nothing yet; left out: whatever it was."""
    at: Timestamp


class VersionDeleted(Stored):
    """Nobody may ask for this version any more; its number is never given again."""

    kind: Literal["version_deleted"] = "version_deleted"
    version: int
    at: Timestamp


class BaselinesReused(Stored):
    """Jobs of earlier studies are this study's baselines too. Published when the record is made."""

    kind: Literal["baselines_reused"] = "baselines_reused"
    jobs: dict[str, str]
    """Child's key -> job id."""
    at: Timestamp


class StudyReported(Stored):
    """The study's report is written."""

    kind: Literal["study_reported"] = "study_reported"
    report: str
    at: Timestamp


WorkerFact = (
    PhaseReached | AttemptChecked | TeacherAwaited | TeacherReturned | EpochEnded | CheckpointSaved | AttemptEnded
)
JobFact = (
    WorkerFact
    | JobCreated
    | AttemptClaimed
    | AttemptLaunched
    | AttemptLost
    | QueueReason
    | CancelAsked
    | PauseAsked
    | ResumeAsked
    | PrioritySet
    | GenerationReady
    | GenerationMissing
)
TeacherFact = VersionCreated | VersionChecked | VersionRejected | AliasMoved | VersionDeleted
StudyFact = BaselinesReused | StudyReported
Fact = JobFact | TeacherFact | StudyFact

FACT: TypeAdapter[Fact] = TypeAdapter(Annotated[Fact, Field(discriminator="kind")])
"""Reads a fact from its JSON."""
