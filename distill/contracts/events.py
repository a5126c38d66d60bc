"""What followers read: each applied fact, with the state that it led to."""

from pydantic import Field

from distill.contracts.base import Stored
from distill.contracts.facts import Fact
from distill.contracts.records import JobState, Progress, Reason


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


class ProgressEvent(Stored):
    """Live figures, sent between events without an id."""

    job: str
    role: str
    progress: Progress
