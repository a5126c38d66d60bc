"""From what a person posted to records: references resolved, and everything checked that manifests know."""

import contextlib
import secrets
from collections.abc import Awaitable, Callable, Sequence
from difflib import get_close_matches
from pathlib import Path
from typing import Any

from distill.contracts.base import digest_of, now
from distill.contracts.errors import Conflict, InvalidSpec, NotFound, UnknownTeacher
from distill.contracts.job import JobSpec, TeacherUse
from distill.contracts.models import FileWeights, FolderWeights, JobWeights
from distill.contracts.pool import ReservationSpec
from distill.contracts.records import JobRecord, JobState, Reason, StudyRecord
from distill.contracts.scheme import students_of
from distill.contracts.students import StudentSpec
from distill.contracts.study import Child, StudySpec
from distill.contracts.teachers import (
    CheckedMember,
    MemberFromFile,
    MemberFromJob,
    MemberSource,
    ResolvedTeacher,
    TeacherResources,
    TeacherVersion,
    TeacherVersionSpec,
    TeacherVersionState,
)
from services.control_plane.checks import check_room, check_teachers, confine
from services.control_plane.decisions import needs
from services.control_plane.deployment import size_of
from services.control_plane.generations import WAITING, waits_for
from services.control_plane.once import Kept
from services.control_plane.ray_rest import ClusterResources
from services.control_plane.registry import find_version, member_of, resolve, snapshot_of
from services.control_plane.results import check_weights, read_result
from services.control_plane.reuse import reuse_digest
from services.control_plane.store import MadeInVain, Store, no_such
from services.control_plane.webhooks.hosts import NOBODY, AllowedHosts, check_notify

IDENTITY_ALPHABET = "abcdefghjkmnpqrstuvwxyz23456789"
NUM_RANDOM = 6
MAX_IDENTITY = 48
"""Characters, as `distill.contracts.base.Name` has it."""
TRIES = 3
"""So often records are made anew before the one who submits is asked to."""


class Submission:
    """Checks and resolves against the records, the data root, what jobs left on storage, and the cluster."""

    def __init__(
        self,
        store: Store,
        *,
        team: str,
        data_root: Path,
        storage: Path,
        room: ClusterResources | None,
        told: AllowedHosts = NOBODY,
    ) -> None:
        """``room`` is what the whole cluster has; None while that isn't known, and then it is not checked.

        ``told`` are the hosts that webhooks may go to.
        """
        self._told = told
        self._store = store
        self._team = team
        self._data_root = data_root
        self._storage = storage
        self._room = room

    async def job(self, spec: JobSpec) -> JobRecord:
        """The record of one job. Raises InvalidSpec and its kin, with the field."""
        versions = await self._versions(spec, "")
        await self._check(spec, [version.resources for version in versions])
        return self._record(spec, id=new_identity(spec.name), teachers=_resolved(spec, versions, ""))

    async def study(self, spec: StudySpec) -> tuple[StudyRecord, list[JobRecord]]:
        """The records of a study and of its children, without the baselines that are there already.

        Raises:
            InvalidSpec: or one of its kin, with the field.
        """
        check_notify(spec.notify, self._told, field="notify.url")
        children = spec.children()
        identity = new_identity(spec.name, room=MAX_IDENTITY - 1 - max(map(len, children)))
        versions = await self._versions(spec.job, "job.")
        records = {key: await self._child(spec, key, child, versions, identity) for key, child in children.items()}
        found = {key: await self._reusable(records[key]) for key in children if children[key].role == "baseline"}
        reused = {key: job for key, job in found.items() if job is not None}
        created = next(iter(records.values())).created_at
        study = StudyRecord(
            id=identity, team=self._team, spec=spec, jobs={key: job.id for key, job in (records | reused).items()},
            children=children, created_at=created, updated_at=created,
        )  # fmt: skip
        return study, [job for key, job in records.items() if key not in reused]

    async def version(self, spec: TeacherVersionSpec, *, number: int) -> TeacherVersion:
        """The record of a teacher's new version. Raises InvalidSpec and its kin, with the field."""
        needed = size_of(spec.resources, spec.resources.replicas)
        check_room(needed, self._room, field="resources", what="its replicas")
        members = [await self._member(source, f"members.{i}") for i, source in enumerate(spec.members)]
        return TeacherVersion(
            version=number, members=tuple(members), resources=spec.resources, alias=spec.alias, created_at=now()
        )

    async def reserved(self, spec: ReservationSpec) -> ResolvedTeacher:
        """The READY version that a reservation names. Raises InvalidSpec and its kin, with the field."""
        use = TeacherUse(name=spec.teacher)
        version = await self._ready(use, "teacher")
        needed = size_of(version.resources, version.resources.replicas)
        check_room(needed, self._room, field="teacher", what="its replicas")
        return resolve(use, version)

    async def _child(
        self, spec: StudySpec, key: str, child: Child, versions: Sequence[TeacherVersion], study: str
    ) -> JobRecord:
        job, before = spec.spec_of(child, study=study), spec.before(child)
        fields = {"id": f"{study}-{key}", "role": key, "study": study}
        student = f"sweep.{[point.name for point in spec.sweep].index(child.point)}." if child.point else "job."
        if before is not None:
            await self._check(job, [spec.generation_replica], prefix="job.", student=student)
            reason = Reason(code=WAITING, text=waits_for(before, f"{study}-{before}"))
            return self._record(job, after=f"{study}-{before}", reason=reason, **fields)
        served = versions if job.teachers else ()
        await self._check(job, [version.resources for version in served], prefix="job.", student=student)
        return self._record(job, teachers=_resolved(job, served, "job."), **fields)

    async def _check(
        self, spec: JobSpec, served: Sequence[TeacherResources], *, prefix: str = "", student: str = ""
    ) -> None:
        """Paths, weights and room; ``prefix`` and ``student`` stand before the fields of the job and of its student."""
        check_notify(spec.notify, self._told, field=f"{prefix}notify.url")
        self._check_paths(spec, prefix)
        for field, one in students_of(spec.student, spec.scheme).items():
            place = student if field == "student" else prefix
            await self._check_init_from(one, f"{place}{field}.init_from")
        need = sum((size_of(one, one.replicas) for one in served), needs(spec.compute))
        check_room(need, self._room, field=f"{prefix}compute", what="workers and teachers")

    def _record(self, spec: JobSpec, **fields: Any) -> JobRecord:
        created = now()
        content = {
            "team": self._team,
            "spec": spec,
            "spec_digest": digest_of(spec),
            "reuse_digest": reuse_digest(spec, self._data_root),
            "priority": spec.priority,
            "reason": Reason(code="queued", text="waiting for its turn"),
            "created_at": created,
            "updated_at": created,
        }
        return JobRecord(**(content | fields))

    async def _reusable(self, job: JobRecord) -> JobRecord | None:
        return None if job.reuse_digest is None else await self._store.reusable(job.team, job.reuse_digest)

    async def _versions(self, spec: JobSpec, prefix: str) -> list[TeacherVersion]:
        return [await self._ready(use, f"{prefix}teachers.{i}.name") for i, use in enumerate(spec.teachers)]

    async def _ready(self, use: TeacherUse, field: str) -> TeacherVersion:
        name, wanted = use.name.split("@")
        try:
            record = await self._store.teacher(name)
            if not record.is_visible_to(self._team):
                raise no_such("teacher", name)
            number = int(wanted) if wanted.isdigit() else record.aliases[wanted]
            version = find_version(record, number)
        except (NotFound, KeyError) as error:
            known = await self._known_teachers()
            near = get_close_matches(use.name, known, n=2, cutoff=0.8)
            raise UnknownTeacher(
                f"{field}: there is no teacher {use.name!r}",
                field=field,
                got=use.name,
                expected="one of " + ", ".join(known[:20]) if known else "a published teacher; there are none yet",
                hint=f"did you mean {' or '.join(near)}?" if near else "`stillhouse teachers list` shows what there is",
            ) from error
        if version.state is not TeacherVersionState.READY or version.manifest is None:
            raise UnknownTeacher(
                f"{field}: {name}@{number} is {version.state.value}, and only a READY version can teach",
                field=field,
                got=f"{name}@{number}, {version.state.value}",
                expected="a READY version",
            )
        return version

    async def _known_teachers(self) -> list[str]:
        """Whatever of READY versions a job file may name, ``name@version`` and ``name@alias``."""
        known = []
        for teacher in await self._store.teachers():
            ready = {one.version for one in teacher.versions if one.state is TeacherVersionState.READY}
            names = [*map(str, sorted(ready)), *(alias for alias, number in teacher.aliases.items() if number in ready)]
            known += [f"{teacher.name}@{name}" for name in names if teacher.is_visible_to(self._team)]
        return known

    async def _member(self, source: MemberSource, field: str) -> CheckedMember:
        match source:
            case MemberFromFile():
                confine(self._data_root, source.path, f"{field}.path")
                return CheckedMember(file=source)
            case MemberFromJob(job=identity, epoch=epoch):
                job = await self._finished(identity, f"{field}.job")
                member = member_of(job) if epoch is None else await self._snapshot(job, epoch, f"{field}.epoch")
                await check_weights(job, member, self._storage, f"{field}.job")
                return member

    async def _snapshot(self, job: JobRecord, epoch: int, field: str) -> CheckedMember:
        kept = {one.epoch: one for one in (await read_result(job, self._storage)).snapshots}
        if epoch in kept:
            return snapshot_of(job, kept[epoch])
        there = ", ".join(str(number) for number in kept)
        raise InvalidSpec(
            f"{field}: job {job.id} kept no weights of epoch {epoch}"
            + (f"; it kept those of epochs {there}" if kept else ", nor of any other: its training.snapshots is 0"),
            field=field,
            got=str(epoch),
            expected=f"one of {there}" if kept else "a job with training.snapshots",
        )

    async def _finished(self, identity: str, field: str) -> JobRecord:
        try:
            job = await self._store.job(identity)
            if job.team != self._team:
                raise no_such("job", identity)
        except NotFound as error:
            raise InvalidSpec(f"{field}: there is no job {identity!r}", field=field, got=identity) from error
        if job.state is not JobState.SUCCEEDED:
            raise Conflict(
                f"{field}: job {identity} is {job.state.value}, and only a SUCCEEDED one leaves weights",
                field=field,
                got=job.state.value,
                expected=JobState.SUCCEEDED.value,
            )
        return job

    async def _check_init_from(self, spec: StudentSpec, field: str) -> None:
        match spec.init_from:
            case FileWeights(path=path) | FolderWeights(path=path):
                confine(self._data_root, path, f"{field}.path")
            case JobWeights(job=job):
                found = await self._finished(job, f"{field}.job")
                await check_weights(found, member_of(found), self._storage, f"{field}.job")

    def _check_paths(self, spec: JobSpec, prefix: str) -> None:
        for field, path in spec.dataset.own_paths.items():
            confine(self._data_root, path, f"{prefix}dataset.{field}")


def new_identity(name: str, choose: Callable[[str], str] = secrets.choice, *, room: int = MAX_IDENTITY) -> str:
    """A readable, unique identity of at most ``room`` characters: ``<name>-<six letters or digits>``."""
    readable = name[: min(30, room - 1 - NUM_RANDOM)].rstrip("-")
    return f"{readable}-{''.join(choose(IDENTITY_ALPHABET) for _ in range(NUM_RANDOM))}"


def until_stored(make: Callable[[Kept], Awaitable[Kept]]) -> Callable[[Kept], Awaitable[Kept]]:
    """``make``, again where the records that it made could not be stored. Raises Conflict, after the last try."""

    async def make_again(ticket: Kept) -> Kept:
        for _ in range(TRIES - 1):
            with contextlib.suppress(MadeInVain):
                return await make(ticket)
        try:
            return await make(ticket)
        except MadeInVain as error:
            raise Conflict(f"{error}, and nothing was stored; submit again") from error

    return make_again


def _resolved(spec: JobSpec, versions: Sequence[TeacherVersion], prefix: str) -> tuple[ResolvedTeacher, ...]:
    teachers = tuple(resolve(use, version) for use, version in zip(spec.teachers, versions, strict=True))
    check_teachers(spec, teachers, prefix)
    return teachers
