"""What may go, by policy: a pure function of the records, of what lies there, and of the time.

Everything has a sort, an age and an owner. Nothing goes while its owner hasn't ended, or while something refers to it:

=============  ==============================================  ================================================
sort           of                                              stays, however old, while
=============  ==============================================  ================================================
events         jobs that ended, studies with their report      the job's study has no report yet
logs           jobs that ended                                 the same
checkpoints    jobs that ended: nothing resumes from them      the same
artifacts      jobs that ended; their snapshots too            the same; a version of a teacher is made of them;
                                                               a job begins from them, or awaits them; a study may
                                                               take the job for its baseline
answers        teacher versions that are gone                  a job or a reservation still holds the version
orphans        nobody: folders of runs, reports and teachers   it is not known to be one for long enough
               that no record knows
=============  ==============================================  ================================================

Records, reports, results and predictions are no garbage: they go when a person deletes their job.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Self

from pydantic import BaseModel, Field

from distill.contracts.base import Spec
from distill.contracts.models import JobWeights
from distill.contracts.records import JobRecord, JobState, StudyRecord
from distill.contracts.teachers import TeacherRecord


class Sort(StrEnum):
    """What kind of thing it is; each has its own time."""

    EVENTS = "events"
    LOGS = "logs"
    CHECKPOINTS = "checkpoints"
    ARTIFACTS = "artifacts"
    ANSWERS = "answers"
    ORPHANS = "orphans"


class Policy(Spec):
    """Days for which a sort is kept after its owner's end, or after the last change of it; None: for ever."""

    events: float | None = Field(default=90, gt=0)
    logs: float | None = Field(default=90, gt=0)
    checkpoints: float | None = Field(default=14, gt=0)
    artifacts: float | None = Field(default=None, gt=0)
    answers: float | None = Field(default=14, gt=0)
    orphans: float | None = Field(default=7, gt=0)
    audit: float | None = Field(default=30, gt=0)
    """Of an entry of the audit log in Redis; then it moves to a file, and stays."""

    def days(self, sort: Sort) -> float | None:
        """For how long this sort is kept."""
        found: float | None = getattr(self, sort.value)
        return found


@dataclass(frozen=True)
class Thing:
    """A file, a folder or a stream that may go by itself."""

    sort: Sort
    where: str
    """A path below the storage root; of events a key of Redis."""
    owner: str
    """``job/<id>``, ``study/<id>`` or ``teacher/<name>/<version>``; of answers the teacher's digest."""
    size_bytes: int
    changed_at: datetime
    """Of the newest thing in it."""
    is_aside: bool = False
    """An earlier collection renamed it and then broke off: it lies there under another name."""


@dataclass(frozen=True, slots=True)
class KnownJob:
    """What is gone by of a job's record.

    Ten thousand whole records, held at once, are millions of objects: each time Python looks for cycles among them, all
    requests wait for a second.
    """

    team: str
    state: JobState
    ended_at: datetime | None
    needs: tuple[str, ...]
    """Jobs whose artifacts it refers to, and digests of the teachers that it may still ask."""
    taught_by: tuple[str, ...]
    """Each teacher that it names, as ``name/version``."""

    @classmethod
    def of(cls, job: JobRecord) -> Self:
        """Of a record."""
        return cls(
            team=job.team,
            state=job.state,
            ended_at=job.ended_at,
            needs=tuple(_needs(job)),
            taught_by=tuple(f"{use.name}/{use.version}" for use in job.teachers),
        )


@dataclass(frozen=True, slots=True)
class KnownStudy:
    """What is gone by of a study's record."""

    team: str
    has_report: bool
    updated_at: datetime
    jobs: tuple[str, ...]
    """Its own, and those that it reuses."""

    @classmethod
    def of(cls, study: StudyRecord) -> Self:
        """Of a record."""
        return cls(study.team, study.report is not None, study.updated_at, tuple(study.jobs.values()))


@dataclass(frozen=True)
class Known:
    """All that may refer to a thing."""

    jobs: Mapping[str, KnownJob]
    studies: Mapping[str, KnownStudy]
    teachers: Sequence[TeacherRecord]
    reusable: frozenset[str] = frozenset()
    """Jobs that a study may take for its baseline."""
    reserved: frozenset[str] = frozenset()
    """Digests of the teachers that reservations hold."""
    orphans: Mapping[str, datetime] = field(default_factory=dict)
    """Folder -> since when it is known that no record knows it."""


@dataclass(frozen=True)
class Going:
    """A thing that may go, and why."""

    thing: Thing
    why: str


@dataclass(frozen=True)
class Plan:
    """What to do now, and what to remember for the next time."""

    going: tuple[Going, ...]
    orphans: dict[str, datetime]
    """Every folder that no record knows -> since when."""


def plan(known: Known, things: Sequence[Thing], policy: Policy, now: datetime) -> Plan:
    """What may go.

    A folder that no record knows goes once it has been one for long enough, and not when it is first met: whoever starts
    on a wrong or an older Redis has that long to notice.

    Args:
        known: everything that may refer to something.
        things: what lies on storage and in Redis.
        policy: how long which sort is kept.
        now: the present moment.
    """
    held, unreported, owners = _held(known), _unreported(known.studies.values()), _owners(known)
    orphans = {
        thing.where: known.orphans.get(thing.where, now)
        for thing in things
        if thing.sort is Sort.ORPHANS and thing.owner not in owners
    }
    going = [
        Going(thing, why)
        for thing in things
        if (since := _free_since(thing, known, held, unreported, orphans)) is not None
        and (why := _overdue(thing, since, policy.days(thing.sort), now))
    ]
    return Plan(tuple(going), orphans)


def _free_since(
    thing: Thing, known: Known, held: frozenset[str], unreported: frozenset[str], orphans: Mapping[str, datetime]
) -> tuple[datetime, str] | None:
    """Since when nothing needs the thing, and why; None while something does."""
    if thing.sort is Sort.ORPHANS:
        since = orphans.get(thing.where)
        return None if since is None else (since, "no record knows it")
    if thing.sort is Sort.ANSWERS:
        return None if thing.owner in held else (thing.changed_at, "no version of a teacher has this digest")
    kind, _, identity = thing.owner.partition("/")
    if kind == "study":
        study = known.studies.get(identity)
        return (study.updated_at, f"study {identity} has its report") if study and study.has_report else None
    job = known.jobs.get(identity)
    if job is None or not job.state.is_final or job.ended_at is None or identity in unreported:
        return None
    if thing.sort is Sort.ARTIFACTS and identity in held:
        return None
    return job.ended_at, f"job {identity} is {job.state.value}"


def _overdue(thing: Thing, since: tuple[datetime, str], days: float | None, now: datetime) -> str:
    """Why the thing's time is over; empty if it isn't."""
    moment, why = since
    age = now - max(moment, thing.changed_at)
    if days is None or age <= timedelta(days=days):
        return ""
    return f"{why}, for {age / timedelta(days=1):.1f} days; {thing.sort.value} are kept for {days:g}"


def _held(known: Known) -> frozenset[str]:
    """What is referred to: jobs whose artifacts are, and digests of teachers that somebody may ask."""
    needed = (one for job in known.jobs.values() for one in job.needs)
    return frozenset({*known.reusable, *known.reserved, *_of_teachers(known.teachers), *needed})


def _unreported(studies: Iterable[KnownStudy]) -> frozenset[str]:
    """Jobs of which a report is still to be made: their own study's, or that of one that reuses them."""
    return frozenset(job for study in studies if not study.has_report for job in study.jobs)


def _of_teachers(teachers: Sequence[TeacherRecord]) -> Iterator[str]:
    for teacher in teachers:
        for version in teacher.versions:
            yield from (member.job for member in version.members if member.job is not None)
            if version.manifest is not None:
                yield version.manifest.digest
                yield from (member.job for member in version.manifest.members if member.job is not None)


def _needs(job: JobRecord) -> Iterator[str]:
    yield from begins_from(job.spec)
    if job.after is not None:
        yield job.after
    if not job.state.is_final:
        yield from (teacher.digest for teacher in job.teachers)


def begins_from(part: object) -> Iterator[str]:
    """The jobs whose weights a specification names, wherever in it."""
    if isinstance(part, JobWeights):
        yield part.job
    elif isinstance(part, BaseModel):
        for name in type(part).model_fields:
            yield from begins_from(getattr(part, name))
    elif isinstance(part, tuple | list):
        for one in part:
            yield from begins_from(one)
    elif isinstance(part, dict):
        yield from begins_from(tuple(part.values()))


def _owners(known: Known) -> frozenset[str]:
    """Whom a folder may belong to; a version of a teacher also for as long as a job names it."""
    versions = {f"{one.name}/{version.version}" for one in known.teachers for version in one.versions}
    versions |= {version for job in known.jobs.values() for version in job.taught_by}
    return frozenset(
        {f"job/{job}" for job in known.jobs}
        | {f"study/{study}" for study in known.studies}
        | {f"teacher/{version}" for version in versions}
    )
