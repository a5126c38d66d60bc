"""What followers read: each applied fact, with the state that it led to."""

from pydantic import Field

from distill.contracts.base import Stored
from distill.contracts.facts import Fact
from distill.contracts.records import JobRecord, JobState, Progress, Reason, StudyRecord


class Event(Stored):
    """One entry of an events stream; its id is the stream's entry id."""

    fact: Fact = Field(discriminator="kind")
    job: str | None = None
    role: str | None = None
    state: JobState | None = None
    reason: Reason | None = None
    attempt: int = 0
    revision: int
    """Of the record after the fact."""


class Gap(Stored):
    """Events are missing that are kept no more; a `Snapshot` says what they led to."""

    after: str
    """The id that the follower had seen."""
    oldest: str | None
    """Id of the oldest event that is kept; None if none is."""


class Snapshot(Stored):
    """The records as they were when the newest event had the id ``after``; only what came later follows."""

    after: str
    study: StudyRecord | None = None
    """None where a job is followed."""
    jobs: dict[str, JobRecord]
    """Of a study: key -> each of its jobs. Of a job: its role -> itself."""


class ProgressEvent(Stored):
    """Live figures, sent between events without an id."""

    job: str
    role: str
    progress: Progress
