"""What a page shows of a record: its JSON as it is stored, and the few fields by which it is found.

Reading each record whole, only to write it again, took most of the time of a page. What JSON of an earlier version lacks,
or has too much, the reader fills in or passes over, as whoever reads a record does.
"""

import json
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from pydantic import Field

from distill.contracts.base import Stored, Timestamp
from distill.contracts.records import JobState


class Labelled(Stored):
    """Of a job file."""

    labels: dict[str, Any] = Field(default_factory=dict)


class OfTeacher(Stored):
    """Of a `ResolvedTeacher`."""

    name: str
    version: int


class JobHead(Stored):
    """Of a `JobRecord`."""

    id: str
    team: str = "default"
    spec: Labelled
    state: JobState = JobState.QUEUED
    teachers: tuple[OfTeacher, ...] = ()
    created_at: Timestamp

    @property
    def labels(self) -> Mapping[str, Any]:
        """The job file's."""
        return self.spec.labels

    @property
    def taught_by(self) -> set[str]:
        """Each teacher as ``name@version``."""
        return {f"{one.name}@{one.version}" for one in self.teachers}


class OfStudy(Stored):
    """Of a study file."""

    job: Labelled


class StudyHead(Stored):
    """Of a `StudyRecord`."""

    id: str
    team: str = "default"
    spec: OfStudy
    jobs: dict[str, str]
    created_at: Timestamp

    @property
    def labels(self) -> Mapping[str, Any]:
        """Its job's."""
        return self.spec.job.labels


class Shown(NamedTuple):
    """One item of a page."""

    id: str
    text: str
    """Its JSON: a `JobRecord`, or a `StudyView`."""


class StoredJob(NamedTuple):
    """A job as it is stored."""

    head: JobHead
    text: str

    @property
    def shown(self) -> Shown:
        """As a page has it."""
        return Shown(self.head.id, self.text)


def read_jobs(texts: Sequence[str]) -> list[StoredJob]:
    """What is stored of them. Raises ValueError."""
    return [StoredJob(JobHead.model_validate_json(text), text) for text in texts]


def view_of_study(study: StudyHead, text: str, state: JobState, children: Mapping[str, StoredJob]) -> Shown:
    """The JSON of its `StudyView`."""
    jobs = ",".join(f"{json.dumps(key)}:{job.text}" for key, job in children.items())
    return Shown(study.id, f'{{"study":{text},"state":"{state.value}","children":{{{jobs}}}}}')


def page_of(items: Sequence[Shown], following: str | None) -> str:
    """The JSON of a `JobPage` or `StudyPage`."""
    return f'{{"items":[{",".join(item.text for item in items)}],"next":{json.dumps(following)}}}'
