"""Born-again generations: the student of one is published, and becomes the teacher of the next.

Nothing is remembered between rounds: what to do follows from the job that waits, the job before it, and the study's
own teacher, which is named as the study is.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from distill.contracts.base import now
from distill.contracts.errors import Conflict, GenerationLost, InvalidSpec, NotFound, Problem
from distill.contracts.facts import GenerationMissing, GenerationReady, QueueReason, VersionCreated
from distill.contracts.records import JobRecord, JobState
from distill.contracts.teachers import TeacherRecord, TeacherVersion, TeacherVersionState
from services.control_plane.checks import check_teachers
from services.control_plane.guarded import guarded
from services.control_plane.registry import member_of, resolve
from services.control_plane.store import Store

WAITING = "waiting_for_generation"
"""The code of the reason of a job whose teacher is still to come."""


@dataclass(frozen=True)
class Publish:
    """Make a version of the student that the generation before left."""


@dataclass(frozen=True)
class Say:
    """Nothing can be done yet; this is what it waits for."""

    text: str


Decision = Publish | Say | GenerationReady | GenerationMissing


def decide_generation(job: JobRecord, before: JobRecord, version: TeacherVersion | None, *, at: datetime) -> Decision:
    """What a job needs that waits for the generation before it.

    Args:
        job: the one that waits.
        before: the one whose student is to teach it.
        version: that student as it was published; None before that.
        at: the present moment.
    """
    if not before.state.is_final:
        return Say(waits_for(before.role, before.id))
    if before.state is not JobState.SUCCEEDED:
        problem = _lost(before, f"it is {before.state.value}: {before.reason.text}")
        return GenerationMissing(problem=problem, cancelled=before.state is JobState.CANCELLED, at=at)
    if version is None:
        return Publish()
    if version.state is TeacherVersionState.READY:
        return _ready(job, version, at)
    reference = f"{_teacher_of(job)}@{version.version}"
    if version.state is TeacherVersionState.CHECKING:
        return Say(f"{before.role} is trained, and is being checked as the teacher {reference}")
    why = version.problem.message if version.problem else "no reason is given"
    return GenerationMissing(problem=_lost(before, f"as {reference} it was rejected: {why}"), at=at)


def waits_for(role: str, job: str) -> str:
    """Why a later generation waits, in words."""
    return f"waiting for {role} ({job}), whose student is to teach it"


class Generations:
    """Carries out what `decide_generation` decides."""

    def __init__(self, store: Store) -> None:
        self._store = store

    async def tend(self, jobs: Sequence[JobRecord]) -> None:
        """Bring each job that waits for a generation a step further."""
        waiting = [job for job in jobs if job.awaits_generation and job.state is JobState.QUEUED]
        found = await self._store.jobs([str(job.after) for job in waiting])
        before = {job.id: job for job in found}
        for job in waiting:
            if job.after in before:
                await guarded(f"the generation before {job.id}", self._tend, job, before[job.after])

    async def _tend(self, job: JobRecord, before: JobRecord) -> None:
        teacher = await self._teacher(_teacher_of(job)) if before.state is JobState.SUCCEEDED else None
        if teacher is not None and teacher.team != job.team:
            problem = GenerationLost(
                f"the generations' teacher is to be named {teacher.name}, and another team has a teacher of that name",
                hint="submit the study again: it gets another name",
            ).problem()
            await self._store.append("job", job.id, GenerationMissing(problem=problem, at=now()))
            return
        match decide_generation(job, before, _version_of(before, teacher), at=now()):
            case Publish():
                await self._publish(job, before, teacher)
            case Say(text=text) if text != job.reason.text:
                await self._store.append("job", job.id, QueueReason(code=WAITING, text=text, at=now()))
            case GenerationReady() | GenerationMissing() as fact:
                await self._store.append("job", job.id, fact)

    async def _teacher(self, name: str) -> TeacherRecord | None:
        try:
            return await self._store.teacher(name)
        except NotFound:
            return None

    async def _publish(self, job: JobRecord, before: JobRecord, teacher: TeacherRecord | None) -> None:
        study = await self._store.study(str(job.study))
        number, moment = len(teacher.versions) + 1 if teacher else 1, now()
        if teacher is None:
            await self._name_teacher(TeacherRecord(
                name=_teacher_of(job), team=study.team, visibility="team", description=f"The generations of study {study.id}.",
                created_at=moment, updated_at=moment,
            ))  # fmt: skip
        version = TeacherVersion(
            version=number, members=(member_of(before),), resources=study.spec.generation_replica, alias=before.role,
            created_at=moment,
        )  # fmt: skip
        # one that came second has a number that is taken: it changes nothing, and the next round sees the first
        await self._store.append("teacher", _teacher_of(job), VersionCreated(version=version, at=moment))

    async def _name_teacher(self, teacher: TeacherRecord) -> None:
        try:
            await self._store.create_teacher(teacher)
        except Conflict:
            return


def _teacher_of(job: JobRecord) -> str:
    return job.spec.teachers[0].name.partition("@")[0]


def _version_of(before: JobRecord, teacher: TeacherRecord | None) -> TeacherVersion | None:
    versions = teacher.versions if teacher else ()
    return next((one for one in versions if [member.job for member in one.members] == [before.id]), None)


def _ready(job: JobRecord, version: TeacherVersion, at: datetime) -> GenerationReady | GenerationMissing:
    teacher = resolve(job.spec.teachers[0], version)
    try:
        check_teachers(job.spec, [teacher], "")
    except InvalidSpec as error:
        return GenerationMissing(problem=error.problem(), at=at)
    return GenerationReady(teachers=(teacher,), at=at)


def _lost(before: JobRecord, why: str) -> Problem:
    return GenerationLost(f"{before.role} ({before.id}) can't teach this one: {why}").problem()
