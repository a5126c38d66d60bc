"""What the control plane keeps of jobs and studies, and what it wants of workers."""

from enum import StrEnum
from typing import Any, Literal

from pydantic import Field, field_validator

from distill.contracts.base import Digest, Name, Stored, Timestamp
from distill.contracts.datasets import DatasetFacts
from distill.contracts.errors import Interrupted, Problem, errors_by_code
from distill.contracts.job import JobSpec
from distill.contracts.labels import fitting
from distill.contracts.study import Child, StudySpec
from distill.contracts.teachers import ResolvedTeacher

EPOCHS_HELD = 500
"""A record is written whole at each change: one that held thousands of epochs would be half a megabyte each time."""


class JobState(StrEnum):
    """The states of a job's life; docs/architecture.md draws the edges."""

    QUEUED = "QUEUED"
    STARTING = "STARTING"
    RUNNING = "RUNNING"
    PAUSING = "PAUSING"
    PAUSED = "PAUSED"
    CANCELLING = "CANCELLING"
    SUCCEEDED = "SUCCEEDED"
    FAILED = "FAILED"
    CANCELLED = "CANCELLED"

    @property
    def is_final(self) -> bool:
        """Final states never change."""
        return self in {JobState.SUCCEEDED, JobState.FAILED, JobState.CANCELLED}

    @property
    def is_stopping(self) -> bool:
        """An attempt is to save what it has, and stop."""
        return self in {JobState.PAUSING, JobState.CANCELLING}

    @property
    def has_attempt(self) -> bool:
        """An attempt may be alive on the cluster."""
        return self in {JobState.STARTING, JobState.RUNNING, JobState.PAUSING, JobState.CANCELLING}


class Reason(Stored):
    """Why a job is in its state: a stable code, and words for a person."""

    code: str
    text: str


class Wish(StrEnum):
    """What the control plane wants of an attempt."""

    RUN = "run"
    PAUSE = "pause"
    CANCEL = "cancel"


class Directive(Stored):
    """Read by the driver and by every rank each second."""

    version: int
    """Rises with every change."""
    attempt: int
    """The only attempt that may go on; every other one stops. 0 where none may."""
    wish: Wish
    checkpoint: str | None = None
    """Path of the record's checkpoint: it, and what is newer, must stay on storage."""


class CheckpointRef(Stored):
    """The only resume pointer."""

    path: str
    """A folder below the storage root."""
    digest: Digest
    epoch: int
    """Epochs that are complete in it."""
    step: int
    attempt: int


class Phase(StrEnum):
    """The stations of an attempt, in order; each is reached at most once."""

    CLAIMED = "claimed"
    """The control plane numbered the attempt."""
    LAUNCHED = "launched"
    """Ray accepted it."""
    STARTED = "started"
    """Its driver process runs."""
    CHECKED = "checked"
    """Data and student are as the job file says; only now are teachers and workers asked for."""
    WORKERS_READY = "workers_ready"
    TEACHER_READY = "teacher_ready"
    """The first answer came (jobs with teachers)."""
    TRAINING = "training"
    """The first step is done."""
    TRAINED = "trained"
    EVALUATED = "evaluated"
    EXPORTED = "exported"
    ENDED = "ended"


class Outcome(StrEnum):
    """How an attempt ended, in its own words or in Ray's."""

    FINISHED = "finished"
    FAILED = "failed"
    CANCELLED = "cancelled"
    PAUSED = "paused"
    WAITED = "waited"
    """Gave its resources back, for want of a teacher."""
    LOST = "lost"


class Attempt(Stored):
    """One try at a job."""

    number: int
    phases: dict[Phase, Timestamp] = Field(default_factory=dict)
    seen: dict[str, int] = Field(default_factory=dict)
    """Writer -> number of its newest applied fact: what is sent twice is applied once."""
    outcome: Outcome | None = None
    problem: Problem | None = None

    @property
    def was_preempted(self) -> bool:
        """It was stopped from outside, as with the whole stack, or its node was taken away: no failure of the job."""
        kind = None if self.problem is None else errors_by_code().get(self.problem.code)
        return kind is not None and issubclass(kind, Interrupted)


class JobRecord(Stored):
    """Everything known of a job. Changed by `apply_fact` alone."""

    id: Name
    team: str = "default"
    study: str | None = None
    role: str = "student"
    spec: JobSpec
    spec_digest: Digest
    reuse_digest: Digest | None = None
    """Equal for jobs that leave the same student; None for one whose student no study takes for its baseline."""
    priority: int = 0
    """The present one; the specification's is where it began."""
    after: str | None = None
    """The job whose student becomes this one's teacher, once it has ended."""
    teachers: tuple[ResolvedTeacher, ...] = ()
    state: JobState = JobState.QUEUED
    reason: Reason
    wish: Wish = Wish.RUN
    wished_at: Timestamp | None = None
    """When the wish last changed."""
    attempts: tuple[Attempt, ...] = ()
    teacher_awaited_since: Timestamp | None = None
    """Since when no teacher has answered; none while they do."""
    not_before: Timestamp | None = None
    """Back-off: no new attempt before this."""
    dataset: DatasetFacts | None = None
    """Known once an attempt has checked."""
    num_steps: int | None = None
    checkpoint: CheckpointRef | None = None
    epochs: tuple[dict[str, float], ...] = ()
    """Metrics of the newest finished epochs, at most `EPOCHS_HELD`; the result has them all."""
    result: str | None = None
    """Path of ``result.json``, below the storage root."""
    revision: int = 0
    """Rises by one with every change."""
    applied_id: str = "0-0"
    """The newest inbox entry that is part of this record."""
    created_at: Timestamp
    updated_at: Timestamp
    ended_at: Timestamp | None = None

    @field_validator("spec", mode="before")
    @classmethod
    def _without_labels_of_before(cls, spec: Any) -> Any:
        """A record stays readable whatever marks an earlier version took."""
        return _with_fitting_labels(spec) if isinstance(spec, dict) else spec

    @property
    def attempt(self) -> int:
        """The number of the newest attempt; 0 before the first."""
        return len(self.attempts)

    @property
    def num_epochs(self) -> int:
        """Epochs that are finished."""
        return int(self.epochs[-1]["epoch"]) if self.epochs else 0

    @property
    def newest(self) -> Attempt | None:
        """The newest attempt."""
        return self.attempts[-1] if self.attempts else None

    @property
    def awaits_generation(self) -> bool:
        """Its teacher is a student that isn't trained, or isn't published, yet."""
        return self.after is not None and not self.teachers and not self.state.is_final

    def directive(self) -> Directive:
        """What the newest attempt should do; nobody's once it has ended, so that one which was wrongly given up stops."""
        checkpoint = self.checkpoint.path if self.checkpoint else None
        attempt = self.attempt if self.state.has_attempt else 0
        return Directive(version=self.revision, attempt=attempt, wish=self.wish, checkpoint=checkpoint)


class StudyRecord(Stored):
    """A study: its children hold the life, the study their report."""

    id: Name
    team: str = "default"
    spec: StudySpec
    jobs: dict[str, str]
    """Child's key -> job id; a baseline may be a job of an earlier study, reused."""
    children: dict[str, Child] = Field(default_factory=dict)
    """Key -> what the job is for; empty for studies of before, whose keys are ``student`` and ``baseline``."""
    report: str | None = None
    """Folder below the storage root, once every child has ended."""
    revision: int = 0
    applied_id: str = "0-0"
    created_at: Timestamp
    updated_at: Timestamp

    @field_validator("spec", mode="before")
    @classmethod
    def _without_labels_of_before(cls, spec: Any) -> Any:
        """As a job's record has it."""
        job = spec.get("job") if isinstance(spec, dict) else None
        return spec | {"job": _with_fitting_labels(job)} if isinstance(job, dict) else spec

    def keys_of(self, role: Literal["student", "baseline"]) -> list[str]:
        """The keys of all students, or of all baselines."""
        return [key for key in self.jobs if (self.children[key].role if key in self.children else key) == role]


class Progress(Stored):
    """Live figures of a running attempt: bounded, lossy, never state."""

    attempt: int
    phase: str
    """What is happening, in words: ``training``, ``waiting for the teacher``, ``measuring``, ``exporting``."""
    step: int
    num_steps: int
    epoch: int
    """Complete ones."""
    num_epochs: int
    loss: float | None = None
    rows_per_s: float | None = None
    eta_s: float | None = None
    at: Timestamp


def _with_fitting_labels(job: dict[str, Any]) -> dict[str, Any]:
    return job | {"labels": fitting(job["labels"])} if job.get("labels") else job
