"""What the API answers with, besides records themselves; study state is derived, never stored."""

from collections.abc import Mapping
from typing import Annotated

from pydantic import Field

from distill.contracts.audit import ChangeAnswered, ChangeAsked, ServiceDid
from distill.contracts.base import Digest, Spec, Stored, Timestamp
from distill.contracts.errors import NotFound
from distill.contracts.keys import KeyView
from distill.contracts.measures import Artifact, Snapshot
from distill.contracts.pool import Reservation, TeamUsage
from distill.contracts.records import JobRecord, JobState, StudyRecord
from distill.contracts.teachers import TeacherRecord
from distill.contracts.teams import TeamHolding, TeamRecord
from services.control_plane.heads import JobHead
from services.control_plane.retention import Sort


class JobPage(Stored):
    """A page of jobs, newest first."""

    items: list[JobRecord]
    next: str | None = Field(default=None, description="The cursor of the next page, if there is one.")


class StudyView(Stored):
    """A study, its children, and the state that follows from theirs."""

    study: StudyRecord
    state: JobState
    children: dict[str, JobRecord]


class StudyPage(Stored):
    """A page of studies, newest first."""

    items: list[StudyView]
    next: str | None = None


class TeacherList(Stored):
    """Every teacher."""

    items: list[TeacherRecord]


class ReservationList(Stored):
    """The reservations that live, the oldest first."""

    items: list[Reservation]


class KeyList(Stored):
    """Every API key, without its secret; those that were revoked too."""

    items: list[KeyView]


class ArtifactList(Stored):
    """What a finished job left."""

    items: list[Artifact]


class SnapshotList(Stored):
    """What a finished job kept of its way, by epoch."""

    items: list[Snapshot]


class LogPage(Stored):
    """A part of an attempt's log."""

    job: str
    attempt: int
    offset: int
    next_offset: int = Field(description="Ask from here for what follows.")
    text: str
    complete: bool = Field(description="The attempt has ended and this page reaches the end of its log.")


class Removed(Stored):
    """Something that was garbage."""

    sort: Sort
    where: str = Field(description="A path below the storage root; of events a key of Redis.")
    size_bytes: int
    why: str


class Collected(Stored):
    """What a collection of garbage removed, or would have."""

    dry_run: bool
    removed: list[Removed]
    freed_bytes: int
    audit_moved: int = Field(default=0, description="Entries of the audit log that moved to files, where they stay.")
    orphans: dict[str, Timestamp] = Field(
        default_factory=dict,
        description="Folder that no record knows -> since when; it goes once it has been one for long.",
    )


class AliasTarget(Spec):
    """Where an alias points."""

    version: int = Field(ge=1, examples=[3])
    expected: int | None = Field(
        default=None, ge=0, examples=[2],
        description="What the alias must mean until now, 0 for nothing yet: else 409. Left out: whatever it means.",
    )  # fmt: skip


class JobPriority(Spec):
    """Where a job stands among those of its team."""

    priority: int = Field(ge=-100, le=100, examples=[10])


class TeamView(Stored):
    """What a team is granted, and what it has of that now."""

    team: TeamRecord
    has: TeamHolding


class TeamList(Stored):
    """Every team that is granted something, or has jobs that have not ended."""

    items: list[TeamView]


class ChangeAskedLink(ChangeAsked):
    """With its place in the chain."""

    hash: Digest


class ChangeAnsweredLink(ChangeAnswered):
    """With its place in the chain."""

    hash: Digest


class ServiceDidLink(ServiceDid):
    """With its place in the chain."""

    hash: Digest


AuditLink = Annotated[ChangeAskedLink | ChangeAnsweredLink | ServiceDidLink, Field(discriminator="kind")]


class TeamUsageList(Stored):
    """What every team had in a month, by name."""

    items: list[TeamUsage]


class AuditPage(Stored):
    """A page of the audit log, newest first."""

    items: list[AuditLink]
    next: str | None = None


class AuditVerdict(Stored):
    """Whether the audit log is what was written."""

    whole: bool
    num_entries: int = Field(description="That were found right, from the first one on.")
    head: str = Field(
        description="Number and hash of the last of them. Note it elsewhere, and give it as `noted` another time.",
        examples=["1234:sha256:" + "5f" * 32],
    )
    broken_at: int | None = Field(default=None, description="Number of the first entry that is not right.")
    what: str | None = Field(default=None, description="What is wrong there.")
    num_unanswered: int = Field(description="Requests without an answer: under way, or cut off by a crash.")
    unanswered: list[int] = Field(description="Numbers of the last of these.")


class Health(Stored):
    """The process answers."""

    status: str = "ok"


class Readiness(Stored):
    """Whether the control plane can do its work, and what stops it if not."""

    ready: bool
    dependencies: dict[str, str] = Field(
        description="Name -> `ok`, or what is wrong.", examples=[{"redis": "ok", "ray": "ok"}]
    )
    warnings: list[str] = Field(default_factory=list)


def study_state(children: Mapping[str, JobRecord | JobHead]) -> JobState:
    """One state for all children: the worst end, or the furthest stage while any lives.

    Raises:
        NotFound: there are none. A study is made with its jobs and goes with them: it went while it was being read.
    """
    if not children:
        raise NotFound("the study has just been deleted, with its jobs")
    states = {job.state for job in children.values()}
    if all(state.is_final for state in states):
        order: tuple[JobState, ...] = (JobState.FAILED, JobState.CANCELLED, JobState.SUCCEEDED)
    else:
        order = (
            JobState.CANCELLING,
            JobState.RUNNING,
            JobState.PAUSING,
            JobState.STARTING,
            JobState.QUEUED,
            JobState.PAUSED,
        )
    return next(state for state in order if state in states)
