"""What is told of a job or a study that has ended. It follows from the record alone, so it is the same at each try."""

from dataclasses import dataclass
from typing import Literal

from distill.contracts.base import Stored, Timestamp
from distill.contracts.names import Kind
from distill.contracts.records import JobRecord, JobState, Reason, StudyRecord
from services.control_plane.views import study_state


class EndedJob(Stored):
    """A job in its final state."""

    id: str
    name: str
    team: str
    labels: dict[str, str]
    study: str | None
    role: str
    state: JobState
    reason: Reason
    attempts: int


class EndedStudy(Stored):
    """A study whose report is written."""

    id: str
    name: str
    team: str
    state: JobState
    jobs: dict[str, str]
    """Key -> job id."""


class Body(Stored):
    """What is posted."""

    type: Literal["job.ended", "study.ended"]
    timestamp: Timestamp
    """When it ended."""
    data: EndedJob | EndedStudy


@dataclass(frozen=True)
class Message:
    """What is sent, on whose behalf, and where to."""

    id: str
    team: str
    url: str
    body: bytes


def message_id(kind: Kind, identity: str) -> str:
    """The same for ever: a job and a study end once."""
    return f"msg_{kind}_{identity}"


def of_job(job: JobRecord) -> Message | None:
    """What is told of a job that has ended; None if nobody asked for it."""
    if job.spec.notify is None or not job.state.is_final:
        return None
    data = EndedJob(
        id=job.id, name=job.spec.name, team=job.team, labels=job.spec.labels, study=job.study, role=job.role,
        state=job.state, reason=job.reason, attempts=job.attempt,
    )  # fmt: skip
    body = Body(type="job.ended", timestamp=job.ended_at or job.updated_at, data=data)
    return Message(message_id("job", job.id), job.team, job.spec.notify.url, body.model_dump_json().encode())


def of_study(study: StudyRecord, jobs: dict[str, JobRecord]) -> Message | None:
    """What is told of a study whose report is written; None if nobody asked for it."""
    if study.spec.notify is None or study.report is None or not jobs:
        return None
    data = EndedStudy(
        id=study.id, name=study.spec.name, team=study.team, state=study_state(jobs), jobs=study.jobs
    )  # fmt: skip
    body = Body(type="study.ended", timestamp=study.updated_at, data=data)
    return Message(message_id("study", study.id), study.team, study.spec.notify.url, body.model_dump_json().encode())
